"""The bundle across processes: what is loaded is what was written, and nothing else is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from tiny_world import dataset, make_bundle, models

from movierec.bundle import Bundle, build_bundle, manifest_version, save_bundle
from movierec.core import MovierecError, write_json
from movierec.data.sequences import Histories


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "b"
    make_bundle(folder)
    return folder


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "b")


def run(code, *args, **kw):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=120, **kw
    )


def test_a_fresh_process_gives_the_same_answers(built):
    code = """
import sys
from movierec.bundle import Bundle
from movierec.data.sequences import Histories
b = Bundle.load(sys.argv[1])
print(b.version, *b.model.score(Histories.from_lists([[1, 2], []])).ravel().tolist())
"""
    version, *scores = run(code, built).stdout.split()
    here = Bundle.load(built)
    assert version == here.version
    assert np.array_equal(
        np.array(scores, np.float64), here.model.score(Histories.from_lists([[1, 2], []])).ravel().astype(float)
    )


def test_films_come_back_as_they_were(built):
    items = Bundle.load(built).items
    pd.testing.assert_frame_equal(items.drop(columns="n_ratings"), dataset().items)
    assert items.set_index("item_id").n_ratings[50] == 0 and items.n_ratings.sum() == len(dataset().interactions)


def test_no_pickles_and_no_paths_of_the_builder(built):
    files = [p for p in built.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {".json", ".parquet", ".npz", ".npy", ".safetensors"}
    assert str(built.parent) not in (built / "manifest.json").read_text()


def test_every_flipped_or_missing_byte_is_refused_by_name(copy):
    for f in sorted(p for p in copy.rglob("*") if p.is_file()):
        good = f.read_bytes()
        for bad in (
            good[:-2],
            good + b"x",
            good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 1]) + good[len(good) // 2 + 1 :],
            b"",
        ):
            f.write_bytes(bad)
            with pytest.raises(MovierecError, match="b[:/]|manifest"):
                Bundle.load(copy)
        f.unlink()
        with pytest.raises(MovierecError, match="missing"):
            Bundle.load(copy)
        f.write_bytes(good)
    Bundle.load(copy)


def test_a_newer_format_says_upgrade(copy):
    m = json.loads((copy / "manifest.json").read_text())
    m["format"] = 99
    m["version"] = manifest_version(m)
    write_json(copy / "manifest.json", m)
    with pytest.raises(MovierecError, match="upgrade"):
        Bundle.load(copy)


def test_a_manifest_cant_reach_outside(copy, tmp_path):
    (tmp_path / "secret").write_text("x")
    m = json.loads((copy / "manifest.json").read_text())
    m["files"]["../secret"] = {
        "bytes": 1,
        "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    }
    m["version"] = manifest_version(m)
    write_json(copy / "manifest.json", m)
    with pytest.raises(MovierecError, match="outside"):
        Bundle.load(copy)


@pytest.mark.parametrize("there", ["file", "folder", "model"])
def test_nothing_but_a_bundle_is_ever_replaced(there, tmp_path):
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    elif there == "folder":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    else:
        models(dataset())["popular"].save(out)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(MovierecError, match="no bundle"):
        make_bundle(out)
    with pytest.raises(MovierecError, match="no bundle"):
        build_bundle("demo", out)  # before it trains anything
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_version_follows_content(tmp_path):
    a, b = make_bundle(tmp_path / "a"), make_bundle(tmp_path / "b")
    c = make_bundle(tmp_path / "c", seed=1)
    d = save_bundle(tmp_path / "d", dataset(simulated=False), models(dataset()), seed=0)
    assert a["version"] == b["version"] and len({m["version"] for m in (a, c, d)}) == 3


WRITE = """
import sys
sys.path.insert(0, sys.argv[1])
from tiny_world import make_bundle
print("go", flush=True)
for _ in range(int(sys.argv[4])): make_bundle(sys.argv[2], seed=int(sys.argv[3]))
"""


def test_processes_that_build_one_place_never_mix(tmp_path):
    here, out = os.path.dirname(__file__), tmp_path / "b"
    versions = {make_bundle(out, seed=s)["version"] for s in (1, 2)}
    builders = [
        subprocess.Popen([sys.executable, "-c", WRITE, here, out, str(s), "8"], stdout=subprocess.DEVNULL)
        for s in (1, 2)
    ]
    seen = set()
    while any(p.poll() is None for p in builders):
        seen.add(Bundle.load(out).version)
    assert [p.returncode for p in builders] == [0, 0] and seen <= versions
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_killed_build_leaves_the_old_bundle(tmp_path):
    here, out = os.path.dirname(__file__), tmp_path / "b"
    versions = {make_bundle(out, seed=s)["version"] for s in (5, 1)}
    for wait in (0.01, 0.03, 0.06):
        p = subprocess.Popen([sys.executable, "-c", WRITE, here, out, "5", "999"], stdout=subprocess.PIPE)
        p.stdout.readline()
        time.sleep(wait)
        p.send_signal(signal.SIGKILL)
        p.wait()
        assert (
            not out.exists() or Bundle.load(out).version in versions
        )  # between its two renames there is none, never half a one
        make_bundle(out, seed=1)  # and a dead builder blocks nobody


def test_posters_are_kept_where_there_are_some(tmp_path, monkeypatch):
    picture = tmp_path / "1.jpg"
    picture.write_bytes(b"\xff\xd8picture")
    monkeypatch.setattr("movierec.bundle.find_poster", lambda name, i: picture if i == 1 else None)
    make_bundle(tmp_path / "b")
    b = Bundle.load(tmp_path / "b")
    assert b.poster(1) == b"\xff\xd8picture" and b.poster(2) is None and b.poster(999) is None


@pytest.mark.slow
def test_build_from_the_demo(tmp_path):
    m = build_bundle("demo", tmp_path / "b", models=["markov"])
    b = Bundle.load(tmp_path / "b")
    assert m["source"]["simulated"] is True and m["metrics"]["part"] == "valid"
    assert b.model.name == "markov" and len(b.items) >= 400
    assert 0 < m["metrics"]["NDCG@10"]["value"] < 1


# ---- several models -----------------------------------------------------------------------------------------------


def test_several_models_come_back_in_a_fresh_process(tmp_path):
    from movierec.models.neighbors import ItemKNN
    from movierec.models.rating import Rating, RatingConfig

    data = dataset()
    rating = Rating(RatingConfig(embedding_dim=2, watch_dim=2, epochs=1)).fit(data.interactions, data.items)
    item_knn = ItemKNN().fit(data.interactions, data.items)
    save_bundle(tmp_path / "b", data, {**models(data), "rating": rating, "item-knn": item_knn})
    code = "import sys; from movierec.bundle import Bundle; b = Bundle.load(sys.argv[1]); print(*b.models, *b.seen.get(1))"
    assert run(code, tmp_path / "b").stdout.split() == "markov popular rating item-knn 1 2 3 4 5 7 8".split()
    assert len(Bundle.load(tmp_path / "b").seen) == data.n_users


def test_without_a_model_of_viewers_the_bundle_tells_nothing_of_them(built):
    assert not (built / "histories.npz").exists() and Bundle.load(built).seen is None


def test_a_damaged_histories_file_is_refused(tmp_path):
    from movierec.models.rating import Rating, RatingConfig

    data = dataset()
    rating = Rating(RatingConfig(embedding_dim=2, watch_dim=0, epochs=1)).fit(data.interactions, data.items)
    save_bundle(tmp_path / "b", data, {**models(data), "rating": rating})
    f = tmp_path / "b/histories.npz"
    f.write_bytes(f.read_bytes()[:-1])
    with pytest.raises(MovierecError, match="histories.npz"):
        Bundle.load(tmp_path / "b")


@pytest.mark.slow
def test_trained_models_are_put_in_as_they_are(tmp_path):
    from movierec.data.datasets import load_dataset
    from movierec.models.registry import make_model

    demo = load_dataset("demo")
    ready = [make_model(n).fit(demo.interactions, demo.items) for n in ("markov", "item-knn")]
    m = build_bundle("demo", tmp_path / "b", trained=ready)
    assert m["models"] == ["markov", "item-knn", "popular"]
    m = build_bundle("demo", tmp_path / "b", trained=ready[1:], models=["top-rated", "popular"])
    assert m["models"] == ["top-rated", "item-knn", "popular"]
    assert Bundle.load(tmp_path / "b").model.name == "top-rated"
    with pytest.raises(MovierecError, match="did you mean"):
        build_bundle("demo", tmp_path / "b", models=["decodr"])
