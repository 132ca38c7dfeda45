"The demo film list (data/demo/films.csv) is whole: shapes, vocabulary and the facts that a slip would break first."
import re
from pathlib import Path

import pandas as pd
import pytest

PATH = Path(__file__).parents[1] / "data" / "demo" / "films.csv"
GENRES = set("""Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical
    Mystery Romance Sci-Fi Thriller War Western""".split())


@pytest.fixture(scope="module")
def films(): return pd.read_csv(PATH, keep_default_na=False)


def lists(column): return column.str.split("|")


def test_columns_and_ids(films):
    assert list(films.columns) == "item_id title year genres director actors plot".split()
    assert len(films) >= 400
    assert films.item_id.tolist() == list(range(1, len(films) + 1))


def test_no_cell_is_empty_or_padded(films):
    for name in films.columns.drop(["item_id", "year"]):
        assert (films[name].str.len() > 0).all(), name
        assert (films[name] == films[name].str.strip()).all(), name
        assert not films[name].str.contains(r"[\t\n]|  |\|\||^\||\|$").any(), name


def test_a_film_is_listed_once(films):
    key = films.title.str.casefold().str.replace(r"\W+", " ", regex=True) + films.year.astype(str)
    assert not key.duplicated().any(), films[key.duplicated()].title.tolist()
    assert not films["plot"].duplicated().any()


def test_titles_read_naturally(films):
    assert not films.title.str.contains(r", (?:The|A|An|La|Le|Les|Der|Die|Das|El)$").any()
    assert not films.title.str.contains(r"\((?:19|20)\d\d\)").any()


def test_years_and_decades(films):
    assert films.year.between(1920, 2023).all()
    assert (films.groupby(films.year // 10 * 10).size() >= 10).all()


def test_genres(films):
    genres = lists(films.genres)
    assert set(genres.explode()) == GENRES
    assert (genres.explode().value_counts() >= 10).all()
    assert genres.map(lambda g: g == sorted(set(g))).all()      # each once, in one fixed order
    assert genres.str.len().between(1, 4).all()


def test_people(films):
    assert (lists(films.actors).map(lambda a: len(set(a))) == 3).all()
    assert lists(films.director).map(lambda d: len(set(d)) == len(d) <= 3).all()
    names = pd.concat([lists(films.actors).explode(), lists(films.director).explode()])
    assert names.map(lambda n: n[0].isalpha() and not re.search(r"[,;/()\"]", n)).all()
    assert all(n == n.strip() for n in names)


def test_one_spelling_a_person(films):
    "A name met twice is written the same way: no two spellings differ only by accents, case or punctuation."
    names = pd.Series(pd.concat([lists(films.actors).explode(), lists(films.director).explode()]).unique())
    plain = (names.str.normalize("NFKD").str.encode("ascii", "ignore").str.decode("ascii").str.lower()
             .str.replace(r"[^a-z]", "", regex=True))
    assert not plain.duplicated(keep=False).any(), names[plain.duplicated(keep=False)].tolist()


def test_plots_are_one_sentence(films):
    words = films["plot"].str.split().str.len()
    assert words.between(12, 25).all(), films[~words.between(12, 25)].title.tolist()
    assert films["plot"].str.fullmatch(r"[A-Z0-9].*[^.]\.").all()
    assert not films["plot"].str.contains(r"[.!?] [A-Z]").any()


SERIES = {   # first words of the title -> directors in order of release
    "The Godfather": ["Francis Ford Coppola"] * 3,
    "Toy Story": ["John Lasseter", "John Lasseter", "Lee Unkrich", "Josh Cooley"],
    "The Lord of the Rings": ["Peter Jackson"] * 3,
    "The Matrix": ["Lana Wachowski|Lilly Wachowski"] * 3,
    "The Bourne": ["Doug Liman", "Paul Greengrass", "Paul Greengrass"],
    "Before ": ["Richard Linklater"] * 3,
    "Mad Max": ["George Miller"] * 3,
    "Die Hard": ["John McTiernan", "Renny Harlin", "John McTiernan"],
    "Alien": ["Ridley Scott", "James Cameron", "David Fincher"],
    "Three Colors": ["Krzysztof Kieślowski"] * 3,
    "Back to the Future": ["Robert Zemeckis"] * 3,
    "Harry Potter": ["Chris Columbus"] * 2 + ["Alfonso Cuarón", "Mike Newell"] + ["David Yates"] * 4,
}


@pytest.mark.parametrize("start", SERIES)
def test_series_are_whole(films, start):
    part = films[films.title.str.startswith(start)].sort_values(["year", "item_id"])
    assert part.director.tolist() == SERIES[start]


@pytest.mark.parametrize("title, year, director, lead", [
    ("Metropolis", 1927, "Fritz Lang", "Brigitte Helm"), ("Casablanca", 1942, "Michael Curtiz", "Humphrey Bogart"),
    ("8½", 1963, "Federico Fellini", "Marcello Mastroianni"), ("Amélie", 2001, "Jean-Pierre Jeunet", "Audrey Tautou"),
    ("Parasite", 2019, "Bong Joon-ho", "Song Kang-ho"), ("Oppenheimer", 2023, "Christopher Nolan", "Cillian Murphy")])
def test_known_films(films, title, year, director, lead):
    row = films[films.title == title].iloc[0]
    assert (row.year, row.director, row.actors.split("|")[0]) == (year, director, lead)
