"""What text, posters and facts bring to a film's vector, on ML-1M: rows and tables in reports/fusion/.

    MOVIEREC_DATA=data python reports/fusion.py valid test          # all of it
    MOVIEREC_DATA=data python reports/fusion.py valid test poster   # one variant; the table is made of all rows there are

A viewer is the recency-weighted mean of the vectors of the last ten films; the films nearest to it are the candidates.
`next-film`: is the film that was watched next among the first 100 of the whole catalogue? `cold-films`: a fifth of the
films is taken out of the fusion's training and of all histories; asked are the viewers whose next film is one of those,
among the whole catalogue, and (`-among-cold`) among the films taken out.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from movierec.content.fusion import Config, Fusion
from movierec.core import home, write_text
from movierec.data.datasets import load_dataset
from movierec.data.split import Split, make_split
from movierec.evaluate import evaluate, save_result
from movierec.recommender import Recommender

HERE = Path(__file__).parent
ABLATION = {
    "popular": None,
    "pca": dict(method="pca"),
    "text": dict(reads="text"),
    "poster": dict(reads="poster"),
    "facts": dict(reads="facts"),
    "all": {},
}


class Nearest(Recommender):
    "Films by how near their fused vectors are to a viewer's."

    def __init__(self, fusion, item_ids, name):
        self.fusion, self.item_ids, self.name, self.config = fusion, np.unique(item_ids), name, fusion.config
        self.fit_seconds, self.vectors = fusion.fit_seconds, fusion.of(self.item_ids)

    def score(self, histories):
        return self.fusion.query(histories) @ self.vectors.T


class Famous(Recommender):
    "Films by how many watched them in train: what knows nothing of films knows of cold ones."
    name = "popular"

    def __init__(self, train, item_ids):
        super().__init__()
        self.item_ids = np.unique(item_ids)
        self.counts = train.item_id.value_counts().reindex(self.item_ids).fillna(0).to_numpy(np.float32)

    def score(self, histories):
        return np.tile(self.counts, (len(histories), 1))


def cold_split(split, part, share=0.2, seed=0):
    "The films taken out, and a split whose train and histories lack them while its targets are nothing else."
    films = np.unique(split.train.item_id)
    held = np.random.default_rng(seed).choice(films, round(share * len(films)), replace=False)
    warm, cold = (lambda t: t[~t.item_id.isin(held)]), (lambda t: t[t.item_id.isin(held)])
    if part == "valid":
        return held, Split("cold-films", warm(split.train), cold(split.valid), split.test[:0])
    return held, Split("cold-films", warm(split.train), warm(split.valid), cold(split.test))


def questions(split, part):
    "Name, split and films to rank, of each question."
    held, cold = cold_split(split, part)
    films = np.unique(split.train.item_id)
    return [("next-film", split, films), ("cold-films", cold, films), ("cold-films-among-cold", cold, held)]


def fit_or_load(config, train, dataset, keep):
    "A fusion fitted on `train`; where it is kept in a folder, it is loaded from there if its settings are these."
    if keep and keep.is_dir() and (kept := Fusion.load(keep)).config == config:
        return kept
    fusion = Fusion(config).fit(train, dataset.items, posters=dataset.name, seed=0)
    if keep:
        fusion.save(keep)
    return fusion


def measure(dataset, split, parts, label, settings):
    "The rows of one variant; it is trained once for all parts, with and without the cold films."
    rows, fitted = [], {}
    for part in parts:
        for protocol, asked, films in questions(split, part):
            if settings is None:
                model = Famous(asked.train, films)
            else:
                key = len(asked.train)
                if key not in fitted:
                    config = replace(Config(), **settings)
                    keep = home() / "models" / f"fusion-{dataset.name}" if (label, protocol) == ("all", "next-film") else None
                    fitted[key] = fit_or_load(config, asked.train, dataset, keep)
                model = Nearest(fitted[key], films, "fusion")
            asked = replace(asked, protocol=protocol)
            rows.append(evaluate(model, asked, part, dataset=dataset, ks=(10, 100), label=label).row)
            m = rows[-1]["metrics"]
            print(f"{part} {protocol:22} {label:12} HR@10 {m['HR@10']['value']:.4f}  HR@100 {m['HR@100']['value']:.4f}", flush=True)
    return rows


def table(folder, part):
    "The rows of `part` as a Markdown table."
    rows = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob(f"*_{part}_*.json"))]
    said = lambda m: f"{m['value']:.4f} ({m['low']:.4f}–{m['high']:.4f})"
    seconds = {r["label"]: r["fit_seconds"] for r in rows if r["protocol"] == "next-film"}
    cells = {(r["protocol"], k): {} for r in rows for k in ("HR@10", "HR@100")}
    for r in rows:
        for k in ("HR@10", "HR@100"):
            cells[r["protocol"], k][r["label"]] = said(r["metrics"][k])
    n = {r["protocol"]: r["n_targets"] for r in rows}
    order = [(p, k) for p in ("next-film", "cold-films", "cold-films-among-cold") for k in ("HR@100", "HR@10")]
    head = [f"{p}, {k.replace('HR', 'recall')}" for p, k in order] + ["fit s"]
    lines = ["| vectors | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for label in ABLATION:
        if label in seconds:
            got = [cells[c].get(label, "–") for c in order] + [f"{seconds[label]:.0f}" if seconds[label] else "–"]
            lines.append(f"| {label} | " + " | ".join(got) + " |")
    asked = ", ".join(f"{p}: {n[p]:,}" for p in dict.fromkeys(p for p, _ in order) if p in n)
    return f"# Fused vectors on ML-1M, {part}\n\nTargets: {asked}. Made by `python reports/fusion.py valid test`; `fit s` is wall clock\non a busy machine of two cores, one thread.\n\n" + "\n".join(lines) + "\n"


def main(*words):
    parts, labels = [w for w in words if w in ("valid", "test")] or ["valid"], [w for w in words if w in ABLATION]
    dataset = load_dataset("ml-1m")
    split = make_split(dataset, "leave-last-out")
    for label in labels or ABLATION:
        for row in measure(dataset, split, parts, label, ABLATION[label]):
            save_result(row, HERE / "fusion")
    for part in parts:
        write_text(HERE / "fusion" / f"{part}.md", table(HERE / "fusion", part))


if __name__ == "__main__":
    main(*sys.argv[1:])
