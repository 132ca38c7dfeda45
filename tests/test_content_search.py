"""Search as installed: filters are obeyed and lists stay full, a fresh process answers alike, odd queries are no errors."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from movierec.content import search as S
from movierec.core import MovierecError

ROOT = Path(__file__).resolve().parents[1]


def toy(texts):
    "An encoder that knows three meanings."
    meanings = [("shark", "sea", "fish"), ("robot", "space", "ship"), ("love", "kiss", "wedding")]
    x = np.array([[sum(w in t.lower() for w in m) + 0.1 for m in meanings] for t in texts], np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def films():
    plots = ["A shark in the sea", "Robots in space", "Love and a wedding", "A fish", "A ship lost in space", "A kiss"] * 20
    return pd.DataFrame(dict(item_id=np.arange(1, 121) * 3, title=[f"No. {i}" for i in range(120)], overview=plots, year=1990, genres="Drama"))


@pytest.fixture
def search(films, monkeypatch):
    monkeypatch.setattr(S, "film_vectors", lambda items, model="": toy(items.overview))
    monkeypatch.setattr(S, "_encoder", lambda model: toy)
    return S.Search(S.Config(pool=3)).fit(films)


def test_lists_are_full_under_any_filter(search, films):
    rng = np.random.default_rng(0)
    for share in (0.01, 0.1, 0.5, 1.0):
        mask = rng.random(120) < share
        for query in ("shark", "robots in love", "nothing of that"):
            for k in (1, 7, 200):
                got = search.search(query, k, mask)
                assert len(got) == min(k, mask.sum()) and mask[np.isin(search.item_ids, got.item_id)].all()
                assert got.item_id.is_unique and got["rank"].tolist() == list(range(1, len(got) + 1))
                assert (np.diff(got.score) <= 0).all() and np.isfinite(got.score).all()
    by_ids = search.search("shark", 5, [3, 12, 77777])
    assert sorted(by_ids.item_id) == [3, 12]


def test_meaning_finds_what_words_dont(search, films):
    best = search.search("kiss", 40).item_id
    assert set(films.set_index("item_id").overview[best]) == {"A kiss", "Love and a wedding"}


def test_more_of_the_pool_changes_nothing(films, search):
    wide = S.Search(S.Config(pool=120)).fit(films)
    for q in ("a shark and a ship", "space wedding"):
        pd.testing.assert_frame_equal(wide.search(q, 120), search.search(q, 120))


def test_order_of_the_table_doesnt_matter(films, search):
    mixed = S.Search(S.Config(pool=3)).fit(films.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(mixed.search("fish in space", 9), search.search("fish in space", 9))


def test_without_an_encoder_the_words_are_used(films, search, tmp_path, monkeypatch):
    search.save(tmp_path / "s")
    monkeypatch.setattr(S, "_encoder", lambda model: None)
    back = S.Search.load(tmp_path / "s")
    assert set(films.set_index("item_id").overview[back.search("a shark", 5).item_id]) == {"A shark in the sea"}

    def gone(items, model=""):
        raise MovierecError("not installed")

    monkeypatch.setattr(S, "film_vectors", gone)
    assert S.Search().fit(films).reads == "words"


def test_a_fresh_process_answers_alike(search, tmp_path):
    search.save(tmp_path / "s")
    code = (
        "from movierec.content import search as S\nS._encoder = lambda model: None\n"
        f"s = S.Search.load({str(tmp_path / 's')!r}); print(s.search('a shark', 4).item_id.tolist(), s.reads)"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    search._encode = False
    assert got.stdout.strip() == f"{search.search('a shark', 4).item_id.tolist()} meaning and words", got.stderr[-800:]
    (tmp_path / "s" / "words.json").write_text("[]")
    with pytest.raises(MovierecError, match="words.json"):
        S.Search.load(tmp_path / "s")


@pytest.mark.parametrize("query", ["", "\x00", "🙂", "a" * 10_000, "' OR 1=1 --", "%s {0}", "\ud800", "שלום"])
def test_odd_queries(search, query):
    assert len(search.search(query, 3)) in (0, 3)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None])
def test_odd_k(search, k):
    with pytest.raises(MovierecError):
        search.search("shark", k)


def test_senseless_tables(films):
    with pytest.raises(MovierecError, match="no films"):
        S.Search().fit(films[:0])
    with pytest.raises(MovierecError, match="twice"):
        S.Search().fit(pd.concat([films[:3], films[:1]]))


def test_the_judged_queries_are_whole():
    folder = ROOT / "data" / "search"
    if not folder.is_dir():
        pytest.skip("no checkout")
    read = lambda name: list(csv.DictReader((folder / name).open(encoding="utf-8")))
    queries, said = read("queries.csv"), read("judgements.csv")
    assert len({q["query"] for q in queries}) == 60 and [q["part"] for q in queries].count("choose") == 20
    assert {q["kind"] for q in queries} == {"plot", "mood", "theme", "era", "setting"}
    assert {s["grade"] for s in said} == {"1", "2", "3"} and {s["query_id"] for s in said} == {q["query_id"] for q in queries}
    assert len({(s["query_id"], s["title"], s["year"]) for s in said}) == len(said)
