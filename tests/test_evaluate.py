"Evaluation: a case worked by hand, ties, masks, unknown films, leaks, and the bar for speed."
import json
import os
import subprocess
import time

import numpy as np
import pandas as pd
import pytest

import movierec.evaluate as E
from movierec.core import MovierecError, data_dir
from movierec.data.sequences import Histories
from movierec.data.split import Split, from_end, split_leave_last_out, split_temporal
from movierec.evaluate import compare, evaluate, evaluate_ratings, save_result
from movierec.models.registry import make_model
from movierec.recommender import Recommender, contract_data


def table(*rows): return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]).astype(
    dict(user_id="int32", item_id="int32", rating="float32", timestamp="int64"))


class Fixed(Recommender):
    "The same given scores for everybody."
    name = "fixed"
    def __init__(self, scores, item_ids=None):
        super().__init__()
        self.values = np.asarray(scores, np.float32)
        self.item_ids = np.arange(1, len(scores) + 1, dtype=np.int32) if item_ids is None else np.asarray(item_ids, np.int32)
    def score(self, histories): return np.tile(self.values, (len(histories), 1))


def one_user(history, *targets):
    "A split with one user: what they watched, and what is asked."
    train = table(*[(1, i, 4, t) for t, i in enumerate(history)])
    test = table(*[(1, i, 4, 100 + t) for t, i in enumerate(targets)])
    return Split("by hand", train, train.iloc[:0], test)


def ranks(model, split, **kw): return list(evaluate(model, split, **kw).per_user["rank"])


def test_ties_count_against_the_model():
    assert ranks(Fixed([1] * 50), one_user([7], 1)) == [49]                     # not 1; film 7 is masked
    assert ranks(Fixed([1] * 50), one_user([7], 1), filter_seen=False) == [50]
    assert ranks(Fixed([9, 5, 5, 1]), one_user([1], 2)) == [2]


def test_tied_targets_share_the_end_of_the_tie():
    assert sorted(ranks(Fixed([9, 5, 5, 5, 1]), one_user([5], 2, 3))) == [3, 4]


def test_seen_films_leave_the_ranking_only_when_filtered():
    split = one_user([1, 2], 3)
    assert ranks(Fixed([4, 3, 2, 1]), split) == [1]
    r = evaluate(Fixed([4, 3, 2, 1]), split, filter_seen=False)
    assert list(r.per_user["rank"]) == [3] and "metrics_unfiltered" not in r.row and not r.row["filter_seen"]
    both = evaluate(Fixed([4, 3, 2, 1]), split)
    assert both.row["metrics_unfiltered"]["MRR"]["value"] == pytest.approx(1 / 3, rel=1e-5)
    assert set(both.recs.item_id) == {3, 4} and set(r.recs.item_id) == {1, 2, 3, 4}


def test_films_the_model_doesnt_know_are_misses_that_count():
    r = evaluate(Fixed([4, 3, 2, 1]), one_user([1], 2, 77), ks=(10,))
    assert sorted(r.per_user["rank"]) == [1, np.inf]
    assert r.row["n_unknown_targets"] == 1 and r.row["metrics"]["recall@10"]["value"] == .5


def test_a_target_seen_before_cant_be_recommended_again():
    assert ranks(Fixed([4, 3, 2, 1]), one_user([1, 2], 2)) == [np.inf]
    assert ranks(Fixed([4, 3, 2, 1]), one_user([1, 2], 2), filter_seen=False) == [2]


@pytest.mark.parametrize("seed", range(8))
def test_ranks_and_metrics_by_the_slow_obvious_way(seed):
    rng = np.random.default_rng(seed); n_users, n_items = 17, 12

    class Noise(Fixed):
        def score(self, histories): return noise[histories.user_ids - 1]
    noise = rng.integers(6, size=(n_users, n_items)).astype(np.float32)
    rows = [(u + 1, i + 1, 3, t) for u in range(n_users) for t, i in enumerate(rng.permutation(n_items)[:rng.integers(3, 9)])]
    t = table(*rows); end = from_end(t)
    split = Split("random", t[end > 1], t.iloc[:0], t[end <= 1])                # two targets a user
    got = evaluate(Noise([0] * n_items), split, ks=(3,), block=int(rng.integers(1, 20)))
    for u in range(1, n_users + 1):
        seen, want = set(split.train[split.train.user_id == u].item_id), list(split.test[split.test.user_id == u].item_id)
        # worst order among equals: targets last
        order = sorted((i for i in range(1, n_items + 1) if i not in seen), key=lambda i: (-noise[u - 1, i - 1], i in want))
        mine = got.per_user[got.per_user.user_id == u]
        at = sorted(order.index(i) + 1 for i in want)
        assert sorted(mine["rank"]) == at
        dcg = sum(1 / np.log2(1 + r) for r in at if r <= 3)
        assert mine["NDCG@3"].iloc[0] == pytest.approx(dcg / (1 + 1 / np.log2(3)), rel=1e-5)
        assert mine["MRR"].iloc[0] == pytest.approx(1 / at[0], rel=1e-5)


class Spy(Fixed):
    "Remembers every history it was shown."
    def __init__(self, item_ids): super().__init__(np.zeros(len(item_ids)), item_ids); self.shown = {}
    def score(self, histories):
        for i, u in enumerate(histories.user_ids):
            h = histories[i:i + 1]; self.shown[int(u)] = list(zip(h.item_ids.tolist(), h.timestamps.tolist(), strict=True))
        return super().score(histories)


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("make", [split_leave_last_out, split_temporal])
def test_no_history_holds_its_target_or_anything_after_it(make, part):
    data = contract_data(); split = make(data)
    spy = Spy(np.unique(data.item_id)); evaluate(spy, split, part)
    targets = split.targets(part)
    assert set(spy.shown) == set(targets.user_id)
    for t in targets.itertuples():
        assert (t.item_id, t.timestamp) not in spy.shown[t.user_id]
        assert all(when <= t.timestamp for _, when in spy.shown[t.user_id])
    if part == "valid":      # nor may validation see the test events
        for t in split.test.itertuples(): assert (t.item_id, t.timestamp) not in spy.shown.get(t.user_id, [])


def test_users_without_a_history_count_as_cold():
    train, test = table((1, 1, 4, 1), (1, 2, 4, 2)), table((1, 3, 4, 9), (2, 1, 4, 9))
    r = evaluate(Fixed([3, 2, 1]), Split("temporal", train, train.iloc[:0], test))
    assert r.row["n_cold_users"] == 1 and r.row["n_users"] == 2 and list(r.per_user["rank"]) == [1, 1]


def test_query_time_is_given_only_when_asked_and_noted():
    class Clock(Fixed):
        uses_now = True
        def score(self, histories, now=None): self.now = now; return super().score(histories)
    split, model = one_user([1], 2), Clock([3, 2, 1])
    assert evaluate(model, split).row["query_time"] is False and model.now is None
    assert evaluate(model, split, query_time=True).row["query_time"] is True and list(model.now) == [100]
    with pytest.raises(MovierecError, match="doesn't use the time"): evaluate(Fixed([1, 2]), split, query_time=True)


@pytest.mark.parametrize("bad,says", [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (-np.inf, "NaN or infinite")])
def test_bad_scores_name_model_and_user(bad, says):
    class Bad(Fixed):
        def score(self, histories): return np.where(histories.user_ids[:, None] == 1007, bad, super().score(histories))
    model = Bad(np.zeros(11), np.unique(contract_data().item_id))
    with pytest.raises(MovierecError, match=f"fixed: .*{says}.*user 1007"):
        evaluate(model, split_leave_last_out(contract_data()))


def test_a_wrong_shape_is_named():
    class Narrow(Fixed):
        def score(self, histories): return super().score(histories)[:, 1:]
    with pytest.raises(MovierecError, match=r"shape \(1, 2\), expected \(1, 3\)"): evaluate(Narrow([1, 2, 3]), one_user([1], 2))


def test_an_unfitted_model_is_named():
    with pytest.raises(MovierecError, match="markov isn't fitted"): evaluate(make_model("markov"), one_user([1], 2))


@pytest.fixture(scope="module")
def contract_result():
    split = split_leave_last_out(contract_data())
    return evaluate(make_model("markov").fit(split.train), split, dataset="contract")


def test_the_row_is_json_and_complete(contract_result, tmp_path):
    row = contract_result.row
    path = save_result(row, tmp_path / "results")
    assert path.name == "contract_leave-last-out_test_markov_seed0.json"
    assert json.loads(path.read_text()) == json.loads(json.dumps(row, allow_nan=False))
    assert {"model", "dataset", "protocol", "split", "seed", "filter_seen", "query_time", "n_users", "metrics", "config",
            "data", "commit", "dirty", "command", "versions"} <= set(row)
    assert row["config"]["window"] == 8 and row["versions"]["movierec"]
    for m in row["metrics"].values(): assert m["low"] <= m["value"] <= m["high"]
    assert os.sep + "home" not in json.dumps(row) and str(tmp_path) not in json.dumps(row)


def test_the_same_evaluation_twice_is_the_same(contract_result):
    split = split_leave_last_out(contract_data())
    again = evaluate(make_model("markov").fit(split.train), split, dataset="contract", block=3)
    pd.testing.assert_frame_equal(again.per_user, contract_result.per_user)
    assert again.row["metrics"] == contract_result.row["metrics"] and again.row["data"] == contract_result.row["data"]


def test_per_user_results_go_to_parquet_and_can_be_compared(contract_result, tmp_path):
    split = split_leave_last_out(contract_data())
    path = tmp_path / "deep" / "popular.parquet"
    popular = evaluate(make_model("popular").fit(split.train), split, per_user=path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), popular.per_user)
    c = compare(path, contract_result.per_user)
    assert c["difference"] == pytest.approx(c["b"] - c["a"], abs=1e-5) and c["low"] <= c["difference"] <= c["high"]
    assert compare(path, path)["difference"] == 0 and compare(path, path)["p"] == 1
    with pytest.raises(MovierecError, match="can't be paired"): compare(popular.per_user.iloc[2:], contract_result.per_user)


def test_without_git_the_commit_is_null(monkeypatch):
    def no_git(*a, **k): raise FileNotFoundError("git")
    monkeypatch.setattr(subprocess, "run", no_git)
    o = E.origin()
    assert o["commit"] is None and o["dirty"] is None


def test_the_command_shows_no_paths_of_this_machine():
    got = E.command_line(["/opt/x/bin/movierec", "evaluate", "/data/run", "--set", "k=/a/b", "rel/path", "--n=3"])
    assert got == "movierec evaluate run --set k=b rel/path --n=3"


def test_bootstrap_intervals_hold_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0); inside = 0
    for trial in range(300):
        low, high = E.interval(E.bootstrap(rng.random(200) < .3, 300, seed=trial)); inside += low[0] <= .3 <= high[0]
    assert 270 <= inside <= 297


def test_bootstrap_leaves_out_what_a_user_doesnt_have():
    means = E.bootstrap(np.c_[[1., np.nan, 1, 1] * 20, [0., 2] * 40], 200, cells=400)
    assert (means[:, 0] == 1).all() and abs(means[:, 1].mean() - 1) < .05


def test_ratings_are_clipped_and_their_errors_named():
    class Wild:
        name = "wild"
        def __init__(self, value): self.value = value
        def predict(self, pairs):
            assert "rating" not in pairs
            return np.full(len(pairs), self.value)
    rated = table((1, 1, 5, 1), (1, 2, 3, 1))
    got = evaluate_ratings(Wild(9.), rated)
    assert got["MAE"]["value"] == 1 and got["RMSE"]["value"] == pytest.approx(2 ** .5, rel=1e-5)
    with pytest.raises(MovierecError, match="NaN"): evaluate_ratings(Wild(np.nan), rated)


def test_measuring_costs_about_as_much_as_sorting_the_scores_once():
    "6,040 users × 3,706 films, as ML-1M: everything but the model's own work, beside the obvious full sort."
    rng = np.random.default_rng(0); n_users, n_items = 6040, 3706
    t = table(*zip(np.repeat(np.arange(1, n_users + 1), 5), rng.integers(1, n_items + 1, 5 * n_users),
                   np.full(5 * n_users, 4), np.arange(5 * n_users), strict=True))
    model = Fixed(rng.random(n_items)); split = split_leave_last_out(t)
    start = time.process_time(); row = evaluate(model, split).row; ours = time.process_time() - start
    start = time.process_time()
    for _ in range(12): rng.random((512, n_items), np.float32).argsort(axis=1)
    assert row["n_users"] == n_users and ours < 5 * (time.process_time() - start)


@pytest.mark.realdata
def test_markov_chain_is_the_floor_on_ml1m():
    if not (data_dir() / "ml-1m" / "ratings.dat").is_file(): pytest.skip("ml-1m is not under MOVIEREC_DATA")
    from movierec.data.movielens import load_movielens
    split = split_leave_last_out(load_movielens("ml-1m").interactions)
    first = evaluate(make_model("markov", window=1).fit(split.train), split, "valid").row
    popular = evaluate(make_model("popular").fit(split.train), split, "valid").row
    assert first["n_users"] == 6040 and first["metrics"]["NDCG@10"]["value"] > .13
    assert popular["metrics"]["NDCG@10"]["value"] < .03
    assert first["metrics_unfiltered"]["NDCG@10"]["value"] < first["metrics"]["NDCG@10"]["value"]
    h = Histories.from_table(split.history("valid"))
    assert h.lengths.min() >= 18        # ML-1M users have at least 20 ratings
