"""The settings of tfrs and tfrs-side: a small search on the valid part of ML-100K's fold u1. No test part is read.

    python reports/search_tfrs.py tfrs|tfrs-side      →  reports/searches/tfrs.csv, tfrs-side.csv

A line is written as soon as it is measured; lines that are there already are not measured again. Early stopping looks at
the same valid part, so these numbers flatter all settings a little, and alike.
"""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from movierec.data.datasets import load_dataset
from movierec.data.split import make_split
from movierec.evaluate import evaluate_ratings
from movierec.models.registry import make_model

BASE = dict(embedding_dim=64, l2=1e-4, l2_side=3e-3, learning_rate=2e-3, unknown=0.05, batch_size=1024, epochs=60, patience=6)
GRIDS = {
    "tfrs": [{}, dict(embedding_dim=32), dict(embedding_dim=128), dict(l2=5e-5), dict(l2=1.5e-4), dict(unknown=0.02)],
    "tfrs-side": [{}, dict(l2_side=1e-4), dict(l2_side=1e-3), dict(l2_side=1e-2), dict(l2_side=3e-2), dict(l2=1.5e-4)],
}


def main(name, seed=0):
    file = Path(__file__).parent / "searches" / f"{name}.csv"
    file.parent.mkdir(exist_ok=True)
    data = load_dataset("ml-100k")
    split = make_split(data, "fold-u1")
    done = pd.read_csv(file)[list(BASE)].to_dict("records") if file.is_file() else []
    for settings in GRIDS[name]:
        model = make_model(name, **BASE | settings)
        if asdict(model.config) in done:
            continue
        began = time.perf_counter()
        model.fit(split.train, data.items, valid=split.valid, users=data.users, seed=seed)
        seconds = time.perf_counter() - began
        got = {k: round(v["value"], 4) for k, v in evaluate_ratings(model, split.valid).items()}
        line = dict(model=name, dataset="ml-100k", protocol=split.protocol, seed=seed) | asdict(model.config) | got
        line |= dict(epochs_run=len(model.log), fit_seconds=round(seconds, 1))
        pd.DataFrame([line]).to_csv(file, mode="a", header=not file.exists(), index=False)
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
