"""The chunked softmax loss beside plain `F.cross_entropy`, at MovieLens 1M size.

    python benchmarks/loss.py [--threads 2] [--repeats 9]

1. One whole training step of the default decoder (forward, backward, clipping, AdamW) on one batch of 12,800 positions
   over 3,706 films: every variant in turn, several rounds, medians, so that a busy machine slows all alike.
2. Peak memory of the loss alone by number of positions, each in a fresh process (Linux).
"""
import argparse
import subprocess
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

from movierec.data.sequences import Batch
from movierec.losses import linear_cross_entropy
from movierec.models.decoder import DecoderConfig, DecoderNet, next_item_loss
from movierec.train import autocast

FILMS, ROWS, LENGTH = 3706, 64, 200


def plain_loss(net, batch):
    "What one writes first: all logits at once, then F.cross_entropy; padding is ignored by index."
    x, y = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
    films = net.films()
    logits = F.linear(net(x, films), films[1:], net.bias)
    return F.cross_entropy(logits.flatten(0, 1), y.flatten() - 1, ignore_index=-1, reduction="sum"), int((y > 0).sum())


def stepper(loss, dtype):
    "A function that takes one training step of a fresh decoder."
    torch.manual_seed(0)
    net = DecoderNet(DecoderConfig(bias="", query_time=False), torch.zeros(FILMS + 1, 0)).train()
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
    x = np.random.default_rng(0).integers(1, FILMS + 1, (ROWS, LENGTH + 1))
    batch = Batch(x[:, :-1], x[:, 1:])

    def step():
        with autocast(torch.device("cpu"), dtype): total, n = loss(net, batch)
        (total / n).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.)
        opt.step(); opt.zero_grad(set_to_none=True)
    return step


def loss_only(loss, dtype):
    "A function that computes the loss and its gradients, nothing else."
    torch.manual_seed(0)
    h, w, b = (torch.randn(*s).requires_grad_() for s in ((ROWS * LENGTH, 128), (FILMS, 128), (FILMS,)))
    y = torch.randint(0, FILMS, (len(h),))

    def step():
        with autocast(torch.device("cpu"), dtype): total = loss(h, w, b, y)
        torch.autograd.grad(total, (h, w, b))
    return step


def timed(variants, repeats):
    "Median seconds of each variant, run in turn."
    for f in variants.values(): f(); f()
    times = {name: [] for name in variants}
    for _ in range(repeats):
        for name, f in variants.items():
            t = time.perf_counter(); f(); times[name].append(time.perf_counter() - t)
    return {name: float(np.median(t)) for name, t in times.items()}


def peak_mb(kind, positions):
    "Peak memory (MB above the start) of loss and gradients in a fresh process."
    out = subprocess.run([sys.executable, __file__, "--child", kind, str(positions)], capture_output=True, text=True, check=True)
    return float(out.stdout)


def plain_linear(h, w, b, y): return F.cross_entropy(F.linear(h, w, b), y, reduction="sum")


def memory(field):
    "A line of /proc/self/status in MB."
    with open("/proc/self/status") as f: return next(int(line.split()[1]) for line in f if line.startswith(field)) / 1024


def child(kind, positions):
    torch.manual_seed(0)
    h, w, b = torch.randn(positions, 128), torch.randn(FILMS, 128), torch.zeros(FILMS)
    y = torch.randint(0, FILMS, (positions,))
    for x in (h, w, b): x.requires_grad_()
    loss = linear_cross_entropy if kind == "chunked" else plain_linear
    torch.autograd.grad(loss(h[:64], w, b, y[:64]), (h, w, b))   # libraries and threads up before the first reading
    with open("/proc/self/clear_refs", "w") as f: f.write("5")   # Linux: start the high-water mark anew
    start = memory("VmRSS")
    torch.autograd.grad(loss(h, w, b, y), (h, w, b))
    print(memory("VmHWM") - start)


def table(title, seconds, base):
    print(f"\n{title}")
    for name, s in seconds.items(): print(f"  {name:28} {s * 1000:8.0f} ms   {seconds[base] / s:5.2f}x")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]: child(sys.argv[2], int(sys.argv[3])); sys.exit()
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--repeats", type=int, default=9)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    f32, bf16 = torch.float32, torch.bfloat16
    losses = {"plain": plain_linear, "chunked": linear_cross_entropy}
    table("loss and its gradients", timed({f"{k} {d}": loss_only(f, t) for d, t in (("float32", f32), ("bfloat16", bf16))
                                           for k, f in losses.items()}, a.repeats), "plain float32")
    steps = {"plain": plain_loss, "chunked": next_item_loss}
    table("whole training step", timed({f"{k} {d}": stepper(f, t) for d, t in (("float32", f32), ("bfloat16", bf16))
                                        for k, f in steps.items()}, a.repeats), "plain float32")
    if not sys.platform.startswith("linux"): sys.exit()
    print("\npeak memory of the loss, MB above the inputs")
    for n in (3_200, 12_800, 51_200):
        print(f"  {n:7,} positions: plain {peak_mb('plain', n):7.0f}   chunked {peak_mb('chunked', n):7.0f}")
