"""EASE and ALS under a published protocol, to stand beside published numbers: RecBole's benchmark on ML-1M ("general").

    python reports/published_linear.py      →  reports/searches/linear_published.csv

As its ml-1m_general.md and its code have it: ratings of 3 and more, users and films with 10 or more of these (repeatedly,
834,449 events remain); each user's events shuffled and cut 8:1:1; every film ranked; a model reads the train events only;
train events are left out of the valid ranking, train and valid events out of the test ranking; binary relevance.
The shuffle is ours, so equal up to chance. EASE gets the regularization they chose (1000), ALS (64 factors, their bound)
the best of a small grid on the valid part; nothing fades, since the cut has no order.
"""

import itertools
import time
from pathlib import Path

import numpy as np
import pandas as pd

from movierec.data.movielens import load_movielens
from movierec.data.sequences import Histories, Vocab
from movierec.evaluate import ranks_of
from movierec.metrics import rank_table, ranking_metrics
from movierec.models.linear import ALS, EASE
from movierec.recommender import mask_seen

OUT = Path(__file__).parent / "searches" / "linear_published.csv"


def core(t, least=10):
    "Events of users and items that have at least `least` of them, repeatedly."
    while True:
        ok = (t.groupby("user_id").item_id.transform("size") >= least) & (
            t.groupby("item_id").user_id.transform("size") >= least
        )
        if ok.all():
            return t
        t = t[ok]


def cut(t, seed=0):
    "Each user's events in random order; a tenth (rounded down) each to test and valid, the rest to train."
    t = t.sample(frac=1, random_state=seed)
    nth, size = t.groupby("user_id").cumcount(), t.groupby("user_id").item_id.transform("size")
    tenth = size // 10
    part = np.where(nth >= size - tenth, 2, np.where(nth >= size - 2 * tenth, 1, 0))
    return [t[part == i].sort_index() for i in range(3)]


def measure(model, read, hidden, targets):
    "The benchmark's metrics: mean over users."
    users = np.unique(targets.user_id)
    asked, seen = Histories.from_table(read, users=users), Histories.from_table(hidden, users=users)
    targets = targets.sort_values("user_id", kind="stable")
    rows, cols = np.searchsorted(users, targets.user_id), Vocab(model.item_ids).encode(targets.item_id) - 1
    ranks = np.empty(len(rows))
    for a in range(0, len(users), 512):
        scores = mask_seen(np.array(model.score(asked[a : a + 512])), seen[a : a + 512], model.item_ids)
        at = (rows >= a) & (rows < a + 512)
        ranks[at] = ranks_of(scores, rows[at] - a, cols[at])
    table = rank_table(ranks, rows, len(users))
    m = ranking_metrics(table, (10,))
    first = table[:, 0]
    m["MRR@10"] = np.where(first <= 10, 1 / first, 0)
    return m[["NDCG@10", "recall@10", "MRR@10", "HR@10", "precision@10"]].mean().round(4).to_dict()


if __name__ == "__main__":
    events = load_movielens("ml-1m").interactions
    events = core(events[events.rating >= 3])
    train, valid, test = cut(events)
    print(len(events), events.user_id.nunique(), events.item_id.nunique(), "→", len(train), len(valid), len(test))
    lines = []

    def line(model, part, seconds):
        read, hidden, targets = dict(
            valid=(train, train, valid), test=(train, pd.concat([train, valid]).sort_index(), test)
        )[part]
        settings = {k: v for k, v in vars(model.config).items() if k in ("factors", "regularization", "alpha")}
        got = measure(model, read, hidden, targets)
        lines.append(
            dict(model=model.name, dataset="ml-1m", protocol="recbole-8-1-1", split=part, seed=0)
            | settings | got | dict(fit_seconds=round(seconds, 1))
        )  # fmt: skip
        print(lines[-1], flush=True)
        pd.DataFrame(lines).to_csv(OUT, index=False)
        return got["NDCG@10"]

    def fitted(model):
        began = time.perf_counter()
        return model.fit(train), time.perf_counter() - began

    ease = fitted(EASE(EASE.Config(regularization=1000.0, half_life=None)))
    for part in ("valid", "test"):
        line(ease[0], part, ease[1])
    tried = []
    for regularization, alpha in itertools.product((1.0, 10.0, 50.0), (2.0, 4.0, 8.0)):
        als = fitted(ALS(ALS.Config(factors=64, regularization=regularization, alpha=alpha, half_life=None)))
        tried.append((line(als[0], "valid", als[1]), als))
    line(max(tried, key=lambda t: t[0])[1][0], "test", max(tried, key=lambda t: t[0])[1][1])
