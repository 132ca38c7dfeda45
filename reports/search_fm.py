"""The settings of fm: a small search on the valid part of ML-100K's fold u1. No test part is read.

    python reports/search_fm.py      →  reports/searches/fm.csv

First the columns, one kind after another, then the width and the number of rounds. A line is written as soon as it is
measured; lines that are there already are not measured again.
"""

import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from movierec.data.datasets import load_dataset
from movierec.data.split import make_split
from movierec.evaluate import evaluate_ratings
from movierec.models.fm import FM

FILE = Path(__file__).parent / "searches" / "fm.csv"
IDS = dict(history=False, side=False, days=False)
GRID = [
    *(IDS | more for more in ({}, dict(side=True), dict(history=True), dict(history=True, side=True), dict(history=True, days=True))),
    {},
    *(dict(rank=r) for r in (5, 20)),
    dict(n_iter=512),
]
GRID = [dict(rank=10, n_iter=256) | settings for settings in GRID]


def main(seed=0):
    data = load_dataset("ml-100k")
    split = make_split(data, "fold-u1")
    FILE.parent.mkdir(exist_ok=True)
    done = pd.read_csv(FILE)[list(asdict(FM.Config()))].to_dict("records") if FILE.is_file() else []
    for settings in GRID:
        config = FM.Config(**settings)
        if asdict(config) in done:
            continue
        began = time.perf_counter()
        model = FM(config).fit(split.train, data.items, users=data.users, seed=seed)
        seconds = time.perf_counter() - began
        got = {k: round(v["value"], 4) for k, v in evaluate_ratings(model, split.valid).items()}
        line = dict(model="fm", dataset="ml-100k", protocol=split.protocol, seed=seed) | asdict(config) | got
        pd.DataFrame([line | dict(fit_seconds=round(seconds, 1))]).to_csv(FILE, mode="a", header=not FILE.exists(), index=False)
        print(line, flush=True)


if __name__ == "__main__":
    main()
