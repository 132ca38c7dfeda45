"""A tour of the service: every call that it answers, asked with curl, and the errors that it promises.

    python tools/tour.py --url http://127.0.0.1:8000 [--key KEY]   # a service that runs
    python tools/tour.py --bundle artifacts/bundle                 # one of its own on this bundle, stopped at the end

Prints each command and its answer, shortened. Ends with an error if a status isn't the one expected, or a promised field
is missing. What depends on a model that the bundle lacks has to answer 501 and to say what brings the model. The errors that
need a service with a key, with a rate limit or without a bundle are shown only on services of its own.
"""

import argparse
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

JSON, KEY = "Content-Type: application/json", "a-key-for-the-tour"
parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--url", default="", help="a running service")
parser.add_argument("--key", default="", help="its key for batches, events and reloads")
parser.add_argument("--bundle", default="", help="the bundle for a service of its own")
parser.add_argument("--width", type=int, default=240, help="letters of an answer that are shown")


@dataclass
class Answer:
    "What came back."

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Tour:
    "Asks, shows, and keeps count."

    url: str
    key: str = ""
    width: int = 240
    asked: int = 0
    wrong: list = field(default_factory=list)

    def curl(self, path, body=None, headers=()):
        "`(the command as one would type it, the answer)`."
        words = ["curl", "-s", "-i", self.url + path]
        sent = body if isinstance(body, str) or body is None else json.dumps(body)
        for h in [*([JSON] if body is not None else []), *headers]:
            words += ["-H", h]
        if sent is not None:
            words += ["--data-binary", "@-" if len(sent) > 2000 else sent]
        told = sent.encode() if sent is not None and len(sent) > 2000 else b""
        got = subprocess.run([*words, "--max-time", "120"], input=told, capture_output=True, check=True).stdout
        head, _, rest = got.partition(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head, _, rest = rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        named = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines)}
        return shlex.join(words), Answer(int(first.split()[1]), named, rest)

    def ask(self, what, path, body=None, *, status=200, fields=(), headers=(), keyed=False):
        "Ask, show, and note what isn't as promised."
        if keyed and self.key:
            headers = [*headers, f"X-API-Key: {self.key}"]
        command, a = self.curl(path, body, headers)
        self.asked += 1
        problem = self.check(a, status, fields)
        print(f"# {what}\n$ {command}\n{self.short(a)}")
        if problem:
            self.wrong.append(f"{what}: {problem}")
            print(f"!! {problem}")
        print(flush=True)
        return a

    def check(self, a, status, fields):
        "What is wrong with an answer, or \"\"."
        if a.status != status:
            return f"{a.status}, expected {status}"
        fields = ("detail",) if status >= 400 else fields
        if not fields:
            return ""
        try:
            found = a.json
        except ValueError:
            return "not JSON"
        found = found[0] if isinstance(found, list) and found else found
        missing = [f for f in fields if f not in found]
        return f"no {', '.join(missing)} in the answer" if missing else ""

    def short(self, a):
        "The answer as it is shown: status, telling headers, the beginning of the body."
        told = [f"{k}: {a.headers[k]}" for k in ("x-match", "x-list-id", "retry-after", "etag") if k in a.headers]
        kind = a.headers.get("content-type", "")
        text = a.body.decode("utf-8", "replace").strip() if kind.startswith(("application/json", "text/")) else f"({kind}, {len(a.body):,} bytes)"
        if kind.startswith("text/plain"):
            text = "\n".join(x for x in text.split("\n") if x.startswith("movierec_"))
        text = text if len(text) <= self.width else text[: self.width] + f" … ({len(a.body):,} bytes)"
        return f"{a.status} {'  '.join(told)}\n{text}".strip()


def recommending(t, has, films, titles):
    "The lists."
    one, few = films[0], films[:4]
    ids, texts = few, [str(i) for i in few]
    t.ask("what to see next, by the sequence", "/recommendation", dict(interaction_history=ids, k=5), fields=("recommendations", "translated"))
    t.ask(
        "the same with the times at which they were seen, asked a day later",
        "/recommendation",
        dict(interaction_history=ids, k=3, timestamps=[1e9 + 3600 * i for i in range(len(ids))], now=1e9 + 86400),
        fields=("recommendations", "translated"),
    )
    t.ask("unknown films are named", "/recommendation", dict(interaction_history=[one, 987654321], k=2), fields=("unknown_items",))
    t.ask("nobody's history: the popular list", "/recommendation", dict(interaction_history=[], k=3), fields=("strategy",))
    taste = 200 if has("taste", "taste-mlp") else 501
    t.ask("by the taste model", "/recommend", dict(user_id=123, history=texts, top_k=3), status=taste, fields=("user_id", "recommendations"))
    wish = dict(user_id=123, history=texts, min_year=1900, max_year=2030, final_k=2)
    shape = ("user_id", "recommendations", "filters_applied")
    t.ask("that pass filters", "/recommend/filtered", wish, status=taste, fields=shape)
    t.ask("the same by a model named", "/recommend/filtered", wish | dict(model="popular"), fields=shape)
    t.ask("like a film: watched in the same places", "/similar", dict(movie_id=str(one), top_k=3), fields=("movie_id", "similar"))
    by = 200 if has("item-knn", "pearson") else 501
    t.ask("like a film: by the same people", "/similar", dict(movie_id=one, top_k=3, by="ratings"), status=by, fields=("similar",))
    by = 200 if has("content") else 501
    t.ask("like a film: about the same things", "/similar", dict(movie_id=one, top_k=3, by="content"), status=by, fields=("similar",))
    two = dict(user_id="17", candidate_movies=[*titles[:2], "No Film Of This Name"])
    towers = 200 if has("tfrs-side", "tfrs") else 501
    t.ask("films by title put in order for a viewer, by the two towers", "/recommendation/ranked_recommendation", two, status=towers,
          fields=("user_id", "ranked_movies", "unknown_movies"))  # fmt: skip
    t.ask("the most stars for a viewer", "/user_recommend/17?top_k=2", status=200 if has("rating") else 501, fields=("user_id", "recommendations"))
    found = ("title", "similarity", "vote_count", "vote_average", "poster_path")
    t.ask("a title is taken for a title", f"/title-or-prompt?input_text={quote(titles[0])}&top_k=2", status=200 if has("pearson") else 501, fields=found)
    t.ask("anything else for a wish", "/title-or-prompt?input_text=a%20journey%20through%20space&top_k=2", status=200 if has.search else 501,
          fields=found if has.search else ())  # fmt: skip
    body = dict(history=texts, top_k=3, sequential=True, diversity=0.3, explain=True)
    t.ask("all stages, with reasons", "/pipeline/recommend", body, status=200 if has.pipeline else 501, fields=("recommendations", "stages"))


def batches(t, has, films):
    "Many users at once, and what is prepared for later."
    users = dict(user_histories={"123": [str(films[0])], "124": "not a list"}, top_k=2)
    t.ask("lists for many users; a bad one fails alone", "/batch/recommend", users, keyed=True,
          fields=("results", "total_users", "success_count", "failed_users"))  # fmt: skip
    t.ask("lists prepared for a day", "/batch/recommend/cache", users, keyed=True, fields=("total_users", "success_count", "ttl_seconds"))
    t.ask("and read", "/recommend?user_id=123&top_k=2", fields=("user_id", "recommendations", "cached"))
    t.ask("none was prepared for this one", "/recommend?user_id=nobody", status=404)


def films_and_pictures(t, has, films, title):
    t.ask("films by title, as you type", f"/movies/search?q={quote(title[:5])}&limit=2", fields=("movie_id", "title", "year", "genres", "poster_url"))
    t.ask("one film", f"/movies/{films[0]}", fields=("movie_id", "title"))
    t.ask("no such film", "/movies/987654321", status=404)
    t.ask("its picture", f"/posters/{films[0]}")
    t.ask("where films lie on a map", "/map", status=200 if has.pipeline else 501, fields=("movie_id", "x", "y"))
    t.ask("no picture of no film", "/posters/987654321", status=404)


def operating(t, films):
    t.ask("the process lives", "/healthz")
    t.ask("the bundle is loaded", "/readyz")
    t.ask("what is loaded", "/model", fields=("dataset", "models", "metrics", "version"))
    a = t.ask("a list to be watched", "/recommendation", dict(interaction_history=films[:2], k=2), fields=("recommendations",))
    shown = a.json["recommendations"][0] if a.status == 200 and a.json["recommendations"] else films[0]
    for kind in ("impression", "click"):
        event = dict(user_id=123, movie_id=str(shown), type=kind, list_id=a.headers.get("x-list-id", ""))
        t.ask(f"an event: {kind}", "/events", event, status=202, keyed=True)
    t.ask("metrics", "/metrics")
    t.ask("the web page", "/")
    t.ask("the calls, for reading", "/docs")
    t.ask("the calls, for programs", "/openapi.json", fields=("paths",))


BAD = {
    "k out of bounds": ("/recommendation", dict(interaction_history=[1], k=0)),
    "no number": ("/recommendation", '{"interaction_history": [1], "k": NaN}'),
    "wrong type": ("/recommendation", dict(interaction_history="1")),
    "no JSON": ("/recommendation", "{"),
    "too long a history": ("/recommendation", dict(interaction_history=[1] * 10_001)),
    "an empty title": ("/recommendation/ranked_recommendation", dict(user_id="17", candidate_movies=[""])),
    "a negative year": ("/recommend/filtered", dict(user_id=1, history=[], min_year=-1)),
    "years in the wrong order": ("/recommend/filtered", dict(user_id=1, history=[], min_year=2000, max_year=1990)),
}


def errors(t):
    "What is refused, and how."
    for what, (path, body) in BAD.items():
        t.ask(what, path, body, status=422)
    t.ask("a body over the limit", "/recommendation", json.dumps(dict(interaction_history=[], x="x" * (1 << 20))), status=413)
    t.ask("a model that isn't there", "/recommend/filtered", dict(user_id=1, history=[], model="no-such-model"), status=501)
    t.ask("nothing at this address", "/nowhere", status=404)


def keys(t):
    "With a key set: who lacks it is told so."
    users, wrong = dict(user_histories={"1": []}), ["X-API-Key: wrong"]
    t.ask("a batch without the key", "/batch/recommend", users, status=401)
    t.ask("a batch with a wrong key", "/batch/recommend", users, status=403, headers=wrong)
    t.ask("an event without the key", "/events", dict(user_id=1, movie_id=1, type="click", list_id="x"), status=401)
    t.ask("the bundle read again", "/admin/reload", {}, keyed=True, fields=("version",))


def walk(t):
    "The whole way through one service."
    about = t.ask("what is there", "/model", fields=("models",)).json
    popular = t.curl("/recommendation", dict(interaction_history=[], k=8))[1].json
    films, titles = popular["recommendations"], [x.rpartition(":")[0] for x in popular["translated"]]

    def has(*names):
        return bool(set(names) & set(about["models"]))

    has.search, has.pipeline = about["offers"]["search"], about["offers"]["diversity"] is not None
    recommending(t, has, films, titles)
    batches(t, has, films)
    films_and_pictures(t, has, films, titles[0])
    operating(t, films)
    errors(t)


class Service:
    "`uvicorn movierec.serve:app` for as long as the tour takes."

    def __init__(self, folder, **env):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", open(Path(folder) / f"{port}.log", "a+")
        command = [sys.executable, "-m", "uvicorn", "movierec.serve:app", "--port", str(port), "--log-level", "warning"]
        env = {**os.environ, "MOVIEREC_HOME": str(folder), "MOVIEREC_BUILD": "none", "MOVIEREC_REDIS_URL": "", **env}
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=self.log)

    def wait(self, path, status, seconds=300):
        "Until `path` answers so."
        end, got = time.monotonic() + seconds, ""
        while time.monotonic() < end and self.process.poll() is None:
            got = subprocess.run(["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", self.url + path], capture_output=True, text=True).stdout
            if got == str(status):
                return self
            time.sleep(0.2)
        self.log.seek(0)
        sys.exit(f"{path} answers {got or 'nothing'}, not {status}\n{self.log.read()[-2000:]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.log.close()


def own(args):
    "The tour on services of its own."
    with tempfile.TemporaryDirectory() as folder:
        with Service(folder, MOVIEREC_BUNDLE=str(Path(args.bundle).resolve()), MOVIEREC_API_KEY=KEY) as s:
            t = Tour(s.wait("/readyz", 200).url, KEY, args.width)
            walk(t)
            keys(t)
        nowhere = str(Path(folder) / "no-bundle")
        with Service(folder, MOVIEREC_BUNDLE=nowhere, MOVIEREC_RATE_LIMIT="0.001", MOVIEREC_RATE_BURST="2") as s:
            t.url = s.wait("/healthz", 200).url
            print("# ---- another service, without a bundle, which lets an address ask twice\n")
            t.ask("alive", "/healthz")
            t.ask("but not ready", "/readyz", status=503)
            for n, status in enumerate((503, 503, 429), 1):
                t.ask(f"question {n}", "/recommendation", dict(interaction_history=[1]), status=status)
    return t


def main():
    args = parser.parse_args()
    if bool(args.url) == bool(args.bundle):
        parser.error("give --url of a running service, or --bundle for one of its own")
    if args.url:
        t = Tour(args.url.rstrip("/"), args.key, args.width)
        walk(t)
    else:
        t = own(args)
    print(f"{t.asked} calls, {t.asked - len(t.wrong)} answered as expected")
    sys.exit("\n".join(t.wrong) if t.wrong else 0)


if __name__ == "__main__":
    main()
