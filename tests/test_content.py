"""The content model as installed: fresh processes, cold films, and nothing learned from what it may not see."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from movierec.content import text as T
from movierec.core import MovierecError
from movierec.data.sequences import Histories
from movierec.models import content as C
from movierec.models.registry import load_model, make_model
from movierec.recommender import CLANS, check_recommender, contract_data

ITEMS = pd.DataFrame(
    dict(item_id=CLANS[0] + CLANS[1] + [7], title="Film", year=2000, genres="", overview=["space"] * 5 + ["farm"] * 6 + ["space"])
)


@pytest.fixture
def toy(monkeypatch):
    "An encoder of two numbers and some noise by film, so that nothing heavy is loaded: space or farm."

    def vectors(items, model=""):
        noise = np.random.default_rng(items.item_id.to_numpy()).normal(size=(len(items), 6)) * 0.1
        x = np.c_[items.overview == "space", items.overview == "farm", noise].astype(np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    monkeypatch.setattr(C, "film_vectors", vectors)


def test_contract_without_items_and_the_text_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    check_recommender(lambda: make_model("content"))


def test_contract_with_texts(toy):
    class Told(C.Content):
        def fit(self, train, items=None, **kw):
            return super().fit(train, ITEMS, **kw)

    check_recommender(Told, learns="taste")
    check_recommender(lambda: Told(C.Content.Config(half_life=None, slope=0.3)), learns="taste")


def test_cold_films_only_when_asked(toy):
    warm = make_model("content").fit(contract_data(), ITEMS)
    cold = make_model("content", cold=True).fit(contract_data(), ITEMS)
    assert 7 not in warm.item_ids and 7 in cold.item_ids
    best = cold.recommend(Histories.from_lists([CLANS[0]]), 1)
    assert best.item_id[0] == 7
    assert make_model("content", cold=True).fit(contract_data()).item_ids.tolist() == warm.item_ids.tolist()


def test_films_the_items_table_lacks_come_last_by_popularity(toy):
    m = make_model("content").fit(contract_data(), ITEMS[ITEMS.item_id != 11])
    assert m.similar_items(11, 3).score.max() == 0
    scores = m.score(Histories.from_lists([[23], [11], []]))
    assert np.isfinite(scores).all() and 0 < scores[0, 0] <= 1e-6
    np.testing.assert_array_equal(scores[1], m.tie_break)
    np.testing.assert_array_equal(scores[2], m.tie_break)


def test_a_rating_pulls_or_pushes_and_an_unknown_one_is_neutral(toy):
    train = contract_data()
    m = make_model("content", slope=0.5, half_life=None).fit(train, ITEMS)
    rows = dict(user_id=1, item_id=[11, 102], timestamp=[1, 2])
    loved_farm = m.recommend(Histories.from_table(pd.DataFrame(rows | dict(rating=[1.0, 5.0]))), 5)
    loved_space = m.recommend(Histories.from_table(pd.DataFrame(rows | dict(rating=[5.0, 1.0]))), 4)
    assert set(loved_farm.item_id) == set(CLANS[1]) - {102}
    assert set(loved_space.item_id) == set(CLANS[0]) - {11}
    plain = pd.DataFrame(rows | dict(rating=float(train.rating.mean())))
    np.testing.assert_allclose(
        m.score(Histories.from_table(plain)), m.score(Histories.from_lists([[11, 102]])), atol=1e-5
    )


def test_the_newest_film_counts_most(toy):
    m = make_model("content", half_life=0.5).fit(contract_data(), ITEMS)
    recs = m.recommend(Histories.from_lists([[11, 23, 37, 102], [102, 205, 309, 11]]), 1)
    assert recs.item_id[0] in CLANS[1] and recs.item_id[1] in CLANS[0]


def test_a_fresh_process_answers_without_the_encoder(toy, tmp_path):
    m = make_model("content").fit(contract_data(), ITEMS)
    m.save(tmp_path / "m")
    here = m.recommend(Histories.from_lists([[11, 23], [309], []]), k=4)
    code = (
        "import sys; from movierec.models.registry import load_model; from movierec.data.sequences import Histories\n"
        "r = load_model(sys.argv[1]).recommend(Histories.from_lists([[11, 23], [309], []]), k=4)\n"
        "assert not {'sentence_transformers', 'torch', 'transformers'} & sys.modules.keys()\n"
        "print(r.to_csv(index=False))"
    )
    there = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here.to_csv(index=False).strip()
    assert type(load_model(tmp_path / "m")) is C.Content


def test_whitening_with_fewer_films_than_numbers_keeps_likeness():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(2, 64)), 4, axis=0) + 0.3 * rng.normal(size=(8, 64))
    v = C.whitened(x, 1.0)
    cos = v @ v.T
    same = np.kron(np.eye(2), np.ones((4, 4))).astype(bool) & ~np.eye(8, dtype=bool)
    assert cos[same].min() > cos[~same & ~np.eye(8, dtype=bool)].max()
    assert not C.whitened(x[:1], 1.0).any()
    assert not C.whitened(np.zeros((5, 1), np.float32)).any()


@pytest.mark.parametrize("bad", [dict(whiten=1.5), dict(half_life=0.0), dict(half_life=-1.0), dict(no_such=1), dict(cold="yes")])
def test_bad_settings_are_one_line(bad):
    with pytest.raises(MovierecError) as e:
        make_model("content", **bad)
    assert "\n" not in str(e.value)


@pytest.mark.realdata
def test_texts_of_ml_100k(real_data, monkeypatch):
    from movierec.data.datasets import load_dataset

    real_data("ml-100k")
    items = load_dataset("ml-100k").items
    texts = T.film_text(items)
    assert len(texts) == len(items) and all(t.endswith(".") and "(nan)" not in t for t in texts)
    assert texts[0].startswith("Toy Story (1995). Animation")
