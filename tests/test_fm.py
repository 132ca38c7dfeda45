"""The factorisation machine as installed: fresh processes without its library, strangers, leaks, real ratings."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.sequences import Histories
from movierec.models.fm import BLOCKS, make_blocks
from movierec.models.registry import load_model, make_model
from movierec.recommender import check_recommender, contract_data

SMALL = dict(rank=2, n_iter=30, samples=8)
PEOPLE = pd.DataFrame(dict(user_id=np.arange(1000, 1040), gender=["M", "F"] * 20, age_band="18-24", occupation="artist"))
FILMS = pd.DataFrame(
    dict(item_id=[11, 23, 700], genres=["Drama|War", "", "War"], year=pd.array([1990, None, 1991], "Int16"))
)
PAIRS = pd.DataFrame(dict(user_id=[1000, 1039, 5, 1000], item_id=[11, 700, 23, 99999], timestamp=[0, 86_400, 10**9, 0]))


def fitted(seed=0, **more):
    return make_model("fm", **SMALL | more).fit(contract_data(), FILMS, users=PEOPLE, seed=seed)


@pytest.mark.parametrize("off", ["", "history", "side", "days"])
def test_contract_with_and_without_each_kind_of_column(off):
    check_recommender(lambda: make_model("fm", **SMALL, **({off: False} if off else {})))


def test_a_fresh_process_answers_the_same_and_needs_no_myfm(tmp_path):
    model = fitted()
    model.save(tmp_path / "m")
    PAIRS.to_parquet(tmp_path / "pairs.parquet")
    code = (
        "import sys; import pandas as pd; from movierec.models.registry import load_model; from movierec.data.sequences import Histories\n"
        "m = load_model(sys.argv[1] + '/m'); m.score(Histories.from_lists([[11]]))\n"
        "p = m.predict(pd.read_parquet(sys.argv[1] + '/pairs.parquet'))\n"
        "print('myfm' in sys.modules, *map(repr, p.tolist()))"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    said, *numbers = run.stdout.split()
    assert said == "False" and run.stderr == ""
    np.testing.assert_array_equal(np.array(numbers, np.float64).astype(np.float32), model.predict(PAIRS))


def test_every_pair_gets_a_number_whoever_asks():
    model = fitted()
    got = model.predict(PAIRS)
    assert got.dtype == np.float32 and np.isfinite(got).all()
    assert np.isfinite(model.predict(PAIRS.drop(columns="timestamp"))).all()
    assert model.predict(PAIRS.iloc[:0]).shape == (0,)
    far = pd.DataFrame(dict(user_id=[1, 2], item_id=[11, 11], timestamp=[2**40, 2**41]))  # days nobody rated on
    assert len(set(model.predict(far))) == 1


def test_fit_reads_nothing_but_the_training_pairs():
    train = contract_data()
    valid = train.sample(10, random_state=0).assign(item_id=11)
    a = make_model("fm", **SMALL).fit(train, FILMS, valid=valid, users=PEOPLE)
    np.testing.assert_array_equal(a.predict(PAIRS), fitted().predict(PAIRS))
    kept = train.drop(index=[0])
    _, blocks = make_blocks(kept, None, None, history=True, side=False, days=True)
    assert blocks["user"]["rated"].nnz == blocks["film"]["raters"].nnz == len(kept)


def test_a_known_user_is_looked_up_only_when_the_history_says_that_ids_are_known():
    model = fitted(rank=3)
    h = Histories.from_table(contract_data(), users=[1000])
    mine = model.score(h)
    h.known = False
    assert not np.allclose(model.score(h), mine)


def test_another_seed_walks_elsewhere():
    assert not np.allclose(fitted(seed=0).predict(PAIRS), fitted(seed=1).predict(PAIRS))


def test_all_blocks_have_the_average_row_first():
    _, blocks = make_blocks(contract_data(), PEOPLE, FILMS, history=True, side=True, days=True)
    assert set(blocks) == set(BLOCKS)
    for kinds in blocks.values():
        for kind, X in kinds.items():
            if kind in ("rated", "raters"):
                assert X[[0]].nnz == 0
            else:
                np.testing.assert_allclose(X[[0]].toarray()[0], np.asarray(X[1:].mean(0)).ravel(), atol=1e-12)


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "myfm", None)
    with pytest.raises(MovierecError, match=r"pip install 'movierec\[baselines\]'"):
        fitted()


@pytest.mark.realdata
def test_on_real_ratings(real_data, tmp_path):
    real_data("ml-100k")
    from movierec.data.datasets import load_dataset
    from movierec.data.split import make_split
    from movierec.evaluate import evaluate_rmse

    d = load_dataset("ml-100k")
    split = make_split(d, "fold-u1")
    model = make_model("fm", rank=4, n_iter=40).fit(split.train, d.items, users=d.users)
    model.save(tmp_path / "m")
    assert evaluate_rmse(load_model(tmp_path / "m"), split, "valid", d).row["metrics"]["RMSE"]["value"] < 0.92
