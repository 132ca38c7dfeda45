"""Datasets by name, on the installed package."""
import pytest

from movierec.core import MovierecError
from movierec.data.datasets import dataset_names, find_name, load_dataset
from movierec.data.movielens import FORMATS
from movierec.data.schema import METADATA_COLUMNS


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path): monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path / "home"))


def test_every_edition_and_the_demo_have_a_name():
    assert dataset_names() == ["demo", *FORMATS]
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
