"""The two towers as installed: served without TensorFlow, equal to TensorFlow, strangers, errors of one line."""

import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.sequences import Histories
from movierec.models.registry import make_model
from movierec.recommender import contract_data

trains = pytest.mark.skipif(not find_spec("tensorflow_recommenders"), reason="TensorFlow Recommenders isn't installed")
SMALL = dict(embedding_dim=4, epochs=1, batch_size=32)
PEOPLE = pd.DataFrame(
    dict(user_id=np.arange(1000, 1040), gender=["M", "F"] * 20, age_band="18-24", occupation=["artist", ""] * 20)
)
FILMS = pd.DataFrame(
    dict(
        item_id=[11, 23, 37, 700, 701],
        title=["A Night", "The Night", "", "Night and Day", "Nothing Shared"],
        genres=["Drama|War", "War", "", "War", ""],
        year=pd.array([1990, None, 1992, 1991, None], "Int16"),
    )
)
PAIRS = pd.DataFrame(dict(user_id=[1000, 1039, 5, 1000, 1001], item_id=[11, 700, 23, 99999, 701], timestamp=0))


@pytest.fixture(scope="module", params=["tfrs", "tfrs-side"])
def fitted(request):
    if not find_spec("tensorflow_recommenders"):
        pytest.skip("TensorFlow Recommenders isn't installed")
    return make_model(request.param, **SMALL).fit(contract_data(), FILMS, users=PEOPLE, seed=2)


def test_a_fresh_process_answers_the_same_without_tensorflow(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    PAIRS.to_parquet(tmp_path / "pairs.parquet")
    code = (
        "import sys; import pandas as pd; from movierec.models.registry import load_model; from movierec.data.sequences import Histories\n"
        "m = load_model(sys.argv[1] + '/m'); m.score(Histories.from_lists([[11], []]))\n"
        "p = m.predict(pd.read_parquet(sys.argv[1] + '/pairs.parquet'))\n"
        "print(bool({'tensorflow', 'tf_keras', 'tensorflow_recommenders', 'torch'} & sys.modules.keys()), *map(repr, p.tolist()))"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    said, *numbers = run.stdout.split()
    assert said == "False" and run.stderr == ""
    np.testing.assert_array_equal(np.array(numbers, np.float64).astype(np.float32), fitted.predict(PAIRS))


@trains
def test_numpy_says_what_tensorflow_says():
    from movierec.models.tfrs import rate_all, tower, tower_index, train_ranking

    train = contract_data()
    users, films = np.unique(np.r_[train.user_id, PEOPLE.user_id]), np.unique(np.r_[train.item_id, FILMS.item_id])
    index = dict(
        user=tower_index(users, train.user_id, PEOPLE, "user_id", ("user_id", "gender", "occupation", "age_band")),
        film=tower_index(films, train.item_id, FILMS, "item_id", ("item_id", "title", "genres", "year")),
    )
    rows = np.searchsorted(users, train.user_id) + 1, np.searchsorted(films, train.item_id) + 1, train.rating.to_numpy()
    model, weights, _ = train_ranking(index, rows, rows, make_model("tfrs", **SMALL | dict(epochs=5)).config, seed=0)
    u, f = np.divmod(np.arange((len(users) + 1) * (len(films) + 1), dtype=np.int32), np.int32(len(films) + 1))
    theirs = model((u, f)).numpy().reshape(len(users) + 1, -1)
    ours = rate_all(tower(weights["user"], index["user"]), tower(weights["film"], index["film"]), weights["head"])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_every_pair_gets_a_number_and_new_films_are_told_by_their_features(fitted):
    got = fitted.predict(PAIRS)
    assert got.dtype == np.float32 and np.isfinite(got).all()
    np.testing.assert_array_equal(fitted.predict(PAIRS.drop(columns="timestamp")), got)
    assert fitted.predict(PAIRS.iloc[:0]).shape == (0,)
    new = fitted.predict(pd.DataFrame(dict(user_id=1000, item_id=[700, 701, 99999])))  # 701: nothing shared
    assert new[1] == new[2]
    assert (new[0] != new[2]) == (fitted.name == "tfrs-side")


def test_a_known_user_is_looked_up_only_when_the_history_says_that_ids_are_known(fitted):
    h = Histories.from_table(contract_data(), users=[1000])
    pairs = pd.DataFrame(dict(user_id=1000, item_id=fitted.item_ids))
    np.testing.assert_allclose(fitted.score(h)[0], fitted.predict(pairs), atol=1e-6)
    h.known = False
    np.testing.assert_array_equal(fitted.score(h), fitted.score(Histories.from_lists([[]])))


def test_another_seed_is_another_model(fitted):
    other = make_model(fitted.name, **SMALL).fit(contract_data(), FILMS, users=PEOPLE, seed=3)
    assert not np.allclose(other.predict(PAIRS), fitted.predict(PAIRS))


def test_missing_tensorflow_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MovierecError, match=r"pip install 'movierec\[tf\]'"):
        make_model("tfrs", **SMALL).fit(contract_data())


def test_tensorflow_on_keras_3_is_refused_with_what_to_do(monkeypatch):
    new = type("Model", (), {})  # its __module__ isn't tf_keras
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(keras=SimpleNamespace(Model=new)))
    monkeypatch.setitem(sys.modules, "tf_keras", SimpleNamespace())
    with pytest.raises(MovierecError, match="TF_USE_LEGACY_KERAS=1"):
        make_model("tfrs", **SMALL).fit(contract_data())
