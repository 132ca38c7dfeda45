"""How quick the service is over HTTP, measured by wrk on the same machine, beside a bare FastAPI route in the same run.

    python benchmarks/serve.py --bundle artifacts/bundles/ml-1m --seconds 10

Each case is asked with 1, 8 and 64 connections: `bare` (a route that gives a small JSON), `cached` (GET /recommend of
prepared lists), `uncached` (POST /recommendation, every history another one, of 200 films where there are so many),
`repeated` (the same, a thousand histories over and over: their vectors are in the cache), `recommend` (POST /recommend),
`similar`, `search`, and `batch` (POST /batch/recommend, 100 users a call). The server is `uvicorn movierec.serve:app`.
The row tells the machine's load: on a machine that others use, the numbers are theirs too.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--bundle", default="artifacts/bundle")
parser.add_argument("--seconds", type=int, default=10)
parser.add_argument("--connections", default="1,8,64")
parser.add_argument("--cases", default="bare,cached,uncached,repeated,recommend,similar,search,batch")
parser.add_argument("--length", type=int, default=200, help="films of a history")
parser.add_argument("--label", default="")
parser.add_argument("--out", type=Path, default=Path("reports/benchmarks"))
args = parser.parse_args()

BARE = """
from fastapi import FastAPI
app = FastAPI()
@app.get("/bare")
async def bare() -> dict: return {"recommendations": [1, 2, 3, 4, 5]}
"""

LUA = """
local bodies, n, at = {}, 0, %(start)d
for line in io.lines("%(file)s") do n = n + 1; bodies[n] = line end
local thread = 0
function setup(t) t:set("offset", thread * 7919); thread = thread + 1 end
function request()
  at = at + 1
  local line = bodies[(at + (offset or 0)) %% n + 1]
  if "%(method)s" == "GET" then return wrk.format("GET", line) end
  return wrk.format("POST", "%(path)s", {["Content-Type"] = "application/json"}, line)
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %%d %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(95), latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout))
end
"""


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(app, number, cwd, **env):
    cmd = [sys.executable, "-m", "uvicorn", app, "--port", str(number), "--log-level", "warning"]
    return subprocess.Popen(cmd, cwd=cwd, env={**os.environ, "PYTHONPATH": str(Path.cwd()), **env})


def ask(url, body=None):
    r = urllib.request.Request(url, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(r, timeout=120) as a:
        return json.loads(a.read())


def wait(url):
    end = time.monotonic() + 300
    while time.monotonic() < end:
        try:
            return ask(url)
        except OSError:
            time.sleep(0.3)
    sys.exit(f"{url} doesn't answer")


def wrk(url, tmp, connections, lines, path="", method="POST", start_at=0):
    "One run; the row of its numbers."
    (tmp / "lines").write_text("\n".join(lines) + "\n")
    (tmp / "ask.lua").write_text(LUA % dict(file=tmp / "lines", path=path, method=method, start=start_at))
    cmd = ["wrk", "-t1", f"-c{connections}", f"-d{args.seconds}s", "--timeout", "10s", "-s", str(tmp / "ask.lua"), url]
    out = subprocess.run(cmd, capture_output=True, text=True, check=True).stdout
    n, us, p50, p95, p99, status, broken = map(int, re.search(r"RESULT (.*)", out)[1].split())
    return dict(requests=n, per_second=round(1e6 * n / us, 1), p50_ms=p50 / 1e3, p95_ms=p95 / 1e3, p99_ms=p99 / 1e3, errors=status + broken)


def histories(films, n, length, seed):
    rng = np.random.default_rng(seed)
    return [rng.choice(films, min(length, len(films) // 2), replace=False).tolist() for _ in range(n)]


def cases(films, seed):
    "Case → (method, path, lines)."
    fresh, few = histories(films, 4000, args.length, seed), histories(films, 1000, args.length, 0)
    body = lambda **b: json.dumps(b)
    batch = [body(user_histories={str(u): h for u, h in enumerate(fresh[i : i + 100])}, top_k=20) for i in range(0, 1000, 100)]
    return dict(
        cached=("GET", "", [f"/recommend?user_id={u}&top_k=20" for u in range(500)]),
        uncached=("POST", "/recommendation", [body(interaction_history=h, k=20) for h in fresh]),
        repeated=("POST", "/recommendation", [body(interaction_history=h, k=20) for h in few]),
        recommend=("POST", "/recommend", [body(user_id=i, history=h) for i, h in enumerate(fresh)]),
        similar=("POST", "/similar", [body(movie_id=int(i)) for i in films[:500]]),
        search=("GET", "", [f"/movies/search?q={q}" for q in ("toy", "god", "star+wars", "termin", "amelie", "the+mat", "heat", "jurasic")]),
        batch=("POST", "/batch/recommend", batch),
    )


def main():
    if shutil.which("wrk") is None:
        sys.exit("this needs wrk: apt-get install wrk")
    films = pd.read_parquet(Path(args.bundle) / "items.parquet").query("n_ratings > 0").item_id.to_numpy()
    rows, seed = [], 1
    with tempfile.TemporaryDirectory() as d:
        tmp, a, b = Path(d), port(), port()
        (tmp / "bare_app.py").write_text(BARE)
        servers = [start("bare_app:app", a, tmp), start("movierec.serve:app", b, ".", MOVIEREC_BUNDLE=str(Path(args.bundle).resolve()), MOVIEREC_HOME=str(tmp), MOVIEREC_ACCESS_LOG="false")]
        try:
            wait(f"http://127.0.0.1:{a}/bare")
            wait(f"http://127.0.0.1:{b}/readyz")
            model = ask(f"http://127.0.0.1:{b}/model")
            ask(f"http://127.0.0.1:{b}/batch/recommend/cache", dict(user_histories={str(u): h for u, h in enumerate(histories(films, 500, 50, 9))}))
            ask(f"http://127.0.0.1:{b}/batch/recommend", dict(user_histories={"1": [1]}))
            for name, c in [(name, int(c)) for name in args.cases.split(",") for c in args.connections.split(",")]:
                if name == "bare":
                    got = wrk(f"http://127.0.0.1:{a}", tmp, c, ["/bare"], method="GET")
                else:
                    seed += 1  # other histories than before: nothing of them is in the cache
                    method, path, lines = cases(films, seed)[name]
                    got = wrk(f"http://127.0.0.1:{b}", tmp, c, lines, path, method)
                rows.append(dict(case=name, connections=c, **got, load_average=round(os.getloadavg()[0], 1)))
                print(json.dumps(rows[-1]), flush=True)
        finally:
            for s in servers:
                s.terminate()
            for s in servers:
                s.wait(20)
    about = dict(benchmark="serve", label=args.label, dataset=model["dataset"], model=model["model"], models=model["models"], version=model["version"], history=args.length, seconds=args.seconds, cores=os.cpu_count(), tool="wrk", rows=rows)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"serve_{model['dataset']}.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
