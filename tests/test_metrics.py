"Our metrics against well-kept libraries, on random cases (single and several relevant films, short and long lists)."
import numpy as np
import pandas as pd
import pytest

from movierec import metrics as M
from movierec.core import MovierecError

sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn, a development dependency, is missing")
SEEDS = range(25)


def random_case(seed, n_users=9):
    "Distinct scores, relevance with at least one film a user, and the ranks of the relevant films."
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 60))
    scores = rng.permuted(np.tile(np.arange(n, dtype=float), (n_users, 1)), axis=1)
    relevant = rng.random((n_users, n)) < rng.uniform(.02, .6)
    relevant[np.arange(n_users), rng.integers(n, size=n_users)] = True
    rows, cols = np.nonzero(relevant)
    rank = (scores[rows] >= scores[rows, cols][:, None]).sum(1)
    k = int(rng.integers(1, n + 5))
    return scores, relevant, M.rank_table(rank, rows, n_users), min(k, n)


@pytest.mark.parametrize("seed", SEEDS)
def test_ndcg_is_sklearns(seed):
    scores, relevant, ranks, k = random_case(seed)
    want = [sklearn_metrics.ndcg_score(r[None], s[None], k=k) for r, s in zip(relevant, scores, strict=True)]
    np.testing.assert_allclose(M.ndcg(ranks, k), want, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision_is_sklearns(seed):
    scores, relevant, ranks, _ = random_case(seed)
    want = [sklearn_metrics.average_precision_score(r, s) for r, s in zip(relevant, scores, strict=True)]
    np.testing.assert_allclose(M.average_precision(ranks, scores.shape[1]), want, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_ranking_metrics_are_torchmetrics(seed):
    torch = pytest.importorskip("torch")
    F = pytest.importorskip("torchmetrics.functional.retrieval", reason="torchmetrics, a development dependency, is missing")
    scores, relevant, ranks, k = random_case(seed)
    # torchmetrics' precision takes a score of 0 or below for "not retrieved", hence the 1
    pairs = [(torch.tensor(s + 1), torch.tensor(r)) for s, r in zip(scores, relevant, strict=True)]
    ours = M.ranking_metrics(ranks, [k])
    theirs = dict(HR=F.retrieval_hit_rate, NDCG=F.retrieval_normalized_dcg, precision=F.retrieval_precision,
                  recall=F.retrieval_recall)
    for name, f in theirs.items():
        want = [float(f(s, r, top_k=k)) for s, r in pairs]
        np.testing.assert_allclose(ours[f"{name}@{k}"], want, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(ours.MRR, [float(F.retrieval_reciprocal_rank(s, r)) for s, r in pairs], atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_rating_errors_are_sklearns(seed):
    rng = np.random.default_rng(seed)
    true, guess = rng.integers(1, 6, 50).astype(float), rng.normal(3, 2, 50)
    np.testing.assert_allclose(M.rmse(true, guess, (1, 5)), sklearn_metrics.root_mean_squared_error(true, guess.clip(1, 5)))
    np.testing.assert_allclose(M.mae(true, guess), sklearn_metrics.mean_absolute_error(true, guess))


def test_a_film_that_cant_be_recommended_counts_as_missed_but_counts():
    ranks = np.array([[1, np.inf]])
    m = M.ranking_metrics(ranks, [10]).iloc[0]
    assert m["recall@10"] == .5 and m["MAP@10"] == .5 and m["HR@10"] == 1 and m.MRR == 1
    assert m["NDCG@10"] == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_one_relevant_film_as_plain_array():
    a, b = M.ranking_metrics([1, 3, np.inf]), M.ranking_metrics([[1], [3], [np.inf]])
    pd.testing.assert_frame_equal(a, b)
    assert not a.isna().any().any()


def random_lists(seed):
    rng = np.random.default_rng(seed)
    n_users, n_items, k = int(rng.integers(2, 12)), int(rng.integers(6, 30)), int(rng.integers(2, 6))
    films = np.stack([rng.permutation(n_items)[:k] + 1 for _ in range(n_users)])
    recs = pd.DataFrame(dict(user_id=np.repeat(np.arange(n_users) + 50, k), item_id=films.ravel(), score=0.,
                             rank=np.tile(np.arange(1, k + 1), n_users)))
    if len(recs) > 3: recs = recs.drop(index=recs.index[(recs.user_id == 50) & (recs["rank"] == k)])   # one short list
    return rng, recs.sample(frac=1, random_state=seed), n_items   # row order must not matter


@pytest.mark.parametrize("seed", SEEDS)
def test_gini_and_coverage_by_their_definitions(seed):
    _, recs, n = random_lists(seed)
    shown = np.bincount(recs.item_id, minlength=n + 1)[1:]
    assert M.coverage(recs, n) == pytest.approx((shown > 0).mean())
    assert M.gini(recs, n) == pytest.approx(np.abs(shown[:, None] - shown).mean() / 2 / shown.mean())


@pytest.mark.parametrize("seed", SEEDS)
def test_genre_diversity_is_scipys_jaccard(seed):
    distance = pytest.importorskip("scipy.spatial.distance")
    rng, recs, n = random_lists(seed)
    genres = pd.DataFrame((rng.random((n, 5)) < .4).astype(np.float32), index=np.arange(1, n + 1))
    genres[0] = 1.                                            # every film has one
    got = M.diversity(recs, genres, block=3)
    for user, mine in recs.groupby("user_id"):
        x = genres.loc[mine.item_id].to_numpy(bool)
        want = distance.pdist(x, "jaccard").mean() if len(x) > 1 else np.nan
        assert got[user] == pytest.approx(want, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_vector_diversity_is_scipys_cosine(seed):
    distance = pytest.importorskip("scipy.spatial.distance")
    rng, recs, n = random_lists(seed)
    vectors = pd.DataFrame(rng.normal(size=(n, 4)), index=np.arange(1, n + 1))
    got = M.diversity(recs, vectors, "cosine")
    for user, mine in recs.groupby("user_id"):
        x = vectors.loc[mine.item_id].to_numpy()
        want = distance.pdist(x, "cosine").mean() if len(x) > 1 else np.nan
        assert got[user] == pytest.approx(want, abs=1e-5, nan_ok=True)


def test_bad_values_are_named():
    with pytest.raises(MovierecError, match="from 1"): M.ndcg([0, 2], 10)
    with pytest.raises(MovierecError, match="NaN"): M.mae([1.], [np.nan])
