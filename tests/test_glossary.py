"""GLOSSARY.md points at notebooks that exist."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINES = [line for line in (ROOT / "GLOSSARY.md").read_text(encoding="utf-8").splitlines() if line.startswith("- ")]


def test_every_term_names_its_notebook():
    odd = [line for line in LINES if not re.fullmatch(r"- \*\*[^*]+\*\*.*: .+ → `\d\d_[\w.]+`( \(planned\))?", line)]
    assert not odd and len(LINES) > 40


def test_notebooks_not_marked_planned_exist():
    named = {re.search(r"→ `(.+?)`$", line)[1] for line in LINES if not line.endswith("(planned)")}
    missing = sorted(n for n in named if not (ROOT / "nbs" / f"{n}.ipynb").is_file())
    assert not missing, f"GLOSSARY.md names notebooks that aren't there: {missing}"


def test_each_term_once():
    terms = [re.match(r"- \*\*([^*]+)\*\*", line)[1].lower() for line in LINES]
    assert len(set(terms)) == len(terms)
