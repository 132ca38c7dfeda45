"""Settings of the content model, tried on the valid part of ML-1M: writes reports/searches/content.csv.

    MOVIEREC_DATA=data python reports/search_content.py

Whitening and half-life are tried together, then the slope at the best pair.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from movierec.core import write_text
from movierec.data.datasets import load_dataset
from movierec.data.split import make_split
from movierec.evaluate import evaluate
from movierec.models.registry import make_model

RARE = 100  # training ratings below which a film counts as rare


def tried(dataset, split, **settings) -> dict:
    "One line of the log: settings, metrics on valid, seconds of `fit`."
    model, began = make_model("content", **settings), time.perf_counter()
    model.fit(split.train, dataset.items)
    seconds = time.perf_counter() - began
    r = evaluate(model, split, "valid", dataset=dataset)
    got = {k: round(r.row["metrics"][k]["value"], 5) for k in ("HR@10", "NDCG@10", "HR@50", "NDCG@50", "MRR")}
    rare = r.per_user.item_id.map(split.train.item_id.value_counts()).fillna(0) < RARE
    got["HR@50 rare"] = round(float((r.per_user["rank"][rare] <= 50).mean()), 5)
    row = dict(model="content", dataset=dataset.name, protocol=split.protocol, seed=0)
    row |= settings | got | dict(fit_seconds=round(seconds, 1))
    print(row, flush=True)
    return row


def main():
    dataset = load_dataset("ml-1m")
    split = make_split(dataset, "leave-last-out")
    rows = [
        tried(dataset, split, whiten=w, half_life=h, slope=0.0)
        for w in (0.0, 0.25, 0.5, 1.0)
        for h in (1.0, 2.0, 5.0, 10.0, 20.0, None)
    ]
    best = max(rows, key=lambda r: r["NDCG@10"])
    rows += [
        tried(dataset, split, whiten=best["whiten"], half_life=best["half_life"], slope=s) for s in (0.1, 0.2, 0.3, 0.5)
    ]
    table = pd.DataFrame(rows).replace({np.nan: None})
    write_text(Path(__file__).parent / "searches" / "content.csv", table.to_csv(index=False))


if __name__ == "__main__":
    main()
