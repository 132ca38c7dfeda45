"""The library `implicit` on tables that `benchmarks/peers.py` wrote: item-item neighbours and factors, none sees order.

    python benchmarks/peers_implicit.py WORK --kind cosine|bm25|als --out WORK/implicit-cosine

Fits each setting of a small grid on WORK/train.parquet, scores it by NDCG@10 on WORK/valid.parquet, and writes the best
one's lists for the users of valid and of test, what was tried (search.json) and what it cost (facts.json, processor
seconds of one thread). Nothing here ever sees a test target.
"""
import argparse
import itertools
import json
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender

GRIDS = dict(
    cosine=(CosineRecommender, dict(K=[3, 5, 10, 20, 50, 100, 500])),
    bm25=(BM25Recommender, dict(K=[3, 5, 10, 20, 100], K1=[.5, 1.2, 100.], B=[.25, .75])),
    als=(AlternatingLeastSquares, dict(factors=[32, 64, 128, 256], regularization=[1.], alpha=[2., 10.])))


def matrix(tables, users, items) -> sp.csr_matrix:
    "(users, items) of ones; films that nobody saw in train are left out."
    t = pd.concat([pd.read_parquet(p) for p in tables]); t = t[t.item_id.isin(items)]
    at = np.searchsorted(users, t.user_id), np.searchsorted(items, t.item_id)
    return sp.csr_matrix((np.ones(len(t), np.float32), at), (len(users), len(items)))


def lists(model, seen, users, items, k) -> pd.DataFrame:
    "Recommendations table, best first, films already seen left out."
    again = dict(recalculate_user=True) if isinstance(model, AlternatingLeastSquares) else {}
    ids, scores = model.recommend(np.arange(len(users)), seen, N=k, filter_already_liked_items=True, **again)
    there = (ids >= 0) & (scores > -1e30) & (scores != 0 if not again else True)   # a neighbour model has no say on a 0
    rank = np.cumsum(there, 1).astype(np.int32)
    return pd.DataFrame(dict(user_id=np.repeat(users, k).reshape(-1, k)[there], item_id=items[ids[there]],
                             score=scores[there], rank=rank[there]))


def ndcg(recs, valid, k=10) -> float:
    target = valid.set_index("user_id").item_id.reindex(recs.user_id).to_numpy()
    hit = recs[(recs.item_id.to_numpy() == target) & (recs["rank"] <= k)]
    return float((1 / np.log2(1 + hit["rank"])).sum() / len(valid))


def main(a):
    train, valid = (pd.read_parquet(a.work / f"{p}.parquet") for p in ("train", "valid"))
    users, items = pd.read_parquet(a.work / "users.parquet").user_id.to_numpy(), np.unique(train.item_id)
    known = dict(valid=matrix([a.work / "train.parquet"], users, items),
                 test=matrix([a.work / "train.parquet", a.work / "valid.parquet"], users, items))
    make, grid = GRIDS[a.kind]; seed = dict(random_state=a.seed) if a.kind == "als" else {}
    tried, best = [], None
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values)); start = time.process_time()
        model = make(**settings, **seed, num_threads=1); model.fit(known["valid"], show_progress=False)
        took = time.process_time() - start
        tried.append(dict(settings=settings, valid=ndcg(lists(model, known["valid"], users, items, 10), valid), fit_s=took))
        print(a.kind, settings, f"valid NDCG@10 {tried[-1]['valid']:.4f}, {took:.1f} s", flush=True)
        if best is None or tried[-1]["valid"] > best[0]["valid"]: best = tried[-1], model
    facts = dict(settings=best[0]["settings"], fit_s=best[0]["fit_s"], n_items=len(items),
                 versions={p: metadata.version(p) for p in ("implicit", "numpy", "scipy")})
    for part, seen in known.items():
        start, wall = time.process_time(), time.perf_counter()
        recs = lists(best[1], seen, users, items, a.k)
        facts[part] = dict(processor_s=time.process_time() - start, wall_s=time.perf_counter() - wall)
        recs.to_parquet(a.out / f"{part}.parquet", index=False)
    (a.out / "search.json").write_text(json.dumps(tried, indent=1))
    (a.out / "facts.json").write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("work", type=Path, help="folder with train.parquet, valid.parquet (user_id, item_id, time), users.parquet")
    ap.add_argument("--kind", choices=list(GRIDS), required=True)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--k", type=int, default=100)
    ap.add_argument("--seed", type=int, default=0)
    a = ap.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    main(a)
