"""Reranking beyond what its notebook shows: the plain loops on random lists, corners, batches, speed."""

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.rerank import calibrated, calibration_gap, genre_shares, mix, mmr, relevance
from running import processor_seconds

LAMS = (0.0, 0.2, 0.5, 0.8, 1.0)


def plain_mmr(scores, vectors, k, lam):
    "The definition, with no care for speed."
    size = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, size, out=np.zeros_like(vectors), where=size > 0)
    open_ = [i for i in range(len(scores)) if np.isfinite(scores[i])]
    picked = []
    while open_ and len(picked) < k:
        near = [max((unit[i] @ unit[j] for j in picked), default=None) for i in open_]
        worth = [scores[i] if n is None else lam * scores[i] - (1 - lam) * n for i, n in zip(open_, near)]
        picked.append(open_.pop(int(np.argmax(worth))))
    return picked + [-1] * (min(k, len(scores)) - len(picked))


def plain_calibrated(scores, shares, p, k, lam):
    "The definition; the sum of scores and the divergence are those of the whole list."
    open_ = [i for i in range(len(scores)) if np.isfinite(scores[i])]
    picked = []
    while open_ and len(picked) < k:
        def worth(i):
            films = [*picked, i]
            return lam * sum(scores[j] for j in films) - (1 - lam) * calibration_gap(p, mix(shares[films]))
        best = int(np.argmax([worth(i) for i in open_]))
        picked.append(open_.pop(best))
    return picked + [-1] * (min(k, len(scores)) - len(picked))


def random_case(seed, n=25, d=6):
    rng = np.random.default_rng(seed)
    scores = rng.random(n)
    scores[rng.random(n) < 0.2] = -np.inf
    vectors = rng.normal(size=(n, d)) * rng.uniform(0.1, 9, (n, 1))
    vectors[rng.random(n) < 0.1] = 0
    genres = (rng.random((n, 4)) < 0.4).astype(float)
    shares = genres / np.maximum(genres.sum(1, keepdims=True), 1)
    return scores, vectors, shares, mix(shares[:9])


@pytest.mark.parametrize("lam", LAMS)
def test_fast_is_slow(lam):
    for seed in range(6):
        scores, vectors, shares, p = random_case(seed)
        for k in (1, 7, 25):
            assert mmr(scores, vectors, k, lam).tolist() == plain_mmr(scores, vectors, k, lam)
            if lam > 0:  # at 0 many lists are equally good, and rounding chooses
                assert calibrated(scores, shares, p, k, lam).tolist() == plain_calibrated(scores, shares, p, k, lam)


def test_a_batch_is_its_users_one_by_one():
    cases = [random_case(seed) for seed in range(5)]
    scores, vectors, shares, wanted = (np.stack(x) for x in zip(*cases))
    for lam in (0.3, 0.9):
        together = mmr(scores, vectors, 8, lam), calibrated(scores, shares, wanted, 8, lam)
        for i, (s, v, f, p) in enumerate(cases):
            np.testing.assert_array_equal(together[0][i], mmr(s, v, 8, lam))
            np.testing.assert_array_equal(together[1][i], calibrated(s, f, p, 8, lam))
    shared = mmr(scores, vectors[0], 8, 0.5)  # the same candidates for all
    np.testing.assert_array_equal(shared[3], mmr(scores[3], vectors[0], 8, 0.5))


@pytest.mark.parametrize("lam", LAMS)
def test_every_list_holds_what_may_be_picked_and_each_once(lam):
    scores, vectors, shares, p = random_case(11, n=40)
    there = set(np.flatnonzero(np.isfinite(scores)))
    for got in (mmr(scores, vectors, 99, lam), calibrated(scores, shares, p, 99, lam)):
        assert got.shape == (40,) and set(got[: len(there)]) == there and (got[len(there) :] == -1).all()


def test_corners():
    twins = np.ones((4, 3))
    assert mmr([4, 3, 2, 1], twins, 4, 0.5).tolist() == [0, 1, 2, 3]  # all alike: by score
    assert mmr([1, 1, 1, 1], twins, 2, 0.0).tolist() == [0, 1]  # and by place
    assert mmr([4, 3, 2, 1], np.zeros((4, 3)), 3, 0.1).tolist() == [0, 1, 2]
    assert mmr([4, 3, 2, 1], twins, 0).shape == (0,)
    assert mmr(np.zeros((0, 5)), np.zeros((0, 5, 2)), 3).shape == (0, 3)
    assert mmr([-np.inf, -np.inf], np.eye(2), 2).tolist() == [-1, -1]
    assert mmr([-50.0, -20.0], np.eye(2), 2, 1.0).tolist() == [1, 0]  # scores may be negative
    assert mmr([1.0, 0.9, 0.8], [[1, 0], [-1, 0], [0, 1]], 3, 0.5).tolist() == [0, 1, 2]  # the opposite is new
    assert calibrated([1, 2], np.zeros((2, 3)), [1, 0, 0], 2).tolist() == [1, 0]


def test_inputs_are_left_alone():
    case = random_case(5)
    before = [x.copy() for x in case]
    mmr(case[0], case[1], 9, 0.4)
    calibrated(case[0], case[2], case[3], 9, 0.4)
    relevance(case[0])
    for a, b in zip(case, before):
        np.testing.assert_array_equal(a, b)


def test_more_lambda_is_more_score_and_less_variety():
    rng = np.random.default_rng(1)
    scores, vectors = np.sort(rng.random(200))[::-1], rng.normal(size=(200, 16))
    vectors[:100] += 3  # the better half is of a kind
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    score, alike = [], []
    for lam in LAMS:
        at = mmr(relevance(scores), vectors, 10, lam)
        score.append(scores[at].sum())
        alike.append((unit[at] @ unit[at].T)[np.triu_indices(10, 1)].mean())
    assert (np.diff(score) >= -1e-9).all() and score[0] < score[-1]
    assert alike[0] < alike[2] < alike[-1]


def test_relevance_is_blind_to_scale_and_offset():
    scores = np.random.default_rng(2).normal(size=(3, 9)).astype(np.float32)
    np.testing.assert_allclose(relevance(scores), relevance(7 * scores + 100), atol=1e-4)
    assert (relevance(scores).max(1) == 1).all() and np.allclose(relevance(scores).min(1), 0, atol=1e-6)
    tiny = relevance(np.float32([3e-30, 1e-30, -np.inf]))
    np.testing.assert_allclose(tiny, [1, 0, -np.inf], atol=1e-6)
    assert relevance(np.zeros((2, 0))).shape == (2, 0)


def test_calibration_brings_the_missing_genre():
    items = pd.DataFrame(dict(item_id=[3, 5, 8], genres=["Drama|War", "", "Comedy"]))
    shares = genre_shares(items)
    assert shares.sum(axis=1).tolist() == [1, 0, 1] and shares.index.tolist() == [3, 5, 8]
    films = np.repeat(shares.loc[[3, 8]].to_numpy(), 10, axis=0)
    scores = np.r_[np.linspace(1, 0.6, 10), np.linspace(0.4, 0, 10)]
    wanted = mix(shares.loc[[3, 3, 8]].to_numpy())
    by_score, even = (calibrated(scores, films, wanted, 6, lam) for lam in (1.0, 0.02))
    assert (by_score < 10).all() and (even >= 10).sum() == 2
    assert calibration_gap(wanted, mix(films[even])) < 1e-6 < calibration_gap(wanted, mix(films[by_score]))


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: mmr([1, np.nan], np.eye(2)), "NaN or"),
        (lambda: mmr([1, np.inf], np.eye(2)), "NaN or"),
        (lambda: mmr([1, 2], np.eye(3)), "don't fit"),
        (lambda: mmr([[1, 2]], np.ones((2, 2, 2))), "don't fit"),
        (lambda: mmr([1, 2], [[1, np.nan], [0, 1]]), "vectors have NaN"),
        (lambda: mmr([1, 2], np.eye(2), 1, 1.5), "lam is 1.5"),
        (lambda: mmr([1, 2], np.eye(2), -1), "k is -1"),
        (lambda: calibrated([1, 2], np.eye(2), np.ones((3, 2))), "wanted of shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(MovierecError, match=message):
        call()


def test_far_quicker_than_the_loop():
    "benchmarks/mmr.py measures it well."
    rng = np.random.default_rng(0)
    scores, vectors = rng.random(300), rng.normal(size=(300, 512)).astype(np.float32)
    slow = processor_seconds(lambda: plain_mmr(scores, vectors, 50, 0.7), 1)
    assert 10 * processor_seconds(lambda: mmr(scores, vectors, 50, 0.7)) < slow
