"""reports/serving.md says what the rows say; the soak knows a right answer from a wrong one."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="no checkout: benchmarks/ isn't here")


def script(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem + "_script", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(case, connections, p50, rate, p99=None, errors=0):
    return dict(case=case, connections=connections, requests=1000, per_second=rate, p50_ms=p50, p95_ms=2 * p50, p99_ms=p99 or 3 * p50, errors=errors, cpu_ms=1.5)


def row(*lines, dataset="ml-1m"):
    versions = dict(python="3.11", fastapi="1", uvicorn="1", torch="2", wrk="4")
    return dict(dataset=dataset, films=3706, history=200, model="decoder", seconds=10, cores=2, cpu="a CPU", threads=2, versions=versions,
                load_average=[0.1, 0.2, 0.3], commit="0123456789ab", dirty=False, rows=list(lines))  # fmt: skip


GOOD = line("bare", 1, 1, 900), line("cached", 1, 1.9, 500), line("cached", 64, 40, 1000), line("uncached", 1, 9, 100), line("uncached", 64, 200, 310, 390)


@pytest.fixture(scope="module")
def serving():
    return script("reports/serving.py")


def test_bars_are_judged_on_both_sides(serving):
    assert [ok for *_, ok in serving.bars(row(*GOOD))] == [True] * 5
    slow = line("bare", 1, 1, 900), line("cached", 1, 2.1, 500), line("uncached", 1, 10.1, 90), line("uncached", 64, 200, 299, 401, errors=1)
    assert [ok for *_, ok in serving.bars(row(*slow))] == [False] * 5


def test_capacity_is_the_measured_rate_times_the_pause(serving):
    text = serving.capacity(row(*GOOD))
    assert "| a new list, uncached | 310 | 217 | 2,170 | 6,510 | 13,020 |" in text       # 0.7 × 310/s × 10, 30, 60 s
    assert "390,600 visitors a day" in text                                             # 217/s × 3600 ÷ 0.1 ÷ 20


def test_beside_the_start(serving):
    text = serving.beside(row(*GOOD, line("batch", 8, 50, 2.5)), [dict(model="taste", users_per_minute=60_000)])
    assert "| 500 ms | 9.00 ms | 56 × |" in text and "| 5 ms | 1.90 ms | 2.6 × |" in text
    assert "| 1,000 | 60,000 | 60.0 × |" in text and "| 1,000 | 15,000 | 15.0 × |" in text


def test_a_page_has_what_there_are_rows_for(serving, tmp_path):
    bare = serving.page([])
    assert "## " not in bare and "wrk" in bare
    (tmp_path / "serve_demo.json").write_text(json.dumps(row(*GOOD, dataset="demo")))
    (tmp_path / "serve_ml-1m.json").write_text(json.dumps(row(*GOOD)))
    text = serving.page(*serving.load(tmp_path))
    assert text.index("Over HTTP: ml-1m") < text.index("Over HTTP: demo") and "## The bars, on ml-1m" in text
    assert "Under load for long" not in text and "**missed**" not in text


def test_engines_are_compared_with_torch(serving):
    def engine(name, one, many, diff):
        return [dict(engine=name, batch=b, cpu_ms=t, largest_difference=diff) for b, t in ((1, one), (32, many))]

    rows = engine("torch float32", 3.0, 60.0, 0.0) + engine("int8", 2.0, 80.0, 0.07)
    quality = {"torch float32": {"NDCG@10": 0.2}, "int8": {"NDCG@10": 0.199}}
    text = serving.onnx(dict(rows=rows, quality=quality, missing={"x": "no"}, history=200, threads=1, dataset="d", users=6040, load_average=0.5))
    assert "| int8 | 2.00 (1.50 ×) | 80.0 (0.75 ×) | 7e-02 | 0.1990 (-0.0010) |" in text and "x is left out: no." in text


def test_the_page_is_what_the_rows_make():
    if not list((ROOT / "reports/benchmarks").glob("serve_*.json")):
        assert not (ROOT / "reports/serving.md").exists()
        return
    got = subprocess.run([sys.executable, ROOT / "reports/serving.py", "--check"], capture_output=True, text=True)
    assert got.returncode == 0, got.stderr


@pytest.fixture(scope="module")
def soak():
    return script("benchmarks/soak.py")


def test_the_soak_tells_wrong_lists_from_rounded_ones(soak):
    right = [(1, 5.0), (2, 4.0), (3, 4.00001), (4, 3.0)]
    assert soak.alike([1, 2, 3], [5.0, 4.0, 4.0], right, 3)
    assert soak.alike([1, 3, 2], [5.00001, 4.00001, 4.0], right, 3)          # equal but for the last digits: places may change
    assert not soak.alike([2, 1, 3], [4.0, 5.0, 4.0], right, 3)              # the wrong order
    assert not soak.alike([1, 2, 9], [5.0, 4.0, 4.0], right, 3)              # a film that doesn't belong
    assert not soak.alike([1, 2, 2], [5.0, 4.0, 4.0], right, 3)              # one twice
    assert not soak.alike([1, 2], [5.0, 4.0], right, 3) and not soak.alike([1, 2, 3], [5.1, 4.0, 4.0], right, 3)
    assert soak.alike([], [], [], 0)


def test_slope(soak):
    rate, error = soak.slope(range(100), [100 + i / 3600 for i in range(100)])
    assert rate == pytest.approx(1) and error < 1e-6
    rate, error = soak.slope(range(100), [100 + i % 2 for i in range(100)])
    assert abs(rate) < 3 * error


def test_memory_is_read_while_nobody_asks(soak, monkeypatch):
    go, read = threading.Event(), []
    monkeypatch.setattr(soak, "RESTS", 3)
    monkeypatch.setattr(soak, "time", SimpleNamespace(sleep=lambda s: None, monotonic=time.monotonic))
    monkeypatch.setattr(soak, "held_mb", lambda server: read.append(go.is_set()) or (2.0, 1.0))
    client = SimpleNamespace(asked=7, is_alive=lambda: True, resting=True)
    go.set()
    seen = soak.watch(os.getpid(), [client], go, lambda done, seconds: done() or pytest.fail("a client went on"), 0)
    assert read == [True, False] * 3 and go.is_set() and [x[1:] for x in seen] == [(7, 2.0, 1.0, 1.0)] * 3
