"""Joining films to the metadata sources: right film, right order of sources, and no failure for want of any."""
import json
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from movierec.data import metadata as md
from movierec.data.metadata import blank_metadata, coverage, enrich
from movierec.data.schema import METADATA_COLUMNS, Dataset

HEAD = "adult,id,imdb_id,title,original_title,release_date,overview,vote_average,vote_count,popularity,poster_path\n"
TMDB = HEAD + ('False,862,tt0114709,Toy Story,Toy Story,1995-10-30,"Toys come\nalive, ""really"".",7.7,5415,21.946943,/toy.jpg\n'
               "False,8844,tt0113497,Jumanji,Jumanji,1995-12-15,,6.9,2413,17.015539,/jumanji.jpg\n"
               " - Written by,1997-08-20,0,104.0,broken,,,,,,\n"
               "False,710,tt0113189,GoldenEye,GoldenEye,1995-11-16,No overview found.,0.0,0,14.7,\n")
LINKS = "movieId,imdbId,tmdbId\n1,0114709,862\n2,0113497,8844\n10,0113189,710\n11,0112346,9087.0\n12,,\n"
KEYWORDS = "id,keywords\n" + "".join(f'{i},"{k}"\n' for i, k in [
    (862, "[{'id': 931, 'name': 'jealousy'}, {'id': 4290, 'name': 'toy'}]"), (8844, "[{'id': 1, 'name': 'boy\\'s |game'}]"),
    (710, "[{'id': 1"), (9087, "__import__('os').system('touch /tmp/never')")])
CREDITS = "cast,crew,id\n" + '''"[{'name': 'Pierce Brosnan', 'order': 0}, {'name': 'Sean Bean'}]","[{'job': 'Writer', 'name': 'I. F.'}, {'job': 'Director', 'name': 'Martin Campbell'}]",710\n'''
OMDB = [dict(movie_id=1, imdbID="tt0114709", Plot="A cowboy doll is jealous.", Director="John Lasseter", Actors="Tom Hanks, Tim Allen (voice), Tom Hanks"),
        dict(movie_id=2, imdbID="tt0113497", Plot="A board game.", Director="N/A", Actors="N/A"), dict(movie_id="odd"), dict(movie_id=11, imdbId="0112346", Plot="N/A")]
DBPEDIA = {"1": "Toy Story is a film.", "11": "The American  President is a\nfilm.", "x": "?", "2": 5}
FILMS = pd.DataFrame(dict(item_id=[1, 2, 10, 11, 99], title=["Toy Story", "Jumanji", "GoldenEye", "The American President", "Nobody Knows It"],
                          year=[1995, 1995, 1995, 1995, None], genres=["Animation", "Adventure", "Action", "Comedy", ""]))
RATINGS = pd.DataFrame(dict(user_id=[1], item_id=[1], rating=[5.], timestamp=[978300760]))


@pytest.fixture
def root(tmp_path, monkeypatch):
    "A data folder with all sources, for films as MovieLens 1M numbers them."
    monkeypatch.setenv("MOVIEREC_DATA", str(tmp_path / "data")); monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path / "home"))
    root = tmp_path / "data"
    for d in ("the-movies-dataset", "omdb", "dbpedia"): (root / d).mkdir(parents=True)
    for f, text in dict(movies_metadata=TMDB, links=LINKS, keywords=KEYWORDS, credits=CREDITS).items(): (root / f"the-movies-dataset/{f}.csv").write_text(text)
    (root / "omdb/ml-1m.jsonl").write_text("\n".join(map(json.dumps, OMDB)) + "\n{half a line\n[1]\n")
    (root / "dbpedia/ml-1m-abstracts.json").write_text(json.dumps(DBPEDIA))
    return root


def dataset(name="ml-1m", items=FILMS, **kw): return Dataset(name, RATINGS, items, source=dict(fingerprint="x"), **kw)
def rich(*a, **kw): return enrich(dataset(*a, **kw)).items.set_index("item_id")


def test_every_source_in_its_turn(root):
    got = rich()
    assert list(got.columns) == ["title", "year", "genres", *METADATA_COLUMNS]
    assert got.overview.to_dict() == {1: 'Toys come alive, "really".', 2: "A board game.", 10: "", 11: "The American President is a film.", 99: ""}
    assert got.director.to_dict() == {1: "John Lasseter", 2: "", 10: "Martin Campbell", 11: "", 99: ""}
    assert got.actors.to_dict() == {1: "Tom Hanks|Tim Allen", 2: "", 10: "Pierce Brosnan|Sean Bean", 11: "", 99: ""}
    assert got.keywords.to_dict() == {1: "jealousy|toy", 2: "boy's /game", 10: "", 11: "", 99: ""}
    assert got.imdb_id.tolist() == ["tt0114709", "tt0113497", "tt0113189", "tt0112346", ""] and got.tmdb_id[11] == 9087 and pd.isna(got.tmdb_id[99])
    assert got.poster_path.tolist() == ["/toy.jpg", "/jumanji.jpg", "", "", ""]
    assert got.vote_average[1] == pytest.approx(7.7) and got.vote_count[10] == 0 and pd.isna(got.vote_average[10])    # no votes: no average
    assert {c: str(got[c].dtype) for c in ("vote_average", "vote_count", "popularity", "tmdb_id")} == dict(vote_average="float32", vote_count="float32", popularity="float32", tmdb_id="Int64")


def test_ids_of_ml_100k_are_not_those_of_the_others(root):
    films = FILMS.assign(item_id=[1, 3, 2, 11, 99])                           # here GoldenEye is film 2, Jumanji film 3
    got = rich("ml-100k", films)
    assert got.tmdb_id[2] == 710 and got.tmdb_id[3] == 8844 and got.poster_path[3] == "/jumanji.jpg"     # by title and year
    (root / "omdb/ml-100k.jsonl").write_text(json.dumps(dict(movie_id=2, imdbID="tt0113189", Plot="Bond.")))
    got = rich("ml-100k", films)
    assert got.overview[2] == "Bond." and got.director[2] == "Martin Campbell" and got.overview[1] == 'Toys come alive, "really".'


def test_other_editions_use_what_is_kept_for_ml_1m(root):
    assert rich("ml-25m").overview[2] == "A board game." and rich("ml-25m").director[1] == "John Lasseter"


def test_an_editions_own_links_go_first(root):
    links = pd.DataFrame(dict(item_id=[2], imdb_id=["tt0114709"], tmdb_id=pd.array([862], dtype="Int64")))
    assert rich("ml-latest-small", links=links).tmdb_id[2] == 862


def test_title_match_is_cautious():
    tmdb = {1: dict(titles=["Heat"], year=1995), 2: dict(titles=["Heat"], year=1986), 3: dict(titles=["The Thief", "Vor"], year=1997),
            4: dict(titles=["Twin"], year=2000), 5: dict(titles=["Twin"], year=2000), 6: dict(titles=["戦争"], year=1990)}
    films = pd.DataFrame(dict(item_id=range(1, 8), title=["Heat", "HEAT!", "Vor", "Twin", "Heat", "戦争", "Heat"], year=[1995, 1987, 1998, 2000, 1970, 1990, None]))
    assert md._match_titles(films, tmdb) == {1: 1, 2: 2, 3: 3, 6: 6}


@pytest.mark.parametrize("gone", ["the-movies-dataset", "omdb", "dbpedia", "the-movies-dataset/links.csv", "the-movies-dataset/credits.csv",
                                  "the-movies-dataset/movies_metadata.csv", "the-movies-dataset/keywords.csv", "everything"])
def test_any_source_may_be_missing(root, gone):
    import shutil
    target = root if gone == "everything" else root / gone
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    got = rich()
    assert len(got) == 5 and list(got.columns) == ["title", "year", "genres", *METADATA_COLUMNS] and got.title[1] == "Toy Story"


@pytest.mark.parametrize("file", ["the-movies-dataset/links.csv", "the-movies-dataset/credits.csv", "the-movies-dataset/movies_metadata.csv",
                                  "the-movies-dataset/keywords.csv", "omdb/ml-1m.jsonl", "dbpedia/ml-1m-abstracts.json"])
@pytest.mark.parametrize("harm", [b"", b"\x00\xff\xfe", b'{"a": [1', b'"never closed\n1,2,3\n', b"id,keywords\n862,x\n", b"[1, 2]", b"id,keywords\n862,\"" + b"(" * 300_000 + b'"\n'])
def test_any_source_may_be_broken(root, file, harm):
    (root / file).write_bytes(harm)
    assert rich().title.tolist() == FILMS.title.tolist()


def test_literals_are_never_run(tmp_path):
    assert md._literal(f"[__import__('pathlib').Path({str(tmp_path / 'x')!r}).touch()]") == [] and not (tmp_path / "x").exists()
    assert md._literal("[" * 200_000) == [] and md._literal("[{'name': 'a'}, 3, 'x']") == [{"name": "a"}]
    assert md._literal("[{'name': 'a'}]" + " " * 500_000) == []


def cached(root): return list((root.parent / "home/cache/metadata").glob("*"))


def test_the_cache_follows_sources_and_films(root, monkeypatch):
    first = enrich(dataset()).items
    monkeypatch.setattr(md, "_merge", lambda ds: pytest.fail("the cache was not used"))
    pd.testing.assert_frame_equal(enrich(dataset()).items, first)
    monkeypatch.undo(); monkeypatch.setenv("MOVIEREC_DATA", str(root)); monkeypatch.setenv("MOVIEREC_HOME", str(root.parent / "home"))
    (root / "dbpedia/ml-1m-abstracts.json").write_text(json.dumps({"99": "Now it is known."}))
    assert rich().overview[99] == "Now it is known." and len(cached(root)) == 1
    assert rich(items=FILMS[:2]).index.tolist() == [1, 2]
    (cached(root)[0] / "items.parquet").write_bytes(b"half")
    assert rich(items=FILMS[:2]).overview[2] == "A board game."


def test_the_dataset_given_stays_as_it_was_and_knows_best(root):
    mine = dataset(items=FILMS.assign(director=["Me", "", "", "", ""])); before = mine.items.copy()
    got = enrich(mine)
    pd.testing.assert_frame_equal(mine.items, before)
    assert got.items.director.tolist()[:3] == ["Me", "", "Martin Campbell"] and got.interactions is mine.interactions and got.name == "ml-1m"


def test_a_home_that_cannot_be_written_costs_only_speed(root):
    (root.parent / "home").write_text("a file where the folder should be")
    assert rich().director[1] == "John Lasseter"


def test_missing_sources_are_logged_once(root, monkeypatch):
    said = []; monkeypatch.setattr(md.log, "info", said.append); monkeypatch.setattr(md, "_said", set())
    (root / "the-movies-dataset/credits.csv").unlink()
    for year in (1990, 1991): enrich(dataset(items=FILMS.assign(year=year)))
    assert sum("credits.csv is not here" in m for m in said) == 1


def test_coverage_and_blank_columns():
    assert coverage(blank_metadata(FILMS)).films.sum() == 0
    got = coverage(blank_metadata(replace(dataset()).items.assign(director=["a", "", "", "", "b"])))
    assert got.loc["director"].tolist() == [2, .4]


REAL = Path(os.environ.get("MOVIEREC_DATA") or "data")


@pytest.mark.realdata
@pytest.mark.skipif(not all((REAL / d).is_dir() for d in ("ml-1m", "ml-100k", "omdb", "the-movies-dataset")), reason="ml-1m, ml-100k, omdb or the-movies-dataset is not under MOVIEREC_DATA")
def test_real_films_are_joined_to_themselves(tmp_path, monkeypatch):
    from movierec.data.movielens import load_movielens
    monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path))
    for name, film, facts in [("ml-1m", 1193, ["Milos Forman", "tt0073486", 510]), ("ml-1m", 2, ["Joe Johnston", "tt0113497", 8844]), ("ml-100k", 2, ["Martin Campbell", "tt0113189", 710])]:
        items = enrich(load_movielens(name)).items.set_index("item_id")
        assert items.loc[film, ["director", "imdb_id", "tmdb_id"]].tolist() == facts
        assert coverage(items).loc[["overview", "director", "actors", "imdb_id"], "share"].min() > .98
        assert not items.index.duplicated().any() and len(items) == len(load_movielens(name).items)
