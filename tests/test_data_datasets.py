"""Datasets by name, on the installed package."""
import pytest

from movierec.core import MovierecError
from movierec.data.datasets import dataset_names, find_name, load_dataset
from movierec.data.movielens import FORMATS
from movierec.data.schema import METADATA_COLUMNS


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path): monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path / "home"))


def test_every_edition_and_the_demo_have_a_name():
    assert dataset_names() == ["demo", *FORMATS, "ratings-small"]
    assert [find_name(n) for n in dataset_names()] == dataset_names()


@pytest.mark.parametrize("typed, meant", [("1M", "ml-1m"), (" ML_1m ", "ml-1m"), ("movielens-20m", "ml-20m"), ("latest", "ml-latest"), ("DEMO", "demo")])
def test_ways_to_write_a_name(typed, meant): assert find_name(typed) == meant


@pytest.mark.parametrize("typed, near", [("ml-1n", "ml-1m"), ("dem", "demo"), ("ml-lastest", "ml-latest"), ("ml-250m", "ml-25m")])
def test_a_slip_gets_the_nearest_name(typed, near):
    with pytest.raises(MovierecError, match=f"did you mean .*{near}"): load_dataset(typed)


@pytest.mark.parametrize("typed", ["", "netflix", "../ml-1m", None, 7])
def test_nonsense_gets_the_list(typed):
    with pytest.raises(MovierecError, match=r"no dataset is called .*there are: demo, ml-100k"): load_dataset(typed)


def test_missing_files_come_with_the_way_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("MOVIEREC_DATA", str(tmp_path))
    with pytest.raises(MovierecError, match="movierec data get ml-20m"): load_dataset("ml-20m")


def test_the_demo_needs_no_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MOVIEREC_DATA", str(tmp_path / "nothing"))
    demo = load_dataset("demo")
    assert demo.name == "demo" and set(METADATA_COLUMNS) <= set(demo.items) and (demo.items.overview != "").all()


@pytest.mark.realdata
def test_movielens_comes_enriched():
    from movierec.data.movielens import find_dataset
    if find_dataset("ml-100k") is None: pytest.skip("ml-100k is not here (MOVIEREC_DATA)")
    ds = load_dataset("100k")
    assert ds.name == "ml-100k" and ds.n_interactions == 100_000 and set(METADATA_COLUMNS) <= set(ds.items)


def tiny_kaggle(data, with_titles=False):
    "The Movies Dataset of two films (and ml-latest-small of one), as published."
    folder = data / "the-movies-dataset"; folder.mkdir(parents=True)
    (folder / "ratings_small.csv").write_text("userId,movieId,rating,timestamp\n1,1,2.5,1260759144\n2,7,4.0,1260759179\n")
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,862\n7,0114319,11860\n9,1,2\n")
    (folder / "movies_metadata.csv").write_text("id,imdb_id,title,release_date,overview,vote_average,vote_count,popularity,genres\n862,tt0114709,Toy Story,1995-10-30,Toys.,7.7,5415,21.9,\"[{'id': 878, 'name': 'Science Fiction'}]\"\n")
    if with_titles:
        latest = data / "ml-latest-small"; latest.mkdir()
        (latest / "movies.csv").write_text("movieId,title,genres\n7,Sabrina (1995),Comedy|Romance\n")
        (latest / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,7,4.0,964982703\n")


@pytest.mark.parametrize("with_titles", [False, True])
def test_ratings_small_knows_its_films_as_far_as_others_do(monkeypatch, tmp_path, with_titles):
    monkeypatch.setenv("MOVIEREC_DATA", str(tmp_path / "data")); tiny_kaggle(tmp_path / "data", with_titles)
    ds = load_dataset("ratings_small")
    assert ds.name == "ratings-small" and ds.scale == (0.5, 5.0, 0.5) and ds.interactions.rating.tolist() == [2.5, 4.0]
    assert ds.items.title.tolist() == ["Toy Story", "Sabrina" if with_titles else "Film 7"]
    assert ds.items.genres.tolist() == ["Sci-Fi", "Comedy|Romance" if with_titles else ""]
    assert ds.items.vote_count[0] == 5415 and ds.items.vote_count.isna()[1] and len(ds.links) == 2
    assert load_dataset("ratings-small").source["fingerprint"] == ds.source["fingerprint"]


def test_ratings_small_has_to_be_downloaded_by_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("MOVIEREC_DATA", str(tmp_path))
    with pytest.raises(MovierecError, match="ratings-small is not here .* Kaggle account"): load_dataset("ratings-small")


@pytest.mark.parametrize("text, message", [
    ("userId,movieId,rating\n1,1,2.5\n", "ratings_small.csv: column timestamp is missing"),
    ("userId,movieId,rating,timestamp\n1,1,2.3,1260759144\n", "ratings_small.csv, line 2: rating 2.3 is no step of 0.5"),
    ("", "ratings_small.csv can't be read"),
])
def test_a_broken_ratings_small_names_the_fault(monkeypatch, tmp_path, text, message):
    monkeypatch.setenv("MOVIEREC_DATA", str(tmp_path / "data")); tiny_kaggle(tmp_path / "data")
    (tmp_path / "data/the-movies-dataset/ratings_small.csv").write_text(text)
    with pytest.raises(MovierecError, match=message): load_dataset("ratings-small")


@pytest.mark.realdata
def test_ratings_small_as_published(real_data):
    real_data("the-movies-dataset"); ds = load_dataset("ratings-small")
    assert (ds.n_interactions, ds.n_users, ds.n_items) == (100_004, 671, 9_066)
    rated = ds.items.set_index("item_id").reindex(ds.interactions.item_id)
    assert rated.vote_average.notna().mean() > 0.7   # of the ratings, with the first 5,000 rows of the metadata
