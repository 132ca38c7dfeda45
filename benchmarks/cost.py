"""What training the decoder costs: where a step's milliseconds go, how soon it is good, how the cost grows.

    python benchmarks/cost.py step                 # row: reports/benchmarks/cost_step.json
    python benchmarks/cost.py curve                # reports/runs/cost-decoder-ml-1m-seed0.csv
    python benchmarks/cost.py grow                 # rows: reports/benchmarks/cost_grow.json
    python benchmarks/cost.py figures              # of the rows: reports/cost/*.png

step: whole training steps on batches of MovieLens 1M, in turns with nothing but the matrix products of such a step, same shapes, same
precision, operands at hand: that is the limit of this processor for this network. Model FLOPs utilisation (MFU) is the useful
floating-point operations over (time × the limit's operations a second). One step in five is watched by torch's profiler, which says
what each part takes, forward and backward; those steps are not among the timed ones.
curve: the default training from a cold start, its processor seconds and its NDCG@10 on valid, asked without and with the time of the request.
grow: one fresh process a point, so that the peak of memory is its own: catalogue to a million films (full softmax in chunks, sampled
softmax with logQ), histories to 2,000 films, width to 512.

Seconds are processor seconds of one thread: on a quiet machine those of the clock, on a busy one the fairer number.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

os.environ |= dict(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", MOVIEREC_PROGRESS="0")

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

import movierec.layers as layers
import movierec.models.decoder as decoder
from movierec.core import write_json
from movierec.data.datasets import load_dataset
from movierec.data.sequences import Batch, Histories, Vocab, make_batch, training_batches
from movierec.data.split import make_split
from movierec.evaluate import origin, watch_valid
from movierec.layers import ROWS, row_parts
from movierec.losses import linear_cross_entropy
from movierec.models.decoder import Decoder, DecoderConfig, DecoderNet, film_features, next_item_loss
from movierec.train import autocast, pick_precision

REPORTS = Path(__file__).resolve().parents[1] / "reports"
CPU = torch.device("cpu")


def machine(): return dict(cores=os.cpu_count(), threads=torch.get_num_threads(), load_average=round(os.getloadavg()[0], 1), kind="processor seconds of one thread")


def stepper(net, dtype, opt=None):
    "A function that takes one training step, as `movierec.train` does, on (items, times); gives the number of targets."
    opt = opt or torch.optim.AdamW(net.parameters(), lr=2e-3, betas=(.9, .98), weight_decay=.01, fused=True)
    def step(batch):
        with autocast(CPU, dtype): total, n = next_item_loss(net, *batch)
        (total / n).backward()
        with record_function("part: optimiser"):
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.); opt.step(); opt.zero_grad(set_to_none=True)
        return n
    return step


# ---- step -------------------------------------------------------------------------------------------------------------

PARTS = ["embedding", "norms", "projections", "attention", "bias of time and place", "feed-forward", "dropout", "softmax over the catalogue", "optimiser", "rest"]


def labelled(name, f):
    def run(*a, **k):
        with record_function(f"part: {name}"): return f(*a, **k)
    return run


def label(net):
    "Name the parts of a network, so that the profiler's events can be told apart."
    for name, m in net.named_modules():
        kind = type(m).__name__
        part = {"Dropout": "dropout", "LayerNorm": "norms", "RMSNorm": "norms", "AttentionBias": "bias of time and place"}.get(kind)
        if name.endswith((".qkv", ".out")): part = "projections"
        if name.endswith((".up", ".down")): part = "feed-forward"
        if name in ("gap", "about"): part = "embedding"
        if part: m.forward = labelled(part, m.forward)
    net.mask = labelled("bias of time and place", net.mask)


def parts_of(events):
    """Part → milliseconds, forward and backward. A backward event has the sequence number of the forward one, which stood inside a part;
    where parts stand inside one another, the innermost counts."""
    owner, own = {}, lambda e: e.self_cpu_time_total / 1e3
    spent = defaultdict(lambda: [0., 0.])
    def inside(e):
        while e is not None:
            if e.name.startswith("part: "): return e.name[6:]
            if "::evaluate_function" in e.name or e.name.startswith("autograd::"): return None
            e = e.cpu_parent
    def guess(e):                                        # functions that aren't modules, by the names of their operations
        name = e.name
        if "gelu" in name: return "feed-forward"
        if name.startswith(("aten::embedding", "EmbeddingBackward", "aten::index_put", "aten::embedding_dense")): return "embedding"
        return "rest"
    forward = [e for e in events if inside(e)]
    for e in forward:
        if e.sequence_nr >= 0: owner.setdefault(e.sequence_nr, inside(e))
    for e in events:
        part, way, up = inside(e), 0, e
        if part is None:
            while up is not None and "evaluate_function" not in up.name: up = up.cpu_parent
            if up is not None: way, part = 1, owner.get(up.sequence_nr)
            if part is None:
                root = e
                while root.cpu_parent is not None and "evaluate_function" not in root.name: root = root.cpu_parent
                part = guess(root) if guess(root) != "rest" else guess(e)
        spent[part][way] += own(e)
    return dict(spent)


def flops(c, rows, length, targets, n_items):
    "Floating-point operations of a step by part: {part: (executed, useful)}; a product of (m, k) and (k, n) is 2mkn, backward twice that."
    tokens, D = rows * length, c.embedding_dim
    dense = lambda width: 3 * 2 * tokens * D * width * c.n_layers
    share = targets / tokens                             # padding is executed and of no use; attention looks back only: half a square,
    pairs = sum((b - a) * b for a, b in row_parts(length, CPU)) if length > ROWS else length**2   # of which its parts execute a little more
    return {"projections": (dense(4 * D), dense(4 * D) * share), "feed-forward": (dense(8 * D), dense(8 * D) * share),
            "attention": (3 * 4 * rows * pairs * D * c.n_layers, 3 * 4 * rows * length**2 * D * c.n_layers / 2 * share),
            "softmax over the catalogue": (3 * 2 * targets * n_items * D,) * 2}


def chain(c, rows, length, targets, n_items, dtype):
    "Part → function that does the matrix products of such a step's part and nothing else, each into a place of its own, whole squares for attention; and their operations."
    tokens, D, H = rows * length, c.embedding_dim, c.n_heads
    r = lambda *s: torch.randn(*s).to(dtype)
    work = defaultdict(list)
    def add(part, a, b): work[part].append((torch.bmm if a.dim() == 3 else torch.mm, a, b, torch.empty(*a.shape[:-1], b.shape[-1], dtype=dtype)))
    for _ in range(c.n_layers):
        for part, k, n in (("projections", D, 3 * D), ("projections", D, D), ("feed-forward", D, 4 * D), ("feed-forward", 4 * D, D)):
            x, w, g = r(tokens, k), r(n, k), r(tokens, n)
            for pair in ((x, w.t()), (g, w), (g.t(), x)): add(part, *pair)
        (q, k, v), p = (r(rows * H, length, D // H) for _ in range(3)), r(rows * H, length, length)
        for pair in ((q, k.mT), (p, v), (q, v.mT), (p, k), (p.mT, q), (p.mT, v)): add("attention", *pair)
    w = r(n_items, D)
    for i in range(0, targets, 2048):
        m = min(2048, targets - i); h, p = r(m, D), r(m, n_items)
        for pair in ((h, w.t()), (p, w), (p.t(), h)): add("softmax over the catalogue", *pair)
    def run(part):
        for f, a, b, out in work[part]: f(a, b, out=out)
    return {part: lambda part=part: run(part) for part in work}, sum(2 * out.numel() * a.shape[-1] for products in work.values() for _, a, _, out in products)


def timed(f, *a):
    began = time.process_time(); f(*a); return time.process_time() - began


def real_batches(data, c, n, seed=0):
    "Batches of an epoch over MovieLens, as the default training makes them, and what is known of the films (n+1, F)."
    dataset = load_dataset(data); h = Histories.from_table(make_split(dataset, "leave-last-out").train)
    vocab = Vocab(np.unique(h.item_ids)); inner = vocab.encode(h.item_ids)
    plan = training_batches(h.offsets, c.max_len, c.batch_tokens, np.random.default_rng(seed))
    return [tuple(make_batch(a, *g, c.max_len) for a in (inner, h.timestamps)) for g in plan[:n]], torch.from_numpy(film_features(vocab.item_ids, dataset.items, c.parts))


def step(a):
    torch.set_num_threads(1)
    base = DecoderConfig(); batches, features = real_batches(a.data, base, a.batches); n_items, rows, out = len(features) - 1, [], {}
    for precision in a.precision:
        dtype = pick_precision(precision, CPU); torch.manual_seed(0)
        net = DecoderNet(base, features).train(); run = stepper(net, dtype)
        for b in batches[:2]: run(b)
        took, limit, done, useful, executed, each = [], [], [], [], [], []
        for b in batches:
            shape = (*b[0].inputs.shape, b[0].n_tokens, n_items)
            products, operations = chain(base, *shape, dtype)
            for f in products.values(): f()
            for _ in range(2):
                took.append(timed(run, b)); alone = {part: timed(f) for part, f in products.items()}
                limit.append(sum(alone.values())); each.append(alone)
            fl = flops(base, *shape); done.append(operations); executed.append(sum(x for x, _ in fl.values())); useful.append(sum(u for _, u in fl.values()))
            rows.append(dict(precision=str(dtype)[6:], rows=shape[0], length=shape[1], targets=shape[2], step_ms=1e3 * np.median(took[-2:]), limit_ms=1e3 * np.median(limit[-2:])))
        seconds, chained = sum(took) / 2, sum(limit) / 2
        out[str(dtype)[6:]] = dict(
            step_ms=1e3 * seconds / len(batches), products_alone_ms=1e3 * chained / len(batches),
            gflop_executed=np.mean(executed) / 1e9, gflop_useful=np.mean(useful) / 1e9, limit_gflops=sum(done) / chained / 1e9,
            mfu=sum(useful) / seconds / (sum(done) / chained), products_share=chained / seconds,
            parts=watched(base, batches[: a.watched], features, dtype))
        for part in each[0]: out[str(dtype)[6:]]["parts"][part]["products_alone_ms"] = 1e3 * float(np.mean([e[part] for e in each]))
        print(json.dumps(out[str(dtype)[6:]], indent=1, default=float), flush=True)
    write_json(a.out / "benchmarks/cost_step.json", rounded(dict(benchmark="cost_step", dataset=a.data, batches=len(batches), n_items=n_items, precision=out, each=rows, **machine(), **origin())))


def watched(c, batches, features, dtype):
    "Milliseconds a step by part: {part: dict(forward, backward, share, executed and useful GFLOP)}."
    torch.manual_seed(0); net = DecoderNet(c, features).train(); run = stepper(net, dtype); label(net)
    saved = decoder.linear_cross_entropy, layers.by_parts
    decoder.linear_cross_entropy = labelled("softmax over the catalogue", saved[0])
    layers.by_parts = labelled("attention", saved[1])
    try:
        run(batches[0])
        with profile(activities=[ProfilerActivity.CPU]) as p:
            for b in batches: run(b)
    finally: decoder.linear_cross_entropy, layers.by_parts = saved
    spent = parts_of([e for e in p.events() if e.device_type == DeviceType.CPU]); total = sum(f + b for f, b in spent.values())
    fl = [flops(c, *b[0].inputs.shape, b[0].n_tokens, len(features) - 1) for b in batches]
    mean = lambda part, i: sum(f.get(part, (0, 0))[i] for f in fl) / len(fl) / 1e9
    return {part: dict(forward_ms=spent.get(part, [0, 0])[0] / len(batches), backward_ms=spent.get(part, [0, 0])[1] / len(batches),
                       share=sum(spent.get(part, [0, 0])) / total, gflop_executed=mean(part, 0), gflop_useful=mean(part, 1)) for part in PARTS}


def rounded(x, digits=4):
    "Floats to some significant digits, everywhere."
    if isinstance(x, dict): return {k: rounded(v, digits) for k, v in x.items()}
    if isinstance(x, (list, tuple)): return [rounded(v, digits) for v in x]
    return float(f"{x:.{digits}g}") if isinstance(x, (float, np.floating)) else x


# ---- curve ------------------------------------------------------------------------------------------------------------


class Enough(Exception): "The epochs that were wanted are done."


def curve(a):
    "The default training, looked at after some epochs; the seconds of looking are not counted."
    torch.set_num_threads(1); began = time.process_time(); wall = time.perf_counter()
    dataset = load_dataset(a.data); split = make_split(dataset, "leave-last-out"); rows = []
    model = Decoder(DecoderConfig(eval_every=1, patience=999, device="cpu")); at = set(a.looks)
    state = dict(cpu=began, wall=wall, spent=0., clock=0.)

    class Untold:
        "The model, never told when it is asked."
        uses_now = False
        def __getattr__(self, name): return getattr(model, name)

    def looks(_, train, valid):
        ways = dict(valid=watch_valid(Untold(), train, valid), valid_query_time=watch_valid(model, train, valid))
        def look():
            state["spent"] += time.process_time() - state["cpu"]; state["clock"] += time.perf_counter() - state["wall"]
            epoch = len(rows) + 1; seen = {k: (f() if epoch in at else None) for k, f in ways.items()}
            rows.append(dict(epoch=epoch, **seen, processor_s=round(state["spent"], 2), wall_s=round(state["clock"], 1)))
            print(rows[-1], flush=True)
            with open(a.out / f"runs/cost-decoder-{a.data}-seed{a.seed}.csv", "w", newline="") as f:
                w = csv.DictWriter(f, rows[0]); w.writeheader(); w.writerows(rows)
            if epoch >= a.epochs: raise Enough
            state.update(cpu=time.process_time(), wall=time.perf_counter())
            return seen["valid_query_time"] or -1.
        return look
    decoder.watch_valid = looks
    try: model.fit(split.train, dataset.items, valid=split.valid, seed=a.seed)
    except Enough: pass


# ---- grow -------------------------------------------------------------------------------------------------------------

FILMS, LENGTHS, WIDTHS = (3_706, 15_000, 60_000, 250_000, 1_000_000), (50, 100, 200, 500, 1_000, 2_000), (64, 128, 256, 512)
NEGATIVES, TOKENS, TARGETS, WIDE = 1_024, 4_000, 2_048, 512


def sampled_loss(h, table, bias, y, cumulative, log_q, k=NEGATIVES):
    "Softmax over the target and `k` films drawn from q for the whole batch, each logit less log(k q): (Bengio and Senécal 2008; Yi et al. 2019)."
    j = torch.searchsorted(cumulative, torch.rand(k, dtype=cumulative.dtype)).clamp(max=len(log_q) - 1)
    e, own = F.embedding(torch.cat([j, y]), table, sparse=True).split([k, len(y)])
    b = F.embedding(torch.cat([j, y]), bias, sparse=True).squeeze(1)           # bias (V, 1)
    negative = h @ e.t() + (b[:k] - log_q[j] - np.log(k))
    negative = negative.masked_fill(y[:, None] == j, -torch.inf)
    return F.cross_entropy(torch.cat([((h * own).sum(1) + b[k:])[:, None], negative], 1).float(), torch.zeros(len(y), dtype=torch.long), reduction="sum")


def loss_step(kind, films, dtype, width=128):
    "A step of loss, gradients and optimiser over a catalogue, for positions whose vectors are given: full, wide (`WIDE` positions at a time) or sampled."
    table, bias = (torch.empty(films, width).normal_(std=.05)).requires_grad_(), torch.zeros(*((films, 1) if kind == "sampled" else (films,)), requires_grad=True)
    h, rng = torch.randn(TARGETS, width, requires_grad=True), np.random.default_rng(0)
    q = 1 / np.arange(10, films + 10); q = torch.from_numpy(q / q.sum()); cumulative, log_q = q.cumsum(0), q.log().float()
    y = torch.from_numpy(rng.choice(films, TARGETS, p=q.numpy()))
    opt = (torch.optim.SparseAdam if kind == "sampled" else torch.optim.AdamW)([table, bias], lr=1e-3)
    def run():
        with autocast(CPU, dtype):
            if kind == "sampled": loss = sampled_loss(h, table, bias, y, cumulative, log_q)
            else: loss = linear_cross_entropy(h, table, bias, y, WIDE if kind == "wide" else None)
        (loss / TARGETS).backward(); opt.step(); opt.zero_grad(set_to_none=True); h.grad = None
    return run


def net_step(length, width, dtype, films=3_706, tokens=TOKENS):
    "A whole training step of the decoder on made-up histories."
    c = DecoderConfig(max_len=length, embedding_dim=width); torch.manual_seed(0)
    run = stepper(DecoderNet(c, torch.zeros(films + 1, 0)).train(), dtype); rng = np.random.default_rng(0)
    x = rng.integers(1, films + 1, (max(1, tokens // length), length + 1)); t = 10**9 + np.cumsum(rng.integers(0, 10**5, x.shape), 1)
    batch = tuple(Batch(a[:, :-1], a[:, 1:]) for a in (x, t))
    return lambda: run(batch)


def memory(field):
    "A line of /proc/self/status in MB."
    with open("/proc/self/status") as f: return next(int(line.split()[1]) for line in f if line.startswith(field)) / 1024


def point(a):
    "One point of `grow`, in a process of its own: prints its row."
    torch.set_num_threads(1); kind, size = a.point.split(":"); size = int(size); dtype = pick_precision("auto", CPU)
    start = memory("VmRSS")
    run = net_step(size, 128, dtype) if kind == "length" else net_step(200, size, dtype) if kind == "width" else loss_step(kind, size, dtype)
    seconds = [timed(run)]; first = seconds.pop() if seconds[0] < a.seconds else 0    # the first one warms up, unless it takes that long
    while len(seconds) < 2 or (len(seconds) < a.repeats and first + sum(seconds) < a.seconds): seconds.append(timed(run))
    print(json.dumps(dict(kind=kind, size=size, step_s=float(np.median(seconds)), steps=len(seconds), peak_mb=memory("VmHWM") - start, precision=str(dtype)[6:])))


def grow(a):
    points = [f"{k}:{n}" for k, sizes in dict(length=LENGTHS, width=WIDTHS, sampled=FILMS, wide=FILMS, full=FILMS).items() for n in sizes]
    rows = []
    for p in points:
        got = subprocess.run([sys.executable, __file__, "point", "--point", p, "--repeats", str(a.repeats), "--seconds", str(a.seconds)], capture_output=True, text=True)
        rows.append(json.loads(got.stdout.splitlines()[-1]) if not got.returncode else dict(kind=p.split(":")[0], size=int(p.split(":")[1]), failed=got.stderr.strip().splitlines()[-1:]))
        print(rows[-1], flush=True)
        write_json(a.out / "benchmarks/cost_grow.json", rounded(dict(benchmark="cost_grow", rows=rows, tokens=TOKENS, targets=TARGETS, negatives=NEGATIVES, wide=WIDE, width=128,
                                                                     **machine(), **origin())))


# ---- figures ----------------------------------------------------------------------------------------------------------


def figures(a):
    "The rows as pictures."
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt, ticker
    row = json.loads((a.out / "benchmarks/cost_grow.json").read_text(encoding="utf-8"))
    of = lambda kind: sorted((r for r in row["rows"] if r["kind"] == kind and "step_s" in r), key=lambda r: r["size"])
    panels = [("films in the catalogue", {"full softmax, chunks of 16 MB": of("full"), f"full, {row['wide']} positions at a time": of("wide"), f"{row['negatives']:,} sampled, logQ": of("sampled")}),
              ("films in a history", {"whole step": of("length")}), ("width", {"whole step": of("width")})]
    fig, axes = plt.subplots(2, 3, figsize=(10.5, 5.4), sharex="col")
    for col, (what, lines) in enumerate(panels):
        for name, rows in lines.items():
            size = [r["size"] for r in rows]
            axes[0, col].loglog(size, [r["step_s"] for r in rows], "o-", ms=4, label=name); axes[1, col].loglog(size, [r["peak_mb"] for r in rows], "o-", ms=4, label=name)
            axes[1, col].set_xticks(size, [f"{n / 1e6:g}M" if n >= 1e6 else f"{n / 1e3:g}k" if n >= 1e4 else f"{n:,}" for n in size], fontsize=8)
        axes[1, col].set_xlabel(what); axes[1, col].xaxis.set_minor_locator(ticker.NullLocator())
        for ax in axes[:, col]:
            ax.grid(alpha=.3); ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}"); ax.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes[0, 0].set_ylabel("processor seconds a step"); axes[1, 0].set_ylabel("peak memory, MB"); axes[0, 0].legend(fontsize=8)
    axes[0, 0].set_title("loss, gradients, optimiser", fontsize=9); axes[0, 1].set_title(f"{row['tokens']:,} positions a step", fontsize=9); axes[0, 2].set_title(f"{row['tokens']:,} positions a step", fontsize=9)
    fig.tight_layout(); (a.out / "cost").mkdir(exist_ok=True); fig.savefig(a.out / "cost/growth.png", dpi=110, metadata=dict(Software=None))
    print(a.out.name + "/cost/growth.png")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["step", "curve", "grow", "figures", "point"])
    ap.add_argument("--data", default="ml-1m")
    ap.add_argument("--out", type=Path, default=REPORTS)
    ap.add_argument("--batches", type=int, default=24, help="of `step`")
    ap.add_argument("--watched", type=int, default=6, help="of them, the profiler's")
    ap.add_argument("--precision", nargs="+", default=["auto", "float32"], choices=["auto", "bfloat16", "float32"])
    ap.add_argument("--epochs", type=int, default=26, help="of `curve`: it stops after so many, the schedule stays")
    ap.add_argument("--looks", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 26], help="epochs after which valid is looked at")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--repeats", type=int, default=5, help="of `grow`: steps a point, at most")
    ap.add_argument("--seconds", type=float, default=8, help="and about so many seconds")
    ap.add_argument("--point", help="of `point`, such as full:60000")
    args = ap.parse_args()
    dict(step=step, curve=curve, grow=grow, figures=figures, point=point)[args.what](args)
