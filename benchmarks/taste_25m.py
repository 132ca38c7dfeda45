"""The taste model on a file of MovieLens 25M's shape: how fast it trains, in how much memory, and how far from the napkin's limit.

    python benchmarks/taste_25m.py [--minutes 3] [--rows 25000000] [--loss sampled|softmax] [--json FILE]

The events are made up (162,541 users, 59,047 films with a long tail, 25 million ratings); no published file is needed. An
epoch takes one window of up to 45 targets from each user, some 4.8 million samples, a sample being one target with the up
to 50 films before it and the favourites before those. `Taste.fit` trains for some minutes by its own loop, in one process;
batches are cut out of the flat arrays as it goes.

The napkin: FLOPs of a sample (matrix products only, backward twice forward) over the FLOP/s of a matrix product in the
model's own shape, measured just before and just after. Everything that isn't a matrix product keeps training below that limit.
Both sides of the comparison are counted in seconds of processor time, so that a busy machine blurs neither.
"""
import argparse
import json
import resource
import sys
import time

import numpy as np
import pandas as pd
import torch

import movierec.models.taste as room
from movierec.models.taste import Taste, TasteConfig, cut_windows

USERS, FILMS, BAR_GIB = 162_541, 59_047, 24


def make_table(rows: int, users: int, films: int) -> pd.DataFrame:
    "Interactions: at least 20 events a user, lengths log-normal, films with a long tail, one event a minute."
    rng = np.random.default_rng(25)
    extra = rng.lognormal(0, 1.3, users); n = 20 + np.floor(extra / extra.sum() * (rows - 20 * users)).astype(np.int64)
    n[:rows - n.sum()] += 1
    item = np.minimum((films * rng.random(rows, dtype=np.float32) ** 4).astype(np.int32) + 1, films)
    return pd.DataFrame(dict(user_id=np.repeat(np.arange(1, users + 1, dtype=np.int32), n), item_id=item,
                             rating=rng.integers(1, 11, rows).astype(np.float32) / 2,
                             timestamp=789_652_009 + 60 * np.arange(rows, dtype=np.int64)))


def flops_a_sample(c: TasteConfig, films: int, positions: float) -> float:
    "Forward and backward of the matrix products for one target; `positions`: film positions read for each target."
    D = c.embedding_dim
    block = 12 * D * D + 2 * c.max_len * D
    once = block - 2 * D * D + c.taste * (4 * D * D + 2 * c.n_favourites * D)   # last block but keys and values, and the fusion
    read = (c.n_layers - 1) * block + 2 * D * D
    bag = c.taste * 2 * D * D * c.n_favourites / c.max_len                                                  # favourites, shared out
    score = (films if c.loss == "softmax" else 1 + c.negatives) * D
    return 3 * 2 * ((read + bag) * positions + once + score)


def matmul_flops(dtype, tokens: int, D: int) -> float:
    "FLOPs a second of processor time of (tokens, D) @ (D, 4D): the median of twenty."
    a, b, took = torch.randn(tokens, D, dtype=dtype), torch.randn(D, 4 * D, dtype=dtype), []
    for _ in range(20): t = time.process_time(); a @ b; took.append(time.process_time() - t)
    return 2 * tokens * D * 4 * D / np.median(took)


def clocked(loss):
    "`loss`, which notes when it was first called: seconds and processor seconds."
    def run(*args):
        if not run.began: run.began = time.perf_counter(), time.process_time()
        return loss(*args)
    run.began = None
    return run


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--minutes", type=float, default=3); args.add_argument("--rows", type=int, default=25_000_000)
    args.add_argument("--loss", default="sampled"); args.add_argument("--tokens", type=int, default=25_000, help="positions a step")
    args.add_argument("--json", help="write the numbers to this file too")
    a = args.parse_args(); share = a.rows / 25_000_000
    c = TasteConfig(loss=a.loss, stride=45, windows=1, batch_tokens=a.tokens, max_minutes=a.minutes, epochs=1000, device="cpu")
    t = time.perf_counter(); table = make_table(a.rows, max(10, int(USERS * share)), FILMS); made = time.perf_counter() - t
    begin, last, count = cut_windows(np.r_[0, np.cumsum(table.user_id.value_counts(sort=False))], c.stride, c.windows, np.random.default_rng(0))
    samples, positions = int(count.sum()), np.minimum(last - begin, c.max_len).sum() / count.sum()
    films = table.item_id.nunique()
    before = [matmul_flops(d, a.tokens, c.embedding_dim) for d in (torch.float32, torch.bfloat16)]
    room.taste_loss = clock = clocked(room.taste_loss)
    t = time.perf_counter(); result = Taste(c).fit(table).result
    took, cpu, before_training = time.perf_counter() - clock.began[0], time.process_time() - clock.began[1], clock.began[0] - t
    after = [matmul_flops(d, a.tokens, c.embedding_dim) for d in (torch.float32, torch.bfloat16)]
    speed = float(np.mean([before, after], 0)[int(result["precision"] == "bfloat16")])
    done = sum(r["tokens"] for r in result["history"]); work = flops_a_sample(c, films, positions)
    unit = 1 if sys.platform == "darwin" else 1024   # ru_maxrss: bytes on macOS, KiB on Linux
    out = dict(rows=len(table), users=int(table.user_id.nunique()), films=int(films), loss=c.loss, threads=torch.get_num_threads(),
               precision=result["precision"], samples_an_epoch=samples, samples_trained=int(done), loss_a_sample=round(result["history"][-1]["loss"], 3),
               seconds_to_make=round(made, 1), seconds_before_training=round(before_training, 1), seconds_of_training=round(took, 1),
               samples_a_second=round(done / took), cores_had=round(cpu / took, 2), samples_a_core_second=round(done / cpu),
               core_hours_an_epoch=round(samples / done * cpu / 3600, 2), mflop_a_sample=round(work / 1e6, 2),
               matmul_gflops_a_core_second=round(speed / 1e9, 1), limit_samples_a_core_second=round(speed / work),
               share_of_limit=round(done / cpu * work / speed, 3),
               peak_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 2))
    for k, v in out.items(): print(f"{k:24} {v:,}" if isinstance(v, (int, float)) else f"{k:24} {v}")
    if a.json:
        with open(a.json, "w") as f: f.write(json.dumps(out, indent=1) + "\n")
    print(f"bar of {BAR_GIB} GiB: {'met' if out['peak_gib'] < BAR_GIB else 'MISSED'}")
    return 0 if out["peak_gib"] < BAR_GIB else 1


if __name__ == "__main__": sys.exit(main())
