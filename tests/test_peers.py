"""Somebody else's lists are measured as our own models are: `benchmarks/peers.py` on a small known split."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.split import split_leave_last_out
from movierec.evaluate import evaluate
from movierec.models.baselines import Markov, Random

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks/peers.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="no checkout: the benchmarks aren't here")


@pytest.fixture(scope="module")
def peers():
    spec = importlib.util.spec_from_file_location("peers", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def split():
    rng, rows = np.random.default_rng(0), []
    for user in range(10, 50):
        films = rng.permutation(150)[: rng.integers(4, 20)]
        rows += [(user, int(f) + 1, 4.0, t // 3) for t, f in enumerate(films)]  # three events a second: ties
    t = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return split_leave_last_out(t.astype(dict(user_id="int32", item_id="int32", rating="float32", timestamp="int64")))


def test_tables_hold_the_order_and_no_test_target(peers, split, tmp_path):
    peers.tables(split, tmp_path)
    train, valid = (pd.read_parquet(tmp_path / f"{p}.parquet") for p in ("train", "valid"))
    assert list(train.columns) == ["user_id", "item_id", "time"] and len(train) == len(split.train)
    assert not train.duplicated(["user_id", "time"]).any()
    for user, mine in train.groupby("user_id"):
        assert mine.sort_values("time").item_id.tolist() == split.train[split.train.user_id == user].item_id.tolist()
    told = pd.concat([train, valid]).merge(split.test[["user_id", "item_id"]], on=["user_id", "item_id"])
    assert len(told) == 0
    assert (valid.time.to_numpy() > train.groupby("user_id").time.max().loc[valid.user_id].to_numpy()).all()


def test_lists_of_our_own_model_get_our_own_numbers(peers, split):
    model = Random().fit(split.train)  # its scores never tie; ours count ties against, a list has broken them
    ours = evaluate(model, split, "test")
    recs = model.recommend(peers.Histories.from_table(split.history("test")), k=peers.LENGTH)
    recs = peers.checked(recs, split, "test", split.test.user_id)
    theirs = evaluate(peers.Lists("lists", recs, model.item_ids), split, "test")
    for name in ("HR@10", "NDCG@10", "HR@50", "NDCG@50", "coverage@10"):
        a, b = (r.row["metrics"].get(name) or r.row["lists"][name] for r in (ours, theirs))
        assert a == b, name
    pd.testing.assert_frame_equal(
        ours.recs[["user_id", "item_id", "rank"]].reset_index(drop=True),
        theirs.recs[["user_id", "item_id", "rank"]].reset_index(drop=True),
    )


def test_lists_that_break_the_rules_are_refused(peers, split):
    model = Markov().fit(split.train)
    histories = peers.Histories.from_table(split.history("test"))
    with pytest.raises(MovierecError, match="already seen"):
        peers.checked(model.recommend(histories, k=50, exclude_seen=False), split, "test", split.test.user_id)
    recs = model.recommend(histories, k=5)
    with pytest.raises(MovierecError, match="gaps"):
        peers.checked(recs[recs["rank"] != 2], split, "test", split.test.user_id)
    twice = recs.copy()
    twice.loc[twice["rank"] == 2, "item_id"] = twice.loc[twice["rank"] == 1, "item_id"].to_numpy()
    with pytest.raises(MovierecError, match="twice"):
        peers.checked(twice, split, "test", split.test.user_id)


def test_a_user_without_a_list_is_a_miss(peers, split):
    model = Markov().fit(split.train)
    recs = model.recommend(peers.Histories.from_table(split.history("test")), k=peers.LENGTH)
    some = recs[recs.user_id != split.test.user_id.iloc[0]]
    each = evaluate(peers.Lists("lists", some, model.item_ids), split, "test").per_user.set_index("user_id")
    assert each.loc[split.test.user_id.iloc[0], "HR@50"] == 0


def test_help_teaches():
    got = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True)
    assert got.returncode == 0 and "--minutes" in got.stdout and "run again to go on" in got.stdout
