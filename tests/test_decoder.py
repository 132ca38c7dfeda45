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


def test_every_position_is_causal():
    torch.manual_seed(0)
    net = DecoderNet(DecoderConfig(**SMALL | dict(n_layers=3)), torch.zeros(12, 0)).eval()
    x = torch.randint(1, 12, (4, 8))
    for t in range(7):
        y = x.clone(); y[:, t + 1:] = torch.randint(1, 12, (4, 7 - t))
        with torch.no_grad(): torch.testing.assert_close(net(x, net.films())[:, :t + 1], net(y, net.films())[:, :t + 1])


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
