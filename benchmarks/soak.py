"""Minutes of mixed load over HTTP, each answer compared with what the same bundle's engine says in this process.

    python benchmarks/soak.py --bundle artifacts/bundles/ml-1m --minutes 10

Some clients ask in turn for lists (by the sequence, with and without times; by the taste model; filtered; prepared; by the
pipeline), for films like a film, for titles and for pictures, with histories of 0 to 250 films, unknown ones among them. What a request
needs comes and goes; whether something stays shows at rest: twenty times the clients pause, and two seconds after the last answer the
server's resident set is read, and the part of it that is its own, not a file's (reports/benchmarks/soak_memory.csv,
with the median of that part at work before each rest). The row has the
slope over the rests of the second half: the first warms up. A 503 that says when to come again is counted as shed: a third batch at
once hears one. The exit status tells of wrong answers and of errors.
"""

import argparse
import http.client
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--bundle", default="artifacts/bundle")
parser.add_argument("--minutes", type=float, default=10)
parser.add_argument("--clients", type=int, default=4)
parser.add_argument("--out", type=Path, default=ROOT / "reports/benchmarks", help="folder for soak.json")
os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "MOVIEREC_PROGRESS": "0"}

import numpy as np  # noqa: E402
import psutil  # noqa: E402

from movierec.bundle import Bundle  # noqa: E402
from movierec.evaluate import origin  # noqa: E402
from movierec.filters import Filters  # noqa: E402
from movierec.service.engine import Engine, Missing  # noqa: E402

RESTS = 20
CLOSE = 2e-4  # scores of one history in batches of different sizes differ in the last digits of a float32
JSON = {"Content-Type": "application/json"}


def alike(ids, scores, more, width):
    "Whether a list is the engine's: `more` are (id, score) of a longer list; places may change where scores are alike."
    right, want = dict(more), [x for _, x in more[:width]]
    near = lambda a, b: abs(a - b) <= CLOSE * max(1, abs(b))   # noqa: E731
    return len(ids) == len(set(ids)) == len(want) and all(
        i in right and near(x, right[i]) and near(x, w) for i, x, w in zip(ids, scores, want, strict=True))  # fmt: skip


class Questions:
    "Makes questions with the engine's answers: `name()` gives (method, path, body, is the answer right)."

    def __init__(self, engine, seed, calls=None):
        self.engine, self.rng, self.calls = engine, random.Random(seed), calls
        self.films = engine.items.query("n_ratings > 0").item_id.tolist()
        self.popular = [i for i, _ in engine.popular[:300]]

    def history(self):
        n = self.rng.choice((0, 1, 5, 20, 60, 200, 250))
        odd = [987654321, "nope"] if self.rng.random() < 0.1 else []
        return self.rng.sample(self.films, min(n, len(self.films) // 2)) + odd

    def recommendation(self):
        h, k, more = self.history(), self.rng.choice((5, 20)), {}
        if self.rng.random() < 0.3:
            start = self.rng.randrange(10**9)
            more = dict(timestamps=sorted(start + self.rng.randrange(10**7) for _ in h), now=start + 2 * 10**7)
        a = self.engine.recommend(h, k + 5, **more)
        right = lambda got: got["strategy"] == a.strategy and alike(   # noqa: E731
            got["recommendations"], got["scores"], list(zip(a.item_ids, a.scores, strict=True)), min(k, len(a.item_ids)))  # fmt: skip
        return "POST", "/recommendation", dict(interaction_history=h, k=k, **more), right

    def listed(self, got, a, k):
        ids, scores = [int(x["movie_id"]) for x in got["recommendations"]], [x["score"] for x in got["recommendations"]]
        return alike(ids, scores, list(zip(a.item_ids, a.scores, strict=True)), min(k, len(a.item_ids)))

    def recommend(self):
        h = self.history()
        a = self.engine.recommend(h, 25, model="taste")
        return "POST", "/recommend", dict(user_id=1, history=h, top_k=20), lambda got: self.listed(got, a, 20)

    def filtered(self):
        h, wish = self.history(), dict(min_year=1980, max_year=1995)
        model = self.engine.model.name
        a = self.engine.recommend(h, 15, model=model, filters=Filters(**wish))
        return "POST", "/recommend/filtered", dict(user_id=1, history=h, final_k=10, model=model, **wish), lambda got: self.listed(got, a, 10)

    def prepared(self):
        user, h = f"soak-{self.rng.getrandbits(48)}", self.history()
        model = "taste" if "taste" in self.engine.bundle.models else ""
        a = self.engine.recommend(h, 25, model=model)

        def right(got):
            return self.listed(dict(recommendations=got["results"][user]), a, 20) if "results" in got else got["success_count"] == 1

        path = self.rng.choice(("/batch/recommend", "/batch/recommend/cache"))
        return "POST", path, dict(user_histories={user: h}, top_k=20), right

    def pipeline(self):
        h = self.history()
        a, why = self.engine.pipe(h, 10, Filters(), "rules", explain=True)
        told = list(zip(map(str, a.item_ids), why, strict=True))

        def right(got):
            return [(x["movie_id"], x["explanation"]) for x in got["recommendations"]] == told

        return "POST", "/pipeline/recommend", dict(history=h, top_k=10, explain=True), right

    def similar(self):
        i = self.rng.choice(self.films)
        a, _ = self.engine.similar(i, 25)
        return "POST", "/similar", dict(movie_id=i), lambda got: alike(
            [int(x["movie_id"]) for x in got["similar"]], [x["similarity"] for x in got["similar"]], a, min(20, len(a)))  # fmt: skip

    def search(self):
        t = self.engine.titles[self.rng.randrange(len(self.engine.titles))].split()[0]
        word = "".join(c for c in t if c.isascii() and c.isalnum())[: self.rng.randint(2, 9)] or "the"
        a = self.engine.search(word)
        return "GET", f"/movies/search?q={word}", None, lambda got: got == a

    def movie(self):
        i = self.rng.choice(self.films)
        a = self.engine.movie(i)
        return "GET", f"/movies/{i}", None, lambda got: got["title"] == a["title"] and all(got[k] == v for k, v in a.items() if k in got)

    def poster(self):
        i = self.rng.choice(self.popular)
        a = self.engine.picture(i).data
        return "GET", f"/posters/{i}", None, lambda got: got == a

    def draw(self):
        name = self.rng.choice(self.calls)
        return name, *getattr(self, name)()


CALLS = "recommendation recommend filtered prepared pipeline similar search movie poster".split()


def answered(engine):
    "The calls that the engine's bundle can answer."
    q, there = Questions(engine, 0), []
    for name in CALLS:
        try:
            getattr(q, name)()
            there.append(name)
        except Missing:
            print(f"{name}: this bundle has no model for it")
    return there


class Client(threading.Thread):
    "Asks over one connection while `go` is set, until `stop`."

    def __init__(self, port, questions, stop, go):
        super().__init__(daemon=True)
        self.port, self.questions, self.stop, self.go = port, questions, stop, go
        self.counts, self.bad, self.died, self.resting = Counter(), [], True, False

    def run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stop.is_set():
            if not self.go.is_set():
                c.close()  # the server closes a connection that is idle for long, and the next request would be its first word of it
                self.resting = True
                self.go.wait()
                self.resting = False
                continue
            name, method, path, body, right = self.questions.draw()
            self.counts[name] += 1
            try:
                c.request(method, path, body and json.dumps(body), JSON)
                r = c.getresponse()
                data = r.read()
                if r.status == 503 and r.headers.get("Retry-After") == "1":  # it says that it is busy, as it should
                    self.counts["shed"] += 1
                elif r.status != 200:
                    self.note("errors", name, body, f"{r.status} {data[:300]!r}")
                elif not right(json.loads(data) if r.headers["content-type"] == "application/json" else data):
                    self.note("wrong", name, body, data[:600].decode("utf-8", "replace"))
            except (OSError, http.client.HTTPException) as e:
                self.note("errors", name, body, repr(e))
                c.close()
            except (KeyError, TypeError, ValueError) as e:  # an answer of another shape
                self.note("wrong", name, body, repr(e))

        self.died = False

    @property
    def asked(self):
        return sum(n for name, n in self.counts.items() if name in CALLS)

    def note(self, kind, name, body, what):
        self.counts[kind] += 1
        if len(self.bad) < 3:
            self.bad.append(f"{kind}: {name} {json.dumps(body)[:400]}\n    {what}")


def held_mb(server):
    "Resident set, and the part of it that is no file's: files read through the page cache can be dropped at any time, that part can't."
    m = server.memory_info()
    return m.rss / 2**20, (m.rss - m.shared) / 2**20


def slope(seconds, mb):
    "MB an hour, and its standard error, by least squares."
    t, y = np.asarray(seconds) / 3600, np.asarray(mb)
    t = t - t.mean()
    b = (t * y).sum() / (t**2).sum()
    left = y - y.mean() - b * t
    return float(b), float(np.sqrt((left**2).sum() / max(1, len(t) - 2) / (t**2).sum()))


def watch(pid, clients, go, until, seconds):
    "`(seconds, requests, MB, MB of its own)` at rest, and the median of its own MB at work before it, RESTS times in `seconds`."
    out, began, server = [], time.monotonic(), psutil.Process(pid)
    for i in range(1, RESTS + 1):
        busy = [held_mb(server)[1]]
        while (left := began + seconds * i / RESTS - time.monotonic()) > 0:
            time.sleep(min(1, left))
            busy.append(held_mb(server)[1])
        go.clear()
        until(lambda: all(c.resting or not c.is_alive() for c in clients), 90)
        time.sleep(2)
        out.append((time.monotonic() - began, sum(c.asked for c in clients), *held_mb(server), float(np.median(busy))))
        print("{:5.0f} s {:7,} requests: {:,.1f} MB at rest, {:,.1f} of its own; {:,.1f} at work".format(*out[-1]), flush=True)
        go.set()
    return out


def main():
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from running import Server, until   # the tests' own server

    engine = Engine(Bundle.load(args.bundle))
    calls, stop, go, load = answered(engine), threading.Event(), threading.Event(), round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as folder:
        env = dict(MOVIEREC_BUNDLE=str(Path(args.bundle).resolve()), PYTHONPATH=str(ROOT), MOVIEREC_BUILD="none")
        with Server(Path(folder), "--log-level", "warning", **env) as server:
            until(lambda: server.get("/readyz")[0] == 200, 300)
            clients = [Client(server.port, Questions(engine, seed, calls), stop, go) for seed in range(args.clients)]
            go.set()
            for c in clients:
                c.start()
            seen = watch(server.p.pid, clients, go, until, 60 * args.minutes)
            stop.set()
            for c in clients:
                c.join(90)
            assert not any(c.died for c in clients), "a client stopped asking"
    counts = sum((c.counts for c in clients), Counter())
    wrong, errors, shed = (counts.pop(k, 0) for k in ("wrong", "errors", "shed"))
    later = seen[RESTS // 2 - 1 :]
    rate, error = slope([x[0] for x in later], [x[3] for x in later])
    memory = dict(rest_mb=[round(x[3], 1) for x in seen], work_mb=[round(x[4], 1) for x in seen], rss_mb=[round(x[2]) for x in (later[0], later[-1])],
                  mb_per_hour=round(rate, 1), mb_per_hour_error=round(error, 1))  # fmt: skip
    row = dict(
        benchmark="soak", dataset=engine.bundle.manifest["dataset"], version=engine.version, minutes=args.minutes, clients=args.clients,
        requests=counts.total(), calls=dict(counts), wrong=wrong, errors=errors, shed=shed, **memory,
        samples=len(later), cores=os.cpu_count(), load_before=load, **origin(),
    )  # fmt: skip
    print(json.dumps(row, indent=1), *[b for c in clients for b in c.bad], sep="\n")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "soak.json").write_text(json.dumps(row, indent=1) + "\n")
    lines = ["seconds,requests,rss_mb,own_mb,work_mb", *(f"{t:.0f},{n},{rss:.1f},{own:.1f},{work:.1f}" for t, n, rss, own, work in seen)]
    (args.out / "soak_memory.csv").write_text("\n".join(lines) + "\n")
    sys.exit(1 if wrong or errors else 0)


if __name__ == "__main__":
    main()
