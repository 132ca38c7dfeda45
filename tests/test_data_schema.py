"""The checks of `movierec.data.schema`, on the installed package: rules, places, types and speed."""
import time

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.schema import (AGE_BANDS, METADATA_COLUMNS, Dataset, SchemaError, age_band, check_interactions,
                                  check_items, check_recommendations, check_users, split_list)

GOOD = dict(user_id=[1, 1, 2], item_id=[10, 20, 10], rating=[5, 3.5, 0.5], timestamp=[5, 5, 0])


def table(**change): return pd.DataFrame(GOOD | change)


def test_interactions_get_canonical_types_and_keep_their_order():
    shuffled = table(user_id=[2, 1, 1], item_id=["7", "3", "5"]).set_index(pd.Index([9, 9, 9]))
    got = check_interactions(shuffled.assign(more="x"))
    assert [str(t) for t in got.dtypes] == ["int32", "int32", "float32", "int64"]
    assert got.item_id.tolist() == [7, 3, 5] and got.index.tolist() == [0, 1, 2]
    assert list(got.columns) == ["user_id", "item_id", "rating", "timestamp"]


def test_a_check_changes_nothing_in_the_table_given():
    for df in (table(), check_interactions(table())):
        before = df.copy()
        got = check_interactions(df); got.loc[0, "rating"] = 1.
        assert got.rating[0] == 1
        pd.testing.assert_frame_equal(df, before)


@pytest.mark.parametrize("change, message", [
    (dict(rating=[5, 9, 1]), "ratings.dat, line 3: rating 9 is outside 0.5..5"),
    (dict(rating=[5, 0, 1]), "line 3: rating 0 is outside"),
    (dict(rating=[5, 3.7, 1]), "line 3: rating 3.7 is no step of 0.5"),
    (dict(rating=[5, np.nan, 1]), "line 3: rating is missing"),
    (dict(rating=[5, "good", 1]), "line 3: rating 'good' is no number"),
    (dict(user_id=[1, 1, 0]), "line 4: user_id 0 is outside 1.."),
    (dict(item_id=[1, -1, 0]), "line 3: item_id -1 is outside 1.."),
    (dict(item_id=[1, 2**31, 1]), "line 3: item_id 2147483648 is outside"),
    (dict(item_id=[1, 1.5, 1]), "line 3: item_id 1.5 is no whole number"),
    (dict(item_id=[1, None, 1]), "line 3: item_id is missing"),
    (dict(item_id=[1, np.inf, 1]), "line 3: item_id 'inf' is no number"),
    (dict(timestamp=[1, 1, -5]), "line 4: timestamp -5 is outside"),
    (dict(timestamp=[1, 978300760000, 5]), "line 3: timestamp 978300760000 is outside"),
])
def test_a_violation_names_file_line_and_rule(change, message):
    with pytest.raises(SchemaError) as e: check_interactions(table(**change), "ratings.dat", (0.5, 5, 0.5), first_line=2)
    assert "ratings.dat, line" in str(e.value) and message in str(e.value)


def test_schema_errors_are_for_users_and_rows_are_counted_from_one():
    with pytest.raises(MovierecError, match="interactions, row 1: user_id 0"): check_interactions(table(user_id=[0, 1, 1]))
    with pytest.raises(SchemaError, match="column rating, timestamp is missing"): check_interactions(table()[["user_id", "item_id"]])


def test_nullable_and_arrow_columns_are_numbers_too():
    got = check_interactions(table().convert_dtypes(dtype_backend="pyarrow"))
    assert str(got.user_id.dtype) == "int32" and got.rating.tolist() == [5, 3.5, 0.5]
    with pytest.raises(SchemaError, match="row 2: item_id is missing"): check_interactions(table(item_id=pd.array([1, None, 2], dtype="Int64")))


def test_the_last_row_of_a_large_table_is_checked_and_time_grows_with_rows():
    n = 3_000_001
    big = pd.DataFrame(dict(user_id=np.ones(n, np.int32), item_id=np.ones(n, np.int32), rating=np.full(n, 4, np.float32), timestamp=np.zeros(n, np.int64)))
    t0 = time.process_time(); check_interactions(big, scale=(1, 5, 1)); took = time.process_time() - t0
    t0 = time.process_time(); check_interactions(big[:300_000], scale=(1, 5, 1)); small = time.process_time() - t0
    assert took < 40 * small, f"3 million rows took {took:.2f} s, a tenth of them {small:.2f} s"   # no loop that grows faster
    big.loc[n - 1, "rating"] = 4.5
    with pytest.raises(SchemaError, match=f"row {n}: rating 4.5 is no step of 1"): check_interactions(big, scale=(1, 5, 1))


def test_items_are_sorted_unique_and_without_placeholders():
    films = pd.DataFrame(dict(item_id=[2, 1], title=[" Heat ", "Se7en"], year=["1995", None], genres=["(no genres listed)", "Crime|Thriller"],
                              overview=[None, "x"], vote_average=["7.9", None], tmdb_id=[949, None]))
    got = check_items(films)
    assert got.item_id.tolist() == [1, 2] and got.title.tolist() == ["Se7en", "Heat"] and got.genres.tolist() == ["Crime|Thriller", ""]
    assert str(got.year.dtype) == "Int16" and str(got.tmdb_id.dtype) == "Int64" and str(got.vote_average.dtype) == "float32"
    assert got.overview.tolist() == ["x", ""] and got.tmdb_id[1] == 949
    for change, message in [(dict(item_id=[2, 2]), "row 2: item_id 2 is there twice"), (dict(title=["", "a"]), "row 1: title is missing"),
                            (dict(year=[1, 1999]), "row 1: year 1 is no"), (dict(year=["soon", 1999]), "row 1: year soon is no number"),
                            (dict(vote_average=["x", 1]), "row 1: vote_average x")]:
        with pytest.raises(SchemaError, match=message): check_items(films.assign(**change))


def test_users():
    people = pd.DataFrame(dict(user_id=[1, 2], gender=["F", None], age_band=["25-34", ""], occupation=["artist", ""], zip=["01234", ""], age=[30, None]))
    got = check_users(people)
    assert got.zip[0] == "01234" and got.gender.tolist() == ["F", ""] and str(got.age.dtype) == "Int16"
    with pytest.raises(SchemaError, match="users.dat, line 2: age_band 'old' is none of Under 18"): check_users(people.assign(age_band=["25-34", "old"]), "users.dat", 1)
    with pytest.raises(SchemaError, match="row 2: user_id 1 is there twice"): check_users(people.assign(user_id=1))


def test_age_bands_cover_every_age():
    assert set(age_band(range(0, 120))) == set(AGE_BANDS.values())


def recs(**change): return pd.DataFrame(dict(user_id=[7, 3, 7], item_id=[1, 1, 2], score=[2., 5., 2.], rank=[1, 1, 2]) | change)


def test_recommendations():
    got = check_recommendations(recs())                       # users interleaved, equal scores: fine
    assert got.user_id.tolist() == [7, 3, 7] and str(got.score.dtype) == "float32"
    assert len(check_recommendations(recs(user_id=[0, 1, 0])))   # a visitor without an account
    for change, message in [(dict(rank=[2, 1, 3]), "row 1: rank 2 of user 7"), (dict(rank=[1, 1, 1]), "rank 1 of user 7 leaves a gap, or is there twice"),
                            (dict(score=[2., 5., 3.]), "row 3: score 3 of user 7 rises at rank 2"), (dict(item_id=[1, 1, 1]), "row 3: item_id 1 is there twice"),
                            (dict(score=[2., 5., np.inf]), "row 3: score 'inf' is no number"), (dict(rank=[0, 1, 1]), "row 1: rank 0 is outside")]:
        with pytest.raises(SchemaError, match=message): check_recommendations(recs(**change))


@pytest.mark.parametrize("text, parts", [("A|B", ["A", "B"]), ("A", ["A"]), ("", []), (None, []), (np.nan, []), ("A||B|", ["A", "B"])])
def test_split_list(text, parts): assert split_list(text) == parts


def test_empty_tables_are_tables():
    assert len(check_interactions(table()[:0], scale=(1, 5, 1))) == 0 and len(check_recommendations(recs()[:0])) == 0
    assert len(check_items(pd.DataFrame(columns=["item_id", "title", "year", "genres"]))) == 0


def test_a_dataset_describes_itself():
    ds = Dataset("tiny", check_interactions(table()), check_items(pd.DataFrame(dict(item_id=[10, 20, 30], title=list("abc"), year=None, genres=""))))
    assert (ds.n_users, ds.n_items, ds.n_rated, ds.n_interactions) == (2, 3, 2, 3)
    assert "films | 3 (2 rated)" in ds._repr_markdown_() and "3 ratings" in repr(ds)
    assert set(METADATA_COLUMNS) >= {"overview", "director", "actors", "keywords", "vote_average", "vote_count", "popularity", "poster_path"}
