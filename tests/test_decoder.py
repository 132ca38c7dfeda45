"""The decoder as installed: fresh-process equality, causality, precision, errors."""
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from movierec.core import MovierecError
from movierec.data.sequences import Histories
from movierec.models.decoder import Decoder, DecoderConfig, DecoderNet, film_features
from movierec.models.registry import load_model, make_model
from movierec.recommender import check_recommender, contract_data

SMALL = dict(embedding_dim=16, n_layers=1, n_heads=2, max_len=8, epochs=3, device="cpu", precision="float32")


def films(ids): return pd.DataFrame(dict(item_id=ids, year=pd.array([1990] * len(ids), "Int16"), genres="Drama|War"))


@pytest.mark.parametrize("metadata", ["", "genres,year"])
def test_contract(metadata):
    class WithFilms(Decoder):     # the contract fits without items; metadata needs them
        def fit(self, train, items=None, **kw): return super().fit(train, films(np.unique(train.item_id)), **kw)
    cls = WithFilms if metadata else Decoder
    check_recommender(lambda: cls(DecoderConfig(**SMALL | dict(epochs=80, learning_rate=1e-2, dropout=0., input_dropout=0.,
                                                               metadata=metadata))), learns="order")


def test_a_fresh_process_gives_the_same_list(tmp_path):
    m = make_model("decoder", **SMALL).fit(contract_data(), seed=1); m.save(tmp_path / "m")
    here = m.recommend(Histories.from_lists([[11, 23], [309]]), k=4)
    code = ("import sys; from movierec.models.registry import load_model; from movierec.data.sequences import Histories;"
            "print(load_model(sys.argv[1]).recommend(Histories.from_lists([[11, 23], [309]]), k=4).to_csv(index=False))")
    there = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], capture_output=True, text=True, check=True).stdout
    assert there.strip() == here.to_csv(index=False).strip()


def test_the_same_seed_trains_the_same_weights_and_another_does_not():
    a, b, c = (make_model("decoder", **SMALL).fit(contract_data(), seed=s).net.item.weight for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_only_the_last_max_len_films_matter():
    m = make_model("decoder", **SMALL, memory=0.).fit(contract_data(), seed=1)   # the counts look further back than this network
    tail = [11, 23, 37, 59, 71, 102, 205, 309]
    a, b = m.score(Histories.from_lists([tail])), m.score(Histories.from_lists([[613, 511, 401] + tail]))
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("reads", [{}, dict(bias="time,place"), dict(bias="time", query_time=True)])
def test_every_position_is_causal(reads):
    torch.manual_seed(0)
    net = DecoderNet(DecoderConfig(**SMALL | dict(n_layers=3) | reads), torch.zeros(12, 0)).eval()
    x, times = torch.randint(1, 12, (4, 8)), torch.randint(1, 10**6, (4, 9)).sort(1)[0]
    for t in range(7):
        y = x.clone(); y[:, t + 1:] = torch.randint(1, 12, (4, 7 - t))
        later = times.clone(); later[:, t + 2:] += 10**7        # the time of the request at t is known, those after it aren't
        with torch.no_grad():
            one, two = (net(z, net.films(), s[:, :-1], s[:, 1:] if net.gap else 0 * s[:, 1:]) for z, s in ((x, times), (y, later)))
        torch.testing.assert_close(one[:, :t + 1], two[:, :t + 1])


def test_one_position_alone_is_what_it_is_among_all():
    torch.manual_seed(0)
    x, times, at = torch.randint(1, 12, (3, 8)), torch.randint(1, 10**6, (3, 9)).sort(1)[0], torch.tensor([7, 0, 3])
    for reads in ({}, dict(bias="time,place", query_time=True)):
        net = DecoderNet(DecoderConfig(**SMALL | dict(n_layers=2) | reads), torch.zeros(12, 0)).eval()
        with torch.no_grad(): whole, one = (net(x, net.films(), times[:, :-1], times[:, 1:], a) for a in (None, at))
        torch.testing.assert_close(whole[torch.arange(3), at], one[:, 0])


def test_a_history_without_times_can_be_asked_and_times_matter_where_they_are():
    events = pd.concat([pd.DataFrame(dict(user_id=u, item_id=[1, 2, 3, 4], rating=4., timestamp=[10, 20, 5000, 90_000])) for u in range(9)])
    m = Decoder(DecoderConfig(**SMALL | dict(bias="time,place", epochs=3, hide_time=.2))).fit(events, seed=0)
    ask = lambda *times: m.score(Histories.from_lists([[1, 2]], [times] if times else None))
    assert np.isfinite(ask()).all() and not np.allclose(ask(5, 10), ask(5, 90_000)) and np.allclose(ask(5, 10), ask(105, 110))


def test_bfloat16_training_learns_the_same_order():
    m = make_model("decoder", **SMALL | dict(precision="bfloat16", epochs=80, learning_rate=1e-2, dropout=0., input_dropout=0.))
    m.fit(contract_data(), seed=3)
    assert m.recommend(Histories.from_lists([[11, 23]]), k=1).item_id.tolist() == [37]


def test_text_vectors_are_used_and_saved(tmp_path):
    items = films(np.unique(contract_data().item_id)); vectors = np.random.default_rng(0).normal(size=(len(items), 5))
    m = Decoder(DecoderConfig(**SMALL, metadata="text")).fit(contract_data(), items, seed=1, vectors=vectors)
    m.save(tmp_path / "m"); h = Histories.from_lists([[11]])
    np.testing.assert_array_equal(load_model(tmp_path / "m").score(h), m.score(h))
    with pytest.raises(MovierecError, match="needs vectors"):
        Decoder(DecoderConfig(**SMALL, metadata="text")).fit(contract_data(), items)


def test_what_is_known_of_films_ends_in_their_vectors(tmp_path):
    items = films(np.unique(contract_data().item_id)).assign(genres=lambda d: np.where(d.item_id % 2, "War", "Drama"))
    m = Decoder(DecoderConfig(**SMALL)).fit(contract_data(), items, seed=1); h = Histories.from_lists([[11, 23]])
    assert not {"features", "about.weight"} & set(m.net.state_dict())
    torch.manual_seed(0); net = DecoderNet(m.config, torch.from_numpy(film_features(m.item_ids, items, m.config.parts))).eval()
    x = torch.tensor([[1, 2, 3]]); before = net(x, net.films()); assert net.about.weight.abs().sum() > 0
    torch.testing.assert_close(net.fold()(x, net.films()), before)
    blind = Decoder(DecoderConfig(**SMALL)).fit(contract_data(), seed=1)             # no table of films: by their numbers alone
    assert np.isfinite(blind.score(h)).all() and not np.array_equal(blind.score(h), m.score(h))


def test_a_folder_that_keeps_features_beside_the_weights_is_still_read(tmp_path):
    items = films(np.unique(contract_data().item_id)); m = Decoder(DecoderConfig(**SMALL)).fit(contract_data(), items, seed=1)
    h = Histories.from_lists([[11, 23]]); m.memory = lambda histories: 0.
    m.net = DecoderNet(m.config, torch.from_numpy(film_features(m.item_ids, items, m.config.parts))).eval(); want = m.score(h)
    m.net._non_persistent_buffers_set.clear(); m.save(tmp_path / "m")                # as it was written before vectors were folded
    again = Decoder.load(tmp_path / "m"); again.memory = m.memory
    np.testing.assert_allclose(again.score(h), want, atol=1e-6)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(MovierecError, match="did you mean 'dropout'"): make_model("decoder", dropuot=.1)
    with pytest.raises(MovierecError, match="needs the films' table"): film_features(np.array([1]), None, ["genres"])
    with pytest.raises(MovierecError, match="unknown device"): make_model("decoder", **SMALL | dict(device="tpu")).fit(contract_data())
    with pytest.raises(MovierecError, match="isn't fitted"): Decoder().save(tmp_path / "x")
    m = make_model("decoder", **SMALL).fit(contract_data()); m.save(tmp_path / "m")
    weights = tmp_path / "m/model.safetensors"; weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(MovierecError, match="truncated"): load_model(tmp_path / "m")


def test_exploding_training_stops_with_advice():
    with pytest.raises(MovierecError, match="lower learning_rate"):
        make_model("decoder", **SMALL | dict(learning_rate=1e30, warmup_epochs=0., epochs=50)).fit(contract_data())


def test_a_request_far_from_its_history_is_late_and_not_in_the_same_second():
    net = DecoderNet(DecoderConfig(**SMALL), torch.zeros(12, 0)).eval()
    times = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        late, later, soon = (net.mask(times, torch.tensor([[2, 3, now]]))[0][0, :, -1] for now in (10**9, 4 * 10**9, 3))
    torch.testing.assert_close(late, later)
    assert not torch.allclose(late, soon)


@pytest.mark.parametrize("block", ["transformer", "hstu"])
def test_attention_in_parts_is_attention(block, monkeypatch):
    torch.manual_seed(0)
    c = DecoderConfig(**SMALL | dict(max_len=30, block=block)); net = DecoderNet(c, torch.zeros(12, 0))
    for p in net.parameters(): p.data.normal_(std=0.3)
    x, times = torch.randint(1, 12, (3, 25)), torch.randint(1, 10**6, (3, 25)).cumsum(1)
    times[1] = 0
    asked, at = times + 1000, torch.tensor([24, 9, 3])
    for training, clock in ((True, (times, asked)), (False, (times, asked)), (False, ())):
        got = []
        for rows in (100, 8):
            monkeypatch.setattr("movierec.layers.ROWS", rows); net.train(training); net.zero_grad(); torch.manual_seed(1)
            h = net(x, net.films(), *clock); h.square().sum().backward()
            got.append([h.detach(), *(p.grad for p in net.parameters() if p.grad is not None)])
        assert len(got[0]) == len(got[1]) > 10
        for a, b in zip(*got, strict=True): torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
        if not training: torch.testing.assert_close(net(x, net.films(), *(clock or (None, None)), at)[:, 0], h[range(3), at], rtol=1e-4, atol=1e-4)


def test_a_net_that_keeps_gradients_can_be_asked_without_times():
    torch.manual_seed(0)
    net = DecoderNet(DecoderConfig(**SMALL), torch.zeros(12, 0)).eval(); x = torch.randint(1, 12, (3, 6))
    with torch.no_grad(): want = net(x, net.films())
    torch.testing.assert_close(net(x, net.films()), want)
