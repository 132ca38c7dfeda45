"""The HTTP contract: answers, errors, hostile bodies, many callers at once, and a real server from start to end."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi.testclient import TestClient
from running import Server, until
from tiny_world import FILMS, make_bundle, make_full_bundle

from movierec.bundle import Bundle
from movierec.serve import create_app
from movierec.service.engine import Engine, Overloaded, TitleSearch
from movierec.service.settings import Settings

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("serve") / "bundle"
    make_bundle(out)
    return out


@pytest.fixture(scope="module")
def http(folder):
    with TestClient(create_app(Settings(bundle=folder)), raise_server_exceptions=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client


def ask(http, *history, **more):
    return http.post("/recommendation", json={"interaction_history": list(history), **more})


# ---- the contract -------------------------------------------------------------------------------------------------


def test_recommendation_has_the_promised_shape(http):
    got = ask(http, 1, 2, 3, 4, k=3)
    assert got.status_code == 200 and got.headers["content-type"] == "application/json"
    body = got.json()
    assert body["recommendations"][0] == 5 and all(type(i) is int for i in body["recommendations"])
    assert body["translated"][0] == "2001: A Space Odyssey:(no genres listed)" and len(body["translated"]) == 3
    assert body["strategy"] == "sequence" and body["model"] == "markov" and body["unknown_items"] == []
    assert body["scores"] == sorted(body["scores"], reverse=True)


def test_title_without_year_and_first_genre(http):
    labels = dict(zip(ask(http, k=99).json()["recommendations"], ask(http, k=99).json()["translated"], strict=True))
    assert labels[1] == "Toy Story:Animation" and labels[4] == "Star Wars: Episode IV - A New Hope:Sci-Fi"


def test_ids_as_text_or_numbers_are_alike(http):
    assert ask(http, "1", "2").json() == ask(http, 1, 2).json() == ask(http, "01", 2).json()


def test_seen_films_never_come_back(http):
    for history in ([1], [1, 1, 1], [3, "4", 5], list(range(1, 9))):
        assert not {int(i) for i in history} & set(ask(http, *history, k=1000).json()["recommendations"])
    assert ask(http, *range(1, 9)).json()["recommendations"] == []


def test_unknown_ids_are_skipped_and_named_as_sent(http):
    odd = [999, "tt0114709", -5, 10**30, "0x1", "１", " 1", 50]
    got = ask(http, 1, *odd, 2).json()
    assert got["unknown_items"] == odd and got["recommendations"] == ask(http, 1, 2).json()["recommendations"]


@pytest.mark.parametrize("history", [[], [999], ["nope", 50]])
def test_nothing_known_gets_the_popular_list(http, history):
    got = ask(http, *history, k=3).json()
    assert got["strategy"] == "popular" and got["recommendations"][:2] == [1, 2] and got["unknown_items"] == history


def test_timestamps_give_the_order(http):
    ordered = ask(http, 1, 2, 3).json()
    assert ask(http, 3, 1, 2, timestamps=[30, 10, 20], now=40).json() == ordered
    assert ask(http, 1, 2, 3, timestamps=[5, 5, 5]).json() == ordered  # ties stay as sent
    assert ask(http, 1, 2, 3, timestamps=[1.5, 2.5, 3.5]).json() == ordered


def test_k(http):
    assert len(ask(http, 1).json()["recommendations"]) == 7  # the default is 10, but there are no more
    assert len(ask(http, 1, k=1).json()["recommendations"]) == 1
    assert ask(http, 1, k=1000).json()["recommendations"][:3] == ask(http, 1, k=3).json()["recommendations"]


def test_movies(http):
    got = http.get("/movies/4").json()
    assert (
        got["movie_id"] == "4"
        and got["year"] == 1977
        and got["genres"] == ["Sci-Fi"]
        and got["poster_url"] == "/posters/4"
    )
    assert http.get("/movies/6").json()["year"] is None and http.get("/movies/5").json()["genres"] == []
    assert http.get("/movies/50").json()["n_ratings"] == 0


def test_search(http):
    def first(q, **kw):
        return http.get("/movies/search", params={"q": q, **kw}).json()[0]["title"]

    assert first("toy") == first("tOY STROY") == "Toy Story" and first("amelie") == first("Amélie") == "Amélie"
    assert first("star wrs") == first("episode iv") == "Star Wars: Episode IV - A New Hope"
    assert first("七人") == "七人の侍" and first("the godf") == first("godfahter 1972") == "The Godfather"
    assert len(http.get("/movies/search", params={"q": "toy", "limit": 1}).json()) == 1
    for q in ("zzzzzz", "\x00", "%", "???", "​"):
        assert http.get("/movies/search", params={"q": q}).json() == [], q
    assert set(http.get("/movies/search", params={"q": "toy"}).json()[0]) == {
        "movie_id",
        "title",
        "year",
        "genres",
        "poster_url",
    }


def test_every_film_finds_itself(http):
    for _, title, _, _ in FILMS:
        assert http.get("/movies/search", params={"q": title}).json()[0]["title"] == title


def test_posters(http):
    got = [http.get(f"/posters/{i}") for i in (1, 2, 5, 6, 8, "1")]
    assert all(
        r.status_code == 200 and r.headers["content-type"].startswith("image/") and len(r.content) > 300 for r in got
    )
    assert got[0].content == got[5].content and got[0].content != got[1].content
    tag = got[0].headers["etag"]
    again = http.get("/posters/1", headers={"If-None-Match": f'"x", W/{tag}'})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == tag
    assert "max-age" in got[0].headers["cache-control"]


def test_operating(http, folder):
    assert http.get("/healthz").json() == {"status": "ok"} and http.get("/readyz").json() == {"status": "ready"}
    got = http.get("/model").json()
    assert got["version"] == Bundle.load(folder).version and got["dataset"] == "tiny" and got["simulated"] is True
    assert got["models"] == ["markov", "popular"] and got["n_movies"] == len(FILMS)


def test_metrics_name_templates_not_paths(http, folder):
    for i in range(30):
        http.get(f"/movies/{i}")
        http.get(f"/nowhere/{i}")
        http.get(f"/movies/{i}/")
        http.get(f"/static/{i}")
    text = http.get("/metrics").text
    handlers = set(re.findall(r'handler="([^"]*)"', text))
    assert handlers <= {
        "/",
        "/healthz",
        "/readyz",
        "/model",
        "/recommendation",
        "/movies/search",
        "/movies/{movie_id}",
        "/posters/{movie_id}",
        "/static",
        "/openapi.json",
        "/docs",
        "none",
    }, handlers
    assert f'version="{Bundle.load(folder).version}"' in text and "http_request_duration_seconds_bucket" in text
    assert 'http_requests_total{handler="/recommendation",method="POST",status="200"}' in text
    assert (
        "movierec_batch_size_count" in text and 'movierec_answers_total{model="popular",strategy="popular"}' in text
    )


def test_page(http):
    html = http.get("/").text
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|<style|style=|https?://", html)
    csp = http.get("/").headers["content-security-policy"]
    assert "unsafe" not in csp and "default-src 'none'" in csp and "script-src 'self'" in csp
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', html):
        assert http.get(name).status_code == 200
    assert "innerHTML" not in http.get("/static/page.js").text


def test_openapi_documents_every_status(http):
    paths = http.get("/openapi.json").json()["paths"]
    assert {
        "/recommendation",
        "/movies/search",
        "/movies/{movie_id}",
        "/posters/{movie_id}",
        "/healthz",
        "/readyz",
        "/model",
    } <= set(paths)
    assert {"200", "413", "422", "503"} <= set(paths["/recommendation"]["post"]["responses"])
    assert {"200", "404", "503"} <= set(paths["/movies/{movie_id}"]["get"]["responses"])


# ---- errors and hostile input -------------------------------------------------------------------------------------

BAD = {
    "not JSON": b"{",
    "empty": b"",
    "null": b"null",
    "a list": b"[1]",
    "a text": b'"x"',
    "no history": b"{}",
    "history null": b'{"interaction_history":null}',
    "history text": b'{"interaction_history":"1"}',
    "bool": b'{"interaction_history":[true]}',
    "float": b'{"interaction_history":[1.5]}',
    "nested": b'{"interaction_history":[[1]]}',
    "null id": b'{"interaction_history":[null]}',
    "empty id": b'{"interaction_history":[""]}',
    "NaN": b'{"interaction_history":[NaN]}',
    "infinite": b'{"interaction_history":[1],"now":Infinity}',
    "NaN now": b'{"interaction_history":[1],"now":NaN}',
    "k 0": b'{"interaction_history":[1],"k":0}',
    "k -1": b'{"interaction_history":[1],"k":-1}',
    "k 1001": b'{"interaction_history":[1],"k":1001}',
    "k huge": b'{"interaction_history":[1],"k":1e400}',
    "k text": b'{"interaction_history":[1],"k":"5"}',
    "k null": b'{"interaction_history":[1],"k":null}',
    "k bool": b'{"interaction_history":[1],"k":true}',
    "k float": b'{"interaction_history":[1],"k":2.5}',
    "k NaN": b'{"interaction_history":[1],"k":NaN}',
    "lengths": b'{"interaction_history":[1,2],"timestamps":[1]}',
    "negative time": b'{"interaction_history":[1],"timestamps":[-1]}',
    "time NaN": b'{"interaction_history":[1],"timestamps":[NaN]}',
    "time text": b'{"interaction_history":[1],"timestamps":["x"]}',
    "time bool": b'{"interaction_history":[1],"timestamps":[true]}',
    "surrogate": b'{"interaction_history":["\\ud800"]}',
    "surrogate key": b'{"interaction_history":[1],"\\ud800":[], "k":0}',
    "bytes": b'{"interaction_history":["\xff\xfe"]}',
    "utf-16": '{"interaction_history":[1],"k":0}'.encode("utf-16"),
    "5000 digits": b'{"interaction_history":[' + b"9" * 5000 + b"]}",
    "long id": b'{"interaction_history":["' + b"9" * 5000 + b'"]}',
    "10001 films": json.dumps({"interaction_history": [1] * 10_001}).encode(),
    "deep": b"[" * 200_000,
    "deep object": b'{"interaction_history":' * 30_000,
    "deep closed": b'{"interaction_history":' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    "10000 errors": json.dumps({"interaction_history": [None] * 10_000}).encode(),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_body_is_a_422_that_says_what(http, name):
    got = http.post("/recommendation", content=BAD[name], headers=JSON)
    assert got.status_code == 422, got.text[:300]
    assert all(set(p) == {"loc", "msg", "type"} for p in got.json()["detail"]) and len(got.content) < 20_000
    assert "Traceback" not in got.text


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "nonsense",
        "application/json; charset=utf-16",
    ],
)
def test_other_content_types_never_break_it(http, kind):
    got = http.post("/recommendation", content=b'{"interaction_history":[1]}', headers={"Content-Type": kind})
    assert got.status_code in (200, 422) and "detail" in got.json() or got.status_code == 200


def test_ten_thousand_films_are_welcome(http):
    history = [1 + i % 9 for i in range(10_000)]
    assert ask(http, *history, k=1000, timestamps=list(range(10_000))).status_code == 200
    assert len(ask(http, *range(10**6, 10**6 + 10_000)).json()["unknown_items"]) == 10_000


@pytest.mark.parametrize(
    "call",
    [
        "/movies/search",
        "/movies/search?q=",
        "/movies/search?q=%20%20",
        "/movies/search?q=a&limit=0",
        "/movies/search?q=a&limit=1001",
        "/movies/search?q=a&limit=x",
        "/movies/search?q=" + "a" * 201,
    ],
)
def test_malformed_searches(http, call):
    got = http.get(call)
    assert got.status_code == 422 and got.json()["detail"]


ODD_IDS = [
    "999",
    "0",
    "-1",
    "1.0",
    "1e3",
    "NaN",
    "true",
    "9" * 400,
    "tt1",
    "%00",
    "%ff",
    "..%2f..%2fsettings.ini",
    "1;ls",
    "１",
    "%F0%9F%8E%AC",
    "search/",
]


@pytest.mark.parametrize("where", ["/movies/", "/posters/"])
@pytest.mark.parametrize("movie_id", ODD_IDS)
def test_an_id_of_no_film_is_a_404(http, where, movie_id):
    got = http.get(where + movie_id)
    assert got.status_code == 404 and got.json()["detail"] and len(got.content) < 300


def test_wrong_addresses_and_methods(http):
    assert http.get("/nowhere").json() == {"detail": "Not Found"} and http.get("/recommendation").status_code == 405
    assert set(http.get("/recommendation").json()) == {"detail"} and http.delete("/movies/1").status_code == 405
    for path in (
        "/static/../../settings.ini",
        "/static/%2e%2e/core.py",
        "/static/..%2fcore.py",
        "/static/",
        "/static//etc/passwd",
    ):
        assert http.get(path).status_code == 404, path


def test_bodies_over_the_limit(http):
    big = b'{"interaction_history":[' + b" " * (1 << 20) + b"1]}"

    def chunks(data, size=4096):
        for i in range(0, len(data), size):
            yield data[i : i + size]

    assert http.post("/recommendation", content=big, headers=JSON).status_code == 413
    assert http.post("/recommendation", content=chunks(big), headers=JSON).status_code == 413
    ok = b'{"interaction_history":[1' + b" " * ((1 << 20) - 27) + b"]}"
    assert len(ok) == 1 << 20
    for content in (ok, chunks(ok)):
        assert http.post("/recommendation", content=content, headers=JSON).status_code == 200
    assert http.post("/recommendation", content=big, headers={**JSON, "Content-Length": "-5"}).status_code in (
        400,
        413,
        422,
    )
    assert http.post("/nowhere", content=big).status_code in (404, 413)


def test_a_bug_of_ours_is_a_500_that_tells_nothing(http, monkeypatch):
    def broken(*a):
        raise RuntimeError("/secret/path")

    engine = http.app.state.service.engine
    monkeypatch.setattr(engine, "movie", broken)
    got = http.get("/movies/1")
    assert got.status_code == 500 and set(got.json()) == {"detail"} and "secret" not in got.text
    monkeypatch.setattr(engine.batcher, "run", broken)
    assert ask(http, 1).status_code == 500
    monkeypatch.undo()
    assert ask(http, 1).status_code == 200


def test_overload_is_a_503_with_retry_after(http, monkeypatch):
    def full(*a):
        raise Overloaded("256 requests are waiting already")

    monkeypatch.setattr(http.app.state.service.engine, "ask", full)
    got = ask(http, 1)
    assert got.status_code == 503 and got.headers["retry-after"] == "1" and "waiting" in got.json()["detail"]


def test_every_answer_has_security_headers(http):
    for path in ("/", "/healthz", "/nowhere", "/static/page.css", "/movies/search"):
        assert http.get(path).headers["x-content-type-options"] == "nosniff"


# ---- many at once -------------------------------------------------------------------------------------------------


def histories(n, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 12, rng.integers(0, 30)).tolist() for _ in range(n)]


def test_64_threads_get_what_one_gets(http):
    asks = histories(512)
    alone = [ask(http, *h, k=1 + i % 9).json() for i, h in enumerate(asks)]
    with ThreadPoolExecutor(64) as pool:
        together = list(pool.map(lambda p: ask(http, *p[1], k=1 + p[0] % 9).json(), enumerate(asks)))
    assert together == alone


def test_concurrent_requests_share_a_pass_and_a_bad_one_fails_alone(folder):
    bundle, sizes = Bundle.load(folder), []
    engine = Engine(bundle, on_batch=sizes.append)
    plain = bundle.model.score

    def picky(h):
        time.sleep(0.01)
        if 8 in h.item_ids:
            raise RuntimeError("cursed film")
        return plain(h)

    bundle.model.score = picky
    with ThreadPoolExecutor(64) as pool:
        got = list(pool.map(lambda i: engine.ask([1 + i % 8]), range(64)))
    for i, f in enumerate(got):
        if i % 8 == 7:
            with pytest.raises(RuntimeError, match="cursed"):
                f.result(10)
        else:
            assert f.result(10).strategy == "sequence"
    assert max(sizes) > 8 and sum(sizes) == 64
    engine.close()


def test_a_full_queue_refuses_and_recovers(folder):
    bundle = Bundle.load(folder)
    gate, plain = threading.Event(), bundle.model.score
    engine = Engine(bundle, max_batch=1, max_queue=4)
    bundle.model.score = lambda h: (gate.wait(10), plain(h))[1]
    waiting = [engine.ask([1])]
    until(lambda: engine.batcher.queue.empty())
    waiting += [engine.ask([1]) for _ in range(4)]
    with pytest.raises(Overloaded):
        engine.ask([1])
    assert engine.ask([999]).result(0).strategy == "popular"  # needs no model, so it is answered even now
    gate.set()
    assert {tuple(f.result(10).item_ids) for f in waiting} == {tuple(engine.recommend([1]).item_ids)}
    engine.close()
    with pytest.raises(Overloaded):
        engine.ask([1])


def test_a_model_with_nans_is_an_error_not_an_answer(folder):
    bundle = Bundle.load(folder)
    plain = bundle.model.score
    engine = Engine(bundle)
    bundle.model.score = lambda h: plain(h) * np.nan
    with pytest.raises(Exception, match="NaN"):
        engine.recommend([1])
    engine.close()


def test_a_model_that_asks_for_the_time_gets_it(folder):
    bundle = Bundle.load(folder)
    plain, told = bundle.model.score, []
    bundle.model.uses_now = True
    bundle.model.score = lambda h, now=None: (told.append(now), plain(h))[1]
    engine = Engine(bundle)
    assert engine.recommend([1, 2], timestamps=[5, 6], now=99).item_ids == engine.recommend([1, 2]).item_ids
    assert [None if n is None else n.tolist() for n in told] == [[99], None]
    engine.close()


def test_search_is_quicker_than_a_plain_fuzzy_scan_of_ten_thousand_titles():
    from rapidfuzz import fuzz, process

    rng = np.random.default_rng(0)
    syllables = np.array("ba co di fu ga hel in jo ka lo mi no pa qui ro sa ti ur".split())
    names = np.array(["".join(rng.choice(syllables, 3)) for _ in range(6000)])
    find = TitleSearch(
        [" ".join(rng.choice(names, 3)) for _ in range(10_000)],
        rng.integers(1930, 2020, 10_000),
        rng.integers(0, 3000, 10_000),
    )
    find("warm up")
    queries = [find.titles[i * 37][:9] for i in range(30)]
    began = time.process_time()
    assert all(len(find(q)) for q in queries)
    ours, began = time.process_time() - began, time.process_time()
    for q in queries:
        process.extract(q, find.titles, scorer=fuzz.WRatio)
    assert ours < time.process_time() - began  # the library's own fuzzy search over all titles


# ---- any request whatever -----------------------------------------------------------------------------------------


def test_schemathesis_finds_no_surprise(tmp_path):
    st = pytest.importorskip("schemathesis", reason="schemathesis isn't installed")
    import hypothesis

    make_full_bundle(tmp_path / "b")
    app = create_app(Settings(bundle=tmp_path / "b", events=tmp_path / "events.sqlite3", access_log=False))
    with TestClient(app) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        schema = st.openapi.from_asgi("/openapi.json", app)
        for op in schema.get_all_operations():
            op = op.ok()

            @hypothesis.settings(
                max_examples=25, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
            )
            @hypothesis.given(case=op.as_strategy())
            def check(case):
                got = case.call()
                assert got.status_code < 500 or got.status_code == 501, got.text
                documented = set(case.operation.definition.raw["responses"])
                assert str(got.status_code) in documented, (got.status_code, case.operation.label, got.text)

            check()


# ---- a real server ------------------------------------------------------------------------------------------------


def test_server_lives_while_it_builds_and_then_answers(tmp_path):
    with Server(tmp_path, MOVIEREC_BUILD_MODELS="markov") as server:
        until(lambda: server.get("/healthz")[0] == 200)
        status, body = until(lambda: (got := server.get("/readyz")) and "starting" not in str(got[1]) and got)
        assert status == 503 and "building" in body["detail"]
        assert server.get("/recommendation", {"interaction_history": [1]})[0] == 503
        until(lambda: server.get("/readyz")[0] == 200, 120)
        status, body = server.get("/recommendation", {"interaction_history": [1, 2, 3, 4], "k": 5})
        assert status == 200 and len(body["recommendations"]) == 5 == len(body["translated"])
        assert server.get("/model")[1]["simulated"] is True
        server.p.send_signal(signal.SIGTERM)
        assert server.p.wait(20) in (0, -signal.SIGTERM)
        assert "building one from 'demo'" in server.text() and "Traceback" not in server.text()
    bundle = tmp_path / "home/bundle"
    kept = (bundle / "manifest.json").stat().st_mtime_ns
    with Server(tmp_path) as server:  # the second start loads what the first one built
        until(lambda: server.get("/readyz")[0] == 200)
    assert (bundle / "manifest.json").stat().st_mtime_ns == kept


def test_two_workers_build_once_and_share_the_cores(tmp_path):
    with Server(tmp_path, "--workers", "2", MOVIEREC_BUILD_MODELS="markov") as server:
        until(lambda: server.text().count("ready: ") == 2, 120)
        assert server.text().count("INFO movierec.bundle: bundle") == 1
        assert len(set(re.findall(r"(\d+) thread\(s\)", server.text()))) == 1
        assert {server.get("/readyz")[0] for _ in range(20)} == {200}


def test_stopped_in_mid_build_it_leaves_nothing_behind(tmp_path):
    with Server(tmp_path) as server:  # a decoder: minutes
        until(lambda: "building" in str((server.get("/readyz")[1] or {}).get("detail")))
        time.sleep(0.5)
        server.p.send_signal(signal.SIGINT)
        assert server.p.wait(20) is not None
        assert "Traceback" not in server.text()
    assert not (tmp_path / "home/bundle").exists()
    ps = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout if shutil.which("ps") else ""
    assert str(tmp_path) not in ps


def test_a_damaged_bundle_is_named_and_mended_without_restart(tmp_path, folder):
    bundle = shutil.copytree(folder, tmp_path / "home/bundle")
    (bundle / "items.parquet").write_bytes((bundle / "items.parquet").read_bytes()[:-9])
    with Server(tmp_path) as server:
        detail = until(lambda: "items.parquet" in (d := str((server.get("/readyz")[1] or {}).get("detail"))) and d)
        assert "truncated" in detail and str(tmp_path) not in detail
        assert server.get("/healthz")[0] == 200 and server.get("/movies/1")[0] == 503
        make_bundle(bundle)
        until(lambda: server.get("/readyz")[0] == 200)


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").write_text("dear")
    with Server(tmp_path, MOVIEREC_BUNDLE=str(tmp_path / "letters")) as server:
        until(
            lambda: (
                "holds no bundle" in str((server.get("/readyz")[1] or {}).get("detail"))
                or "manifest.json is missing" in str((server.get("/readyz")[1] or {}).get("detail"))
            )
        )
    assert (tmp_path / "letters/dear.txt").read_text() == "dear"


def test_bad_settings_stop_the_start_with_a_sentence(tmp_path):
    with Server(tmp_path, MOVIEREC_BATCH_SIZE="many") as server:
        assert server.p.wait(30) != 0 and "MOVIEREC_BATCH_SIZE" in server.text()


def test_importing_the_service_brings_no_torch():
    code = (
        "import sys, movierec; a = {'torch', 'pandas', 'fastapi'} & set(sys.modules); "
        "import movierec.serve; print(not a, 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == [
        "True",
        "False",
    ]
