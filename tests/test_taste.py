"""The taste-fusion transformer as installed: fresh processes, no leaks from the future, padding, resuming, errors."""
import subprocess
import sys

import numpy as np
import pytest
import torch

from movierec.core import MovierecError
from movierec.data.sequences import Histories
from movierec.models import taste
from movierec.models.registry import load_model, make_model
from movierec.models.taste import TasteConfig, TasteNet, best_before, cut_windows, read_windows, window_batches
from movierec.recommender import contract_data

SMALL = dict(embedding_dim=16, n_layers=2, n_heads=2, max_len=4, stride=3, n_favourites=3, epochs=3, hidden=8, device="cpu",
             precision="float32")
KINDS = [dict(), dict(loss="sampled"), dict(loss="sampled", scorer="mlp"), dict(taste=False)]


def fitted(**kw): return make_model("taste", **SMALL | kw).fit(contract_data(), seed=1)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_fresh_process_gives_the_same_list(kind, tmp_path):
    m = fitted(**kind); m.save(tmp_path / "m")
    here = m.recommend(Histories.from_lists([[11, 23], [309, 401, 511, 613, 11, 23]]), k=4)
    code = ("import sys; from movierec.models.registry import load_model; from movierec.data.sequences import Histories;"
            "print(load_model(sys.argv[1]).recommend(Histories.from_lists([[11, 23], [309, 401, 511, 613, 11, 23]]), k=4).to_csv(index=False))")
    there = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], capture_output=True, text=True, check=True).stdout
    assert there.strip() == here.to_csv(index=False).strip()


def test_windows_read_the_past_only_and_each_event_is_a_target_once():
    rng = np.random.default_rng(0); lengths = rng.integers(1, 60, 50); offsets = np.r_[0, np.cumsum(lengths)]
    films = np.arange(1, offsets[-1] + 1)                           # a film's number tells its place
    stars = rng.integers(1, 6, len(films)).astype(np.float32); c = TasteConfig(max_len=7, stride=5, n_favourites=4)
    seen = []
    for begin, last, count in window_batches(offsets, c, 60, rng):
        s = read_windows(films, stars, begin, last, count, c)
        for b, e, x, f, y in zip(begin, last, s.inputs, s.favourites, s.targets, strict=True):
            real = x[x > 0]; first = real[0]
            assert (real == np.arange(first, e + 1)).all() and len(real) == min(7, e - b) and (x[-len(real):] > 0).all()
            assert ((y == 0) | (y == np.r_[x[1:], e + 1])).all()   # the target of a column is the film after it
            old = f[f > 0]; assert (old < first).all() and (old > b).all() and len(old) == min(4, max(0, e - b - 7))
            seen.append(y[y > 0])
    wanted = np.setdiff1d(films, offsets[:-1] + 1)                  # all but everybody's first
    assert (np.sort(np.concatenate(seen)) == wanted).all()


def test_favourites_are_the_best_rated_and_the_latest_of_equals():
    rng = np.random.default_rng(1); films, stars = rng.permutation(80) + 1, rng.integers(1, 6, 80).astype(float)
    begin, stop = np.array([0, 10, 10, 50]), np.array([40, 10, 75, 52])
    for b, s, got in zip(begin, stop, best_before(films, stars, begin, stop, 6), strict=True):
        want = sorted(range(b, s), key=lambda i: (-stars[i], -i))[:6]
        assert list(got[got > 0]) == [films[i] for i in want]
    assert (best_before(films, stars, begin[:1], stop[:1], 2, reach=1)[0] == [films[39]]).all()


def test_windows_of_one_a_user():
    offsets = np.r_[0, np.cumsum([1, 2, 40, 7])]
    begin, last, count = cut_windows(offsets, 5, 1, np.random.default_rng(0))
    assert list(begin) == [1, 3, 43] and (count >= 1).all() and (count <= 5).all() and (last - count >= begin).all()


def test_every_position_is_causal_and_padding_is_not_seen():
    torch.manual_seed(0); net = TasteNet(TasteConfig(**SMALL | dict(max_len=8)), np.ones(12)).eval()
    x, f = torch.randint(1, 13, (4, 6)), torch.randint(1, 13, (4, 3))
    with torch.no_grad():
        for t in range(5):
            y = x.clone(); y[:, t + 1:] = torch.randint(1, 13, (4, 5 - t))
            torch.testing.assert_close(net(x, f, 6)[:, :t + 1], net(y, f, 6)[:, :t + 1])
        wider = torch.cat([torch.zeros(4, 2, dtype=torch.long), x], 1); more = torch.cat([f, torch.zeros(4, 2, dtype=torch.long)], 1)
        torch.testing.assert_close(net(wider, more, 8)[:, 2:], net(x, f, 6))
        torch.testing.assert_close(net(wider, more, 2), net(x, f, 6)[:, -2:])


def test_older_films_speak_through_the_favourites_only():
    tail = [11, 23, 37, 59]
    with_taste, without = fitted(), fitted(taste=False)
    short, long = Histories.from_lists([tail]), Histories.from_lists([[309, 401] + tail])
    assert not np.allclose(with_taste.score(short), with_taste.score(long))
    np.testing.assert_allclose(without.score(short), without.score(long), atol=1e-6)
    a, b = (Histories.from_lists([x + tail]) for x in ([309, 401, 511, 11], [309, 401, 511, 11]))
    a.ratings[:4], b.ratings[:4] = [5, 5, 5, 1], [1, 5, 5, 5]       # other favourites of the same films
    assert not np.allclose(with_taste.score(a), with_taste.score(b))


def test_unknown_films_change_nothing():
    m = fitted(); a = m.score(Histories.from_lists([[309, 11, 23, 37, 59, 71]]))
    np.testing.assert_allclose(m.score(Histories.from_lists([[9999, 309, 11, 8888, 23, 37, 59, 71, 7777]])), a, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
def test_a_stopped_training_goes_on_to_the_same_weights(kind, tmp_path, monkeypatch):
    whole = fitted(**kind); calls = []

    def stops(*a):
        calls.append(1)
        if len(calls) == 9: raise KeyboardInterrupt
        return real(*a)
    real = taste.taste_loss; monkeypatch.setattr(taste, "taste_loss", stops)
    with pytest.raises(KeyboardInterrupt): make_model("taste", **SMALL | kind).fit(contract_data(), seed=1, folder=tmp_path)
    again = make_model("taste", **SMALL | kind).fit(contract_data(), seed=1, folder=tmp_path)
    assert torch.equal(again.net.item.weight, whole.net.item.weight)
    other = contract_data(); other["rating"] = 1.
    with pytest.raises(MovierecError, match="of another run"): make_model("taste", **SMALL | kind).fit(other, seed=1, folder=tmp_path)


def test_bfloat16_training_learns_the_order():
    m = make_model("taste", **SMALL | dict(precision="bfloat16", epochs=60, learning_rate=1e-2, dropout=0., input_dropout=0., batch_tokens=64))
    assert m.fit(contract_data(), seed=3).recommend(Histories.from_lists([[11, 23]]), k=1).item_id.tolist() == [37]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(MovierecError, match="needs loss=sampled"): make_model("taste", scorer="mlp")
    with pytest.raises(MovierecError, match="did you mean 'n_favourites'"): make_model("taste", n_favorites=3)
    with pytest.raises(MovierecError, match="stride is 0"): make_model("taste", stride=0)
    m = fitted(); m.save(tmp_path / "m"); weights = tmp_path / "m/model.safetensors"; weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(MovierecError, match="truncated"): load_model(tmp_path / "m")
