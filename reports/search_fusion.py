"""Settings of the fusion, tried on the valid part of ML-1M: writes reports/searches/fusion.csv.

    MOVIEREC_DATA=data python reports/search_fusion.py

Short trainings, with each kind of knowledge always there and hidden now and then; judged by recall@100 on the next film and on
cold films.
"""

import time
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
from fusion import Nearest, questions

from movierec.content.fusion import Config, Fusion
from movierec.core import write_text
from movierec.data.datasets import load_dataset
from movierec.data.split import make_split
from movierec.evaluate import make_question, mask_seen, ranks_of

SHORT = 250
GRID = [dict(missing=[0.1])]
BASE = Config(steps=SHORT, learning_rate=0.003, missing=0.0)


def recall(fusion, split, films, k=100):
    "Share of the targets of valid among the `k` nearest unseen films."
    model, hits, n = Nearest(fusion, films, "fusion"), 0, 0
    q = make_question(split, "valid", model.item_ids)
    scores = mask_seen(model.score(q.histories), q.histories, model.item_ids)
    hits, n = (ranks_of(scores, q.rows, q.cols) <= k).sum(), len(q.rows)
    return hits / n


def main():
    dataset = load_dataset("ml-1m")
    asked = questions(make_split(dataset, "leave-last-out"), "valid")
    rows = []

    def tried(config):
        row = dict(model="fusion", dataset="ml-1m", protocol="leave-last-out", seed=0) | asdict(config)
        got = {}
        for name, split, films in asked[:2]:
            began = time.process_time()
            fusion = Fusion(config).fit(split.train, dataset.items, posters="ml-1m", seed=0)
            got[f"{name} recall@100"] = round(recall(fusion, split, films), 4)
            got["cpu seconds"] = round(time.process_time() - began, 1)
        row |= got
        row["score"] = round(sum(v for k, v in got.items() if "recall" in k) / 2, 4)
        rows.append(row)
        print({k: row[k] for k in ("reach", "temperature", "logq", "dropout", "missing", "learning_rate", "steps", *got)}, flush=True)
        write_text(Path(__file__).parent / "searches" / "fusion.csv", pd.DataFrame(rows).to_csv(index=False))
        return row["score"]

    best, top = BASE, tried(BASE)
    for choice in GRID:
        for name, values in choice.items():
            for v in values:
                other = replace(best, **{name: v})
                if (score := tried(other)) > top:
                    best, top = other, score


if __name__ == "__main__":
    main()
