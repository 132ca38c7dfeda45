"""Filters beyond what their notebook shows: the plain loop on random films, odd input, other orders, speed."""

import json

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.demo import load_films
from movierec.data.schema import check_items, split_list
from movierec.data.sequences import Histories
from movierec.filters import Filterable, Filters, keep_only, name_key
from movierec.recommender import as_table, mask_seen, top_k
from running import processor_seconds

GENRES = ["Drama", "Comedy", "Sci-Fi", "Film-Noir", "Children's"]
PEOPLE = ["Zoë Bell", "Max Ray", "Ann Lee", "Bjørn Ø", "黒澤 明", "Jean-Luc O'Hara"]


def random_items(seed, n=60):
    rng = np.random.default_rng(seed)
    some = lambda names, most: "|".join(rng.permutation(names)[: rng.integers(0, most + 1)])
    table = pd.DataFrame(
        dict(
            item_id=rng.permutation(np.arange(1, 5 * n))[:n],
            title="x",
            year=[None if rng.random() < 0.1 else int(rng.integers(1930, 2020)) for _ in range(n)],
            genres=[some(GENRES, 3) for _ in range(n)],
            director=[some(PEOPLE, 1) for _ in range(n)],
            actors=[some(PEOPLE, 3) for _ in range(n)],
            vote_count=[np.nan if rng.random() < 0.1 else float(rng.integers(0, 1000)) for _ in range(n)],
        )
    )
    return check_items(table).sample(frac=1, random_state=seed).reset_index(drop=True)  # an order that isn't by id


def random_filters(seed, items):
    rng = np.random.default_rng(seed)
    pick = lambda names: tuple(rng.permutation(names)[: rng.integers(0, 3)].tolist())
    year = lambda: int(rng.integers(1930, 2020)) if rng.random() < 0.3 else None
    low, high = year(), year()
    if low and high and low > high:
        low, high = high, low
    exclude = tuple(rng.permutation(items.item_id)[:7].tolist()) if rng.random() < 0.5 else ()
    votes = int(rng.integers(0, 900)) if rng.random() < 0.3 else None
    return Filters(pick(GENRES), rng.random() < 0.5, pick(PEOPLE), low, high, votes, exclude, pick(PEOPLE))


def passes(film, f):
    "The definition, film by film."
    genres, actors, director = (set(split_list(film[c])) for c in ("genres", "actors", "director"))
    has = all(g in genres for g in f.genres) if f.all_genres else not f.genres or bool(genres & set(f.genres))
    low = f.min_year is None or (pd.notna(film.year) and film.year >= f.min_year)
    high = f.max_year is None or (pd.notna(film.year) and film.year <= f.max_year)
    votes = f.min_votes is None or film.vote_count >= f.min_votes
    cast = not f.actors or bool(actors & set(f.actors))
    people = not f.people or bool((actors | director) & set(f.people))
    return has and low and high and votes and cast and people and film.item_id not in f.exclude


def test_fast_is_slow():
    passed = 0
    for seed in range(8):
        items = random_items(seed)
        films = Filterable(items)
        for more in range(40):
            f = random_filters(100 * seed + more, items)
            want = [passes(film, f) for _, film in items.iterrows()]
            assert films.mask(f).tolist() == want, f
            passed += sum(want)
    assert 1000 < passed < 15000  # neither everything nor nothing passes


def test_same_wish_in_any_spelling():
    films = Filterable(random_items(3))
    for name in PEOPLE + GENRES:
        assert name_key(name) == name_key(name.upper()) == name_key(name.lower()) == name_key(f"  {name} ")
    want = films.mask(Filters(("Sci-Fi", "Children's"), actors=("Bjørn Ø", "Zoë Bell")))
    assert want.any()
    got = films.mask(Filters(("SCI FI", "childrens"), actors=("bjorn o", "ZOE BELL")))
    np.testing.assert_array_equal(got, want)
    decomposed = "Zoe\u0308 Bell"
    np.testing.assert_array_equal(films.mask(Filters(actors=decomposed)), films.mask(Filters(actors="Zoë Bell")))


def test_in_another_order_and_with_unknown_films():
    items = random_items(5)
    f = Filters(genres="Drama", max_year=2000, exclude=items.item_id[:3])
    whole = dict(zip(items.item_id, Filterable(items).mask(f)))
    order = np.r_[np.sort(items.item_id)[::2], 99_999]
    assert Filterable(items, order).mask(f).tolist() == [bool(whole.get(i, False)) for i in order]
    assert Filterable(items, order).mask(Filters()).all()


def test_masks_are_fresh():
    films = Filterable(random_items(1))
    for f in (Filters(), Filters(genres="Drama"), Filters(people="Ann Lee")):
        first = films.mask(f)
        first[:] = ~first
        assert (films.mask(f) != first).all()


def test_tables_without_metadata_and_without_films():
    bare = check_items(pd.DataFrame(dict(item_id=[4, 2], title=["a", "b"], year=[1999, None], genres=["Drama", ""])))
    films = Filterable(bare)
    assert films.mask(Filters(genres="drama")).tolist() == [False, True]  # by id: 2, 4
    assert films.mask(Filters(actors="Max Ray")).tolist() == [False, False]
    with pytest.raises(MovierecError, match="min_votes: no votes"):
        films.mask(Filters(min_votes=1))
    nobody = Filterable(bare[:0])
    assert nobody.mask(Filters(exclude=[3])).shape == (0,)
    with pytest.raises(MovierecError, match="no film is of genre 'Drama'"):
        nobody.mask(Filters(genres="Drama"))


@pytest.mark.parametrize(
    "wish,message",
    [
        (dict(min_year=2000, max_year=1999), "after max_year"),
        (dict(min_year=-5), "min_year is -5"),
        (dict(max_year=10_000), "max_year is 10000"),
        (dict(min_year=1999.5), "min_year is 1999.5"),
        (dict(min_year=True), "min_year is True"),
        (dict(min_votes=float("inf")), "min_votes is inf"),
        (dict(min_votes=float("nan")), "min_votes is nan"),
        (dict(min_votes=-1), "min_votes is -1"),
        (dict(genres=[""]), "genres: '' is no name"),
        (dict(genres=[None]), "genres: None is no name"),
        (dict(actors=["Ann Lee", "…"]), "actors: '…' is no name"),
        (dict(actors=5), "actors"),
        (dict(exclude=["1"]), "exclude is '1'"),
        (dict(exclude=5), "exclude"),
        (dict(exclude=[-2]), "exclude is -2"),
        (dict(all_genres="no"), "all_genres"),
    ],
)
def test_bad_wishes(wish, message):
    with pytest.raises(MovierecError, match=message):
        Filters(**wish)


def test_wishes_are_values():
    f = Filters(genres=["Drama"], actors={"Ann Lee"}, exclude=np.array([3, 1]), min_year=np.int16(1990))
    assert hash(f) == hash(Filters("Drama", actors="Ann Lee", exclude=(3, 1), min_year=1990.0))
    assert Filters(**json.loads(json.dumps(f.applied()))) == f
    with pytest.raises(AttributeError):
        f.min_year = 3


def test_lists_stay_full():
    films = Filterable(load_films())
    rng = np.random.default_rng(0)
    histories = Histories.from_lists([rng.permutation(films.item_ids)[:n] for n in rng.integers(0, 400, 20)])
    scores = mask_seen(rng.random((20, len(films)), np.float32), histories, films.item_ids)
    for wish in (Filters(genres="Drama"), Filters(max_year=1960), Filters(genres=("Comedy", "Drama"), all_genres=True)):
        ok = films.mask(wish)
        got = as_table(histories.user_ids, films.item_ids, *top_k(keep_only(scores.copy(), ok), 10))
        left = (ok & np.isfinite(scores)).sum(1)
        counts = got.groupby("user_id").size().reindex(histories.user_ids, fill_value=0)
        assert left.max() > 10 and counts.tolist() == np.minimum(left, 10).tolist()
        assert set(got.item_id) <= set(films.item_ids[ok])


def test_one_mask_a_user():
    scores = np.zeros((2, 3), np.float32)
    keep_only(scores, np.array([[True, False, True], [False, True, True]]))
    assert np.isneginf(scores).tolist() == [[False, True, False], [True, False, False]]
    for bad in (np.ones((3, 3), bool), np.ones(2, bool), np.ones(3), [0, 2]):
        with pytest.raises(MovierecError, match="doesn't fit scores"):
            keep_only(scores, bad)


def test_far_quicker_than_film_by_film():
    rng = np.random.default_rng(0)
    items = pd.concat([random_items(s) for s in range(67)]).assign(item_id=np.arange(4020))
    films = Filterable(items)
    f = Filters(GENRES[:3], False, PEOPLE[:3], 1950, 2010, 10, rng.permutation(4000)[:500], PEOPLE[3:])
    slow = processor_seconds(lambda: [passes(film, f) for _, film in items.iterrows()], 1)
    assert len(films) == 4020 and 50 * processor_seconds(lambda: films.mask(f), 20) < slow
