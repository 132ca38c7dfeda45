"""Histories and batches against plain-Python readings of what they promise."""
import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.sequences import Histories, Vocab, make_batch, pad_last, training_batches


def table(seed=0, n=500):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(dict(user_id=rng.integers(1, 30, n), item_id=rng.integers(1, 80, n), rating=3.0,
                             timestamp=rng.integers(0, 40, n)))


@pytest.mark.parametrize("seed", range(5))
def test_histories_are_each_users_events_in_order(seed):
    t = table(seed); users = [5, 99, 3]; h = Histories.from_table(t, users)
    for i, u in enumerate(users):
        rows = t[t.user_id == u]
        want = [t.item_id[j] for j in sorted(rows.index, key=lambda j: (t.timestamp[j], j))]
        assert h[i:i + 1].item_ids.tolist() == want
    assert h[1:3].user_ids.tolist() == [99, 3] and h[2:1].lengths.tolist() == []


@pytest.mark.parametrize("max_len", [1, 3, 1000])
def test_pad_last_keeps_the_last_known_items(max_len):
    h = Histories.from_table(table()); vocab = Vocab(range(10, 60))
    x, times, n = pad_last(h, vocab, max_len)
    for i in range(len(h)):
        known = [j for j in vocab.encode(h[i:i + 1].item_ids) if j][-max_len:]
        assert n[i] == len(known) and x[i, :n[i]].tolist() == known and not x[i, n[i]:].any()
        there = vocab.encode(h[i:i + 1].item_ids) > 0
        assert times[i, :n[i]].tolist() == h[i:i + 1].timestamps[there][-max_len:].tolist() and not times[i, n[i]:].any()


@pytest.mark.parametrize("max_len,tokens", [(8, 64), (13, 40), (200, 12_800), (5, 1)])
def test_batches_are_next_items_within_budget(max_len, tokens):
    h = Histories.from_table(table(n=2000)); items = np.arange(1, len(h.item_ids) + 1)    # each event is its own number
    seen = set()
    for g in training_batches(h.offsets, max_len, tokens, np.random.default_rng(1)):
        b = make_batch(items, *g, max_len)
        assert b.inputs.shape[1] <= max_len and (b.inputs.size <= max(tokens, 8) or len(b.inputs) == 1)
        real = b.targets > 0
        assert (b.targets[real] == b.inputs[real] + 1).all() and not b.inputs[~real].any()
        users = h.rows[b.targets[real] - 1]
        assert (users == h.rows[b.inputs[real] - 1]).all()                                # never across two users
        seen |= set(users)
    assert seen == set(np.flatnonzero(h.lengths >= 2))


def test_few_shapes_and_little_padding():
    rng = np.random.default_rng(0)
    offsets = np.r_[0, np.cumsum(np.clip(rng.lognormal(4.5, 1, 6000), 20, 2000).astype(int))]; items = np.ones(offsets[-1], int)
    shapes, real, padded = set(), 0, 0
    for epoch in range(3):
        for g in training_batches(offsets, rng=np.random.default_rng(epoch)):
            b = make_batch(items, *g); shapes.add(b.inputs.shape); real += b.n_tokens; padded += b.inputs.size
    assert real / padded > .9 and len(shapes) < 60


def test_same_seed_same_plan():
    plan = lambda seed: [[a.tolist() for a in g] for g in training_batches(np.arange(0, 1000, 10), 5, 64, np.random.default_rng(seed))]
    assert plan(3) == plan(3) != plan(4)


def test_bad_lists_are_named():
    with pytest.raises(MovierecError, match="as many timestamps"): Histories.from_lists([[1, 2]], [[5]])
    assert Vocab([1, 2]).encode(Histories.from_lists([[-5, 2**40, 1]]).item_ids).tolist() == [0, 0, 1]
