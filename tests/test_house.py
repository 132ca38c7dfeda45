"""The rules of the house (CONTRIBUTING.md), each held here: notebooks and modules, who imports whom, what is kept."""

import ast
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
NBS, LIB = ROOT / "nbs", ROOT / "movierec"
NOTEBOOKS = sorted(NBS.glob("*.ipynb")) + sorted(NBS.glob("studies/*.ipynb"))
ROOMS = [p for p in NOTEBOOKS if re.match(r"\d\d_", p.name) and p.parent == NBS]
HEAVY = "torch tensorflow faiss fastapi pandas polars pyarrow scipy sklearn sentence_transformers matplotlib".split()
LIGHT = {  # what these may bring along at import; a module that isn't here may import what it needs
    "movierec": set(),
    "movierec.core": set(),
    "movierec.fetch": set(),
    "movierec.cache": set(),
    "movierec.cli": set(),  # `movierec --help` answers at once
    "movierec.service.engine": {"pandas", "pyarrow", "polars", "scipy"},  # no FastAPI; the models bring torch
    "movierec.serve": {"pandas", "pyarrow", "polars", "scipy", "fastapi"},  # answers /healthz before torch is there
}
pytestmark = pytest.mark.skipif(not NBS.is_dir(), reason="no checkout: the notebooks aren't here")


@lru_cache(maxsize=None)
def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def text(cell):
    return "".join(cell["source"])


def code(path):
    "The notebook's code cells as (source that Python can parse, is it exported)."
    for cell in cells(path):
        if cell["cell_type"] == "code":
            source = text(cell)
            plain = "\n".join("pass" if re.match(r"\s*[!%]", x) else x for x in source.split("\n"))
            yield plain, bool(re.search(r"^#\|\s*exporti?\b", source, re.M))


def module_of(notebook):
    "The module that a notebook makes, or None."
    for cell in cells(notebook):
        if found := re.search(r"^#\|\s*default_exp\s+([\w.]+)", text(cell), re.M):
            return found[1]


def generated():
    "Module → the notebook it says it comes from."
    found = {}
    for path in LIB.rglob("*.py"):
        said = re.search(r"DO NOT EDIT! File to edit: (\S+\.ipynb)\.", path.read_text(encoding="utf-8"))
        if said:
            found[".".join(path.relative_to(LIB).with_suffix("").parts)] = (path.parent / said[1]).resolve()
    return found


def imported(source, package="movierec"):
    "Full names of the modules that the code imports, function bodies included."
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ("movierec." if node.level else "") + (node.module or "")
            yield base
            yield from (f"{base}.{a.name}" for a in node.names)


def tracked():
    got = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if got.returncode:
        pytest.skip("not a git checkout")
    return [p for p in got.stdout.split("\0") if p]


# ---- one notebook, one module -------------------------------------------------------------------------------------


def test_one_notebook_one_module():
    made = {module_of(p): p.resolve() for p in ROOMS}
    assert len(made) == len(ROOMS), "two notebooks name one module"
    assert made == generated()


def test_a_notebook_is_named_after_its_module():
    odd = {p.name: module_of(p) for p in ROOMS if p.stem[3:] != module_of(p)}
    assert not odd
    assert len({p.name[:2] for p in ROOMS}) == len(ROOMS), "two rooms have one number"


def test_nothing_in_the_package_is_written_by_hand():
    known = {"__init__.py", "_modidx.py"}
    made = {".".join(p.relative_to(LIB).with_suffix("").parts) for p in LIB.rglob("*.py") if p.name not in known}
    assert made == set(generated())


def test_studies_export_nothing():
    assert not [p.name for p in NOTEBOOKS if p not in ROOMS and module_of(p)]


# ---- who imports whom ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notebook", ROOMS, ids=lambda p: p.stem)
def test_imports_only_rooms_of_lower_numbers(notebook):
    number = {f"movierec.{module_of(p)}": int(p.name[:2]) for p in ROOMS}
    own = int(notebook.name[:2])
    up = {name for src, _ in code(notebook) for name in imported(src) if number.get(name, -1) > own}
    assert not up, f"{notebook.name} imports from above itself: {sorted(up)}"


@pytest.mark.parametrize("notebook", ROOMS, ids=lambda p: p.stem)
def test_exported_code_needs_no_development_package(notebook):
    names = {name.split(".")[0] for src, exported in code(notebook) if exported for name in imported(src)}
    assert not names & {"fastcore", "nbdev", "execnb", "pytest", "IPython", "seaborn", "faiss"}


def test_exported_cells_are_short():
    sizes = [(len(src.split("\n")), p.name) for p in ROOMS for src, exported in code(p) if exported]
    assert max(sizes)[0] <= 60, max(sizes)
    lines = sorted(n for n, _ in sizes)
    assert lines[len(lines) // 2] <= 15 and lines[len(lines) * 9 // 10] <= 35


def alone(module):
    ask = f"import sys, importlib; importlib.import_module({module!r}); print(*({HEAVY!r} & sys.modules.keys()))"
    ask = ask.replace(repr(HEAVY), f"set({HEAVY!r})")
    return subprocess.run([sys.executable, "-W", "error::SyntaxWarning", "-c", ask], capture_output=True, text=True)


def test_each_module_imports_alone_and_brings_nothing_heavy_unasked():
    modules = ["movierec", *sorted(f"movierec.{m}" for m in generated())]
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        runs = dict(zip(modules, pool.map(alone, modules), strict=True))
    broken = {m: r.stderr[-500:] for m, r in runs.items() if r.returncode}
    assert not broken
    brought = {m: set(runs[m].stdout.split()) - may for m, may in LIGHT.items() if m in runs}
    assert not {m: more for m, more in brought.items() if more}


# ---- what is kept, and what isn't ---------------------------------------------------------------------------------


def test_no_pickles():
    "Fitted things are safetensors, npz, parquet and JSON: opening one runs nobody's code."
    bad = re.compile(r"^\s*(import|from) (pickle|cloudpickle|dill|joblib|shelve)\b|allow_pickle\s*=\s*True|"
                     r"\btorch\.(load|save)\(|\bjoblib\.(load|dump)\(|\.to_pickle\(|\bread_pickle\(", re.M)  # fmt: skip
    files = [*LIB.rglob("*.py"), *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tools").glob("*.py")]
    found = {p.name: bad.search(p.read_text(encoding="utf-8")) for p in files}
    found |= {p.name: bad.search(src) for p in NOTEBOOKS for src, _ in code(p)}
    assert not {name: hit[0] for name, hit in found.items() if hit}


def test_no_paths_of_somebodys_machine():
    bad = re.compile(r"(?<![\w.])/(home|Users|root|work|private/var)/[\w.-]+|C:\\\\Users")
    temporary = re.compile(r"(?<![\w.])/(tmp|var/folders)/[\w.-]+")  # in a test it may be a name, in an output it is real
    own = Path(__file__).relative_to(ROOT).as_posix()
    found = {}
    for name in tracked():
        path = ROOT / name
        if path.suffix in {".py", ".ipynb", ".md", ".toml", ".ini", ".json", ".js", ".css", ".html", ".sh", ""}:
            if name == own or not path.is_file():
                continue
            source = path.read_text(encoding="utf-8")
            if hit := bad.search(source) or (path.suffix == ".ipynb" and temporary.search(source)):
                found[name] = hit[0]
    assert not found


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_there_and_clean(notebook):
    outputs = [o for c in cells(notebook) if c["cell_type"] == "code" for o in c["outputs"]]
    assert outputs, "not executed"
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"], "warnings, logs or progress bars in the outputs"
    assert not re.search(r"\d+%\|[█▏▎▍▌▋▊▉ ]*\||it/s[,\]]", json.dumps(outputs, ensure_ascii=False)), "a progress bar"
    assert notebook.stat().st_size < (400_000 if notebook.parent == NBS else 2_000_000)


@pytest.mark.parametrize("notebook", ROOMS, ids=lambda p: p.stem)
def test_begins_with_a_title_and_one_line(notebook):
    assert re.match(r"# .+\n> .+", text(cells(notebook)[0]))


def test_nothing_that_its_licence_keeps_here_is_committed():
    "MovieLens, OMDb, TMDB and DBpedia data and posters are fetched by whoever uses them; our own demo films are free."
    names = tracked()
    ours = ("data/README.md", "data/demo/", "data/search/")
    data = [n for n in names if n.startswith("data/") and not n.startswith(ours)]
    files = re.compile(r"(^|/)(ratings|movies|users|tags|links|genome-\w+|u|u\d|ua|ub)\.(dat|csv|data|item|user|base|test)$|"
                       r"\.(parquet|safetensors|npz|npy|pt|pkl|zip|gz|jsonl|sqlite|db)$|(^|/)posters/")  # fmt: skip
    ranks = re.compile(r"reports/results/[^/]+\.npz$")  # of the hidden films, without saying whose or which
    weights = re.compile(r"movierec/weights/[^/]+/(model\.safetensors|item_ids\.npy)$")  # tests/test_pretrained.py looks inside
    assert not data and not [n for n in names if files.search(n) and not ranks.match(n) and not weights.match(n)]
    for n in filter(ranks.match, names):
        with np.load(ROOT / n, allow_pickle=False) as z:
            assert set(z.files) == {"rank", "user"}, n
    size = {n: (ROOT / n).stat().st_size for n in names if (ROOT / n).is_file()}
    assert not [n for n in size if size[n] > 2_000_000 and not weights.match(n)]
    assert sum(size[n] for n in size if n.startswith("movierec/weights/")) < 16 << 20
