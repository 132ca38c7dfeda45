"""The fusion as installed: equal in a fresh process, works with what there is, learns from train alone, refuses rubbish."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from movierec.content import fusion as F
from movierec.core import MovierecError
from movierec.data.posters import poster_bytes
from movierec.data.sequences import Histories

QUICK = F.Config(dim=16, width=16, steps=40, batch=128)
N = 40


@pytest.fixture
def films():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        dict(
            item_id=np.arange(1, N + 1) * 5,
            title=[f"Film {i}" for i in range(N)],
            year=pd.array(np.where(np.arange(N) < 20, 1950, 1990) + rng.integers(-3, 4, N), "Int64"),
            genres=rng.choice(["Western", "Musical|Comedy", ""], N),
            director=rng.choice(["Ann", "Bo", ""], N),
            actors="",
            vote_count=rng.integers(1, 900, N).astype("float32"),
            vote_average=rng.uniform(1, 10, N).astype("float32"),
        )
    )


@pytest.fixture
def events():
    rng = np.random.default_rng(1)
    seen = [(u, i * 5, 4.0, u * 100 + t) for u in range(60) for t, i in enumerate(rng.permutation(19)[:7] + 1 + 20 * (u % 2))]
    return pd.DataFrame(seen, columns=["user_id", "item_id", "rating", "timestamp"])


@pytest.fixture(autouse=True)
def toy_texts(monkeypatch, tmp_path):
    "Texts are read by a toy, so that no model is needed."
    monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path / "home"))
    toy = lambda items, model="": np.stack([np.random.default_rng(len(t)).normal(size=8) for t in items.title]).astype(np.float32)
    monkeypatch.setattr(F, "film_vectors", toy)


@pytest.fixture
def posters(tmp_path, films):
    paths = [None] * N
    for i in range(0, N, 2):
        paths[i] = tmp_path / f"{i}.webp"
        paths[i].write_bytes(poster_bytes(films.title[i], 1990, "Horror" if i < 20 else "Comedy"))
    return paths


def test_all_kinds_together_and_what_is_missing_later(films, events, posters, monkeypatch):
    f = F.Fusion(replace(QUICK, poster_model="descriptor")).fit(events, films, posters=posters)
    assert f.reads == ["text", "poster", "facts"] and f.models["poster"] == "descriptor"
    np.testing.assert_allclose(np.linalg.norm(f.item_vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(f.vectors(films, posters=posters), f.item_vectors, atol=1e-5)
    without = f.vectors(films, posters=[None] * N)
    assert np.isfinite(without).all() and not np.allclose(without[0], f.item_vectors[0])
    np.testing.assert_allclose(without[1], f.item_vectors[1], atol=1e-5)  # it had none before

    def gone(items, model=""):
        raise MovierecError("no encoder here")

    monkeypatch.setattr(F, "film_vectors", gone)
    plain = f.vectors(films, posters=[None] * N)
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1, atol=1e-5)
    assert F.Fusion(QUICK).fit(events, films).reads == ["facts"]  # never had them


@pytest.mark.parametrize("method", ["learned", "pca"])
def test_a_fresh_process_gives_the_same(films, events, tmp_path, method):
    f = F.Fusion(replace(QUICK, reads="facts", method=method)).fit(events, films)
    f.save(tmp_path / "fusion")
    films.drop(columns="director").to_parquet(tmp_path / "films.parquet")  # a table with a column less
    code = (
        "import numpy as np, pandas as pd; from movierec.content.fusion import Fusion\n"
        f"f = Fusion.load({str(tmp_path / 'fusion')!r}); v = f.vectors(pd.read_parquet({str(tmp_path / 'films.parquet')!r}))\n"
        f"np.savez({str(tmp_path / 'got.npz')!r}, kept=f.item_vectors, new=v, of=f.of([5, 999]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert run.returncode == 0, run.stderr[-1500:]
    got = np.load(tmp_path / "got.npz")
    np.testing.assert_array_equal(got["kept"], f.item_vectors)
    np.testing.assert_allclose(got["new"], f.vectors(films.drop(columns="director")), atol=1e-5)
    assert np.abs(got["of"][1]).sum() == 0 and np.allclose(got["of"][0], f.item_vectors[0])
    assert not [p for p in (tmp_path / "fusion").rglob("*") if p.suffix in (".pkl", ".pt", ".pickle")]


def test_a_damaged_folder_is_refused(films, events, tmp_path):
    f = F.Fusion(replace(QUICK, reads="facts")).fit(events, films)
    f.save(tmp_path / "f")
    data = (tmp_path / "f" / "net.safetensors").read_bytes()
    (tmp_path / "f" / "net.safetensors").write_bytes(data[:-4] + b"\0\1\2\3")
    with pytest.raises(MovierecError, match="net.safetensors"):
        F.Fusion.load(tmp_path / "f")


def test_seed_and_order_of_rows(films, events):
    one = F.Fusion(QUICK).fit(events, films, seed=3).item_vectors
    np.testing.assert_array_equal(F.Fusion(QUICK).fit(events, films, seed=3).item_vectors, one)
    mixed = films.sample(frac=1, random_state=0)
    f = F.Fusion(QUICK).fit(events, mixed, seed=3)
    np.testing.assert_array_equal(f.item_vectors, one)
    np.testing.assert_allclose(f.vectors(mixed), f.of(mixed.item_id), atol=1e-5)
    assert not np.allclose(F.Fusion(QUICK).fit(events, films, seed=4).item_vectors, one)


def test_only_the_order_within_a_viewer_counts_and_ratings_dont(films, events):
    "Pairs come from one person's sequence: the same events of people renumbered give the same statistics."
    inner = np.array([0, 1, 2, 3, 4, 5])
    rows = np.array([0, 0, 0, 1, 1, 1])
    for before, right in F.event_batches(inner, rows, 5, 64, 20)(np.random.default_rng(0)):
        same = np.where(before >= 0, before // 3, right[:, None] // 3)
        assert (same == right[:, None] // 3).all() and (before < right[:, None]).all()


def test_films_nobody_watched_and_viewers_of_nothing(films, events):
    f = F.Fusion(replace(QUICK, reads="facts")).fit(events[events.item_id != 5], films)
    assert np.linalg.norm(f.of([5])) == pytest.approx(1, abs=1e-5)
    assert np.abs(f.query(Histories.from_lists([[], [123456]]))).sum() == 0
    outside = events.assign(item_id=events.item_id + 1)  # ids that aren't films
    with pytest.raises(MovierecError, match="nothing to learn"):
        F.Fusion(replace(QUICK, reads="facts")).fit(outside, films)


@pytest.mark.parametrize("change", [dict(reads=""), dict(reads="smell"), dict(dim=0), dict(temperature=0), dict(method="x"), dict(last=0)])
def test_senseless_settings(change):
    with pytest.raises(MovierecError):
        F.Config(**change)


def test_tables_with_holes(events):
    bare = pd.DataFrame(dict(item_id=np.arange(1, N + 1) * 5, title="", year=pd.array([None] * N, "Int64"), genres=""))
    with pytest.raises(MovierecError, match="nothing is known"):
        F.Fusion(replace(QUICK, reads="facts")).fit(events, bare)
    some = bare.assign(genres=["Western"] + [""] * (N - 1))
    v = F.Fusion(replace(QUICK, reads="facts")).fit(events, some).item_vectors
    assert np.isfinite(v).all() and np.allclose(v[1], v[2]) and not np.allclose(v[0], v[1])
    with pytest.raises(MovierecError, match="posters for"):
        F.Fusion(QUICK).fit(events, some, posters=[None])
