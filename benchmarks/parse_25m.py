"""How fast, and in how much memory, 25 million ratings are read.

    python benchmarks/parse_25m.py [--rows 25000000] [--keep FOLDER] [--json FILE]

Makes a `ratings.csv` in the layout of ml-25m (seeded; written in blocks, so that it takes little memory), then reads it
in fresh processes: by `load_movielens` for the first time (parse, check, hash, write the cache), again from the cache,
and by `pandas.read_csv` for comparison. Prints seconds and peak resident memory of each, and fails if our first load
misses the bars: 60 s and 4 GB for 25 million rows.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BAR_SECONDS, BAR_GB, N_FILMS, PER_USER = 60, 4.0, 62_000, 154

OURS = "from movierec.data.movielens import load_movielens; ds = load_movielens('ml-25m'); n = len(ds.interactions)"
PANDAS = "import os, pandas; df = pandas.read_csv(os.environ['MOVIEREC_DATA'] + '/ml-25m/ratings.csv'); n = len(df)"
TIMED = """
import json, resource, sys, time
t0 = time.perf_counter()
{code}
took = time.perf_counter() - t0
unit = 1 if sys.platform == 'darwin' else 1024   # ru_maxrss: bytes on macOS, KiB on Linux
print(json.dumps(dict(rows=n, seconds=round(took, 2), peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 2))))
"""


def make_files(folder: Path, rows: int, block: int = 500_000):
    "Write movies.csv and a ratings.csv of `rows` lines into `folder`."
    import polars as pl
    rng = np.random.default_rng(25)
    folder.mkdir(parents=True)
    films = (f'{i},"Film no. {i}, The ({1920 + i % 100})",Comedy|Drama\n' for i in range(1, N_FILMS + 1))
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(films))
    with open(folder / "ratings.csv", "wb") as f:
        f.write(b"userId,movieId,rating,timestamp\n")
        for at in range(0, rows, block):
            n = min(block, rows - at)
            item = np.minimum((N_FILMS * rng.random(n) ** 3).astype(np.int32) + 1, N_FILMS)   # a long tail, like the real one
            pl.DataFrame(dict(u=np.arange(at, at + n) // PER_USER + 1, i=item, r=rng.integers(1, 11, n) / 2,
                              t=rng.integers(789_652_009, 1_574_327_703, n))).write_csv(f, include_header=False)


def timed(code: str, env: dict) -> dict:
    "Run `code` in a fresh process; rows, seconds (imports included) and peak memory."
    run = subprocess.run([sys.executable, "-c", TIMED.format(code=code)], env=env, capture_output=True, text=True)
    if run.returncode: sys.exit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--rows", type=int, default=25_000_000)
    args.add_argument("--keep", type=Path, help="make the files here and leave them (default: a temporary folder)")
    args.add_argument("--json", type=Path, help="write the numbers to this file too")
    a = args.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        root = a.keep or Path(tmp)
        if not (root / "data/ml-25m").exists(): make_files(root / "data/ml-25m", a.rows)
        size = (root / "data/ml-25m/ratings.csv").stat().st_size
        print(f"ratings.csv: {a.rows:,} rows, {size / 1e6:.0f} MB; {os.cpu_count()} cores")
        env = os.environ | dict(MOVIEREC_DATA=str(root / "data"), MOVIEREC_HOME=str(Path(tmp) / "home"), MOVIEREC_LOG="ERROR")
        got = {}
        for name, code in {"movierec, first load": OURS, "movierec, from the cache": OURS, "pandas.read_csv": PANDAS}.items():
            got[name] = timed(code, env); r = got[name]
            print(f"{name:26} {r['seconds']:7.2f} s  {r['peak_gb']:5.2f} GB peak", flush=True)
            if r["rows"] != a.rows: sys.exit(f"{name}: {r['rows']:,} rows instead of {a.rows:,}")
    if a.json: a.json.write_text(json.dumps(dict(rows=a.rows, cores=os.cpu_count(), results=got), indent=1) + "\n")
    first, share = got["movierec, first load"], a.rows / 25_000_000
    ok = first["seconds"] < BAR_SECONDS * share and first["peak_gb"] < max(1.0, BAR_GB * share)
    print(f"bars ({BAR_SECONDS * share:.0f} s, {max(1.0, BAR_GB * share):.1f} GB): {'met' if ok else 'MISSED'}")
    return 0 if ok else 1


if __name__ == "__main__": sys.exit(main())
