"""How many users a minute a batch does, beside what the model alone does on the same histories.

    python benchmarks/batch.py --model artifacts/models/taste-ml-1m-seed0 --data ml-1m --threads 2

Bare: the scores of the histories sorted by length, in the blocks that the batch makes, as many at once as it has, and
nothing done with the scores. Batch: `run_batch`, from histories to a Parquet file. Both in turn, `--repeats` times, in one
process; the row has the medians. Wall-clock seconds depend on who else is on the machine, so CPU seconds stand beside them.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--model", required=True, help="folder of a trained model")
parser.add_argument("--data", default="ml-1m")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--block", type=int, default=256)
parser.add_argument("-k", type=int, default=20)
parser.add_argument("--out", type=Path, default=Path("reports/benchmarks"))
args = parser.parse_args()
os.environ |= {"OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "PASSIVE", "MOVIEREC_PROGRESS": "0"}

import numpy as np  # noqa: E402  (threads are set first)

from movierec.batch import at_work, run_batch, scores_of, take, users_of  # noqa: E402
from movierec.data.datasets import load_dataset  # noqa: E402
from movierec.models.registry import load_model  # noqa: E402
from movierec.service.settings import limit_threads  # noqa: E402


def clock():
    return time.perf_counter(), time.process_time()


def bare(model, h, order):
    blocks = [order[a : a + args.block] for a in range(0, len(order), args.block)]
    with at_work(model) as work:
        for _ in work(lambda rows: scores_of(model, take(h, rows)) is None, blocks):
            pass


def main():
    model, data = load_model(args.model), load_dataset(args.data)
    limit_threads(args.threads)
    users = users_of(data.interactions)
    order = np.argsort(users.histories.lengths, kind="stable")
    bare(model, users.histories, order[-args.block :])  # warm
    took = {"bare": [], "batch": []}
    with tempfile.TemporaryDirectory() as tmp:
        for i in range(args.repeats):
            for what in took:
                began = clock()
                if what == "bare":
                    bare(model, users.histories, order)
                else:
                    run_batch(model, [users], Path(tmp) / f"{i}.parquet", args.k, block=args.block)
                took[what].append([b - a for a, b in zip(began, clock(), strict=True)])
    n, wall, cpu = len(users.ids), *({w: statistics.median(t[j] for t in ts) for w, ts in took.items()} for j in (0, 1))
    row = dict(
        benchmark="batch", model=model.name, dataset=data.name, users=n, events=len(data.interactions), k=args.k,
        block=args.block, threads=args.threads, repeats=args.repeats,
        seconds={w: round(s, 2) for w, s in wall.items()}, cpu_seconds={w: round(s, 2) for w, s in cpu.items()},
        users_per_minute=round(60 * n / wall["batch"]), users_per_cpu_minute=round(60 * n / cpu["batch"]),
        share_of_bare=round(cpu["bare"] / cpu["batch"], 3), share_of_bare_wall=round(wall["bare"] / wall["batch"], 3),
        cores=os.cpu_count(), load_average=round(os.getloadavg()[0], 1),
    )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"batch_{data.name}_{model.name}.json").write_text(json.dumps(row, indent=1) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
