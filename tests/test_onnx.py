"""The decoder's ONNX graph gives the network's vectors, to 1e-4: with times and without, told when it is asked or not, padded or not."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from movierec.models.decoder import Decoder, DecoderConfig, DecoderNet, asked_at, last_vectors

pytest.importorskip("onnx", reason="no onnx: pip install -e '.[dev]'")
pytest.importorskip("onnxruntime", reason="no onnxruntime: pip install -e '.[dev]'")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from onnx_export import export, session  # noqa: E402

FILMS, KINDS = 60, {
    "default": {},
    "three-layers": dict(n_layers=3, n_heads=8),
    "no-place": dict(bias="time"),
    "no-bias": dict(bias=""),
    "untimed": dict(bias="", query_time=False),
    "rotary": dict(position="rotary", norm="rms", feed="swiglu", gated=True),
    "cosine": dict(head="cosine"),
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    "A network with large weights, so that its parts matter, and its graph."
    torch.manual_seed(1)
    config = DecoderConfig(**dict(embedding_dim=32, n_heads=2) | KINDS[request.param])
    net = DecoderNet(config, torch.zeros(FILMS + 1, 0)).eval()
    for p in net.parameters():
        p.data.add_(torch.randn_like(p), alpha=0.1)
    path = export(net, tmp_path_factory.mktemp("onnx") / "decoder.onnx")
    return net, session(path)


def questions(batch, length, timed, seed=0):
    "(x, times, asked, lengths) of padded histories, the first of full length; `timed`: the share of them with times."
    rng = np.random.default_rng(seed)
    n = np.r_[length, rng.integers(1, length + 1, batch - 1)]
    there = np.arange(length) < n[:, None]
    x = np.where(there, rng.integers(1, FILMS + 1, (batch, length)), 0)
    known = there & (np.arange(batch) < timed * batch)[:, None]
    gaps = np.where(rng.random((batch, length)) < 0.7, rng.integers(0, 60, (batch, length)), rng.integers(0, 10**7, (batch, length)))
    times = np.where(known, 10**9 + np.cumsum(gaps, 1), 0)
    now = np.where(known.any(1), times.max(1) + rng.integers(0, 10**6, batch), 0)
    return x, times, asked_at(times, n, now), n


@pytest.mark.parametrize("batch, length, timed", [(1, 200, 1), (5, 33, 1), (32, 200, 1), (6, 50, 0.5), (4, 20, 0), (1, 1, 1), (3, 2, 0)])
def test_the_graph_gives_the_networks_vectors(batch, length, timed, both):
    net, graph = both
    asked = questions(batch, length, timed)
    want, got = last_vectors(net, *asked), graph(*asked)
    assert got.shape == want.shape == (batch, 32)
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)


def test_times_and_the_time_of_the_request_matter_to_the_graph(both):
    "Or the comparison above would say little of them."
    net, graph = both
    x, times, asked, n = questions(5, 33, 1)
    base, later = graph(x, times, asked, n), asked.copy()
    later[np.arange(5), n - 1] += 10**8
    assert (np.abs(graph(x, times, later, n) - base).max() > 1e-2) == (net.gap is not None or net.attention_bias is not None)
    spread = np.where(times > 0, 2 * times - times[:, :1], 0)
    assert (np.abs(graph(x, spread, asked_at(spread, n, spread.max(1)), n) - base).max() > 1e-2) == (net.gap is not None or net.attention_bias is not None)


def test_padding_says_nothing(both):
    net, graph = both
    x, times, asked, n = questions(4, 12, 1)
    wide = [np.pad(a, ((0, 0), (0, 9))) for a in (x, times, asked)]
    np.testing.assert_allclose(graph(*wide, n), graph(x, times, asked, n), atol=1e-5)


def test_the_published_decoder_as_a_graph(tmp_path):
    "The weights that come with movierec, at their real size."
    import json

    from safetensors.torch import load_file

    from movierec.pretrained import PLACE

    folder = PLACE / "decoder-ml-1m"
    config = Decoder.Config(**json.loads((folder / "config.json").read_text())["config"])
    ids = np.load(folder / "item_ids.npy", allow_pickle=False)
    net = DecoderNet(config, torch.zeros(len(ids) + 1, 0))
    net.load_state_dict(load_file(folder / "model.safetensors"))
    net.eval()
    graph = session(export(net, tmp_path / "decoder.onnx"))
    for timed in (1, 0.5, 0):
        asked = questions(8, 200, timed, seed=3)
        np.testing.assert_allclose(graph(*asked), last_vectors(net, *asked), atol=1e-4, rtol=0)
