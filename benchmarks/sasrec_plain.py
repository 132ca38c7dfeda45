"""SASRec as one writes it in an afternoon: nn.TransformerEncoder, float32, Adam, padded batches, full softmax.

    python benchmarks/sasrec_plain.py --minutes 35 --work artifacts/sasrec-plain        # goes on where it was stopped

What `benchmarks/cost.py` measures our decoder's training against, beside RecTools' SASRec. The settings are the published ones for
MovieLens 1M (width 64, 2 blocks, 1 head, dropout 0.1, the last 200 films, Adam at 1e-3), with two choices in this loop's favour: the
full softmax over the catalogue instead of one sampled negative (0.18 instead of 0.13 in the published comparison), computed at the
positions that have a target only; and batches of 32 users instead of 128, which learned sooner in RecTools' search
(reports/searches/peers.csv). One thread; no times are read. After each epoch: NDCG@10 on valid, by the
code that measures our own models, and processor seconds without that look, in reports/runs/sasrec-plain-ml-1m-seed0.csv.
"""
import argparse
import csv
import json
import os
import time
from pathlib import Path

os.environ |= dict(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from movierec.core import home
from movierec.data.datasets import load_dataset
from movierec.data.sequences import Histories, Vocab, pad_last
from movierec.data.split import make_split
from movierec.evaluate import watch_valid
from movierec.recommender import Recommender
from movierec.train import load_checkpoint, save_checkpoint

WIDTH, BLOCKS, HEADS, DROPOUT, LENGTH, BATCH, RATE = 64, 2, 1, .1, 200, 32, 1e-3
FIELDS = ["epoch", "loss", "valid", "processor_s", "wall_s"]
REPORTS = Path(__file__).resolve().parents[1] / "reports"


class Net(nn.Module):
    "Film numbers (B, L), 0 pads on the right → vectors (B, L, D)."
    def __init__(self, n_items):
        super().__init__()
        self.item, self.place = nn.Embedding(n_items + 1, WIDTH, padding_idx=0), nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, DROPOUT, "gelu", batch_first=True, norm_first=True)
        self.blocks, self.drop = nn.TransformerEncoder(layer, BLOCKS, nn.LayerNorm(WIDTH), enable_nested_tensor=False), nn.Dropout(DROPOUT)
        for e in (self.item, self.place): nn.init.normal_(e.weight, std=.02)

    def forward(self, x):
        h = self.drop(self.item(x) + self.place.weight[:x.shape[1]])
        return self.blocks(h, nn.Transformer.generate_square_subsequent_mask(x.shape[1]), is_causal=True)


class Plain(Recommender):
    "The network as a recommender, so that our own code can measure it."
    name = "sasrec-plain"
    def __init__(self, net, item_ids): super().__init__(); self.net, self.item_ids = net, item_ids

    @torch.no_grad()
    def score(self, histories):
        self.net.eval(); x, _, n = pad_last(histories, Vocab(self.item_ids), LENGTH)
        h = [self.net(torch.from_numpy(part))[torch.arange(len(part)), torch.from_numpy(np.maximum(m - 1, 0))]
             for part, m in ((x[a:a + 128], n[a:a + 128]) for a in range(0, len(x), 128))]
        return (torch.cat(h) @ self.net.item.weight[1:].T).numpy()


def epoch(net, opt, x, rng):
    "One pass over the users (U, LENGTH + 1), 0 pads on the right; gives the mean loss."
    net.train(); total = n = 0
    for at in np.array_split(rng.permutation(len(x)), -(-len(x) // BATCH)):
        batch = torch.from_numpy(x[at]); y = batch[:, 1:]
        h = net(batch[:, :-1])[y > 0]                                           # (N, D)
        loss = F.cross_entropy(h @ net.item.weight[1:].T, y[y > 0] - 1)
        opt.zero_grad(); loss.backward(); opt.step()
        total += loss.item() * len(h); n += len(h)
    return total / n


def main(a):
    torch.set_num_threads(1); torch.manual_seed(a.seed)
    split = make_split(load_dataset(a.data), "leave-last-out")
    h = Histories.from_table(split.train); item_ids = np.unique(h.item_ids)
    x, _, _ = pad_last(h, Vocab(item_ids), LENGTH + 1)
    net = Net(len(item_ids)); opt = torch.optim.Adam(net.parameters(), lr=RATE, betas=(.9, .98))
    if a.clock:                                        # how long an epoch takes, from a share of it; nothing is kept
        some = np.random.default_rng(0).permutation(len(x))[:a.clock * BATCH]; epoch(net, opt, x[some[:2 * BATCH]], np.random.default_rng(0))
        began = time.process_time(); epoch(net, opt, x[some], np.random.default_rng(0))
        return print(f"{(time.process_time() - began) * len(x) / len(some):.2f} processor seconds an epoch")
    look = watch_valid(Plain(net, item_ids), split.train, split.valid)
    log, rows = a.log or REPORTS / f"runs/sasrec-plain-{a.data}-seed{a.seed}.csv", []
    if (a.work / "checkpoint").is_dir():
        rows = json.loads((a.work / "checkpoint/state.json").read_text())["rows"]; load_checkpoint(a.work / "checkpoint", net, opt)
    while len(rows) < a.epochs and (rows[-1]["processor_s"] if rows else 0) < 60 * a.minutes:
        cpu, wall, last = time.process_time(), time.perf_counter(), rows[-1] if rows else dict(processor_s=0, wall_s=0)
        loss = epoch(net, opt, x, np.random.default_rng([a.seed, len(rows)]))
        took = time.process_time() - cpu, time.perf_counter() - wall             # without the look at valid
        rows.append(dict(epoch=len(rows) + 1, loss=loss, valid=look(), processor_s=last["processor_s"] + took[0], wall_s=last["wall_s"] + took[1]))
        print(", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()), flush=True)
        save_checkpoint(a.work / "checkpoint", net, {}, opt, dict(rows=rows))
        with open(log, "w", newline="") as f:
            w = csv.DictWriter(f, FIELDS); w.writeheader(); w.writerows(rows)


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", default="ml-1m")
    ap.add_argument("--minutes", type=float, default=35, help="processor minutes of training")
    ap.add_argument("--epochs", type=int, default=200)
    ap.add_argument("--clock", type=int, default=0, metavar="BATCHES", help="only say what an epoch takes, from so many batches")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--work", type=Path, default=home() / "sasrec-plain", help="checkpoint")
    ap.add_argument("--log", type=Path, help="CSV (default: in reports/runs)")
    main(ap.parse_args())
