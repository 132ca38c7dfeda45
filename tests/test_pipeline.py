"""The pipeline against the model alone, under filters, in a fresh process, and damaged."""
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.sequences import Histories
from movierec.explain import SOURCES
from movierec.filters import Filters
from movierec.models.decoder import Decoder, DecoderConfig
from movierec.pipeline import Listed, Pipeline, PipelineConfig, merge, neighbour_lists

N = 120
SMALL = dict(embedding_dim=16, n_layers=1, n_heads=2, max_len=20, epochs=4, batch_tokens=400, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def world():
    "120 films in 6 genres, 80 viewers; a decoder that learned a little, vectors by genre."
    rng = np.random.default_rng(0); genre = np.arange(N) % 6
    rows = [(u, int(i) + 1, 4., 1000 * t + u) for u in range(80)
            for t, i in enumerate(rng.choice(N, 15, replace=False, p=np.where(genre == u % 6, 5., 1.) / np.where(genre == u % 6, 5., 1.).sum()))]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    model = Decoder(DecoderConfig(**SMALL)).fit(events, seed=1); ids = model.item_ids
    items = pd.DataFrame(dict(item_id=ids, title=[f"Film {i}" for i in ids], year=pd.array(1950 + ids % 60, "Int16"),
                              genres=[f"G{(i - 1) % 6}" for i in ids], director="", actors=[f"Actor {i % 9}" for i in ids], n_ratings=ids % 30))
    vectors = np.eye(6, dtype=np.float32)[(ids - 1) % 6] + rng.normal(0, .1, (len(ids), 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = neighbour_lists(model, ids, 10)
    return events, model, items, vectors, near


def pipeline(world, **config):
    events, model, items, vectors, near = world
    return Pipeline(model, items, vectors, near, PipelineConfig(**config))


def histories(world): return Histories.from_table(world[0])


@pytest.mark.parametrize("limit", [30, 300])
def test_the_first_films_are_those_of_the_model_alone(world, limit):
    p = pipeline(world, diversity=0., limit=limit); h = histories(world)[:20]
    alone = world[1].recommend(h, 3).item_id.to_numpy().reshape(-1, 3)
    got = p.item_ids[p.lists(h, 3)]
    assert (got == alone).mean() > .85 if limit < 300 else (got == alone).all()   # the memory may lift a film from beyond the cut


def test_candidates_are_distinct_and_bounded(world):
    p = pipeline(world, limit=25); h = histories(world)[:10]; u, _ = p.read(h); inner = p.vocab.encode(h.item_ids)
    for b, (lo, hi) in enumerate(zip(h.offsets, h.offsets[1:])):
        seen = inner[lo:hi] - 1; found = p.retrieve(u[b], seen[-10:], p.allowed(seen), 10, True)
        cols = merge(found, 25)
        assert len(cols) == len(set(cols)) <= 25 and not set(cols) & set(seen) and set(found) <= set(SOURCES)


@pytest.mark.parametrize("wish", [dict(genres=["G2"]), dict(min_year=1990), dict(actors=["Actor 3"]), dict(min_votes=25), dict(genres=["G1"], max_year=1970)])
@pytest.mark.parametrize("order", [dict(diversity=0.), dict(diversity=.4), dict(calibration=.3)])
def test_lists_are_full_under_filters(world, wish, order):
    p = pipeline(world, **order); f = Filters(**wish); ok = set(p.item_ids[p.filterable.mask(f)].tolist())
    for history in ([], [1, 2, 3], list(range(1, 40))):
        for sequential in (True, False):
            a = p.ask(history, 10, f, sequential=sequential)
            assert set(a.item_ids) <= ok - set(history) and len(a.item_ids) == min(10, len(ok - set(history)))
            assert len(set(a.item_ids)) == len(a.item_ids)


def test_variety_grows_with_its_weight(world):
    p = pipeline(world); h = histories(world)[:30]
    spread = []
    for d in (0., .5, 1.):
        v = world[3][p.lists(h, 8, diversity=d)]; spread.append(1 - np.einsum("bid,bjd->bij", v, v).mean())
    assert spread[0] < spread[1] <= spread[2] + 1e-6


def test_evidence_names_only_watched_films(world):
    p = pipeline(world)
    for history in ([5], [5, 11, 17, 23], list(range(1, 60))):
        a = p.ask(history, 10, explain=True)
        assert len(a.reasons) == 10
        for s, facts in zip(a.sources, a.reasons):
            assert s and all(via is None or via in history for via, _ in s.values())
            assert facts.watched_id is None or facts.watched_id in history
            assert p.explainer.sentence(facts).endswith(".")


def test_scores_fall_and_a_list_behind_the_interface_keeps_its_order(world):
    p = pipeline(world, diversity=0.); a = p.ask([1, 7, 13], 20)
    assert (np.diff(a.scores) <= 0).all()
    assert Listed(p, 20).recommend(Histories.from_lists([[1, 7, 13]]), 20).item_id.tolist() == a.item_ids


def test_odd_requests(world):
    p = pipeline(world)
    assert p.ask([10**9, -5, 10**15, 10**20], 4).strategy == "popular" and p.ask([10**9], 4).unknown_items == [10**9]
    assert len(p.ask(list(range(1, N + 1)), 10).item_ids) == N - len(set(range(1, N + 1)) & set(p.item_ids.tolist())) - (N - len(p.item_ids))
    assert len(p.ask([3], 1000).item_ids) == len(p.item_ids) - 1
    assert p.ask([3, 3, 3], 5).item_ids and p.ask([3], 5, exclude_seen=False).item_ids
    assert p.ask([3], 5, Filters(genres=["G2"], actors=["nobody at all"])).item_ids == []
    with pytest.raises(MovierecError, match="at least 1"): p.ask([3], 0)


def test_a_generator_of_size_0_isnt_asked(world, monkeypatch):
    p = pipeline(world, ratings=0, content=0)
    def asked(*args): raise AssertionError("asked in vain")
    monkeypatch.setattr("movierec.pipeline.around_ratings", asked); monkeypatch.setattr("movierec.pipeline.around_content", asked)
    a = p.ask([1, 7, 13], 10)
    assert len(a.item_ids) == 10 and set().union(*a.sources) <= {"sequence", "popular"}
    with pytest.raises(AssertionError, match="in vain"): p.ask([1, 7, 13], 10, sequential=False)   # the patch does patch
    with pytest.raises(MovierecError, match="all four sizes"): pipeline(world, sequence=0, ratings=0, content=0, popular=0)


def test_who_made_the_vectors_is_kept(world, tmp_path):
    p = pipeline(world); p.made_by = dict(poster="descriptor"); p.save(tmp_path / "p")
    assert json.loads((tmp_path / "p/manifest.json").read_text())["vectors_by"] == dict(poster="descriptor")
    assert Pipeline.load(tmp_path / "p", world[1], world[2]).made_by == dict(poster="descriptor")


def test_a_fresh_process_gives_the_same_list(world, tmp_path):
    events, model, items, vectors, near = world
    p = pipeline(world); p.save(tmp_path / "pipeline"); model.save(tmp_path / "model"); items.to_parquet(tmp_path / "items.parquet")
    code = ("import sys, json, pandas as pd; from movierec.models.registry import load_model; from movierec.pipeline import Pipeline\n"
            f"d = {str(tmp_path)!r}; p = Pipeline.load(d + '/pipeline', load_model(d + '/model'), pd.read_parquet(d + '/items.parquet'))\n"
            "print(json.dumps(p.ask([1, 7, 13], 10).item_ids))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "MOVIEREC_PROGRESS": "0"}, check=True).stdout
    assert json.loads(out) == p.ask([1, 7, 13], 10).item_ids


def test_what_is_damaged_is_refused(world, tmp_path):
    p = pipeline(world); p.save(tmp_path / "p"); args = world[1], world[2]
    f = tmp_path / "p/near.npz"; f.write_bytes(f.read_bytes()[:-20])
    with pytest.raises(MovierecError, match="near.npz"): Pipeline.load(tmp_path / "p", *args)
    (tmp_path / "p/manifest.json").unlink()
    with pytest.raises(MovierecError, match="manifest.json is missing"): Pipeline.load(tmp_path / "p", *args)
