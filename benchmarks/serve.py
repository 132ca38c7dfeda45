"""How quick the service is over HTTP, measured by wrk on the same machine, beside bare FastAPI routes in the same run.

    python benchmarks/serve.py --bundle artifacts/bundles/ml-1m     # measures, then writes reports/serving.md
    python reports/serving.py                                      # writes the page from the rows that are there

Each case is asked with 1, 8 and 64 connections:

- `bare`: a FastAPI route of its own process that gives a small JSON; `bare-list`: one that gives a list as long as ours.
- `cached`: GET /recommend of lists prepared before.
- `uncached`: POST /recommendation; every history is another one, of 200 films, so nothing of it is in the cache.
- `repeated`: the same with a thousand histories over and over: their vectors are in the cache, the lists are made anew.
- `recommend`: POST /recommend, the taste model; `filtered`: POST /recommend/filtered by the model that answers.
- `pipeline`: POST /pipeline/recommend with reasons; `similar`, `search`, and `batch` (100 users a call).

The server is `uvicorn movierec.serve:app` with its defaults: one process, the cache on disk, the access log on. Films are
drawn for the histories by how often they are watched, since popular films are the dear ones. A case that the bundle can't
answer (501) is left out. The row tells the load of the machine and what share of the vectors came from the cache.
"""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
CASES = "bare,bare-list,cached,uncached,repeated,recommend,filtered,pipeline,similar,search,batch"
parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--bundle", default="artifacts/bundle")
parser.add_argument("--seconds", type=int, default=10, help="of each case")
parser.add_argument("--connections", default="1,8,64")
parser.add_argument("--cases", default=CASES)
parser.add_argument("--length", type=int, default=200, help="films of a history")
parser.add_argument("--most", type=int, default=1500, help="requests a second for which there are histories that differ")
parser.add_argument("--out", type=Path, default=ROOT / "reports/benchmarks")
parser.add_argument("--page", type=Path, default=ROOT / "reports/serving.md", help="what is made of the rows in --out")

BARE = """
from fastapi import FastAPI
from pydantic import BaseModel
class Film(BaseModel): movie_id: str; score: float
class Films(BaseModel): user_id: int; recommendations: list[Film]
app, films = FastAPI(), [(str(i), i / 7) for i in range(1000, 1020)]
@app.get("/bare")
async def bare() -> dict: return {"recommendations": [1, 2, 3, 4, 5]}
@app.get("/bare-list")
async def bare_list(user_id: int = 1) -> Films:
    return Films(user_id=user_id, recommendations=[Film(movie_id=i, score=x) for i, x in films])
"""

LUA = """
local bodies, n, at = {}, 0, 0
for line in io.lines("%(file)s") do n = n + 1; bodies[n] = line end
function request()
  at = at + 1
  local line = bodies[(at - 1) %% n + 1]
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


def start(app, number, cwd, log, **env):
    cmd = [sys.executable, "-m", "uvicorn", app, "--port", str(number), "--log-level", "warning"]
    return subprocess.Popen(cmd, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), **env}, stderr=log)


def ask(url, body=None):
    r = urllib.request.Request(url, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(r, timeout=120) as a:
        return a.read()


def wait(url):
    end = time.monotonic() + 300
    while time.monotonic() < end:
        try:
            return ask(url)
        except OSError:
            time.sleep(0.3)
    sys.exit(f"{url} doesn't answer")


def wrk(args, url, tmp, connections, method, path, lines):
    "One run; its numbers."
    (tmp / "lines").write_text("\n".join(lines) + "\n")
    (tmp / "ask.lua").write_text(LUA % dict(file=tmp / "lines", path=path, method=method))
    cmd = ["wrk", "-t1", f"-c{connections}", f"-d{args.seconds}s", "--timeout", "10s", "-s", str(tmp / "ask.lua"), url]
    out = subprocess.run(cmd, capture_output=True, text=True, check=True).stdout
    n, us, p50, p95, p99, status, broken = map(int, re.search(r"RESULT (.*)", out)[1].split())
    return dict(requests=n, per_second=round(1e6 * n / us, 1), p50_ms=p50 / 1e3, p95_ms=p95 / 1e3, p99_ms=p99 / 1e3, errors=status + broken)


def histories(films, n, length, seed):
    "n lists of different films each, drawn by how often they are watched (the largest of log weight + Gumbel noise)."
    rng, weight, out = np.random.default_rng(seed), np.log(films.n_ratings.to_numpy(np.float32)), []
    ids, length = films.item_id.to_numpy(), min(length, len(films) // 2)
    for a in range(0, n, 1000):
        noisy = weight + rng.gumbel(size=(min(1000, n - a), len(ids))).astype(np.float32)
        out += rng.permuted(ids[np.argpartition(-noisy, length - 1, axis=1)[:, :length]], axis=1).tolist()
    return out


def prepare_case(name, films, args, seed):
    "`(method, path, lines)` of a case; with another seed, other histories."
    body, fresh = lambda **b: json.dumps(b), lambda n: histories(films, n, args.length, seed)
    n = args.most * args.seconds
    if name.startswith("bare"):
        return "GET", "", [f"/{name}"]
    if name == "cached":
        return "GET", "", [f"/recommend?user_id={u}&top_k=20" for u in range(500)]
    if name == "uncached":
        return "POST", "/recommendation", [body(interaction_history=h, k=20) for h in fresh(n)]
    if name == "repeated":
        return "POST", "/recommendation", [body(interaction_history=h, k=20) for h in histories(films, 1000, args.length, 0)]
    if name == "recommend":
        return "POST", "/recommend", [body(user_id=i, history=h) for i, h in enumerate(fresh(n))]
    if name == "filtered":
        wish = dict(genres=["Comedy"], min_year=1990, final_k=20, model=args.model)
        return "POST", "/recommend/filtered", [body(user_id=i, history=h, **wish) for i, h in enumerate(fresh(n // 3))]
    if name == "pipeline":
        return "POST", "/pipeline/recommend", [body(history=h, top_k=10, explain=True) for h in fresh(n // 3)]
    if name == "similar":
        return "POST", "/similar", [body(movie_id=int(i)) for i in films.item_id[:500]]
    if name == "search":
        asked = "toy god star+wars termin amelie the+mat heat jurasic".split()
        return "GET", "", [f"/movies/search?q={q}" for q in asked]
    users = fresh(max(1000, 20 * args.seconds * 100))
    lines = [body(user_histories={str(u): h for u, h in enumerate(users[i : i + 100])}, top_k=20) for i in range(0, len(users), 100)]
    return "POST", "/batch/recommend", lines


def can(url, method, path, lines):
    "Whether the bundle answers this; the first of the lines is asked, and for a POST the answer thrown away."
    try:
        ask(url + (path or lines[0]), json.loads(lines[0]) if method == "POST" else None)
        return True
    except urllib.error.HTTPError as e:
        if e.code != 501:
            raise
        return False


def cache_counts(url):
    "`(hits, misses)` of the cache so far."
    text = ask(url + "/metrics").decode()
    found = [re.search(rf"^movierec_cache_{n}_total ([\d.e+]+)", text, re.M) for n in ("hits", "misses")]
    return [float(x[1]) if x else 0.0 for x in found]


def cpu_seconds(pid):
    "CPU time that a process has used, None where there is no /proc."
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def per_request(before, after, n):
    return None if before is None or not n else round(1e3 * (after - before) / n, 3)


def measure(args, films, tmp, bare, ours):
    "Rows of numbers; `bare` and `ours` are (url, process id)."
    rows, seed = [], 1
    for name in args.cases.split(","):
        url, pid = bare if name.startswith("bare") else ours
        asked = [int(c) for c in args.connections.split(",")]
        for c in asked if name != "batch" else sorted({min(c, 2) for c in asked}):  # a third batch at once is refused
            seed += 1  # other histories than before
            method, path, lines = prepare_case(name, films, args, seed)
            if not can(url, method, path, lines[-1:]):
                print(f"{name}: this bundle has no model for it", flush=True)
                break
            load = round(os.getloadavg()[0], 1)
            before, cpu = cache_counts(ours[0]), cpu_seconds(pid)
            got = wrk(args, url, tmp, c, method, path, lines)
            spent = per_request(cpu, cpu_seconds(pid), got["requests"])
            hits, misses = (b - a for a, b in zip(before, cache_counts(ours[0]), strict=True))
            share = None if pid == bare[1] or not hits + misses else round(hits / (hits + misses), 3)
            rows.append(dict(case=name, connections=c, **got, cpu_ms=spent, from_cache=share, load_before=load))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def cpu_name():
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1].strip() if found else platform.machine()


def version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine():
    "What was measured on, and with what."
    packages = "movierec fastapi starlette uvicorn pydantic torch numpy uvloop httptools orjson".split()
    tool = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split()[:2]
    versions = dict(python=platform.python_version(), wrk=tool[-1] if tool else None) | {p: v for p in packages if (v := version(p))}
    return dict(cores=os.cpu_count(), cpu=cpu_name(), system=platform.system(), versions=versions)


def git(*words):
    got = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return got.stdout.strip() if got.returncode == 0 else None


def threads_of(url, log):
    "The threads that the server said it took for its model."
    log.seek(0)
    found = re.search(r"(\d+) thread\(s\)", log.read())
    return int(found[1]) if found else None


def main():
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("this needs wrk: apt-get install wrk")
    films = pd.read_parquet(Path(args.bundle) / "items.parquet").query("n_ratings > 0")
    load = [round(x, 2) for x in os.getloadavg()]
    with tempfile.TemporaryDirectory() as d, open(Path(d) / "log", "a+") as log:
        tmp, a, b = Path(d), port(), port()
        (tmp / "bare_app.py").write_text(BARE)
        env = dict(MOVIEREC_BUNDLE=str(Path(args.bundle).resolve()), MOVIEREC_HOME=str(tmp), OMP_WAIT_POLICY="PASSIVE")
        os.environ.pop("OMP_NUM_THREADS", None)  # the service decides
        servers = [start("bare_app:app", a, tmp, log), start("movierec.serve:app", b, ROOT, log, **env)]
        try:
            bare, ours = f"http://127.0.0.1:{a}", f"http://127.0.0.1:{b}"
            wait(bare + "/bare")
            wait(ours + "/readyz")
            model = json.loads(ask(ours + "/model"))
            args.model = model["model"]
            users = {str(u): h for u, h in enumerate(histories(films, 500, 50, 9))}
            ask(ours + "/batch/recommend/cache", dict(user_histories=users, top_k=20))
            rows = measure(args, films, tmp, (bare, servers[0].pid), (ours, servers[1].pid))
            threads = threads_of(ours, log)
        finally:
            for s in servers:
                s.terminate()
            for s in servers:
                s.wait(20)
    about = dict(
        benchmark="serve", dataset=model["dataset"], model=model["model"], models=model["models"], version=model["version"],
        films=len(films), history=min(args.length, len(films) // 2), seconds=args.seconds, tool="wrk", **machine(), threads=threads, load_average=load,
        commit=git("rev-parse", "HEAD"), dirty=bool(git("status", "--porcelain", "--", "movierec")), rows=rows,
    )  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"serve_{model['dataset']}.json").write_text(json.dumps(about, indent=1) + "\n")
    subprocess.run([sys.executable, ROOT / "reports/serving.py", "--rows", args.out, "--page", args.page], check=True)


if __name__ == "__main__":
    main()
