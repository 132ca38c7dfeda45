"""Neighbour models beyond what their notebook shows: other processes, brute force, big catalogues, bad input."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.sequences import Histories
from movierec.models.neighbors import ItemKNN, Pearson, UserKNN
from movierec.models.registry import make_model
from movierec.recommender import check_recommender, contract_data

CASES = [
    ("item-knn", {}),
    ("item-knn", dict(neighbours=2, shrink=3.0, even_users=False, half_life=None)),
    ("user-knn", {}),
    ("user-knn", dict(neighbours=3, shrink=2.0, half_life=None)),
    ("pearson", {}),
    ("pearson", dict(min_overlap=2, beta=1.0, min_votes=0.0, min_average=0.0)),
    ("pearson", dict(min_overlap=2, cap=5.0, min_votes=0.0, min_average=0.0, half_life=None)),
]
every_case = pytest.mark.parametrize("name,config", CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])


def random_table(n_users=60, n_items=25, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((n_users, n_items)) < share)
    return pd.DataFrame(
        dict(
            user_id=(user + 500).astype(np.int32),
            item_id=(3 * item + 7).astype(np.int32),
            rating=rng.integers(1, 6, len(user)).astype(np.float32),
            timestamp=rng.integers(0, 10**6, len(user)),
        )
    )


@every_case
def test_contract(name, config):
    check_recommender(lambda: make_model(name, **config), learns="taste" if name != "pearson" and not config else "")


@every_case
def test_a_saved_model_answers_the_same_in_a_fresh_process(name, config, tmp_path):
    table = random_table()
    model = make_model(name, **config).fit(table)
    model.save(tmp_path / "model")
    code = (
        "import sys; from movierec.models.registry import load_model; from movierec.data.sequences import Histories\n"
        "m = load_model(sys.argv[1]); h = Histories.from_lists([[7, 10, 13], [], [1]])\n"
        "m.recommend(h, 5).to_parquet(sys.argv[2]); m.similar_items(7, 5).to_parquet(sys.argv[3])\n"
        "print('torch' in sys.modules)"
    )
    files = [str(tmp_path / f) for f in ("model", "recs.parquet", "near.parquet")]
    run = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "False"
    h = Histories.from_lists([[7, 10, 13], [], [1]])
    pd.testing.assert_frame_equal(pd.read_parquet(files[1]), model.recommend(h, 5))
    pd.testing.assert_frame_equal(pd.read_parquet(files[2]), model.similar_items(7, 5))


def test_item_knn_is_the_dense_formula():
    table = random_table()
    wide = table.pivot_table("rating", "user_id", "item_id").notna().to_numpy(float)  # (60, 25)
    x = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    size = np.linalg.norm(x, axis=0)
    cosine = x.T @ x / (np.outer(size, size) + 0.3)
    np.fill_diagonal(cosine, 0)
    model = ItemKNN(ItemKNN.Config(neighbours=25, shrink=0.3, half_life=None)).fit(table)
    np.testing.assert_allclose(model.near.toarray(), cosine, rtol=1e-5, atol=1e-7)
    columns = [0, 4, 9]
    got = model.score(Histories.from_lists([[7 + 3 * c for c in columns]]))[0]
    np.testing.assert_allclose(got, cosine[columns].mean(0), atol=3e-6)


def test_user_knn_is_the_dense_formula():
    table = random_table()
    seen = table.pivot_table("rating", "user_id", "item_id").notna().to_numpy(float)
    me = np.zeros(25)
    me[[0, 4, 9]] = 1
    cosine = seen @ me / (np.linalg.norm(seen, axis=1) * 3**0.5)
    best = np.argsort(-cosine, kind="stable")[:60]
    want = cosine[best] @ seen[best] / cosine[best].sum()
    model = UserKNN(UserKNN.Config(neighbours=60, shrink=0.0, half_life=None)).fit(table)
    np.testing.assert_allclose(model.score(Histories.from_lists([[7, 19, 34]]))[0], want, atol=3e-6)


def test_pearson_is_what_pandas_says():
    table = random_table(200, 12, 0.5)
    table["rating"] += 1000  # far from 0: the sums must not lose the differences
    wide = table.pivot_table("rating", "user_id", "item_id")
    there = wide.notna().to_numpy(float)
    rho, n = wide.corr(min_periods=40).fillna(0).to_numpy(), there.T @ there
    want = np.where(rho > 0, rho * n / (n + 30), 0)
    np.fill_diagonal(want, 0)
    config = Pearson.Config(neighbours=12, min_overlap=40, beta=30.0, min_votes=0.0, min_average=0.0)
    np.testing.assert_allclose(Pearson(config).fit(table).near.toarray(), want, atol=1e-5)


def test_a_film_seen_twice_by_one_viewer_counts_once():
    table = random_table()
    for model in (ItemKNN, UserKNN):
        h = Histories.from_lists([[7, 10]])
        twice = pd.concat([table, table.head(50)], ignore_index=True)
        once = model().fit(table).score(h)
        np.testing.assert_allclose(model().fit(twice).score(h), once, atol=3e-6)  # popularity, a millionth, may differ


def test_the_own_row_of_a_known_viewer_changes_nothing_for_others():
    "Fold-in: the same history scores the same whether it comes from the table or from nowhere."
    table = random_table()
    known = Histories.from_table(table)[:5]
    anonymous = Histories.from_lists([list(known[i : i + 1].item_ids) for i in range(5)])
    for model in (ItemKNN(), UserKNN(), Pearson()):
        model.fit(table)
        np.testing.assert_array_equal(model.score(known), model.score(anonymous))


def test_quality_filter_reads_the_metadata_where_it_is_there():
    table = random_table()
    films = np.unique(table.item_id)
    votes = np.where(films == 7, 3.0, 5000.0)
    items = pd.DataFrame(dict(item_id=films, vote_count=votes, vote_average=np.full(25, 7.0)))
    config = Pearson.Config(min_overlap=2, min_votes=100.0, min_average=6.0)
    named = Pearson(config).fit(table, items).near.tocoo().col
    assert 0 not in named and len(set(named)) > 20  # film 7 is column 0
    assert not Pearson(config).fit(table).near.nnz  # by our own counts nothing has a hundred votes


def test_nothing_of_the_future_is_read():
    "The valid part handed to fit, for early stopping elsewhere, must not matter here."
    table = contract_data()
    for name in ("item-knn", "user-knn", "pearson"):
        h = Histories.from_lists([[11, 23]])
        plain, told = make_model(name).fit(table), make_model(name).fit(table, valid=table.tail(9), seed=7)
        np.testing.assert_array_equal(plain.score(h), told.score(h))


@pytest.mark.parametrize("make", [ItemKNN, UserKNN, Pearson])
def test_nobody_asked_and_unknown_films(make):
    model = make().fit(random_table())
    assert model.score(Histories.from_lists([])).shape == (0, 25)
    with pytest.raises(MovierecError, match="doesn't know film 8"):
        model.similar_items(8)
    with pytest.raises(MovierecError, match="isn't fitted"):
        make().recommend(Histories.from_lists([[7]]))


@pytest.mark.parametrize("model", [ItemKNN(), Pearson(Pearson.Config(min_overlap=2, min_votes=0.0, min_average=0.0))],
                         ids=["item-knn", "pearson"])  # fmt: skip
def test_thirty_thousand_films_stay_in_bounds(model):
    "All pairs as one dense table would take 3.6 GB in float32; block by block it stays below a tenth."
    rng = np.random.default_rng(0)
    n, viewers, each = 30_000, 1_000, 40
    films = np.r_[np.arange(n), (n * rng.random(viewers * each - n) ** 3).astype(int)]  # every film once, a few often
    table = pd.DataFrame(dict(item_id=rng.permutation(films) + 1, user_id=np.repeat(np.arange(viewers), each),
                              rating=rng.integers(1, 6, len(films)).astype(float), timestamp=0))  # fmt: skip
    tracemalloc.start()
    model.fit(table)
    scores = model.score(Histories.from_lists([[1, 2, 3]] * 8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scores.shape == (8, n) and np.diff(model.near.indptr).max() <= model.config.neighbours
    assert peak < 360e6, f"{peak / 1e6:.0f} MB"


@pytest.mark.realdata
def test_more_like_this(real_data, monkeypatch):
    "What a film lover would expect at the top, on ML-100K (ids of that edition)."
    from movierec.data.movielens import load_movielens

    monkeypatch.setenv("MOVIEREC_DATA", str(real_data("ml-100k").parent))
    data = load_movielens("ml-100k")
    empire, jedi, part_two = 172, 181, 187  # near Star Wars (50) twice, and near The Godfather (127)
    pearson = Pearson().fit(data.interactions, data.items)
    assert set(pearson.similar_items(50, 2).item_id) == {empire, jedi}
    assert pearson.similar_items(127, 1).item_id[0] == part_two
    for model in (ItemKNN(), UserKNN()):  # who watched what says less of 943 viewers, who all watched the year's films
        model.fit(data.interactions)
        assert jedi in set(model.similar_items(50).item_id) and part_two in set(model.similar_items(127).item_id), model
