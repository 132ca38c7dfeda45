"""Picking 50 of 300 candidates by MMR: milliseconds a list, beside the plain loop that it must agree with.

    python benchmarks/mmr.py                 # 300 candidates of 512 numbers, lists of 50, one core
    python benchmarks/mmr.py --n 1000 --k 10

Times are those of one processor core at work, the best of some runs; every fast list is compared with the loop's.
Exits with 1 if one list takes 5 ms or more.
"""
import argparse
import os
import sys
import time

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")   # before numpy reads them

import numpy as np

from movierec.rerank import mmr

BAR_MS = 5.0


def plain(scores, vectors, k, lam):
    "The definition, word for word: every step compares every candidate with every film on the list."
    picked = [int(np.argmax(scores))]
    left = set(range(len(scores))) - set(picked)
    while left and len(picked) < k:
        def worth(i): return lam * scores[i] - (1 - lam) * max(vectors[i] @ vectors[j] for j in picked)
        picked.append(max(sorted(left), key=worth))
        left.remove(picked[-1])
    return picked


def milliseconds(work, repeats):
    "Milliseconds of processor time of the least and of the median run, and what the last one gave."
    took = []
    for _ in range(repeats):
        start = time.process_time_ns()
        got = work()
        took.append((time.process_time_ns() - start) / 1e6)
    return min(took), float(np.median(took)), got


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--n", type=int, default=300, help="candidates")
    args.add_argument("--k", type=int, default=50, help="films on the list")
    args.add_argument("--d", type=int, default=512, help="numbers in a vector")
    args.add_argument("--lam", type=float, default=0.7)
    args.add_argument("--users", type=int, default=64, help="in the batch")
    a = args.parse_args()
    rng = np.random.default_rng(0)
    scores = rng.random((a.users, a.n), np.float32)
    vectors = rng.standard_normal((a.users, a.n, a.d), np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    slow, _, by_loop = milliseconds(lambda: plain(scores[0], vectors[0], a.k, a.lam), 1)
    least, median, one = milliseconds(lambda: mmr(scores[0], vectors[0], a.k, a.lam), 30)
    batch = milliseconds(lambda: mmr(scores, vectors, a.k, a.lam), 3)
    if one.tolist() != by_loop or batch[2][0].tolist() != by_loop: sys.exit("the fast list isn't the plain loop's")
    print(f"{a.k} of {a.n} candidates, vectors of {a.d}; {os.cpu_count()} cores, one used; the lists agree")
    print(f"plain loop        {slow:9.2f} ms a list")
    print(f"mmr, one user     {least:9.2f} ms a list (median of 30 runs {median:.2f})")
    print(f"mmr, {a.users:3} users    {batch[0] / a.users:9.2f} ms a list")
    print(f"bar ({BAR_MS:.0f} ms, one user): {'met' if least < BAR_MS else 'MISSED'}")
    return 0 if least < BAR_MS else 1


if __name__ == "__main__":
    sys.exit(main())
