"""A million vectors: what a walk (HNSW) and cells with short codes (IVF-PQ) save beside exact search, and what they lose.

    python benchmarks/index.py                                   # 1,000,000 × 512, HNSW and IVF-PQ
    python benchmarks/index.py --n 50000 --kinds hnsw            # smaller: exact search gets cheaper much faster than a walk

The vectors are made, since nobody's catalogue has a million films. They are made to be like real ones in what matters to
an index: clusters of very different sizes, and dimensions whose spread falls off, so that the variance is that of some
dozens of equal dimensions (printed as "participation ratio"), not of 512. In pure noise "nearest" would mean nothing and
any index would fail; in tight clusters any would succeed. Queries are rows that
were left out of the index.

Times are seconds of one processor core at work, so that other programs don't count; medians of some runs, those of exact search
and of the index taken in turns. Exact search is asked for all queries at once, which is its best case (one product of two
matrices; the faster of ours and FAISS's), and for one at a time, as a service asks: then it has to read all vectors anew.
Recall@100 is the share of the true 100 nearest that is found. Exits with 1 if HNSW misses its bars: recall@100 of 0.95 at a tenth
of exact search's time, both asked for all queries at once.
"""
import argparse
import json
import os
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from movierec.index import Index, build_index, exact_search


def make_vectors(n: int, d: int, seed: int = 0, block: int = 50_000) -> np.ndarray:
    "(n, d) float32 unit rows in clusters, written block by block."
    per_cluster, rng = 400, np.random.default_rng(seed)
    spread = ((1 + np.arange(d)) ** -0.35).astype(np.float32)
    centres = rng.standard_normal((max(n // per_cluster, 10), d), np.float32) * spread
    share = 1 / (10 + np.arange(len(centres)))
    out = np.empty((n, d), np.float32)
    for a in range(0, n, block):
        m = min(block, n - a)
        x = rng.standard_normal((m, d), np.float32) * spread
        x += centres[rng.choice(len(centres), m, p=share / share.sum())]
        out[a : a + m] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return out


def participation(x) -> float:
    "How many equal dimensions would have this variance: (Σλ)² / Σλ² over the eigenvalues of the covariance."
    values = np.linalg.eigvalsh(np.cov(x[:: max(1, len(x) // 4000)].T.astype(np.float64)))
    return values.sum() ** 2 / (values**2).sum()


def timed(work, *args, **settings):
    "What `work` gives, and the seconds of processor time and of the clock that it took."
    cpu, clock = time.process_time(), time.perf_counter()
    got = work(*args, **settings)
    return got, time.process_time() - cpu, time.perf_counter() - clock


def exact_ways(x):
    "Exact searches by name: ours, and FAISS's where its copy of the vectors is small."
    import faiss
    ways = dict(numpy=lambda q, k: exact_search(q, x, k)[1])
    if x.nbytes < 1e9:
        flat = faiss.IndexFlatIP(x.shape[1]); flat.add(x)
        ways["faiss"] = lambda q, k: flat.search(q, k)[0]
    return ways


def at_once(work, q, k) -> float:
    "Processor seconds a query of a search for all of `q`."
    return timed(work, q, k)[1] / len(q)


def one_by_one(work, q, k) -> float:
    "Median processor seconds of a search for one query."
    return float(np.median([timed(work, v[None], k)[1] for v in q]))


def memory_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024   # ru_maxrss: bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--n", type=int, default=1_000_000)
    args.add_argument("--d", type=int, default=512)
    args.add_argument("--queries", type=int, default=200)
    args.add_argument("--kinds", default="hnsw,ivfpq", help="which to build, comma-separated")
    args.add_argument("--links", type=int, default=32)
    args.add_argument("--ef-build", type=int, default=120)
    args.add_argument("--runs", type=int, default=3, help="how often each search is timed; medians are told")
    args.add_argument("--json", type=Path, help="write the numbers to this file too")
    a = args.parse_args()
    import faiss
    faiss.omp_set_num_threads(1); k = min(100, a.n)
    x = make_vectors(a.n + a.queries, a.d); x, q = x[: a.n], x[a.n :]
    print(f"{a.n:,} × {a.d} float32, {x.nbytes / 1e6:,.0f} MB, participation ratio {participation(x):.0f}; "
          f"{a.queries} queries; {os.cpu_count()} cores, one used", flush=True)
    ways = exact_ways(x); truth = ways["numpy"](q, k)
    by = min(ways, key=lambda w: at_once(ways[w], q, k)); exact = ways[by]
    alone = one_by_one(exact, q[:20], k)
    print(f"exact search ({by}): one query at a time {alone * 1e3:.1f} ms\n", flush=True)
    print(f"{'kind':6} {'effort':>12} {'recall@100':>10} {'ms':>7} {'exact ms':>8} {'of exact':>9} {'one: ms':>8} {'of exact':>9}", flush=True)
    rows, met, builds = [], None, {}
    for kind in a.kinds.split(","):
        settings = dict(links=a.links, ef_build=a.ef_build) if kind == "hnsw" else {}
        index, cpu, clock = timed(build_index, x, kind=kind, recall=0.0, **settings)
        size = faiss.serialize_index(index.faiss_index).nbytes / 1e6
        builds[kind] = settings | dict(build_cpu_s=round(cpu, 1), build_clock_s=round(clock, 1), index_mb=round(size))
        field, efforts = ("ef", (100, 150, 200, 250, 300, 400, 500)) if kind == "hnsw" else ("probes", (8, 16, 32, 64))
        for effort in efforts:
            tried = Index(replace(index.config, **{field: effort}), index.ids, index.vectors, index.faiss_index)
            recall = float((tried.search(q, k)[1] >= truth[:, -1:] - 1e-5).mean())
            both = [(at_once(exact, q, k), at_once(tried.search, q, k)) for _ in range(a.runs)]   # in turns
            slow, ms = np.median(both, 0); single = one_by_one(tried.search, q, k)
            rows.append(dict(kind=kind, **{field: effort}, recall=round(recall, 4), ms=round(ms * 1e3, 3), exact_ms=round(slow * 1e3, 3),
                             of_exact=round(ms / slow, 4), one_ms=round(single * 1e3, 3), one_of_exact=round(single / alone, 4)))
            print(f"{kind:6} {field + '=' + str(effort):>12} {recall:10.3f} {ms * 1e3:7.2f} {slow * 1e3:8.2f} {ms / slow:9.1%} "
                  f"{single * 1e3:8.2f} {single / alone:9.1%}", flush=True)
            if kind == "hnsw": met = met or bool(recall >= 0.95 and ms <= slow / 10)
        print(f"{kind:6} built in {cpu:.0f} s of one core ({clock:.0f} s by the clock), {size:,.0f} MB beside the vectors", flush=True)
    facts = dict(n=a.n, d=a.d, queries=a.queries, runs=a.runs, cores=os.cpu_count(), exact_by=by, one_exact_ms=round(alone * 1e3, 3), builds=builds,
                 vectors_mb=round(x.nbytes / 1e6), peak_mb=round(memory_mb()), rows=rows)
    print(f"\npeak memory of the whole run: {facts['peak_mb']:,} MB, the vectors included")
    if a.json: a.json.write_text(json.dumps(facts, indent=1) + "\n")
    if met is not None: print(f"bars (HNSW: recall@100 of 0.95 at a tenth of exact search's time): {'met' if met else 'MISSED'}")
    return 0 if met in (True, None) else 1


if __name__ == "__main__":
    sys.exit(main())
