"""Splits don't leak, lose nothing, and follow the stable tie rule."""
import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.movielens import load_movielens
from movierec.data.split import PROTOCOLS, make_split, split_leave_last_out, split_random, split_temporal, time_order


def events(n_users=40, n_items=60, n=900, seed=0, seconds=200):
    "Interactions without repeats, with many equal time stamps, in shuffled file order."
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(n_users * n_items)[:n]
    return pd.DataFrame(dict(user_id=pairs // n_items + 1, item_id=pairs % n_items + 1, rating=4.0,
                             timestamp=rng.integers(0, seconds, n)))


def keys(t): return set(zip(t.user_id, t.item_id, strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("split", [split_leave_last_out, split_temporal, split_random])
def test_every_event_is_in_exactly_one_part(split, seed):
    t = events(seed=seed); s = split(t)
    parts = [keys(s.train), keys(s.valid), keys(s.test)]
    assert sum(map(len, parts)) == len(t) and set().union(*parts) == keys(t)


@pytest.mark.parametrize("seed", range(5))
def test_leave_last_out_against_the_rule_written_in_plain_python(seed):
    t = events(seed=seed); s = split_leave_last_out(t)
    for user, rows in t.groupby("user_id"):
        order = sorted(rows.index, key=lambda i: (t.timestamp[i], i))     # time, then row of the file
        test, valid = s.test[s.test.user_id == user], s.valid[s.valid.user_id == user]
        if len(order) < 3: assert len(test) == len(valid) == 0; continue
        assert list(test.index) == order[-1:] and list(valid.index) == order[-2:-1]


def test_no_history_holds_its_target_or_anything_after_it():
    t = events(); s = split_leave_last_out(t)
    for part in ("valid", "test"):
        assert not keys(s.history(part)) & keys(s.targets(part))
        last = s.history(part).groupby("user_id").timestamp.max()
        target = s.targets(part).set_index("user_id").timestamp
        assert (last.reindex(target.index) <= target).all()
    assert not keys(s.history("valid")) & keys(s.test)


def test_a_cut_in_time_has_no_later_event_on_its_earlier_side():
    s = split_temporal(events(seconds=10_000))
    assert s.train.timestamp.max() < s.valid.timestamp.min() <= s.valid.timestamp.max() < s.test.timestamp.min()


def test_history_keeps_the_order_of_the_file():
    s = split_leave_last_out(events())
    assert s.history("test").index.is_monotonic_increasing


def test_dropping_rare_films_comes_before_splitting():
    t = events(n=300); s = split_leave_last_out(t, min_item_count=5)
    kept = pd.concat([s.train, s.valid, s.test])
    assert kept.item_id.value_counts().min() >= 5 and len(kept) < len(t)
    assert s.protocol == "leave-last-out-5core"


def test_odd_tables():
    empty = events().iloc[:0]
    for split in (split_leave_last_out, split_temporal, split_random): assert len(split(empty).test) == 0
    two = pd.DataFrame(dict(user_id=[1, 1], item_id=[1, 2], rating=1.0, timestamp=[0, 0]))
    assert len(split_leave_last_out(two).train) == 2
    with pytest.raises(MovierecError, match="unknown protocol"): make_split(None, "best-of-test")
    assert "leave-last-out" in PROTOCOLS


@pytest.mark.realdata
def test_ml_1m_first_and_last_films_under_the_stable_rule(real_data):
    real_data("ml-1m"); t = load_movielens("ml-1m").interactions
    s = split_leave_last_out(t); ordered = t.iloc[time_order(t)]
    first = ordered.groupby("user_id").item_id.first()
    known = {1: (3186, 1907, 48), 2: (1198, 1544, 1917), 3: (593, 3868, 2081), 4: (1210, 1036, 1954), 5: (2717, 1884, 288),
             6040: (858, 161, 1221)}                                       # user: first, valid, test
    valid, test = s.valid.set_index("user_id").item_id, s.test.set_index("user_id").item_id
    assert {u: (first[u], valid[u], test[u]) for u in known} == known
    assert len(test) == len(valid) == 6040 and len(s.train) == 1_000_209 - 12_080


@pytest.mark.realdata
def test_ml_100k_published_folds(real_data):
    real_data("ml-100k")
    from movierec.data.datasets import load_dataset
    d = load_dataset("ml-100k"); tests = []
    for i in range(1, 6):
        s = make_split(d, f"fold-u{i}")
        assert len(s.train) + len(s.valid) + len(s.test) == 100_000 and len(s.test) == 20_000
        tests.append(keys(s.test))
    assert len(set().union(*tests)) == 100_000        # the five tests cover everything once
