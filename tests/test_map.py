"""The map of films: two numbers a film, the same every time, and small enough to be sent whole."""

from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from movierec.service.engine import Engine, Missing, flat

RNG = np.random.default_rng(0)


def engine(vectors, item_ids=None, pipeline=True):
    ids = np.arange(1, len(vectors) + 1) if item_ids is None else np.asarray(item_ids)
    made = SimpleNamespace(content=SimpleNamespace(vectors=np.asarray(vectors, np.float32)), item_ids=ids)
    bundle = SimpleNamespace(pipeline=made if pipeline else None, manifest=dict(dataset="tiny"))
    return SimpleNamespace(bundle=bundle, points=None)


def test_what_differs_most_goes_along_x():
    v = RNG.normal(size=(200, 6)) * [1, 9, 1, 4, 1, 1]
    xy = flat(v)
    assert xy.shape == (200, 2) and np.abs(xy).max() == 1 and np.allclose(xy.mean(0), 0)
    assert abs(np.corrcoef(xy[:, 0], v[:, 1])[0, 1]) > 0.99 and abs(np.corrcoef(xy[:, 1], v[:, 3])[0, 1]) > 0.98
    assert xy[:, 0].var() > xy[:, 1].var()


def test_it_doesnt_depend_on_the_order_of_films_or_on_signs_of_the_solver():
    v = RNG.normal(size=(50, 5)) * [5, 3, 1, 1, 1]
    order = RNG.permutation(50)
    assert np.allclose(flat(v)[order], flat(v[order])) and np.array_equal(flat(v), flat(v.copy()))


@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (3, 1), (5, 2)])
def test_few_films_or_directions(shape):
    xy = flat(RNG.normal(size=shape))
    assert xy.shape == (shape[0], 2) and np.isfinite(xy).all() and np.abs(xy).max() <= 1


def test_films_of_which_nothing_is_known_lie_nowhere():
    v = RNG.normal(size=(6, 4))
    v[2] = 0
    points = Engine.map_films(engine(v, [10, 20, 30, 40, 50, 60]))
    assert [p["movie_id"] for p in points] == ["10", "20", "40", "50", "60"]
    assert Engine.map_films(engine(np.zeros((3, 4)))) == []


def test_four_thousand_films_are_under_200_kilobytes_and_computed_once():
    e = engine(RNG.normal(size=(4000, 64)))
    points = Engine.map_films(e)
    assert len(orjson.dumps(points)) < 200_000 and Engine.map_films(e) is points


def test_without_a_pipeline_it_says_what_brings_one():
    with pytest.raises(Missing, match="movierec build --data tiny"):
        Engine.map_films(engine(np.ones((2, 2)), pipeline=False))
