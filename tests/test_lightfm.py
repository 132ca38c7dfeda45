"""LightFM as installed: answers without the library, cold films and viewers, whose ids are known, and bad input."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.sequences import Histories
from movierec.models import lightfm as L
from movierec.models.registry import load_model, make_model
from movierec.recommender import contract_data

WEST, DRAMA = list(range(1, 13)), list(range(21, 33))
TOY = dict(embedding_dim=8, epochs=40, min_count=2)


def world():
    "Eighty viewers of two ages, each of whom saw six films of their own dozen; film 90 and viewer 900 are new."
    rng, viewers = np.random.default_rng(0), np.arange(1, 81)
    rows = [(u, 20 * (u % 2) + i, 4.0, 1000 * u + t) for u in viewers for t, i in enumerate(rng.choice(12, 6, False) + 1)]
    train = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    ids = np.r_[WEST, DRAMA, 90]
    genres = np.where(np.isin(ids, DRAMA), "Drama", "Western")
    items = pd.DataFrame(dict(item_id=ids, title="Film", year=2000, genres=genres))
    ages = np.where(np.r_[viewers, 900] % 2, "young", "old")
    return train, items, pd.DataFrame(dict(user_id=np.r_[viewers, 900], age_band=ages))


@pytest.fixture(scope="module")
def fitted():
    pytest.importorskip("lightfm")
    train, items, users = world()
    return make_model("lightfm", **TOY).fit(train, items, users=users)


def test_a_fresh_process_answers_without_lightfm(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    train = world()[0]
    train.to_csv(tmp_path / "train.csv", index=False)
    code = (
        "import sys; sys.modules['lightfm'] = None\n"
        "import pandas as pd; from movierec.models.registry import load_model; from movierec.data.sequences import Histories\n"
        "m = load_model(sys.argv[1]); h = Histories.from_table(pd.read_csv(sys.argv[2]), users=[1, 2, 900])\n"
        "print(pd.concat([m.recommend(h, 4), m.recommend(Histories.from_lists([[3], []]), 4)]).to_csv(index=False))"
    )
    args = [sys.executable, "-c", code, str(tmp_path / "m"), str(tmp_path / "train.csv")]
    there = subprocess.run(args, capture_output=True, text=True, check=True).stdout
    here = [fitted.recommend(h, 4) for h in (Histories.from_table(train, users=[1, 2, 900]), Histories.from_lists([[3], []]))]
    assert there.strip() == pd.concat(here).to_csv(index=False).strip()
    assert not [p for p in (tmp_path / "m").iterdir() if p.suffix not in (".npz", ".npy", ".json")]


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightfm", None)
    with pytest.raises(MovierecError, match=r"movierec\[baselines\]"):
        make_model("lightfm").fit(contract_data())


def test_new_films_and_viewers_are_known_by_their_features(fitted):
    train, items, _ = world()
    h = Histories.from_lists([[1, 2, 3], [21, 22, 23]])
    scores = fitted.score_items(h, items)
    np.testing.assert_allclose(scores[:, :-1], fitted.score(h), rtol=1e-5, atol=1e-5)
    assert 90 not in fitted.item_ids and scores[0, -1] > scores[1, -1]
    assert set(fitted.recommend(Histories.from_table(train, users=[900]), 5).item_id) <= set(WEST)
    rows = pd.DataFrame(dict(item_id=[91, 92], title="?", year=[None, 1850], genres=["", "Opera"]))
    vectors, biases = fitted.represent_items(rows)  # nothing known, or nothing heard of: no vector, and no error
    assert not vectors.any() and not biases.any()


def test_an_anonymous_number_is_nobodys_id(fitted):
    train, _, _ = world()
    lists = Histories.from_lists([[]] * 3)  # rows 1 and 2 bear ids of the training data
    assert np.ptp(fitted.score(lists), axis=0).max() == 0
    own = Histories.from_table(train[:0], users=[1, 2])
    assert np.abs(fitted.score(own)[0] - fitted.score(own)[1]).max() > 0.1


def test_lookup_is_for_training_users_with_their_own_ids(fitted):
    train, items, users = world()
    m = make_model("lightfm", **TOY, lookup=True).fit(train, items, users=users)
    h = Histories.from_table(train, users=[1, 900])
    np.testing.assert_array_equal(m.represent_users(h)[0], m.user_vectors[0])
    np.testing.assert_allclose(m.represent_users(h)[1], fitted.represent_users(h)[1], rtol=1e-6)
    h.known = False
    np.testing.assert_allclose(m.represent_users(h)[0], folded_in_only(m, h)[0], rtol=1e-5, atol=1e-6)


def folded_in_only(m, h):
    weights = L.faded(h, L.Vocab(m.item_ids), m.config.half_life)
    return m.fold_in(weights, m.vectors, np.zeros((len(h), m.vectors.shape[1]), np.float32))


def test_switches_take_the_features_away():
    pytest.importorskip("lightfm")
    train, items, users = world()
    cf = make_model("lightfm", **TOY, item_features=False, user_features=False).fit(train, items, users=users)
    assert not len(cf.films.names) and not len(cf.viewers.names) and not len(cf.known_ids)
    plain = make_model("lightfm", **TOY).fit(train)
    h = Histories.from_table(train)
    np.testing.assert_array_equal(cf.score(h), plain.score(h))
    assert not cf.score_items(h, items)[:, -1].any()  # plain CF knows nothing of a new film


def test_films_outside_the_training_table_teach_nothing(fitted):
    "A film with a row in the matrix would be drawn as one that nobody watched, and would drag its features down."
    train, items, users = world()
    more = pd.concat([items, items[:1].assign(item_id=range(100, 101), genres="Western|Noir")], ignore_index=True)
    again = make_model("lightfm", **TOY).fit(train, more, users=users)
    np.testing.assert_array_equal(again.vectors, fitted.vectors)
    assert "genre: Noir" not in again.films.names


def test_items_and_users_in_any_order_and_with_holes(fitted):
    train, items, users = world()
    again = make_model("lightfm", **TOY).fit(train, items[::-1], users=users.sample(frac=1, random_state=1))
    np.testing.assert_array_equal(again.vectors, fitted.vectors)
    h = Histories.from_table(train, users=[5, 900])
    np.testing.assert_allclose(again.score(h), fitted.score(h), rtol=1e-6)
    less = make_model("lightfm", **TOY).fit(train, items[items.item_id > 3], users=users[users.user_id > 4])
    assert np.isfinite(less.score(Histories.from_table(train))).all()


@pytest.mark.parametrize(
    "bad", [dict(epochs=0), dict(half_life=-1.0), dict(shrink=0.0), dict(ridge=0.0), dict(min_count=0), dict(no_such=1)]
)
def test_bad_settings_are_one_line(bad):
    with pytest.raises(MovierecError) as e:
        make_model("lightfm", **bad)
    assert "\n" not in str(e.value)


def test_another_models_folder_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    assert type(load_model(tmp_path / "m")) is L.LightFM
    with pytest.raises(MovierecError):
        make_model("popular").load(tmp_path / "m")


@pytest.mark.realdata
def test_features_of_ml_100k(real_data):
    real_data("ml-100k")
    from movierec.data.datasets import load_dataset

    d = load_dataset("ml-100k")
    films, viewers = L.film_features(d.items), L.user_features(d.users)
    assert films.groupby("row").group.nunique().max() == 3 and set(viewers.group) == {"gender", "age", "occupation"}
    assert "genre: Film-Noir" in L.frequent(films, 10) and "decade: 1990s" in L.frequent(films, 10)
    weights = L.feature_matrix(viewers, len(d.users), L.frequent(viewers, 1)).sum(1)
    np.testing.assert_allclose(np.asarray(weights).ravel(), 3, rtol=1e-6)
