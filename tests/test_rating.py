"""The rating network, as far as its notebook can't tell: other processes, odd input, what isn't known."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.sequences import Histories
from movierec.models.rating import Rating, RatingConfig, watch_factors

QUICK = dict(epochs=3, embedding_dim=4, watch_dim=3, hidden=8)


@pytest.fixture(scope="module")
def world():
    "40 viewers, 25 films with votes and genres, and a film 900 that nobody rated."
    rng = np.random.default_rng(1)
    rows = [(100 + u, 7 * f, rng.integers(1, 11) / 2, 1000 * u + f) for u in range(40) for f in rng.choice(25, 10, replace=False) + 1]
    train = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    ids = [*range(7, 182, 7), 900]
    items = pd.DataFrame(dict(item_id=ids, genres=["Drama" if i % 2 else "" for i in ids], year=1990, vote_average=rng.random(len(ids)), vote_count=np.nan))
    return train, items


@pytest.fixture(scope="module")
def model(world):
    train, items = world
    return Rating(RatingConfig(**QUICK)).fit(train, items, seed=5)


def test_a_fresh_process_gives_the_same_stars(world, model, tmp_path):
    pairs = world[0][["user_id", "item_id"]].head(50)
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    model.save(tmp_path / "m")
    code = f"import pandas as pd, numpy as np; from movierec.models.rating import Rating; m = Rating.load({str(tmp_path / 'm')!r}); np.save({str(tmp_path / 'out.npy')!r}, m.predict(pd.read_csv({str(tmp_path / 'pairs.csv')!r})))"
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), model.predict(pairs))
    assert model.predict(pairs).dtype == np.float32


@pytest.mark.parametrize("settings", [dict(embedding_dim=0), dict(watch_dim=0), dict(metadata=""), dict(metadata="genres"), dict(embedding_dim=0, watch_dim=0, metadata="")])
def test_parts_can_be_left_out(world, settings, tmp_path):
    train, items = world
    m = Rating(RatingConfig(**QUICK | settings)).fit(train, items)
    m.save(tmp_path / "m"); h = Histories.from_lists([[7, 14], []])
    np.testing.assert_array_equal(Rating.load(tmp_path / "m").score(h), m.score(h))
    assert m.score(h).shape == (2, 25) and np.isfinite(m.predict(train)).all()


def test_the_same_seed_gives_the_same_stars_and_input_is_left_alone(world):
    train, items = world
    before = train.copy(), items.copy()
    a, b, c = (Rating(RatingConfig(**QUICK)).fit(train, items, seed=s).predict(train) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    pd.testing.assert_frame_equal(train, before[0]); pd.testing.assert_frame_equal(items, before[1])


def test_whoever_and_whatever_is_unknown_gets_an_average(model):
    pairs = pd.DataFrame([(1, 7), (2, 7), (100, 900), (1, 12345), (2, 12346), (-5, 2**31 - 1)], columns=["user_id", "item_id"])
    got = model.predict(pairs)
    assert np.isfinite(got).all() and got[0] == got[1] and got[3] == got[4] == got[5]
    assert (model.doubt(pairs) > 0).all()
    assert model.predict(pairs.iloc[:0]).shape == (0,)


def test_films_that_nobody_rated_are_guessed_but_not_recommended(model):
    assert 900 not in model.item_ids and 900 in model.film_ids
    assert 900 not in set(model.recommend(Histories.from_lists([[7]]), 30).item_id)


def test_known_users_have_their_own_vector_and_lists_never_borrow_it(world, model):
    train, _ = world
    h = Histories.from_table(train, users=[100, 101])
    both = pd.DataFrame(dict(user_id=100, item_id=model.item_ids))
    np.testing.assert_allclose(model.score(h)[0], model.predict(both), rtol=1e-5)
    anonymous = Histories.from_table(train, users=[100, 101]); anonymous.known = False
    assert (model.score(anonymous) != model.score(h)).any()      # folded in from the ratings instead


def test_the_part_to_be_guessed_is_not_looked_at(world):
    train, items = world
    rest, asked = train.iloc[:-40], train.iloc[-40:]
    a = Rating(RatingConfig(**QUICK)).fit(rest, items).predict(asked)
    b = Rating(RatingConfig(**QUICK)).fit(rest, items).predict(asked.assign(rating=1.0))
    np.testing.assert_array_equal(a, b)


def test_valid_stops_it_and_gives_the_best_weights(world):
    train, items = world
    m = Rating(RatingConfig(**QUICK | dict(epochs=30, learning_rate=0.2, patience=2))).fit(train.iloc[:-40], items, valid=train.iloc[-40:])
    seen = [row["valid"] for row in m.training["history"]]
    assert len(seen) < 30 and max(seen) == m.training["best"]
    rmse = np.sqrt(((m.predict(train.iloc[-40:]).clip(0.5, 5) - train.rating.iloc[-40:]) ** 2).mean())
    assert abs(rmse + m.training["best"]) < 1e-4


def test_tables_smaller_than_the_factors():
    one = pd.DataFrame(dict(user_id=[1], item_id=[5], rating=[4.0], timestamp=[0]))
    m = Rating(RatingConfig(**QUICK)).fit(one)
    assert abs(m.predict(one)[0] - 4) < 0.5
    adds, own = watch_factors(np.array([0, 0]), np.array([0, 1]), (1, 2), 4)
    assert adds.shape == own.shape == (2, 0)


def test_no_film_without_metadata_is_refused(world):
    train, _ = world
    bare = pd.DataFrame(dict(item_id=[7, 14], title=["A", "B"], year=pd.array([None, 1990], dtype="Int16"), genres=["", ""]))
    assert np.isfinite(Rating(RatingConfig(**QUICK)).fit(train, bare).predict(train)).all()


def test_text_is_a_setting(world, monkeypatch):
    text = pytest.importorskip("movierec.content.text")
    monkeypatch.setattr(text, "film_vectors", lambda items, model="": np.random.default_rng(0).random((len(items), 6), np.float32))
    train, items = world
    with_text = Rating(RatingConfig(**QUICK | dict(metadata="genres,text"))).fit(train, items)
    assert np.isfinite(with_text.predict(train)).all()


def test_a_folder_of_another_model_is_refused(model, tmp_path):
    from movierec.models.baselines import TopRated
    model.save(tmp_path / "m")
    with pytest.raises(MovierecError, match="holds 'rating'"):
        TopRated.load(tmp_path / "m")


@pytest.mark.realdata
def test_bar_on_ml_100k(real_data):
    "Fewer epochs than the default: the full bar is in reports/rating.sh."
    from movierec.data.datasets import load_dataset
    from movierec.data.split import make_split
    from movierec.evaluate import evaluate_ratings
    real_data("ml-100k")
    data = load_dataset("ml-100k"); split = make_split(data, "fold-u2")
    m = Rating(RatingConfig(epochs=4)).fit(split.train, data.items)
    assert evaluate_ratings(m, split.valid)["RMSE"]["value"] < 0.93
