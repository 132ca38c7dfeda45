"""Every call of the API on a bundle that holds every model: shapes, errors, keys, limits, events, batches, caches, and a new bundle under load."""

import gc
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi.testclient import TestClient
from redis_server import RedisServer
from running import Server, until
from tiny_world import make_bundle, make_full_bundle

from movierec.bundle import Bundle
from movierec.events import load_events
from movierec.pipeline import Pipeline, neighbour_lists
from movierec.serve import create_app
from movierec.service.engine import Engine
from movierec.service.routes import ShortWay
from movierec.service.settings import Settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("service") / "bundle"
    make_full_bundle(out)
    return out


def client(folder, tmp_path, **settings):
    settings = dict(bundle=folder, events=tmp_path / "events.sqlite3", access_log=False) | settings
    return TestClient(create_app(Settings(**settings)), raise_server_exceptions=False)


def ready(http):
    until(lambda: http.get("/readyz").status_code == 200)
    return http


@pytest.fixture(scope="module")
def http(folder, tmp_path_factory):
    tmp = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as m:
        m.setenv("MOVIEREC_HOME", str(tmp))
        with client(folder, tmp) as c:
            yield ready(c)


@pytest.fixture(scope="module")
def engine(folder):
    e = Engine(Bundle.load(folder))
    yield e
    e.close()


# ---- shapes -------------------------------------------------------------------------------------------------------


def test_recommend(http, engine):
    r = http.post("/recommend", json={"user_id": 123, "history": ["1", 2, "999"], "top_k": 3})
    body = r.json()
    assert r.status_code == 200 and body["user_id"] == 123 and body["unknown_items"] == ["999"] and body["model"] == "taste"
    want = engine.recommend([1, 2], 3, model="taste")
    assert [m["movie_id"] for m in body["recommendations"]] == [str(i) for i in want.item_ids]
    assert all(set(m) == {"movie_id", "score"} for m in body["recommendations"]) and r.headers["x-list-id"].startswith("taste:")
    assert http.post("/recommend", json={"user_id": "ann", "history": []}).json()["strategy"] == "popular"
    assert http.post("/recommend", json={"user_id": 1, "history": [1], "scorer": "dot"}).status_code == 200
    refused = http.post("/recommend", json={"user_id": 1, "history": [1], "scorer": "mlp"})
    assert refused.status_code == 501 and "scorer=mlp" in refused.json()["detail"]


def test_filtered_lists_stay_full(http):
    ask = {"user_id": 123, "history": ["8"], "top_k": 1, "final_k": 2, "genres": ["Animation"]}
    body = http.post("/recommend/filtered", json=ask).json()
    assert {m["movie_id"] for m in body["recommendations"]} == {"1", "2"} and body["filters_applied"] == {"genres": ["Animation"]}
    assert set(body["recommendations"][0]) == {"movie_id", "score", "title", "genres", "year", "actors", "poster_url"}
    who = http.post("/recommend/filtered", json={**ask, "genres": [], "actors": ["tim allen"]}).json()["recommendations"]
    assert [(m["movie_id"], m["actors"]) for m in who] == [("1", ["Tom Hanks", "Tim Allen"])]
    years = http.post("/recommend/filtered", json={"user_id": 1, "history": [], "min_year": 1995, "max_year": 1999}).json()
    assert {m["year"] for m in years["recommendations"]} <= set(range(1995, 2000)) and years["strategy"] == "popular"
    assert years["filters_applied"] == {"min_year": 1995, "max_year": 1999}
    nobody = http.post("/recommend/filtered", json={**ask, "genres": [], "actors": ["Nobody Known"]})
    assert nobody.status_code == 200 and nobody.json()["recommendations"] == []
    odd = http.post("/recommend/filtered", json={**ask, "genres": ["Anmation"]})
    assert odd.status_code == 422 and "did you mean Animation" in odd.json()["detail"][0]["msg"]


@pytest.mark.parametrize("by", ["sequence", "ratings"])
def test_similar(http, by):
    body = http.post("/similar", json={"movie_id": "1", "top_k": 3, "by": by}).json()
    likes = [m["similarity"] for m in body["similar"]]
    assert body["movie_id"] == "1" and body["by"] == by and likes == sorted(likes, reverse=True) and "1" not in [m["movie_id"] for m in body["similar"]]
    assert http.post("/similar", json={"movie_id": 50, "by": by}).json()["similar"] == []  # never rated
    assert http.post("/similar", json={"movie_id": "999"}).status_code == 404
    assert http.post("/similar", json={"movie_id": "1", "by": "content"}).status_code == 501


def test_ranked_recommendation(http):
    ask = {"user_id": "17", "candidate_movies": ["Toy Story (1995)", "godfather, the", "Heat (1995)", "Toy Story 2 (1999)"]}
    body = http.post("/recommendation/ranked_recommendation", json=ask).json()
    stars = [m["predicted_rating"] for m in body["ranked_movies"]]
    assert body["user_id"] == "17" and body["unknown_movies"] == ["Heat (1995)"] and stars == sorted(stars, reverse=True)
    assert {m["title"] for m in body["ranked_movies"]} == {"Toy Story (1995)", "godfather, the", "Toy Story 2 (1999)"}
    assert http.post("/recommendation/ranked_recommendation", json={**ask, "user_id": 99999}).status_code == 404


def test_user_recommend(http):
    body = http.get("/user_recommend/7", params={"top_k": 5}).json()
    assert body["user_id"] == 7 and {"title", "predicted_rating", "vote_average", "vote_count", "popularity", "genres"} <= set(body["recommendations"][0])
    seen = {str(i) for i in http.app.state.service.engine.bundle.seen.get(7)}
    assert not seen & {m["movie_id"] for m in body["recommendations"]}
    assert all(0.5 <= m["predicted_rating"] <= 5 for m in body["recommendations"])
    for user in ("99999", "ann", "-1"):
        assert http.get(f"/user_recommend/{user}").status_code == 404


@pytest.mark.parametrize("text", ["Toy Story", "tOY sTORY (1995)", "  toy story "])
def test_title(http, text):
    r = http.get("/title-or-prompt", params={"input_text": text, "top_k": 2})
    assert r.headers["x-match"] == "title" and 1 <= len(r.json()) <= 2
    assert all({"title", "similarity", "vote_count", "vote_average", "poster_path"} <= set(m) for m in r.json())


def test_prompt(http):
    r = http.get("/title-or-prompt", params={"input_text": "an odyssey in space", "top_k": 1})
    assert r.headers["x-match"] == "prompt" and r.json()[0]["title"] == "2001: A Space Odyssey"


@pytest.mark.parametrize(
    "path,body",
    [
        ("/recommend", {"user_id": 1, "history": [True]}),
        ("/recommend", {"user_id": "", "history": [1]}),
        ("/recommend", {"user_id": 1.5, "history": [1]}),
        ("/recommend", {"user_id": 1, "history": [1], "top_k": 1001}),
        ("/recommend", {"user_id": 1, "history": [1] * 10_001}),
        ("/recommend/filtered", {"user_id": 1, "history": [1], "min_year": -1}),
        ("/recommend/filtered", {"user_id": 1, "history": [1], "min_year": 2000, "max_year": 1999}),
        ("/recommend/filtered", {"user_id": 1, "history": [1], "genres": [""]}),
        ("/recommend/filtered", {"user_id": 1, "history": [1], "final_k": 0}),
        ("/similar", {"movie_id": "1", "by": "looks"}),
        ("/similar", {"movie_id": None}),
        ("/batch/recommend", {"user_histories": [[1]]}),
        ("/batch/recommend", {"user_histories": {"1": [1]}, "top_k": 0}),
        ("/recommendation/ranked_recommendation", {"user_id": 1, "candidate_movies": [""]}),
        ("/events", {"user_id": 1, "movie_id": 1, "type": "like"}),
        ("/events", {"user_id": 1, "movie_id": 1, "type": "click", "list_id": "x" * 129}),
    ],
)
def test_malformed_bodies(http, path, body):
    r = http.post(path, json=body)
    assert r.status_code == 422 and all({"loc", "msg", "type"} == set(p) for p in r.json()["detail"])


@pytest.mark.parametrize("path", ["/recommend", "/recommend?user_id=", "/recommend?user_id=1&top_k=0", "/title-or-prompt?input_text=%20", "/user_recommend/1?top_k=x"])
def test_malformed_queries(http, path):
    assert http.get(path).status_code == 422


def test_a_bundle_of_two_models_says_what_brings_the_others(tmp_path):
    make_bundle(tmp_path / "b")
    with client(tmp_path / "b", tmp_path, cache_mb=0) as http:
        ready(http)
        calls = {
            "taste": http.post("/recommend", json={"user_id": 1, "history": [1]}),
            "rating": http.get("/user_recommend/1"),
            "pearson": http.get("/title-or-prompt", params={"input_text": "toy story"}),
            "item-knn": http.post("/similar", json={"movie_id": 1, "by": "ratings"}),
            "tfrs-side": http.post("/recommendation/ranked_recommendation", json={"user_id": 1, "candidate_movies": ["Heat"]}),
        }
        for name, r in calls.items():
            assert r.status_code == 501 and f"--models markov,{name}" in r.json()["detail"], (name, r.text)
        assert http.get("/title-or-prompt", params={"input_text": "something else"}).status_code == 501
        assert http.post("/batch/recommend", json={"user_histories": {"1": [1]}}).json()["model"] == "markov"
        assert http.post("/batch/recommend/cache", json={"user_histories": {"1": [1]}}).json()["cached_count"] == 0


def test_openapi_has_examples_and_errors(http):
    spec = http.get("/openapi.json").json()
    posts = {p: ops["post"] for p, ops in spec["paths"].items() if "post" in ops and "requestBody" in ops["post"]}
    for path, op in posts.items():
        ref = op["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
        assert spec["components"]["schemas"][ref].get("examples"), path
        assert {"413", "422", "503"} <= set(op["responses"]), path
    assert {"401", "403"} <= set(posts["/events"]["responses"]) and {"501"} <= set(posts["/recommend"]["responses"])


# ---- batches ------------------------------------------------------------------------------------------------------


def test_one_bad_user_fails_alone(http, engine):
    histories = {"1": ["1"], "2": "1,2", "3": None, "4": [1, None], "5": [], "": [2], "7": [1] * 10_001, "8": [999], "9": [[1]]}
    body = http.post("/batch/recommend", json={"user_histories": histories, "top_k": 4}).json()
    assert set(body["failed_users"]) == {"2", "3", "4", "7", "9"} == set(body["errors"])
    assert body["total_users"] == 9 and body["success_count"] == 4 and set(body["results"]) == {"1", "5", "", "8"}
    assert [m["movie_id"] for m in body["results"]["1"]] == [str(i) for i in engine.recommend([1], 4, model="taste").item_ids]


def test_a_model_that_breaks_on_one_history_spoils_no_other(folder):
    e = Engine(Bundle.load(folder))
    lane = e.lane("taste")
    plain = lane.model.score

    def picky(h):
        if 8 in h.item_ids:
            raise RuntimeError("/secret")
        return plain(h)

    lane.model.score, lane.films = picky, None
    got, failed = e.many({str(u): [1 + u % 8] for u in range(40)}, 3, "taste")
    assert len(failed) == 5 and len(got) == 35 and "secret" not in str(failed)
    e.close()


def test_prepared_lists(http):
    ask = {"user_histories": {"123": ["1"], "ann": [2]}, "top_k": 4}
    made = http.post("/batch/recommend", json=ask).json()["results"]
    counts = http.post("/batch/recommend/cache", json=ask).json()
    assert counts["ttl_seconds"] == 86400 and counts["cached_count"] == counts["success_count"] == 2
    got = http.get("/recommend", params={"user_id": "123", "top_k": 3}).json()
    assert got["cached"] is True and got["user_id"] == 123 and got["recommendations"] == made["123"][:3]
    assert http.get("/recommend", params={"user_id": "ann"}).json()["user_id"] == "ann"
    assert http.get("/recommend", params={"user_id": "124"}).status_code == 404


def test_the_short_way_to_a_prepared_list_says_what_the_long_way_says(http, monkeypatch):
    users = ["1", "007", "ann", "a.b-c_d", "x" * 64]
    http.post("/batch/recommend/cache", json={"user_histories": {u: ["1", 2] for u in users}, "top_k": 5})
    long, went = ShortWay.answer, []

    def both(url):
        got = http.get(url)
        with monkeypatch.context() as m:
            m.setattr(ShortWay, "answer", lambda *a: went.append(1))   # finds nothing: the request goes on
            want = http.get(url)
        assert got.status_code == want.status_code and got.content == want.content, url
        names = lambda r: {k: v for k, v in r.headers.items() if k not in ("x-request-id", "x-list-id")}   # random ones
        assert names(got) == names(want) and ("x-list-id" in got.headers) == ("x-list-id" in want.headers), url
        return got.status_code

    plain = [f"/recommend?user_id={u}{k}" for u in [*users, "nobody"] for k in ("", "&top_k=1", "&top_k=5", "&top_k=999")]
    assert {both(url) for url in plain} == {200, 404} and len(went) == len(plain)
    for query in ("", "user_id=", "user_id=1&top_k=0", "user_id=1&top_k=1001", "user_id=1&top_k=x", "user_id=" + "x" * 65, "top_k=3"):
        assert both(f"/recommend?{query}") == 422, query
    for query in ("top_k=2&user_id=1", "user_id=%31", "user_id=1&top_k=1000", "user_id=1&more=2", "user_id=1&user_id=ann", "user_id=1&top_k=05"):
        assert both(f"/recommend?{query}") == 200, query
    assert len(went) == len(plain) and long is ShortWay.answer
    assert [http.request(m, "/recommend?user_id=1").status_code for m in ("HEAD", "DELETE")] == [405, 405]


def test_a_list_that_is_not_there_is_missed_once(http):
    before = metric(http, "movierec_cache_misses_total")
    assert http.get("/recommend?user_id=nobody-yet").status_code == 404
    assert metric(http, "movierec_cache_misses_total") == before + 1
    for url, handler, status in (("/recommend?user_id=nobody-yet", "/recommend", 404), ("/static/swagger/none.js", "/static/swagger", 404),
                                 ("/static/page.css", "/static", 200), ("/movies/1/x", "none", 404)):   # fmt: skip
        line = f'http_requests_total{{handler="{handler}",method="GET",status="{status}"}}'
        n = metric(http, line) or 0
        assert http.get(url).status_code == status and metric(http, line) == n + 1, url
    n = metric(http, 'http_requests_total{handler="/recommendation",method="POST",status="413"}') or 0
    http.post("/recommendation", content=b" " * (1 << 21))             # a wall's answer counts for the route it stands before
    assert metric(http, 'http_requests_total{handler="/recommendation",method="POST",status="413"}') == n + 1


def test_batches_take_turns_and_have_their_time(folder, tmp_path, monkeypatch):
    with client(folder, tmp_path, batches=1, batch_seconds=0.2) as http:
        ready(http)
        engine, gate = http.app.state.service.engine, threading.Event()
        plain = engine._many
        monkeypatch.setattr(engine, "_many", lambda *a: (gate.wait(10), plain(*a))[1])
        with ThreadPoolExecutor() as pool:
            first = pool.submit(http.post, "/batch/recommend", json={"user_histories": {str(u): [1] for u in range(300)}})
            until(lambda: http.app.state.service.batches._value == 0)
            second = http.post("/batch/recommend", json={"user_histories": {"1": [1]}})
            time.sleep(0.3)
            gate.set()
        assert second.status_code == 503 and "retry-after" in second.headers
        assert first.result().status_code == 503 and "done in time" in first.result().json()["detail"]


def test_batch_bodies_may_be_bigger(http):
    text = json.dumps({"user_histories": {"1": [1]}, "top_k": 1}).encode()
    assert http.post("/batch/recommend", content=text + b" " * (2 << 20), headers={"Content-Type": "application/json"}).status_code == 200
    assert http.post("/batch/recommend", content=text + b" " * (16 << 20), headers={"Content-Type": "application/json"}).status_code == 413
    assert http.post("/recommend", content=text + b" " * (2 << 20), headers={"Content-Type": "application/json"}).status_code == 413


# ---- walls --------------------------------------------------------------------------------------------------------


def test_a_key_guards_batches_events_and_reloads(folder, tmp_path):
    batch, event = {"user_histories": {"1": [1]}}, {"user_id": 1, "movie_id": 1, "type": "click"}
    with client(folder, tmp_path, api_key="sesame") as http:
        ready(http)
        for path, body, ok in (("/batch/recommend", batch, 200), ("/batch/recommend/cache", batch, 200), ("/events", event, 202), ("/admin/reload", None, 200)):
            codes = [http.post(path, json=body, headers=h).status_code for h in ({}, {"X-API-Key": "guess"}, {"X-API-Key": "sesame"}, {"Authorization": "Bearer sesame"})]
            assert codes == [401, 403, ok, ok], path
        assert http.post("/recommend", json={"user_id": 1, "history": [1]}).status_code == 200
        assert "sesame" not in http.get("/metrics").text


def test_without_a_key_nobody_reloads(http):
    assert http.post("/admin/reload").status_code == 403


def test_the_rate_limit_stands_before_the_short_way(folder, tmp_path):
    with client(folder, tmp_path, rate_limit=0.01, rate_burst=3) as http:
        ready(http)
        http.post("/batch/recommend/cache", json={"user_histories": {"1": ["1"]}, "top_k": 2})
        assert [http.get("/recommend?user_id=1").status_code for _ in range(3)] == [200, 200, 429]


def test_rate_limit(folder, tmp_path):
    with client(folder, tmp_path, rate_limit=0.5, rate_burst=3) as http:
        until(lambda: http.get("/readyz").status_code == 200)
        got = [http.get("/movies/1") for _ in range(5)]
        assert [r.status_code for r in got] == [200] * 3 + [429] * 2 and int(got[-1].headers["retry-after"]) >= 1
        assert http.get("/healthz").status_code == 200


def test_cors_is_closed_unless_set(folder, tmp_path, http):
    ask = {"Origin": "https://films.example"}
    assert "access-control-allow-origin" not in http.get("/movies/1", headers=ask).headers
    with client(folder, tmp_path, cors_origins="https://films.example") as c:
        assert ready(c).get("/movies/1", headers=ask).headers["access-control-allow-origin"] == "https://films.example"
        assert "access-control-allow-origin" not in c.get("/movies/1", headers={"Origin": "https://other.example"}).headers


def test_too_many_in_flight_are_shed(folder, tmp_path, monkeypatch):
    with client(folder, tmp_path, max_requests=2) as http:
        ready(http)
        gate, inside = threading.Event(), []
        monkeypatch.setattr(http.app.state.service.engine, "search", lambda *a: (inside.append(1), gate.wait(10), [])[2])
        with ThreadPoolExecutor(3) as pool:
            held = [pool.submit(http.get, "/movies/search?q=toy") for _ in range(2)]
            until(lambda: len(inside) == 2)       # asking before both are in could shed one of them
            shed = http.get("/movies/1")
            gate.set()
        assert shed.status_code == 503 and "retry-after" in shed.headers and [h.result().status_code for h in held] == [200, 200]
        assert http.get("/movies/1").status_code == 200 == http.get("/healthz").status_code


# ---- events -------------------------------------------------------------------------------------------------------


def test_events_are_kept_and_counted(folder, tmp_path):
    with client(folder, tmp_path, arms="old,new") as http:
        ready(http)
        for user in range(20):
            for kind in ("impression", "click")[: 1 + user % 2]:
                r = http.post("/events", json={"user_id": user, "movie_id": "1", "type": kind, "list_id": f"taste:{user}", "position": 1})
                assert r.status_code == 202
        text = http.get("/metrics").text
    kept = load_events(tmp_path / "events.sqlite3")
    assert len(kept) == 30 and set(kept.arm) == {"old", "new"} and set(kept.model) == {"taste"}
    assert "movierec_click_through_rate 0.5" in text and 'movierec_impressions_total{arm="old",model="taste"}' in text


def test_models_in_events_make_no_endless_series(http):
    for i in range(50):
        http.post("/events", json={"user_id": 1, "movie_id": 1, "type": "impression", "model": f"m{i}"})
    series = [x for x in http.get("/metrics").text.splitlines() if x.startswith("movierec_impressions_total")]
    assert len(series) <= 2


def test_events_that_cant_be_kept_are_not_acknowledged(folder, tmp_path):
    (tmp_path / "events").mkdir()
    with client(folder, tmp_path, events=tmp_path / "events") as http:
        r = ready(http).post("/events", json={"user_id": 1, "movie_id": 1, "type": "click"})
        assert r.status_code == 503 and str(tmp_path) not in r.text


def test_an_acknowledged_event_survives_kill_9(folder, tmp_path):
    env = dict(MOVIEREC_BUNDLE=str(folder), MOVIEREC_EVENTS=str(tmp_path / "e.sqlite3"))
    with Server(tmp_path, **env) as server:
        until(lambda: server.get("/readyz")[0] == 200)
        told, stop = [], threading.Event()

        def click(n):
            while not stop.is_set():
                user = f"{n}-{len(told)}-{time.monotonic_ns()}"
                if server.get("/events", {"user_id": user, "movie_id": 1, "type": "click"})[0] == 202:
                    told.append(user)

        threads = [threading.Thread(target=click, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        until(lambda: len(told) > 100)
        server.p.send_signal(signal.SIGKILL)
        server.p.wait()
        stop.set()
        for t in threads:
            t.join()
    with sqlite3.connect(tmp_path / "e.sqlite3") as db:
        kept = {u for (u,) in db.execute("SELECT user_id FROM events")}
    assert set(told) <= kept and len(kept) - len(told) <= 8


def test_events_report(tmp_path):
    from movierec.events import Event, EventStore

    store = EventStore(tmp_path / "e.sqlite3")
    store.add([Event("1", 5, "impression", "taste:a"), Event("1", 6, "impression", "taste:a"), Event("1", 5, "click", "taste:a")])
    cmd = [sys.executable, "-c", "from movierec.cli import main; main()", "events", "report", "--file", str(tmp_path / "e.sqlite3")]
    got = json.loads(subprocess.run([*cmd, "--json"], capture_output=True, text=True).stdout)
    assert [(r["position"], r["impressions"], r["clicks"], r["ctr"]) for r in got["position"]] == [(1, 1, 1, 1.0), (2, 1, 0, 0.0)]
    assert got["model"][0]["ctr"] == 0.5
    assert "by position" in subprocess.run(cmd, capture_output=True, text=True).stdout
    missing = subprocess.run([*cmd[:-1], str(tmp_path / "none")], capture_output=True, text=True)
    assert missing.returncode == 1 and "is not there" in missing.stderr


# ---- the cache ----------------------------------------------------------------------------------------------------


def same(got, want):
    "The same films; scores from a cached vector may differ in their last digits."
    assert [m["movie_id"] for m in got] == [m["movie_id"] for m in want]
    assert [m["score"] for m in got] == pytest.approx([m["score"] for m in want], rel=1e-4, abs=1e-5)


def metric(http, name):
    lines = [x for x in http.get("/metrics").text.splitlines() if x.startswith(name + " ")]
    return float(lines[0].split()[-1]) if lines else None


def test_redis_down_in_mid_load_is_slower_never_wrong(folder, tmp_path):
    histories = [[1 + (i + j) % 8 for j in range(1 + i % 3)] for i in range(24)]
    with RedisServer(tmp_path) as redis, client(folder, tmp_path, redis_url=redis.url) as http:
        ready(http)
        ask = lambda h: http.post("/recommendation", json={"interaction_history": h, "k": 4})
        want = {tuple(h): ask(h).json() for h in histories}
        until(lambda: (metric(http, "movierec_cache_stored_total") or 0) > 0)
        answers, stop = [], threading.Event()

        def load():
            while not stop.is_set():
                for h in histories:
                    answers.append((h, ask(h)))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for t in threads:
            t.start()
        until(lambda: len(answers) > 50)
        redis.kill()
        n = len(answers)
        until(lambda: len(answers) > n + 200)
        stop.set()
        for t in threads:
            t.join()
        assert {r.status_code for _, r in answers} == {200}
        for h, r in answers:
            assert r.json()["recommendations"] == want[tuple(h)]["recommendations"]
        assert metric(http, "movierec_cache_hits_total") > 0 and metric(http, "movierec_cache_up") == 0
        batch = {"user_histories": {"1": [1]}, "top_k": 3}
        assert http.post("/batch/recommend/cache", json=batch).json()["cached_count"] == 0
        made = http.get("/recommend", params={"user_id": 1, "top_k": 3})  # a viewer of the data: made afresh
        assert made.status_code == 200 and made.json()["cached"] is False
        assert http.get("/recommend", params={"user_id": "nobody"}).status_code == 404
        redis.start()
        until(lambda: (http.post("/batch/recommend/cache", json=batch).json()["cached_count"] == 1))
        assert http.get("/recommend", params={"user_id": 1}).json()["cached"] is True


def test_a_wrong_password_is_told_to_nobody_and_costs_nobody(folder, tmp_path):
    with RedisServer(tmp_path, "--requirepass", "right") as redis:
        url = redis.url.replace("redis://", "redis://:wrong-one@")
        with client(folder, tmp_path, redis_url=url) as http:
            r = ready(http).post("/recommendation", json={"interaction_history": [1, 2]})
            assert r.status_code == 200 and "wrong-one" not in http.get("/metrics").text + http.get("/model").text


def test_a_new_bundle_reads_nothing_of_the_old_one(folder, tmp_path):
    place = tmp_path / "b"
    make_full_bundle(place)
    with client(place, tmp_path, api_key="k") as http:
        ready(http)
        key, batch = {"X-API-Key": "k"}, {"user_histories": {"1": [1]}}
        http.post("/batch/recommend/cache", json=batch, headers=key)
        assert http.get("/recommend?user_id=1").status_code == 200
        make_full_bundle(place, seed=5)
        assert http.post("/admin/reload", headers=key).status_code == 200
        assert http.get("/recommend?user_id=1").status_code == 404


# ---- a new bundle under load --------------------------------------------------------------------------------------


def test_no_request_fails_while_bundles_are_swapped(tmp_path):
    place = tmp_path / "home/bundle"
    versions = [make_bundle(place, seed=0)["version"]]
    with Server(tmp_path, MOVIEREC_API_KEY="k") as server:
        until(lambda: server.get("/readyz")[0] == 200)
        codes, stop = [], threading.Event()

        def load():
            while not stop.is_set():
                codes.append(server.get("/recommendation", {"interaction_history": [1, 2], "k": 2})[0])

        threads = [threading.Thread(target=load) for _ in range(6)]
        for t in threads:
            t.start()
        for seed in (1, 2, 3):
            versions.append(make_bundle(place, seed=seed)["version"])
            server.p.send_signal(signal.SIGHUP)
            until(lambda: server.get("/model")[1]["version"] == versions[-1])
        good = (place / "items.parquet").read_bytes()
        (place / "items.parquet").write_bytes(good[:-3])
        server.p.send_signal(signal.SIGHUP)
        until(lambda: "refused" in server.text())
        n = len(codes)
        until(lambda: len(codes) > n + 50)
        stop.set()
        for t in threads:
            t.join()
        assert set(codes) == {200} and server.get("/model")[1]["version"] == versions[-1]
        assert server.p.poll() is None


def test_what_is_loaded_is_set_aside_and_an_old_bundle_leaves_nothing(tmp_path):
    make_bundle(tmp_path / "bundle", seed=0)
    with client(tmp_path / "bundle", tmp_path, api_key="k", request_seconds=1) as http:
        ready(http)
        frozen = gc.get_freeze_count()
        old = weakref.ref(http.app.state.service.engine)
        model = weakref.ref(old().bundle)
        make_bundle(tmp_path / "bundle", seed=1)
        assert frozen > 50_000 and http.post("/admin/reload", headers={"X-API-Key": "k"}).status_code == 200
        assert old() is not None                     # it may still be asked
        until(lambda: old() is None and model() is None)
        until(lambda: gc.get_freeze_count() > 50_000)
        assert http.post("/recommendation", json={"interaction_history": [1]}).status_code == 200


def test_an_old_bundle_held_at_the_first_look_is_gone_after_the_next(tmp_path, monkeypatch):
    from movierec import serve
    looks, held = [], []

    def settle(really=serve.settle):
        really()
        looks.append(bool(held))
        held.clear()

    make_bundle(tmp_path / "bundle", seed=0)
    with client(tmp_path / "bundle", tmp_path, api_key="k", request_seconds=1) as http:
        ready(http)
        held.append(http.app.state.service.engine)
        looks.clear()
        model = weakref.ref(held[0].bundle)
        make_bundle(tmp_path / "bundle", seed=1)
        monkeypatch.setattr(serve, "settle", settle)
        assert http.post("/admin/reload", headers={"X-API-Key": "k"}).status_code == 200
        until(lambda: model() is None)
        until(lambda: looks[:2] == [True, False])


def test_every_worker_hears_of_a_reload(tmp_path):
    place = tmp_path / "home/bundle"
    make_bundle(place, seed=0)
    with Server(tmp_path, "--workers", "2", MOVIEREC_API_KEY="k") as server:
        until(lambda: server.text().count("ready: ") == 2)
        version = make_bundle(place, seed=1)["version"]
        r = urllib.request.Request(f"http://127.0.0.1:{server.port}/admin/reload", b"", {"X-API-Key": "k"})
        assert json.loads(urllib.request.urlopen(r, timeout=20).read())["version"] == version
        until(lambda: server.text().count(f"bundle {version} in use") == 2)


def counted(text, name):
    "The sum of a metric's samples."
    return sum(float(x) for x in re.findall(rf"^{name}(?:{{[^}}]*}})? ([\d.e+]+)$", text, re.M))


def test_workers_add_up_what_they_count(folder, tmp_path):
    together = tmp_path / "together"
    together.mkdir()
    env = dict(MOVIEREC_BUNDLE=str(folder), PROMETHEUS_MULTIPROC_DIR=str(together))
    with Server(tmp_path, "--workers", "2", **env) as server:
        until(lambda: server.text().count("ready: ") == 2)
        for _ in range(60):
            assert server.get("/recommendation", {"interaction_history": [1, 2], "k": 2})[0] == 200
        event = dict(user_id=1, movie_id=1, list_id="x", model="decoder")
        for kind in ("impression", "impression", "click"):
            assert server.get("/events", event | {"type": kind})[0] == 202
        looked_up = lambda text: counted(text, "movierec_cache_hits_total") + counted(text, "movierec_cache_misses_total")  # noqa: E731
        until(lambda: looked_up(metrics_of(server)) == 60 + 2 * 2)  # the 60, and what each worker asks of two models to get warm
        for text in [metrics_of(server) for _ in range(10)]:  # whichever worker answers
            assert counted(text, "movierec_answers_total") == 60 and looked_up(text) == 64
            assert counted(text, "movierec_click_through_rate") == 0.5 and counted(text, "movierec_ready") == 1
            assert len(re.findall("^movierec_bundle_info{.* 1.0$", text, re.M)) == 1
        pids = {f.stem.rpartition("_")[2] for f in together.glob("counter_*.db")}
        assert len(pids) == 2 and "each of the workers counts for itself" not in server.text()


def test_workers_who_count_alone_say_so(folder, tmp_path):
    with Server(tmp_path, "--workers", "2", MOVIEREC_BUNDLE=str(folder)) as server:
        until(lambda: "each of the workers counts for itself" in server.text())


def metrics_of(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=20) as a:
        return a.read().decode()


# ---- the pipeline --------------------------------------------------------------------------------------------------


@pytest.fixture
def piped(folder, tmp_path):
    "A client whose bundle has a pipeline, and a queue of four."
    with client(folder, tmp_path, queue_size=4) as http:
        bundle = ready(http).app.state.service.engine.bundle
        n = len(bundle.models["decoder"].item_ids)
        near = neighbour_lists(bundle.models["item-knn"], bundle.models["decoder"].item_ids, 3)
        bundle.pipeline = Pipeline(bundle.models["decoder"], bundle.items, np.eye(n, dtype=np.float32), near)
        yield http


def test_many_at_the_desk_get_what_one_gets(piped):
    asks = [dict(history=[str(i), "999"], top_k=3, explain=bool(i % 2)) for i in (1, 2, 3, 4)]
    lists = lambda r: (r.status_code, [(m["movie_id"], m["score"], m["explanation"]) for m in r.json()["recommendations"]])
    ask = lambda body: piped.post("/pipeline/recommend", json=body)
    alone = [lists(ask(a)) for a in asks]
    assert {s for s, _ in alone} == {200} and ask(asks[0]).json()["unknown_items"] == ["999"]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda a: lists(ask(a)), asks * 3)) == alone * 3
    assert all(w for _, _, w in alone[0][1]) and not any(w for _, _, w in alone[1][1])
    worded = ask(asks[0] | dict(wording="llm"))                   # no language model is set up: the rules' sentence
    assert lists(worded) == alone[0] and worded.headers["x-list-id"].startswith("decoder:")
    assert ask(dict(history=[1], genres=["no such genre"])).status_code == 422
    assert ask(dict(history=[], top_k=2)).json()["strategy"] == "popular"


def test_a_full_desk_refuses_and_recovers_and_nobody_else_waits(piped, monkeypatch):
    engine = piped.app.state.service.engine
    gate, inside, plain = threading.Event(), [], engine.bundle.pipeline.ask
    monkeypatch.setattr(engine.bundle.pipeline, "ask", lambda *a, **b: (inside.append(1), gate.wait(20), plain(*a, **b))[2])
    ask = lambda i: piped.post("/pipeline/recommend", json=dict(history=["1"], top_k=2))
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, 0)
        until(lambda: inside)
        held = [pool.submit(ask, i) for i in range(4)]
        until(lambda: engine.desks["pipeline"].queue.full())
        shed = ask(9)
        assert shed.status_code == 503 and shed.headers["retry-after"] == "1"
        for url in ("/movies/search?q=toy", "/title-or-prompt?input_text=two+toys"):
            assert piped.get(url).status_code == 200
        assert piped.post("/recommendation", json={"interaction_history": [1]}).status_code == 200
        gate.set()
        assert {f.result().status_code for f in (first, *held)} == {200}
    assert ask(0).status_code == 200 and len(inside) == 6


def test_films_like_a_film_are_the_models_own(engine):
    model = engine.bundle.models["decoder"]
    for i in model.item_ids.tolist():
        got, by = engine.similar(i, 5)
        want = model.similar_items(i, 5)
        assert by == "sequence" and [j for j, _ in got] == want.item_id.tolist()
        np.testing.assert_allclose([x for _, x in got], want.score, atol=1e-6)
    assert len(engine.similar(1, 1000)[0]) == len(model.item_ids) - 1


# ---- what is logged -----------------------------------------------------------------------------------------------


def test_the_access_log_is_json_and_tells_no_secrets(folder, tmp_path):
    with Server(tmp_path, MOVIEREC_BUNDLE=str(folder), MOVIEREC_API_KEY="sesame-key") as server:
        until(lambda: server.get("/readyz")[0] == 200)
        server.get("/recommendation", {"interaction_history": [1, 2, 31337]})
        server.get("/title-or-prompt?input_text=something+secret")
        server.get("/events", {"user_id": 1, "movie_id": 1, "type": "click"})
        until(lambda: '"/events"' in server.text())
        text = server.text()
    lines = [json.loads(x) for x in text.splitlines() if x.startswith("{")]
    assert {"time", "request_id", "method", "path", "status", "ms", "client"} <= set(lines[0])
    assert [x["status"] for x in lines if x["path"] == "/events"] == [401]
    assert "31337" not in text and "secret" not in text and "sesame-key" not in text and "GET /readyz" not in text


# ---- the command ---------------------------------------------------------------------------------------------------


def cli(*args, **env):
    cmd = [sys.executable, "-c", "from movierec.cli import main; main()", *map(str, args)]
    return subprocess.run(cmd, capture_output=True, text=True, env={**os.environ, "MOVIEREC_PROGRESS": "0", **env})


def test_batch_command_fills_what_the_service_reads(folder, tmp_path):
    (tmp_path / "h.jsonl").write_text('{"user_id": 7, "history": ["1", 2]}\nnonsense\n{"user_id": "ann", "history": [3]}\n')
    env = dict(MOVIEREC_HOME=str(tmp_path / "home"))
    p = cli("batch", "--histories", tmp_path / "h.jsonl", "--bundle", folder, "--out", tmp_path / "r.parquet", "-k", 3, "--cache", **env)
    assert p.returncode == 0 and "2 users" in p.stdout and "line 2" in p.stderr, p.stderr
    with pytest.MonkeyPatch.context() as m:
        m.setenv("MOVIEREC_HOME", str(tmp_path / "home"))
        with client(folder, tmp_path) as http:
            got = ready(http).get("/recommend", params={"user_id": "7"}).json()
            asked = http.post("/recommend", json={"user_id": 7, "history": ["1", 2], "top_k": 3}).json()
    assert got["cached"] is True
    same(got["recommendations"], asked["recommendations"])
    assert cli("batch", "--bundle", folder, "--out", tmp_path / "x").returncode == 2
    assert "no bundle" in cli("batch", "--data", "demo", "--bundle", tmp_path, "--out", tmp_path / "x", "--cache").stderr


def test_the_time_of_the_request_counts_as_in_the_evaluation(tmp_path):
    "Network and counts both read `now`: the service's scores are those that were measured."
    import numpy as np
    from movierec.bundle import Bundle, save_bundle
    from movierec.data.sequences import Histories
    from movierec.models.baselines import Popular
    from movierec.models.decoder import Decoder, DecoderConfig
    from movierec.service.engine import Engine
    from tiny_world import dataset
    data = dataset()
    model = Decoder(DecoderConfig(embedding_dim=16, n_layers=1, n_heads=2, epochs=3, device="cpu", precision="float32", query_time=True))
    model.fit(data.interactions)
    save_bundle(tmp_path / "b", data, dict(decoder=model, popular=Popular().fit(data.interactions, data.items)))
    engine = Engine(Bundle.load(tmp_path / "b"))
    try:
        lists = []
        for wait in (1, 90, 10**6):
            a = engine.recommend([1, 2], 3, timestamps=[100, 200], now=200 + wait)
            h = Histories.from_lists([[1, 2]], [[100, 200]])
            want = model.score(h, now=np.array([200 + wait]))[0]
            np.testing.assert_allclose(a.scores, [want[np.searchsorted(model.item_ids, i)] for i in a.item_ids], rtol=1e-4)
            lists.append(a.scores)
        assert lists[0] != lists[1] != lists[2]
    finally: engine.close()
