"""README.md and reports/ say what the files say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from movierec.reports import BESIDE, leaderboard, load_rows, markdown_table, write_report

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
pytestmark = pytest.mark.skipif(not (ROOT / "nbs").is_dir(), reason="no checkout")


def test_readme_is_what_the_index_notebook_makes():
    pytest.importorskip("nbconvert")
    got = subprocess.run([sys.executable, ROOT / "tools/readme.py", "--check"], capture_output=True, text=True)
    assert got.returncode == 0, got.stderr


def test_the_tables_of_results_are_made_of_the_result_files():
    want = dict(dataset="ml-1m", protocol="leave-last-out", split="test", filter_seen=True)
    rows = [r for r in load_rows(ROOT / "reports/results") if all(r.get(k) == v for k, v in want.items())]
    lines = set()
    for told in (False, True):
        board = leaderboard([r for r in rows if r["query_time"] == told]).drop(columns=BESIDE)
        lines |= {line for line in markdown_table(board).splitlines() if "±" in line}
    shown = [line for line in README.read_text(encoding="utf-8").splitlines() if "±" in line and line.startswith("|")]
    assert len(shown) > 10 and sum(line.startswith("| decoder-all |") for line in shown) == 2
    assert not set(shown) - lines, "execute nbs/index.ipynb again, then `make readme`"


def test_every_notebook_has_its_line():
    text = README.read_text(encoding="utf-8")
    assert not [p.name for p in (ROOT / "nbs").glob("[0-9][0-9]_*.ipynb") if f"(nbs/{p.name})" not in text]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "GLOSSARY.md", "data/README.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert not [link for link in links if not ((ROOT / page).parent / link).exists()]


def test_the_two_commands_stand_in_the_readme_and_the_makefile():
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("run", "test", "install"):
        assert f"make {command}" in README.read_text(encoding="utf-8") and re.search(rf"^{command}:", made, re.M)


def test_tables_in_reports_are_made_of_the_result_files(tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    paths = [p for p in write_report(ROOT / "reports/results", tmp_path) if p.suffix == ".md" and p.parent.name == "tables"]
    board = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert board == (ROOT / "reports/leaderboard.md").read_text(encoding="utf-8"), "run `movierec report`"
    kept = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "reports/tables").glob("*.md")}
    assert kept == {p.name: p.read_text(encoding="utf-8") for p in paths}, "run `movierec report`"
