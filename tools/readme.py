"""README.md from nbs/index.ipynb: `python tools/readme.py` writes it, `--check` fails if it isn't current.

Nothing is run: what the notebook's outputs hold is what the page shows. nbdev's processors drop hidden cells and
directives; nbconvert writes the Markdown.
"""

import re
import sys
from pathlib import Path

import nbformat
from execnb.nbio import read_nb
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import Preprocessor
from nbdev.process import NBProcessor
from nbdev.processors import clean_magics, filter_stream_, hide_, hide_line, rm_export, strip_ansi

ROOT = Path(__file__).resolve().parents[1]
PROCS = [strip_ansi, hide_line, filter_stream_, rm_export, clean_magics, hide_]


def read(path):
    "The notebook as nbdev leaves it for readers; a cell with `#| echo: false` keeps its outputs only."
    nb = NBProcessor(nb=read_nb(path), procs=PROCS)
    nb.process()
    cells = []
    for cell in nb.nb.cells:
        if cell.cell_type == "markdown":
            source = re.sub(r"\]\((?!https?:|#|\.\./)([\w./]+\.ipynb)\)", r"](nbs/\1)", cell.source)
            cells.append(nbformat.v4.new_markdown_cell(source.replace("](../", "](")))
        elif cell.source.strip() or cell.get("outputs"):
            directives = getattr(cell, "directives_", None) or {}
            code = nbformat.v4.new_code_cell("\n".join(x for x in cell.source.split("\n") if not x.startswith("#|")))
            code.outputs = nbformat.from_dict(list(map(dict, cell.outputs)))
            code.metadata.hide_source = directives.get("echo:", [""])[0] == "false"
            cells.append(code)
    return nbformat.v4.new_notebook(cells=cells)


class Plain(Preprocessor):
    "What a program printed becomes a fenced block, so that `$ command` and answer can be copied."

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type != "code":
            return cell, resources
        parts = [] if cell.metadata.get("hide_source") else [f"```python\n{cell.source.strip()}\n```"]
        for out in cell.outputs:
            said = out.text if out.output_type == "stream" else out.data.get("text/markdown")
            said = out.data["text/plain"] if said is None else said
            fenced = out.output_type == "stream" or "text/markdown" not in out.data
            said = "".join(said).rstrip("\n")
            parts.append(f"```text\n{said}\n```" if fenced else said)
        return nbformat.v4.new_markdown_cell("\n\n".join(parts)), resources


def render():
    body, _ = MarkdownExporter(preprocessors=[Plain]).from_notebook_node(read(ROOT / "nbs/index.ipynb"))
    return "<!-- Made from nbs/index.ipynb by `make readme`. -->\n\n" + re.sub(r"\n{3,}", "\n\n", body).strip() + "\n"


def main():
    target, text = ROOT / "README.md", render()
    if "--check" in sys.argv:
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            sys.exit("README.md isn't what nbs/index.ipynb makes: run `make readme`")
    else:
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
