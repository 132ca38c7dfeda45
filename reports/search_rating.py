"""The settings of rating: a small search on valid parts. No test part is read.

    python reports/search_rating.py [dataset …]      →  reports/searches/rating.csv

First the rungs of the ladder (biases, vectors, what was watched, metadata), then one setting after another around what
was the default then, then the few that mattered together. A line is written as soon as it is measured; lines that are there already are not measured again.
"""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from movierec.data.datasets import load_dataset
from movierec.data.split import make_split
from movierec.evaluate import evaluate_ratings
from movierec.models.rating import Rating, RatingConfig

FILE = Path(__file__).parent / "searches" / "rating.csv"
NAMES = "embedding_dim kl_weight watch_dim metadata hidden dropout epochs learning_rate batch_tokens".split()
START = dict(epochs=20, kl_weight=0.5, embedding_dim=16)
LADDER = [
    dict(embedding_dim=0, watch_dim=0, metadata=""),
    dict(watch_dim=0, metadata="", kl_weight=1.0),
    dict(watch_dim=0, metadata=""),
    dict(metadata=""),
    dict(watch_dim=0),
    dict(metadata="numbers"),
    dict(metadata="genres"),
    {},
]
AROUND = [
    *(dict(kl_weight=w) for w in (0.4, 0.6, 0.7, 1.0)),
    *(dict(epochs=n) for n in (12, 30)),
    *(dict(embedding_dim=d) for d in (8, 32)),
    *(dict(watch_dim=k) for k in (8, 32)),
    dict(dropout=0.0),
]
BOTH = [
    dict(epochs=12),
    dict(epochs=12, kl_weight=0.6, embedding_dim=32),
    dict(epochs=12, embedding_dim=32),
    dict(epochs=12, kl_weight=0.7, embedding_dim=32),
]
LARGE = [{}, dict(embedding_dim=32), dict(embedding_dim=32, watch_dim=32), dict(kl_weight=0.7)]
PLAN = {
    "ratings-small": ("random-90-10", LADDER + BOTH),
    "ml-100k": ("fold-u1", LADDER + AROUND + BOTH + [dict(epochs=12, kl_weight=0.7), dict(epochs=8, kl_weight=0.6, embedding_dim=32)]),
    "ml-1m": ("random-90-10", LARGE + BOTH),
}


def main(names, seed=0):
    FILE.parent.mkdir(exist_ok=True)
    for name in names:
        protocol, grid = PLAN[name]
        data = load_dataset(name)
        split = make_split(data, protocol, seed)
        for settings in grid:
            config = RatingConfig(**START | settings)
            line = dict(model="rating", dataset=name, protocol=protocol, seed=seed) | {k: v for k, v in asdict(config).items() if k in NAMES}
            done = pd.read_csv(FILE, keep_default_na=False)[list(line)].to_dict("records") if FILE.is_file() else []
            if line in done:
                continue
            began = time.perf_counter()
            model = Rating(config).fit(split.train, data.items, valid=split.valid, seed=seed)
            seconds = time.perf_counter() - began
            got = {k: round(v["value"], 4) for k, v in evaluate_ratings(model, split.valid, data.scale[:2]).items()}
            got |= dict(epochs_run=model.training["epochs"], fit_seconds=round(seconds, 1))
            pd.DataFrame([line | got]).to_csv(FILE, mode="a", header=not FILE.exists(), index=False)
            print(line | got, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or PLAN)
