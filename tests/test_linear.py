"""EASE and ALS as installed: fresh-process equality without the training library, new viewers, leakage, mistakes."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.sequences import Histories, Vocab
from movierec.models.linear import ALS, EASE, faded
from movierec.models.registry import load_model, make_model
from movierec.recommender import contract_data

SMALL = dict(
    ease=dict(regularization=5.0),
    als=dict(factors=4, regularization=1.0, alpha=5.0),
)
ASKED = [[11, 23], [309], []]


def fitted(name, **more):
    if name == "als":
        pytest.importorskip("implicit")
    return make_model(name, **SMALL[name] | more).fit(contract_data(), seed=1)


@pytest.mark.parametrize("name", ["ease", "als"])
def test_a_fresh_process_answers_alike_without_the_training_library(tmp_path, name):
    m = fitted(name)
    m.save(tmp_path / "m")
    here = m.recommend(Histories.from_lists(ASKED), k=4)
    code = (
        "import sys; sys.modules['implicit'] = None\n"  # importing it would fail
        "from movierec.models.registry import load_model; from movierec.data.sequences import Histories\n"
        f"print(load_model(sys.argv[1]).recommend(Histories.from_lists({ASKED}), k=4).to_csv(index=False))\n"
        "assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-800:]
    assert run.stdout.strip() == here.to_csv(index=False).strip()


@pytest.mark.parametrize("name", ["ease", "als"])
def test_a_viewer_is_answered_by_the_history_whoever_it_is(name):
    "A user id seen in training is no more than a label: the same history gives the same scores under any id."
    m = fitted(name)
    known = Histories.from_table(contract_data(), users=[1000, 1001])
    lists = [known[i : i + 1].item_ids.tolist() for i in range(2)]
    np.testing.assert_array_equal(m.score(known), m.score(Histories.from_lists(lists)))


@pytest.mark.parametrize("name", ["ease", "als"])
def test_another_order_is_another_answer_only_where_films_fade(name):
    there, back = [11, 23, 102, 205], [205, 102, 23, 11]
    for half_life, same in ((None, True), (1.0, False)):
        m = fitted(name, half_life=half_life)
        a, b = (m.score(Histories.from_lists([x])) for x in (there, back))
        assert np.allclose(a, b, atol=1e-6) == same


@pytest.mark.parametrize("name", ["ease", "als"])
def test_only_the_training_table_is_read(name):
    "Valid events handed to fit change nothing."
    data = contract_data()
    last = data.groupby("user_id").tail(1)
    train = data.drop(last.index)
    if name == "als":
        pytest.importorskip("implicit")
    a = make_model(name, **SMALL[name]).fit(train, seed=1)
    b = make_model(name, **SMALL[name]).fit(train, valid=last, seed=1)
    h = Histories.from_lists(ASKED)
    np.testing.assert_array_equal(a.score(h), b.score(h))


def test_long_histories_fade_without_trouble():
    "Weights of films thousands of events ago underflow to 0; scores stay finite."
    films = list(range(1, 3001))
    w = faded(Histories.from_lists([films]), Vocab(films), 2.0)
    assert w.nnz == 3000 and w.data.min() == 0 and w.data.max() == 1
    t = pd.DataFrame(dict(user_id=1, item_id=films, rating=4.0, timestamp=range(3000)))
    m = EASE(EASE.Config(half_life=2.0, order=True)).fit(t)
    assert np.isfinite(m.score(Histories.from_lists([films]))).all()


def test_a_single_event_is_enough_to_fit():
    t = pd.DataFrame(dict(user_id=[1], item_id=[7], rating=[4.0], timestamp=[0]))
    for config in (EASE.Config(), EASE.Config(order=True)):
        recs = EASE(config).fit(t).recommend(Histories.from_lists([[], [7]]), k=3)
        assert recs.item_id.tolist() == [7]  # the second viewer has seen the only film


def test_the_order_model_survives_saving(tmp_path):
    m = EASE(EASE.Config(order=True, half_life=2.0)).fit(contract_data())
    m.save(tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert again.config == m.config
    np.testing.assert_array_equal(again.score(Histories.from_lists(ASKED)), m.score(Histories.from_lists(ASKED)))


def test_mistakes_are_named(monkeypatch):
    with pytest.raises(MovierecError, match="use item-knn or als"):
        EASE(EASE.Config(max_items=5)).fit(contract_data())
    with pytest.raises(MovierecError, match="did you mean 'half_life'"):
        make_model("ease", halflife=3.0)
    with pytest.raises(MovierecError, match="half_life is -1"):
        ALS.Config(half_life=-1)
    with pytest.raises(MovierecError, match="als doesn't know film 5"):
        fitted("als").similar_items(5)
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.delitem(sys.modules, "implicit.als", raising=False)
    with pytest.raises(MovierecError, match=r"movierec\[baselines\]"):
        ALS().fit(contract_data())


@pytest.mark.realdata
def test_on_ml_100k_fading_helps_and_films_resemble_their_sequels(real_data):
    from movierec.data.movielens import load_movielens
    from movierec.data.split import make_split
    from movierec.evaluate import evaluate

    real_data("ml-100k")
    split = make_split(load_movielens("ml-100k"), "leave-last-out")
    got = {}
    for half_life in (None, 4.0):
        m = EASE(EASE.Config(regularization=300.0, half_life=half_life)).fit(split.train)
        got[half_life] = evaluate(m, split, "valid").row["metrics"]["NDCG@10"]["value"]
    assert got[4.0] > got[None] > 0.03
    near = m.similar_items(50, 5).item_id.tolist()  # Star Wars: its two sequels among the five
    assert {172, 181} <= set(near)
