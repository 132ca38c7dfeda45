"""A world small enough to know its answers: forty viewers, all of whom watch films 1, 2, 3 … in that order."""

import pandas as pd

from movierec.bundle import save_bundle
from movierec.data.schema import Dataset, check_items
from movierec.models.baselines import Markov, Popular

FILMS = [
    (1, "Toy Story", 1995, "Animation|Comedy"),
    (2, "Toy Story 2", 1999, "Animation"),
    (3, "The Godfather", 1972, "Crime|Drama"),
    (4, "Star Wars: Episode IV - A New Hope", 1977, "Sci-Fi"),
    (5, "2001: A Space Odyssey", 1968, ""),
    (6, "<img src=x onerror=alert(1)>", None, "Action"),
    (7, "Amélie", 2001, "Romance"),
    (8, "七人の侍", 1954, "Drama"),
    (50, "Never Rated", 2000, "Drama"),
]


def dataset(simulated=True):
    items = check_items(pd.DataFrame(FILMS, columns=["item_id", "title", "year", "genres"]))
    events = pd.DataFrame(
        [(u, i, 4.0, 100 * u + i) for u in range(1, 41) for i in range(1, 9) if (u + i) % 7 or i < 3],
        columns=["user_id", "item_id", "rating", "timestamp"],
    )
    events = events.astype(dict(user_id="int32", item_id="int32", rating="float32", timestamp="int64"))
    return Dataset("tiny", events, items, source=dict(citation="Nobody (2026)", simulated=simulated))


def models(data):
    return dict(
        markov=Markov().fit(data.interactions, data.items), popular=Popular().fit(data.interactions, data.items)
    )


def make_bundle(folder, **meta):
    data = dataset()
    return save_bundle(folder, data, models(data), **{"seed": 0, **meta})
