"""The demo data on the installed package: equal seeds give equal tables, and what the simulator promises of them."""
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data import demo as room
from movierec.data.demo import World, draw_users, load_demo, load_films, make_films, next_parts, simulate
from movierec.data.split import make_split

ROOT = Path(__file__).resolve().parents[1]
CHECKSUM = """
from movierec.data.demo import load_films, simulate
import hashlib; print(hashlib.sha256(simulate(load_films(), 60, 2500, seed=3).to_csv().encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def films(): return load_films()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with pytest.MonkeyPatch.context() as m:
        m.setenv("MOVIEREC_HOME", str(tmp_path_factory.mktemp("home")))
        made = load_demo(); kept = load_demo()
    for a, b in zip((made.interactions, made.items, made.users), (kept.interactions, kept.items, kept.users)):
        pd.testing.assert_frame_equal(a, b)          # the kept tables are the made ones, types and all
    return kept


def test_the_same_seed_gives_the_same_table_in_a_fresh_process_too(films):
    here = simulate(films, 60, 2500, seed=3)
    pd.testing.assert_frame_equal(here, simulate(films, 60, 2500, seed=3))
    out = subprocess.run([sys.executable, "-c", CHECKSUM], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.strip() == hashlib.sha256(here.to_csv().encode()).hexdigest()


def test_another_seed_or_crowd_gives_another_table(films):
    a = simulate(films, 60, 2500, seed=3)
    assert not a.equals(simulate(films, 60, 2500, seed=4))
    assert not a.equals(simulate(films, 60, 2500, seed=3, crowd=1))
    assert not draw_users(60, 3).equals(draw_users(60, 4))


def test_simulating_leaves_numpys_global_state_and_the_films_alone(films):
    np.random.seed(1); want, before = np.random.random(), films.copy()
    np.random.seed(1); simulate(films, 10, 300)
    assert np.random.random() == want
    pd.testing.assert_frame_equal(films, before)


def test_what_cannot_be_is_refused(films):
    with pytest.raises(MovierecError, match="199 events don't fit 10 viewers: 20 to "): simulate(films, 10, 199)
    with pytest.raises(MovierecError, match="don't fit"): simulate(films, 2, 2 * len(films))
    assert len(simulate(films, 10, 200)) == 200      # and the least there can be


def test_missing_films_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "files", lambda _: tmp_path / "movierec")
    with pytest.raises(MovierecError, match="demo films are missing"): load_demo()


def test_counts_types_and_no_repeats(demo):
    d = demo.interactions
    assert (len(d), demo.n_users) == (100_000, 1500) and demo.n_rated == demo.n_items
    assert d.groupby("user_id").size().min() >= 20
    assert not d.duplicated(["user_id", "item_id"]).any()
    assert set(d.rating.unique()) == {1., 2., 3., 4., 5.} and 3 < d.rating.mean() < 4
    assert [str(t) for t in d.dtypes] == ["int32", "int32", "float32", "int64"]
    assert demo.users.user_id.tolist() == list(range(1, 1501))


def test_it_says_plainly_that_viewers_are_simulated(demo):
    assert demo.source["simulated"] is True and "viewers are simulated" in demo.source["note"]
    assert "simulated" in demo._repr_markdown_()


def test_activity_and_popularity_have_long_tails(demo):
    n = demo.interactions.groupby("user_id").size().sort_values(ascending=False)
    assert n.median() < .8 * n.mean() and n.head(150).sum() > .25 * n.sum()
    films = demo.interactions.item_id.value_counts()
    assert films.head(len(films) // 10).sum() > .2 * films.sum()


def test_rows_are_by_user_and_rising_time_within_the_six_years(demo):
    d = demo.interactions; same = np.diff(d.user_id) == 0
    assert (np.diff(d.user_id) >= 0).all() and (np.diff(d.timestamp)[same] > 0).all()
    t = pd.to_datetime(d.timestamp, unit="s")
    assert t.min() >= pd.Timestamp("2019-01-01") and t.max() < pd.Timestamp("2025-01-02")


def test_nobody_sees_a_film_before_its_year(demo):
    d = demo.interactions.merge(demo.items[["item_id", "year"]])
    year = pd.to_datetime(d.timestamp - 4 * 3600, unit="s").dt.year      # seen before midnight, rated after
    assert (d.year <= year + 1).all() and (d.year <= year).mean() > .9999


def test_sessions_are_evenings_of_one_to_five_films_days_apart(demo):
    d = demo.interactions; hours = np.diff(d.timestamp) / 3600
    same = np.diff(d.user_id) == 0
    assert ((hours[same] < 2.6) | (hours[same] > 8)).all()               # in an evening, or not that day
    opens = np.r_[True, ~same | (hours > 6)]
    sizes = np.bincount(np.cumsum(opens) - 1)
    assert sizes.max() <= 5 and 1.8 < sizes.mean() < 2.6 and np.median(hours[same & (hours > 6)]) > 48


def test_films_of_an_evening_are_more_alike_than_neighbours_across_evenings(demo):
    sets = dict(zip(demo.items.item_id, demo.items.genres.str.split("|").map(set)))
    d = demo.interactions; hours = np.diff(d.timestamp) / 3600; same = np.diff(d.user_id) == 0
    ids = d.item_id.tolist()
    shared = np.array([len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in zip(ids, ids[1:])])
    assert shared[same & (hours < 6)].mean() > 1.1 * shared[same & (hours > 6)].mean()


def test_sequels_follow_and_are_seen_in_order(demo):
    d, after = demo.interactions, next_parts(demo.items)
    row = d.item_id.to_numpy() - 1; same = np.diff(d.user_id) == 0
    part = same & (after[row[:-1]] >= 0)
    assert (row[1:] == after[row[:-1]])[part].mean() > .2                # though many had seen it already
    when = d.assign(row=row).pivot(index="user_id", columns="row", values="timestamp")
    pairs = [(when[b] - when[a]).dropna() for a, b in enumerate(after) if b >= 0]
    assert (pd.concat(pairs) > 0).mean() > .65


def test_a_markov_chain_beats_popularity(demo):
    split = make_split(demo); known, n = split.history("test"), demo.n_items
    row, user = known.item_id.to_numpy() - 1, known.user_id.to_numpy() - 1
    seen = np.zeros((1500, n), bool); seen[user, row] = True
    pop = seen.sum(0) / seen.sum()
    steps = np.zeros((n, n)); same = np.diff(user) == 0; np.add.at(steps, (row[:-1][same], row[1:][same]), 1)
    chain = (steps + 20 * pop) / (steps.sum(1, keepdims=True) + 20)
    last = row[np.r_[~same, True]]; target = split.test.sort_values("user_id").item_id.to_numpy() - 1

    def ndcg(s):
        s = np.where(seen, -np.inf, s); rank = (s >= s[np.arange(1500), target][:, None]).sum(1)
        return np.where(rank <= 10, 1 / np.log2(rank + 1), 0).mean()

    assert ndcg(chain[last]) > 1.4 * ndcg(np.tile(pop, (1500, 1)))


def test_ratings_depend_on_viewer_and_film(demo):
    d = demo.interactions; half = np.arange(len(d)) % 2 == 0
    for key in ("item_id", "user_id"):                   # means of two halves agree, so they are no noise
        a, b = (d[h].groupby(key).rating.mean() for h in (half, ~half))
        assert np.corrcoef(a, b.reindex(a.index).fillna(a.mean()))[0, 1] > .5


def test_votes_are_of_another_crowd_but_of_the_same_world(demo):
    votes = demo.items.set_index("item_id"); own = demo.interactions.item_id.value_counts().reindex(votes.index)
    assert votes.vote_count.sum() == 30_000 and votes.popularity.max() == 100
    assert np.corrcoef(own, votes.vote_count)[0, 1] > .8
    mean = demo.interactions.groupby("item_id").rating.mean().reindex(votes.index)
    assert np.corrcoef(mean, votes.vote_average)[0, 1] > .8
    assert votes.vote_average.between(1, 5).all()


def test_tastes_go_with_demographics(demo):
    "Viewers see more of the decade in which they were eighteen than others see of it."
    d = demo.interactions.merge(demo.users[["user_id", "age"]]).merge(demo.items[["item_id", "year"]])
    youth, decade = (World().first_year - d.age.astype(int) + 18) // 10 * 10, d.year.astype(int) // 10 * 10
    own, expected = (youth == decade).sum(), sum((youth == e).sum() * (decade == e).mean() for e in decade.unique())
    assert own > 1.1 * expected


def test_world_is_shared_by_crowds_and_fixed_by_seed(films):
    a, b = (make_films(films, World(), np.random.default_rng([5, 0])) for _ in range(2))
    assert np.array_equal(a.vectors, b.vectors) and np.array_equal(a.log_pop, b.log_pop)


@pytest.mark.slow
def test_a_wheel_carries_the_films(tmp_path):
    "An ordinary install has no data/demo: the build copies films.csv beside the module."
    if not (ROOT / "setup.py").is_file(): pytest.skip("no checkout to build from")
    code = f"import sys; sys.argv = ['setup.py', '-q', 'build_py', '--build-lib', {str(tmp_path / 'lib')!r}]; exec(open('setup.py').read())"
    work = tmp_path / "src"; work.mkdir()
    for name in ("setup.py", "settings.ini", "movierec", "data/demo"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).symlink_to(ROOT / name)
    subprocess.run([sys.executable, "-c", "__file__ = 'setup.py'; " + code], cwd=work, check=True, capture_output=True)
    copied = tmp_path / "lib/movierec/data/films.csv"
    assert copied.read_bytes() == (ROOT / "data/demo/films.csv").read_bytes()
    out = subprocess.run([sys.executable, "-c", "from movierec.data.demo import films_path; print(films_path())"], cwd=tmp_path,
                         env={"PYTHONPATH": str(tmp_path / "lib"), "PATH": "", "MOVIEREC_HOME": str(tmp_path)},
                         check=True, capture_output=True, text=True).stdout
    assert Path(out.strip()) == copied
