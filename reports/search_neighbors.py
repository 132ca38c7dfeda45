"""Settings of the neighbour models, tried on ML-1M's valid part one at a time: python reports/search_neighbors.py MODEL [FIRST]

Writes reports/searches/MODEL.csv; FIRST goes on with that line of TRIED, adding to the log. The half-life matters only
when scoring, so it is tried without fitting again.
"""

import csv
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from movierec.data.datasets import load_dataset
from movierec.data.split import make_split
from movierec.evaluate import evaluate
from movierec.models.registry import make_model

TRIED = {  # settings that fit → half-lives to score with
    "item-knn": [
        (dict(neighbours=100), (None, 8.0, 4.0, 2.0, 1.0, 0.7)),
        (dict(neighbours=100, even_users=False), (None, 1.0)),
        (dict(neighbours=50), (1.0,)),
        (dict(neighbours=200), (1.0,)),
        (dict(neighbours=400), (1.0,)),
        (dict(neighbours=200, shrink=0.1), (1.0,)),
        (dict(neighbours=200, shrink=1.0), (1.0,)),
    ],
    "user-knn": [
        (dict(neighbours=50), (None, 8.0, 4.0, 2.0, 1.0, 0.5)),
        (dict(neighbours=20), (2.0, 1.0)),
        (dict(neighbours=100), (2.0, 1.0)),
        (dict(neighbours=200), (1.0,)),
        (dict(neighbours=50, shrink=1.0), (2.0, 1.0)),
        (dict(neighbours=50, shrink=5.0), (2.0, 1.0)),
        (dict(neighbours=30, shrink=1.0), (4.0, 3.0, 2.0)),
        (dict(neighbours=20, shrink=1.0), (3.0, 2.0)),
        (dict(neighbours=30, shrink=3.0), (3.0,)),
    ],
    "pearson": [
        (dict(neighbours=50, min_overlap=20, beta=100.0, min_votes=0.0, min_average=0.0), (None, 4.0, 2.0, 1.0)),
        (dict(neighbours=50, min_overlap=20, beta=500.0, min_votes=0.0, min_average=0.0), (None, 1.0)),
        (dict(neighbours=50, min_overlap=50, beta=500.0, min_votes=20.0, min_average=5.0), (1.0,)),
        (dict(neighbours=50, min_overlap=50, beta=500.0, min_votes=20.0, min_average=6.0), (1.0,)),
        (dict(neighbours=50, min_overlap=50, beta=2000.0, min_votes=20.0, min_average=5.0), (1.0,)),
        (dict(neighbours=50, min_overlap=50, cap=500.0, min_votes=20.0, min_average=5.0), (1.0,)),
        (dict(neighbours=20, min_overlap=50, beta=500.0, min_votes=20.0, min_average=5.0), (1.0,)),
        (dict(neighbours=200, min_overlap=50, beta=500.0, min_votes=20.0, min_average=5.0), (1.0,)),
    ],
}


def search(name: str, first: int = 0):
    data = load_dataset("ml-1m")
    split = make_split(data, "leave-last-out")
    path = Path(__file__).parent / "searches" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    with open(path, "a" if first else "w", newline="") as f:
        log = None
        for settings, half_lives in TRIED[name][first:]:
            began = time.perf_counter()
            model = make_model(name, **settings).fit(split.train, data.items)
            seconds = time.perf_counter() - began
            for half_life in half_lives:
                model.config = replace(model.config, half_life=half_life)
                metrics = evaluate(model, split, "valid").row["metrics"]
                row = dict(model=name, dataset="ml-1m", protocol="leave-last-out", seed=0, **asdict(model.config))
                row |= {m: round(metrics[m]["value"], 4) for m in ("NDCG@10", "HR@10", "NDCG@50", "HR@50", "MRR")}
                row["fit_seconds"] = round(seconds, 1)
                if log is None:
                    log = csv.DictWriter(f, row)
                    if not first:
                        log.writeheader()
                log.writerow(row)
                f.flush()
                print(row, flush=True)


if __name__ == "__main__":
    search(sys.argv[1], *map(int, sys.argv[2:]))
