"""Settings of the taste model tried on valid: trains each, appends a line to reports/searches/taste.csv.

    python reports/search_taste.py ml-100k stride=50 stride=25 "stride=25 n_favourites=50"

Each argument after the dataset is one run: settings as key=value, parted by spaces; `seed` is one too. The test part is never read."""

import csv
import sys
import time
from pathlib import Path

from movierec.cli import parse_settings
from movierec.data.datasets import load_dataset
from movierec.data.split import make_split
from movierec.evaluate import evaluate
from movierec.models.registry import make_model

LOG = Path(__file__).parent / "searches" / "taste.csv"
METRICS = ("HR@10", "NDCG@10", "HR@50", "NDCG@50", "MRR")


def one(dataset, split, settings: str) -> dict:
    "Train with `settings` and look at valid."
    given = parse_settings(settings.split()); seed = given.pop("seed", 0); began = time.perf_counter()
    model = make_model("taste", **given).fit(split.train, valid=split.valid, seed=seed)
    took = time.perf_counter() - began
    m = evaluate(model, split, "valid").row["metrics"]
    return dict(model="taste", dataset=dataset.name, protocol=split.protocol, seed=seed, settings=settings,
                epochs=model.result["epochs"], **{k: round(m[k]["value"], 4) for k in METRICS}, fit_seconds=round(took))


def main(name, *runs):
    dataset = load_dataset(name); split = make_split(dataset)
    LOG.parent.mkdir(exist_ok=True)
    for settings in runs:
        row = one(dataset, split, settings); print(row, flush=True)
        new = not LOG.exists()
        with open(LOG, "a", newline="") as f:
            w = csv.DictWriter(f, row)
            if new: w.writeheader()
            w.writerow(row)


if __name__ == "__main__": main(*sys.argv[1:])
