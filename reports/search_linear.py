"""The settings of ease and als: a small search on ML-1M's valid part, leave-last-out. The test part is not read.

    python reports/search_linear.py ease|als      →  reports/searches/ease.csv, als.csv

One line is written as soon as it is measured; `fit_seconds` is that of the fit, shared by lines that only ask otherwise.
"""

import itertools
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from movierec.data.movielens import load_movielens
from movierec.data.split import make_split
from movierec.evaluate import make_question, ranks_of
from movierec.metrics import hit_rate, ndcg
from movierec.models.linear import ALS, EASE
from movierec.recommender import mask_seen

OUT = Path(__file__).parent / "searches"


def measure(model, question):
    "Valid NDCG@10 and HR@10, seen films masked."
    ranks = []
    for a in range(0, len(question.histories), 512):
        part, at = question.histories[a : a + 512], slice(a, a + 512)  # one target a user
        scores = mask_seen(np.array(model.score(part)), part, model.item_ids)
        ranks.append(ranks_of(scores, question.rows[at] - a, question.cols[at]))
    ranks = np.concatenate(ranks)
    return {"NDCG@10": round(ndcg(ranks, 10).mean(), 5), "HR@10": round(hit_rate(ranks, 10).mean(), 5)}


def run(cls, split, fitted, asked, file, seed=0):
    "Fit each setting of `fitted`, and ask it with each half-life of `asked`, which needs no new fit."
    for settings in fitted:
        began = time.perf_counter()
        model = cls(cls.Config(**settings)).fit(split.train, seed=seed)
        seconds = time.perf_counter() - began
        question = make_question(split, "valid", model.item_ids)
        for half_life in [settings["half_life"]] if settings.get("order") else asked:
            model.config.half_life = half_life
            line = dict(model=cls.name, dataset="ml-1m", protocol=split.protocol, seed=seed) | settings
            line |= dict(half_life=half_life) | measure(model, question) | dict(fit_seconds=round(seconds, 1))
            pd.DataFrame([line]).to_csv(file, mode="a", header=not file.exists(), index=False)
            print(line, flush=True)


def grid(**values):
    return [dict(zip(values, v, strict=True)) for v in itertools.product(*values.values())]


if __name__ == "__main__":
    which = sys.argv[1]
    split = make_split(load_movielens("ml-1m"), "leave-last-out")
    file = OUT / f"{which}.csv"
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    if which == "ease":
        base = dict(half_life=None, order=False)
        sets = [dict(regularization=r) | base for r in (100.0, 300.0, 1000.0, 2000.0, 5000.0)]
        run(EASE, split, sets, (None, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0), file)
        orders = grid(regularization=(100.0, 300.0, 1000.0), half_life=(1.5, 2.5, 4.0, 6.0), order=(True,))
        run(EASE, split, orders, (), file)
    else:
        asked = (None, 1.0, 1.5, 2.0, 4.0)
        first = grid(factors=(64,), regularization=(1.0, 10.0, 100.0), alpha=(2.0, 8.0), half_life=(None,))
        run(ALS, split, first, asked, file)
        log = pd.read_csv(file)
        best = log.loc[log["NDCG@10"].idxmax()]  # the faded one; factors are then varied around it
        near = dict(regularization=(float(best.regularization),), alpha=(float(best.alpha),), half_life=(None,))
        run(ALS, split, grid(factors=(32, 128, 256), **near), asked, file)
