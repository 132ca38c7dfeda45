"""The settings of lightfm: a small search on valid parts, leave-last-out. No test part is read.

    python reports/search_lightfm.py ml-100k|ml-1m      →  reports/searches/lightfm.csv (lines are added)
    python reports/search_lightfm.py strangers          →  reports/searches/lightfm-strangers.csv

Most is settled on MovieLens 100K; the last step takes every third user of MovieLens 1M, to save time. What is only asked, not trained
(lookup, half_life, and shrink and ridge of the folding in), costs no new fit; such lines share their `fit_seconds`. The
third command asks for users of MovieLens 100K with few films: every second user isn't trained, and shows their last n films.
"""

import itertools
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from movierec.data.datasets import load_dataset
from movierec.data.sequences import Histories, Vocab
from movierec.data.split import Split, from_end, make_split
from movierec.evaluate import make_question, ranks_of
from movierec.metrics import hit_rate, ndcg
from movierec.models.lightfm import LightFM, LightFMConfig, faded, learn_fold_in
from movierec.recommender import mask_seen

FILE = Path(__file__).parent / "searches" / "lightfm.csv"
BASE = dict(embedding_dim=32, epochs=30)  # what is varied, one thing at a time
ASKED = [
    dict(lookup=True),
    *(dict(half_life=h, shrink=1.0, ridge=3.0) for h in (None, 10.0, 5.0, 3.0, 2.0)),
    *(dict(half_life=3.0, shrink=s, ridge=r) for s, r in ((0.3, 3.0), (3.0, 3.0), (1.0, 1.0), (1.0, 10.0), (1.0, 30.0))),
]


def measure(model, q):
    "Valid NDCG@10 and HR@10, seen films masked."
    scores = mask_seen(np.array(model.score(q.histories)), q.histories, model.item_ids)
    ranks = ranks_of(scores, q.rows, q.cols)
    return {"NDCG@10": round(ndcg(ranks, 10).mean(), 5), "HR@10": round(hit_rate(ranks, 10).mean(), 5)}


def refold(model, train):
    "Learn the folding in again, with the model's present settings."
    c = model.config
    seen = faded(Histories.from_table(train, users=model.user_ids), Vocab(model.item_ids))
    model.fold_in = learn_fold_in(seen, model.vectors, model.user_vectors, c.shrink, c.ridge)


def run(dataset, split, settings, asked, seed=0):
    began = time.perf_counter()
    model = LightFM(LightFMConfig(**settings)).fit(split.train, dataset.items, seed=seed, users=dataset.users)
    seconds = time.perf_counter() - began
    question = make_question(split, "valid", model.item_ids)
    for ask in asked:
        model.config = LightFMConfig(**settings | ask)
        refold(model, split.train)
        line = dict(model=model.name, dataset=dataset.name, users=len(question.histories), protocol=split.protocol, seed=seed)
        line |= asdict(model.config) | measure(model, question) | dict(fit_seconds=round(seconds, 1))
        pd.DataFrame([line]).to_csv(FILE, mode="a", header=not FILE.exists(), index=False)
    print(settings, seed, pd.read_csv(FILE)["NDCG@10"].tail(len(asked)).tolist(), f"{seconds:.0f} s", flush=True)


def third(split):
    "Every third user."
    return Split(split.protocol, *(t[t.user_id % 3 == 0] for t in (split.train, split.valid, split.test)))


def strangers(dataset, split):
    "Users outside the training, with the last n of their films: which shrink and half-life?"
    new = lambda t: t.user_id % 2 == 0
    warm, before, target = split.train[~new(split.train)], split.train[new(split.train)], split.valid[new(split.valid)]
    after, lines = from_end(before), []
    model = LightFM(LightFMConfig(**BASE)).fit(warm, dataset.items, users=dataset.users)
    for n in (0, 1, 3, 10, 100):
        question = make_question(Split("strangers", before[after < n], target, target), "valid", model.item_ids)
        for shrink, half_life in itertools.product((0.3, 1.0, 3.0, 10.0), (None, 3.0, 2.0)):
            model.config = LightFMConfig(**BASE, shrink=shrink, half_life=half_life)
            refold(model, warm)
            for question.histories.known in (False, True):
                line = dict(model=model.name, dataset=dataset.name, users=len(question.histories), protocol="strangers", seed=0)
                line |= dict(films=n, features=question.histories.known) | asdict(model.config)
                lines.append(line | measure(model, question))
    pd.DataFrame(lines).to_csv(FILE.with_name("lightfm-strangers.csv"), index=False)


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    if sys.argv[1] == "strangers":
        dataset = load_dataset("ml-100k")
        sys.exit(strangers(dataset, make_split(dataset, "leave-last-out")))
    dataset = load_dataset(sys.argv[1])
    split = make_split(dataset, "leave-last-out")
    if dataset.name == "ml-100k":
        for seed in (0, 1):
            for films, viewers in ((True, True), (True, False), (False, True), (False, False)):
                run(dataset, split, BASE | dict(item_features=films, user_features=viewers), ASKED, seed)
        for other in (dict(embedding_dim=16), dict(embedding_dim=64), dict(epochs=10), dict(epochs=60), dict(max_sampled=30),
                      dict(learning_rate=0.02), dict(min_count=5), dict(min_count=30)):  # fmt: skip
            run(dataset, split, BASE | other, ASKED)
    else:
        for dim in (32, 64):
            run(dataset, third(split), dict(embedding_dim=dim, epochs=15), ASKED)
