"""The cost benchmark counts what it says it counts, and its committed rows agree with themselves."""

import csv
import json
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import cost  # noqa: E402

from movierec.data.sequences import Batch  # noqa: E402
from movierec.models.decoder import DecoderConfig  # noqa: E402

SMALL = DecoderConfig(embedding_dim=16, n_heads=2, n_layers=2, max_len=8)


def test_operations_by_hand():
    "One layer of width 4 on 2 × 3 positions, 5 of them with a target, 7 films."
    got = cost.flops(DecoderConfig(embedding_dim=4, n_heads=1, n_layers=1), 2, 3, 5, 7)
    assert got["projections"] == pytest.approx((3 * 2 * 6 * 4 * 16, 3 * 2 * 6 * 4 * 16 * 5 / 6))  # q, k, v and out: 4 → 16
    assert got["feed-forward"] == pytest.approx((3 * 2 * 6 * 4 * 32, 3 * 2 * 6 * 4 * 32 * 5 / 6))  # up and down
    assert got["attention"] == pytest.approx((3 * 2 * 2 * 2 * 9 * 4, 3 * 2 * 2 * 2 * 9 * 4 / 2 * 5 / 6))  # q·k and p·v, half of it looks back
    assert got["softmax over the catalogue"] == (3 * 2 * 5 * 7 * 4,) * 2


@pytest.mark.parametrize("shape", [(3, 8, 20, 30), (2, 5, 10, 11), (1, 70, 65, 11)])
def test_the_chain_does_as_many_operations_as_are_counted(shape, monkeypatch):
    done = []
    for name in ("mm", "bmm"):
        f = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda a, b, out, f=f: (done.append(2 * a.numel() * b.shape[-1]), f(a, b, out=out))[1])
    counted, (chain, operations) = cost.flops(SMALL, *shape), cost.chain(SMALL, *shape, torch.float32)
    for part, run in chain.items():
        before = len(done)
        run()
        parts = (64 * 64 + 6 * 70) / 70**2 if part == "attention" and shape[1] == 70 else 1  # a step leaves out what nobody sees, the chain doesn't
        assert sum(done[before:]) * parts == pytest.approx(counted[part][0]), part
    assert sum(done) == operations


def test_every_microsecond_belongs_to_one_part():
    rng = np.random.default_rng(0)
    x, t = rng.integers(1, 31, (3, 9)), 10**9 + np.cumsum(rng.integers(0, 10**5, (3, 9)), 1)
    batches = [tuple(Batch(a[:, :-1], a[:, 1:]) for a in (x, t))]
    parts = cost.watched(SMALL, batches, torch.zeros(31, 0), torch.float32)
    assert list(parts) == cost.PARTS and sum(p["share"] for p in parts.values()) == pytest.approx(1, abs=1e-6)
    for part in ("norms", "projections", "attention", "feed-forward", "dropout"):
        assert parts[part]["forward_ms"] > 0 and parts[part]["backward_ms"] > 0, part
    assert parts["softmax over the catalogue"]["forward_ms"] > 0 and parts["optimiser"]["forward_ms"] > 0
    # Time that another process takes falls on any part, so one look of several has to be undisturbed.
    again = (cost.watched(SMALL, batches, torch.zeros(31, 0), torch.float32) for _ in range(10))
    assert any(p["rest"]["share"] < 0.4 for p in chain([parts], again))


def test_the_sampled_softmax_estimates_the_full_one():
    "With draws by a skewed q, corrected by log q, the loss comes near the full softmax; without the correction it would not."
    torch.manual_seed(0)
    n, films = 64, 200
    q = 1 / np.arange(5, films + 5)
    q = torch.from_numpy(q / q.sum())
    h, table, bias = torch.randn(n, 8), torch.randn(films, 8) * 0.5, q.log().float()[:, None]  # what is often drawn scores high
    y = torch.randint(0, films, (n,))
    full = F.cross_entropy(h @ table.T + bias[:, 0], y, reduction="sum")
    near = cost.sampled_loss(h, table, bias, y, q.cumsum(0), q.log().float(), k=40_000)
    off = cost.sampled_loss(h, table, bias, y, q.cumsum(0), torch.full((films,), 1 / films).log(), k=40_000)
    assert abs(near / full - 1) < 0.01 < abs(off / full - 1)


def test_both_losses_and_both_nets_take_steps():
    for kind in ("full", "wide", "sampled"):
        assert cost.timed(cost.loss_step(kind, 300, torch.float32, width=8)) >= 0
    assert cost.timed(cost.net_step(6, 16, torch.float32, films=30, tokens=24)) >= 0


def test_a_plain_sasrec_learns(tmp_path):
    "Two rings of films: after a few passes the next film of the ring comes first, and scores don't depend on padding."
    import sasrec_plain as plain

    from movierec.data.sequences import Histories

    rings = [[1, 2, 3, 4, 5], [6, 7, 8, 9]]
    lists = [[ring[(s + i) % len(ring)] for i in range(6)] for ring in rings for s in range(len(ring)) for _ in range(8)]
    x = np.zeros((len(lists), plain.LENGTH + 1), np.int64)
    x[:, :6] = lists
    torch.manual_seed(0)
    net = plain.Net(9)
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)
    x, losses = x[:, :9], []
    for i in range(12):
        losses.append(plain.epoch(net, opt, x, np.random.default_rng(i)))
    assert losses[-1] < losses[0] / 2
    model = plain.Plain(net, np.arange(1, 10, dtype=np.int32))
    both = model.score(Histories.from_lists([[1, 2, 3], [7]]))
    assert both.argmax(1).tolist() == [3, 7]
    np.testing.assert_allclose(both[1:], model.score(Histories.from_lists([[7]])), atol=1e-4)


# ---- the committed rows -----------------------------------------------------------------------------------------------


def row(name):
    return json.loads((ROOT / "reports/benchmarks" / name).read_text())


def test_the_step_row_agrees_with_itself():
    r = row("cost_step.json")
    assert r["threads"] == 1 and not r["dirty"]
    for x in r["precision"].values():
        assert x["mfu"] == pytest.approx(x["gflop_useful"] / (x["step_ms"] / 1e3) / x["limit_gflops"], rel=0.01)
        assert x["products_share"] == pytest.approx(x["products_alone_ms"] / x["step_ms"], rel=0.01)
        assert sum(p["share"] for p in x["parts"].values()) == pytest.approx(1, abs=0.01)
        assert sum(p["forward_ms"] + p["backward_ms"] for p in x["parts"].values()) == pytest.approx(x["step_ms"], rel=0.3)


def test_the_grow_row_has_all_points():
    rows = row("cost_grow.json")["rows"]
    sizes = dict(full=cost.FILMS, wide=cost.FILMS, sampled=cost.FILMS, length=cost.LENGTHS, width=cost.WIDTHS)
    assert {(r["kind"], r["size"]) for r in rows if r["step_s"] > 0 and r["peak_mb"] > 0} == {(k, n) for k, ns in sizes.items() for n in ns}
    assert (ROOT / "reports/cost/growth.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["cost-decoder-ml-1m-seed0", "sasrec-plain-ml-1m-seed0"])
def test_curves_go_on_in_time(name):
    with open(ROOT / f"reports/runs/{name}.csv") as f:
        rows = list(csv.DictReader(f))
    assert [int(r["epoch"]) for r in rows] == list(range(1, len(rows) + 1))
    seconds = [float(r["processor_s"]) for r in rows]
    assert seconds == sorted(seconds) and seconds[0] > 0 and all(0 < float(r["valid"]) < 1 for r in rows if r["valid"])
