"""Settings of the fusion, tried on the valid part of ML-1M: writes reports/searches/fusion.csv.

    MOVIEREC_DATA=data python reports/search_fusion.py

Short trainings, one setting changed at a time; judged by recall@100 on the next film and on cold films. What is in the file
already isn't tried again.
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
GRID = [
    dict(missing=[0.1]),
    dict(temperature=[0.05, 0.2]),
    dict(width=[512]),
    dict(learning_rate=[0.001]),
    dict(steps=[500]),
]
LOG = Path(__file__).parent / "searches" / "fusion.csv"
BASE = Config(steps=SHORT, learning_rate=0.003, missing=0.0)


def recall(fusion, split, films, k=100):
    "Share of the targets of valid among the `k` nearest unseen films."
    model = Nearest(fusion, films, "fusion")
    q = make_question(split, "valid", model.item_ids)
    scores = mask_seen(model.score(q.histories), q.histories, model.item_ids)
    hits, n = (ranks_of(scores, q.rows, q.cols) <= k).sum(), len(q.rows)
    return hits / n


def main():
    dataset = load_dataset("ml-1m")
    asked = questions(make_split(dataset, "leave-last-out"), "valid")
    rows = pd.read_csv(LOG, keep_default_na=False).to_dict("records") if LOG.is_file() else []

    def tried(config):
        row = dict(model="fusion", dataset="ml-1m", protocol="leave-last-out", seed=0) | asdict(config)
        done = [r for r in rows if all(r[k] == v for k, v in row.items())]
        if done:
            return done[0]["score"]
        got = {}
        for name, split, films in asked[:2]:
            began = time.process_time()
            fusion = Fusion(config).fit(split.train, dataset.items, posters="ml-1m", seed=0)
            got[f"{name} recall@100"] = round(recall(fusion, split, films), 4)
            got["cpu seconds"] = round(time.process_time() - began, 1)
        row |= got
        row["score"] = round(sum(v for k, v in got.items() if "recall" in k) / 2, 4)
        rows.append(row)
        print({k: row[k] for k in ("reach", "temperature", "logq", "dropout", "missing", "width", "learning_rate", "steps", *got)}, flush=True)
        write_text(LOG, pd.DataFrame(rows).to_csv(index=False))
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
