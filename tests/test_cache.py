"""The cache against a real Redis server and a real file: what goes wrong with either is a miss, and never an error."""

import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from running import until

from movierec.cache import Cache, DiskStore, RedisStore, cache_key, history_key, open_cache, user_key
from movierec.core import MovierecError

V = np.array([0.5, -1, 2], np.float32)
FILMS = dict(item_ids=[318, 527], scores=[1.5, -2.0], strategy="sequence", model="decoder")
WAIT = 0.3  # seconds of the breaker here


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    pytest.importorskip("redis")
    from redis_server import RedisServer

    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def start(tmp_path):
    "Starts Redis servers of a test's own, with these arguments."
    pytest.importorskip("redis")
    from redis_server import RedisServer

    servers = []

    def go(*args):
        servers.append(RedisServer(tmp_path, *args).start())
        return servers[-1]

    yield go
    for s in servers:
        s.go_on()
        s.kill()


@pytest.fixture(params=["redis", "disk"])
def cache(request, tmp_path):
    "A cache in either store, empty."
    if request.param == "disk":
        store = DiskStore(tmp_path / "cache")
    else:
        store = RedisStore(request.getfixturevalue("redis").url, timeout=2)
        store.client.flushall()
    with closing(Cache(store, wait=WAIT)) as c:
        yield c


@pytest.fixture
def lines():
    "What the log of the cache says."
    got, handler = [], logging.Handler()
    handler.emit = lambda record: got.append(record.getMessage())
    log = logging.getLogger("movierec.cache")
    log.addHandler(handler)
    yield got
    log.removeHandler(handler)


def keys(n, version="v1"):
    return [history_key(version, "decoder", [i]) for i in range(n)]


def same(a, b):
    return a is not None and np.array_equal(a, b)


def there(values):
    return [v is not None for v in values]


# ---- either store -------------------------------------------------------------------------------------------------


def test_hit_and_miss(cache):
    k, u = history_key("v1", "decoder", [1, 2], [10, 20]), user_key("v1", 7)
    assert cache.get(k) is None and cache.get_many([]) == []
    assert cache.set(k, V) and cache.set(u, FILMS) and cache.set_many({}) == 0
    got = cache.get_many([u, k, user_key("v1", 8), u])
    assert got[0] == got[3] == FILMS and same(got[1], V) and got[2] is None
    assert got[1].dtype == np.float32 and got[1].flags.writeable
    s = cache.stats()
    assert (s["hits"], s["misses"], s["stored"], s["errors"], s["garbage"], s["up"]) == (3, 2, 2, 0, 0, 1)
    assert all(type(v) is int for name, v in s.items() if name != "store")


def test_many_more_than_fit_in_one_call(cache):
    ks = keys(1203)
    assert cache.set_many({k: np.float32([i]) for i, k in enumerate(ks)}) == 1203
    assert [int(v[0]) for v in cache.get_many(ks)] == list(range(1203))


def test_expiry(cache):
    a, b = keys(2)
    cache.set(a, V, ttl=1.5)
    cache.set(b, V)
    assert same(cache.get(a), V)
    until(lambda: cache.get(a) is None)
    assert same(cache.get(b), V)
    for ttl in (0, -1, float("nan")):
        with pytest.raises(ValueError):
            cache.set(a, V, ttl)


def test_the_default_is_a_day(redis, tmp_path):
    with closing(open_cache(redis.url)) as c:
        c.set(keys(1)[0], V)
        assert 86_390 < c.store.client.ttl(keys(1)[0]) <= 86_400
    with closing(open_cache("", tmp_path)) as c:
        c.set(keys(1)[0], V)
        (path,) = tmp_path.glob("*.sqlite3")
        with closing(sqlite3.connect(path)) as db:
            assert 86_390 < db.execute("SELECT expires FROM entries").fetchone()[0] - time.time() <= 86_400


def test_another_bundle_is_a_miss(cache):
    cache.set_many({k: V for k in keys(5, "v1")} | {user_key("v1", 1): FILMS})
    assert cache.get_many([*keys(5, "v2"), user_key("v2", 1)]) == [None] * 6
    assert all(there(cache.get_many([*keys(5, "v1"), user_key("v1", 1)])))


def test_writing_again_replaces(cache):
    (k,) = keys(1)
    cache.set(k, V)
    cache.set(k, V + 1)
    assert same(cache.get(k), V + 1)


PICKLE = b"cbuiltins\nopen\n(S'unpickled'\nS'w'\ntR."


@pytest.mark.parametrize("junk", [b"", b"\0" * 12, b"hello", PICKLE, b"mvr1vec\0\0\0\0\0", os.urandom(999)])
def test_garbage_is_ignored_and_overwritten(cache, junk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (k,) = keys(1)
    cache.store.write({k: junk}, 60)
    assert cache.get(k) is None and cache.stats()["garbage"] == 1 and not Path("unpickled").exists()
    assert cache.set(k, V) and same(cache.get(k), V) and cache.stats()["errors"] == 0


def test_a_value_counts_only_under_its_own_key(cache):
    a, b = keys(2)
    cache.set(a, V)
    cache.store.write({b: cache.store.read([a])[0]}, 60)
    assert cache.get(b) is None and same(cache.get(a), V)


def test_our_own_mistakes_are_loud(cache):
    for wrong in (V.astype(float), V[None], V * np.nan, dict(item_ids=[1], scores=[]), dict(item_ids=["1"], scores=[1.0])):
        with pytest.raises(ValueError):
            cache.set(keys(1)[0], wrong)


def test_many_threads(cache):
    ks, wrong = keys(40), []

    def work(seed):
        order = np.random.default_rng(seed).permutation(len(ks))
        for i in order:
            v = cache.get(ks[i])
            if v is None:
                cache.set(ks[i], np.float32([i]))
            elif int(v[0]) != i:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    s = cache.stats()
    assert not wrong and s["errors"] == 0 and s["hits"] + s["misses"] == 8 * 40 and s["stored"] == s["misses"]
    assert [int(v[0]) for v in cache.get_many(ks)] == list(range(40))


def test_keys_tell_histories_apart():
    ks = [history_key("v", "m", i, t, n) for i in ([], [1], [1, 2], [2, 1], [12]) for t in (None, [0]) for n in (None, 0)]
    assert len(set(ks)) == len(ks) == 20
    assert history_key("v", "m", np.array([1, 2], np.int32)) == history_key("v", "m", [1, 2])
    assert cache_key("v", "a", 1) != cache_key("v", "b", 1) and user_key("v", 1) == user_key("v", "1")
    assert all(len(k) < 120 and k.isascii() and k.isprintable() for k in [*ks, user_key("v", "x" * 9999 + "\n\0é}{")])


# ---- Redis --------------------------------------------------------------------------------------------------------


def test_redis_a_key_of_another_type(redis):
    with closing(Cache(RedisStore(redis.url))) as c:
        (k,) = keys(1)
        c.store.client.delete(k)
        c.store.client.rpush(k, "x")
        assert c.get(k) is None and c.set(k, V) and same(c.get(k), V) and c.stats()["errors"] == 0


def test_redis_killed_in_mid_load(start, lines):
    "No error, quick misses while it is away, and nobody has to do anything when it is back."
    server, ks, stop, slow, wrong = start(), keys(50), threading.Event(), [], []
    c = Cache(RedisStore(server.url, timeout=1), wait=WAIT)

    def work(seed):
        i = seed
        try:
            while not stop.is_set():
                i, began = (i + 7) % 50, time.monotonic()
                v = c.get(ks[i])
                if v is None:
                    c.set(ks[i], np.float32([i]))
                elif int(v[0]) != i:
                    wrong.append((i, v))
                slow.append(time.monotonic() - began)
                time.sleep(0.005)
        except BaseException as e:
            wrong.append(e)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(6)]
    for t in threads:
        t.start()
    try:
        until(lambda: c.stats()["hits"] > 100)
        server.kill()
        until(lambda: not c.stats()["up"])
        errors, skipped = c.stats()["errors"], c.stats()["skipped"]
        time.sleep(4 * WAIT)
        s = c.stats()
        assert s["up"] == 0 and s["errors"] - errors <= 10 and s["skipped"] - skipped > 50
        server.start()
        hits = c.stats()["hits"]
        until(lambda: c.stats()["hits"] > hits + 100)
    finally:
        stop.set()
        for t in threads:
            t.join()
        c.close()
    assert not wrong and c.stats()["up"] == 1
    assert np.median(slow) < 0.3
    assert "can't be reached" in lines[0] and "works again" in lines[-1] and len(lines) <= 6


def test_redis_that_hangs_costs_one_timeout(start, lines):
    server, ks = start(), keys(300)
    c = Cache(RedisStore(server.url, timeout=0.2), wait=60)
    until(lambda: c.set_many({k: V for k in ks}) == 300 or c.up.set(""))  # (a busy machine may need another go)
    server.hang()
    began = time.monotonic()
    assert c.get_many(ks) + [c.get(k) for k in ks] == [None] * 600
    assert not c.set(ks[0], V)
    took = time.monotonic() - began
    assert 0.2 <= took < 20 and "no answer within 0.2 s" in lines[-1]
    server.go_on()
    c.up.until = 0  # the wait is over
    until(lambda: same(c.get(ks[0]), V) or setattr(c.up, "until", 0))
    c.close()


def test_redis_that_was_never_there(lines):
    pytest.importorskip("redis")
    c = Cache(RedisStore("redis://127.0.0.1:1/0"))
    assert c.get_many(keys(2000)) == [None] * 2000 and c.set_many({k: V for k in keys(9)}) == 0
    s = c.stats()
    assert (s["errors"], s["misses"], s["up"]) == (1, 2000, 0) and len(lines) == 1


def test_redis_wrong_password(start, lines, caplog):
    server = start("--requirepass", "right-pass-phrase")
    for secret in (":wrong-pass-phrase@", "someone:wrong-pass-phrase@", ""):
        lines.clear()
        c = Cache(RedisStore(server.url.replace("//", "//" + secret), timeout=2))
        assert c.get(keys(1)[0]) is None and not c.set(keys(1)[0], V) and c.stats()["up"] == 0
        assert len(lines) == 1 and "user or password is refused" in lines[0] and f":{server.port}" in lines[0]
        assert "pass-phrase" not in lines[0] + caplog.text + str(c.stats()) + c.store.name
        c.close()
    with closing(Cache(RedisStore(server.url.replace("//", "//:right-pass-phrase@"), timeout=2))) as c:
        assert c.set(keys(1)[0], V) and same(c.get(keys(1)[0]), V)


def test_redis_full_memory(start, lines):
    "With noeviction it refuses what is new, and what it holds is still read; when there is room again, all is well."
    server = start("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    c, big = Cache(RedisStore(server.url, timeout=2), wait=WAIT), np.zeros(2500, np.float32)
    ks = keys(600)
    assert c.set(ks[0], V)
    assert c.set_many({k: big for k in ks[1:]}) < 599
    s = c.stats()
    assert s["up"] == 1 and s["errors"] >= 1 and same(c.get(ks[0]), V)
    assert len(lines) == 1 and "memory is full" in lines[0]
    assert not c.set(ks[-1], V) and c.stats()["skipped"] >= 1 and same(c.get(ks[0]), V)
    c.store.client.flushall()
    until(lambda: c.set(ks[0], V))
    assert same(c.get(ks[0]), V) and "works again" in lines[-1]
    c.close()


def test_redis_that_may_not_be_written(start, lines):
    server = start("--user", *"reader on nopass ~* -@all +mget".split())
    with closing(Cache(RedisStore(server.url.replace("//", "//reader:x@"), timeout=2))) as c:
        assert not c.set(keys(1)[0], V) and c.get(keys(1)[0]) is None
        assert c.stats()["up"] == 1 and "may not do that" in lines[-1]


def test_redis_cluster_takes_our_keys(start):
    "A cluster refuses a command that names keys of several slots; ours never do."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        bus = s.getsockname()[1]
    server = start("--cluster-enabled", "yes", "--cluster-port", str(bus))
    store = RedisStore(server.url, timeout=5)
    store.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    until(lambda: b"cluster_state:ok" in store.client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True))
    c, ks = Cache(store), keys(300)
    assert c.set_many({k: V for k in ks}) == 300 and all(same(v, V) for v in c.get_many(ks))
    with pytest.raises(store.redis.ResponseError):
        store.client.mget(ks)
    c.close()


def test_something_else_listens_there(lines):
    pytest.importorskip("redis")
    import http.server

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    web.RequestHandlerClass.log_message = lambda *a: None
    threading.Thread(target=web.serve_forever, daemon=True).start()
    c = Cache(RedisStore(f"redis://127.0.0.1:{web.server_port}", timeout=2))
    assert c.get(keys(1)[0]) is None and c.stats()["errors"] == 1 and len(lines) == 1
    web.shutdown()
    web.server_close()


@pytest.mark.parametrize("url", ["localhost:6379", "http://x:secret-word@y", "redis://:secret-word@h:port/0"])
def test_a_url_that_is_none_stops_the_start_without_telling_it(url):
    pytest.importorskip("redis")
    with pytest.raises(MovierecError, match="MOVIEREC_REDIS_URL") as e:
        open_cache(url)
    assert "secret" not in str(e.value) and e.value.__suppress_context__


def test_which_store(monkeypatch, tmp_path):
    monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path))
    monkeypatch.delenv("MOVIEREC_REDIS_URL", raising=False)
    with closing(open_cache()) as c:
        assert c.store.name == "the cache on disk" and c.set(keys(1)[0], V)
    assert len([*tmp_path.glob("cache/answers/*.sqlite3")]) == 1
    pytest.importorskip("redis")
    monkeypatch.setenv("MOVIEREC_REDIS_URL", "redis://:hush@example.com:7/3")
    assert open_cache().store.name == "Redis at example.com:7"


# ---- on disk ------------------------------------------------------------------------------------------------------


def size(folder):
    return sum(p.stat().st_size for p in folder.rglob("*.sqlite3"))


def test_disk_is_bounded_and_keeps_the_newest(tmp_path):
    c, rng = Cache(DiskStore(tmp_path, max_bytes=1 << 20)), np.random.default_rng(0)
    ks = keys(1500)
    for i in range(0, 1500, 100):  # of all sizes
        part = {k: np.zeros(rng.integers(1, 1500), np.float32) for k in ks[i : i + 100]}
        assert c.set_many(part) == 100
        assert size(tmp_path) <= 1 << 20
    total = sum(p.stat().st_size for p in tmp_path.iterdir())
    got = there(c.get_many(ks))
    assert all(got[-100:]) and not any(got[:500]) and c.stats()["evicted"] > 500 and c.stats()["errors"] == 0
    assert total < (1 << 20) + (16 << 20)  # with its log
    c.close()


def test_disk_the_expired_go_first(tmp_path):
    c = Cache(DiskStore(tmp_path, max_bytes=1 << 20))
    old, soon = keys(100), keys(500)[100:]
    c.set_many({k: np.zeros(100, np.float32) for k in old})
    c.set_many({k: np.zeros(300, np.float32) for k in soon}, ttl=0.01)
    c.set_many({k: np.zeros(300, np.float32) for k in keys(900, "v2")[500:]})
    assert c.stats()["evicted"] > 0 and all(there(c.get_many(old)))
    c.close()


WORKER = """
import sys
import numpy as np
from movierec.cache import Cache, DiskStore, history_key
me, folder = int(sys.argv[1]), sys.argv[2]
c = Cache(DiskStore(folder, max_bytes=4 << 20))
for i in range(60):
    assert c.set(history_key("v", str(me), [i]), np.float32([me, i]))
    for who in (0, 1):
        v = c.get(history_key("v", str(who), [i]))
        assert v is None or v.tolist() == [who, i]
print(c.stats()["errors"], len(c.get_many([history_key("v", str(me), [i]) for i in range(60)])))
"""


def test_disk_two_processes_share_it(tmp_path):
    run = [sys.executable, "-c", WORKER]
    ps = [subprocess.Popen([*run, str(me), str(tmp_path)], stdout=-1, stderr=-1, text=True) for me in (0, 1)]
    outs = [p.communicate(timeout=60) for p in ps]
    assert [p.returncode for p in ps] == [0, 0] and [o for o, _ in outs] == ["0 60\n"] * 2, outs
    with closing(Cache(DiskStore(tmp_path))) as c:
        got = c.get_many([history_key("v", str(me), [i]) for me in (0, 1) for i in range(60)])
    assert [v.tolist() for v in got] == [[me, i] for me in (0, 1) for i in range(60)]
    assert len([*tmp_path.glob("*.sqlite3")]) == 1


def test_disk_survives_a_worker_that_is_killed_while_it_writes(tmp_path):
    code = WORKER.replace("range(60)", "range(10**6)", 1)
    p = subprocess.Popen([sys.executable, "-c", code, "0", str(tmp_path)])
    with closing(Cache(DiskStore(tmp_path))) as c:
        until(lambda: c.get(history_key("v", "0", [20])) is not None)
        p.kill()
        p.wait()
        assert c.get(history_key("v", "0", [20])).tolist() == [0, 20]
        assert c.set(keys(1)[0], V) and c.stats()["rebuilt"] == 0


def scribble(path):
    path.write_bytes(os.urandom(path.stat().st_size))


def empty(path):
    path.write_bytes(b"")


def middle(path):
    "Garbage in all pages but the first."
    data = path.read_bytes()
    path.write_bytes(data[:4096] + os.urandom(len(data) - 4096))


def cut(path):
    os.truncate(path, path.stat().st_size // 2 + 100)


def other_table(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE entries (who TEXT, when_ TEXT)")


@pytest.mark.parametrize("damage", [scribble, empty, middle, cut, other_table])
@pytest.mark.parametrize("running", [True, False])
def test_disk_a_damaged_file_is_rebuilt(tmp_path, damage, running):
    "Whether it happens between runs or under a running server, and whatever it is: misses, then a cache that works."
    a, b = Cache(DiskStore(tmp_path), wait=0), Cache(DiskStore(tmp_path), wait=0)
    ks = keys(400)
    a.set_many({k: np.zeros(64, np.float32) for k in ks})
    assert all(there(b.get_many(ks)))
    (path,) = tmp_path.glob("*.sqlite3")
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if not running:
        a.close(), b.close()
    damage(path)
    for c in (a, b):
        got = c.get_many(ks)  # old values (a page in memory) or misses, never anything else
        assert all(v is None or same(v, np.zeros(64)) for v in got)
    for k in ks[:3]:  # it may take a call or two until each has noticed
        a.set(k, V), b.set(k, V), a.get(k), b.get(k)
    assert a.set_many({k: V + 1 for k in ks}) == b.set_many({k: V + 1 for k in ks}) == 400
    assert all(same(v, V + 1) for c in (a, b) for v in c.get_many(ks)) and a.stats()["up"] == b.stats()["up"] == 1
    a.close(), b.close()
    with closing(Cache(DiskStore(tmp_path))) as c:
        assert all(same(v, V + 1) for v in c.get_many(ks)) and len([*tmp_path.glob("*.sqlite3")]) == 1


def test_disk_the_folder_may_be_deleted_under_a_running_server(tmp_path):
    a, b = Cache(DiskStore(tmp_path / "c")), Cache(DiskStore(tmp_path / "c"))
    (k,) = keys(1)
    assert a.set(k, V) and same(b.get(k), V)
    shutil.rmtree(tmp_path / "c")
    assert a.get(k) is None and a.set(k, V + 1) and same(b.get(k), V + 1)
    assert a.stats()["errors"] == b.stats()["errors"] == 0
    a.close(), b.close()


def test_disk_a_locked_file_is_a_miss_and_mends_itself(tmp_path, lines):
    c = Cache(DiskStore(tmp_path), wait=WAIT)
    (k,) = keys(1)
    c.set(k, V)
    (path,) = tmp_path.glob("*.sqlite3")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert same(c.get(k), V)  # readers don't wait for writers
        assert not c.set(k, V + 1) and not c.set(k, V + 1) and c.get(k) is None
        assert time.monotonic() - began < 4 and "locked" in lines[0] and c.stats()["up"] == 0
    until(lambda: c.set(k, V + 1))
    assert same(c.get(k), V + 1) and c.stats()["rebuilt"] == 0
    c.close()


def test_disk_a_place_that_cant_be_written_is_a_miss(tmp_path, lines):
    (tmp_path / "file").write_text("not a folder")
    c = Cache(DiskStore(tmp_path / "file" / "cache"))
    assert c.get(keys(1)[0]) is None and not c.set(keys(1)[0], V)
    assert c.stats()["up"] == 0 and len(lines) == 1
