"""A bundle for the page: sixty films of the demo, viewers who keep to a genre, every part of the pipeline, none of it any good."""

from pathlib import Path

import numpy as np
import pandas as pd
from tiny_world import words_only

from movierec.bundle import save_bundle, with_counts
from movierec.data.schema import Dataset, check_items
from movierec.models.registry import make_model
from movierec.pipeline import Pipeline, neighbour_lists

HOSTILE = "<img src=x onerror=alert(1)>"
WANTED = (
    "Star Wars|Alien|Aliens|Blade Runner|The Terminator|The Matrix|The Silence of the Lambs|Seven|The Usual Suspects|Fargo|"
    "L.A. Confidential|Beauty and the Beast|Aladdin|The Lion King|Toy Story|Casablanca|Citizen Kane|Rear Window|The Godfather|"
    "Pulp Fiction|Groundhog Day|WALL·E|The Iron Giant"
)


def films(n=60):
    table = pd.read_csv(Path(__file__).parents[1] / "data/demo/films.csv", keep_default_na=False)
    wanted = table.title.isin(WANTED.split("|"))
    table = pd.concat([table[wanted], table[~wanted].head(n - wanted.sum())]).rename(columns=dict(plot="overview"))
    odd = dict(
        item_id=9000, title=HOSTILE, year=1999, genres="Sci-Fi", director=HOSTILE, actors=HOSTILE, overview=HOSTILE * 3
    )
    items = pd.concat([table, pd.DataFrame([odd])]).sort_values("item_id").reset_index(drop=True)
    return check_items(items)


def viewers(items, n=80, length=14):
    "Each viewer has a favourite genre, and watches its films by year more often than others."
    rng, rows = np.random.default_rng(0), []
    genres = sorted({g for text in items.genres for g in text.split("|") if g})
    for u in range(1, n + 1):
        likes = items.genres.str.contains(genres[u % len(genres)], regex=False).to_numpy()
        p = np.where(likes, 6.0, 1.0)
        seen = items.iloc[rng.choice(len(items), length, replace=False, p=p / p.sum())].sort_values("year")
        rows += [(u, i, 1.0 + (u + i) % 5, 1000 * u + t) for t, i in enumerate(seen.item_id)]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return events.astype(dict(user_id="int32", item_id="int32", rating="float32", timestamp="int64"))


def by_genre(items, item_ids):
    "What films are about, as unit vectors: their genres, their year, and a little of their own."
    items = items.set_index("item_id").loc[item_ids]
    genres, rng = sorted({g for text in items.genres for g in text.split("|") if g}), np.random.default_rng(1)
    marks = np.array([[g in text.split("|") for g in genres] for text in items.genres], float)
    year = ((items.year.fillna(1980).to_numpy(float) - 1980) / 20)[:, None]
    v = np.hstack([marks, year, 0.2 * rng.normal(size=(len(items), 3))]).astype(np.float32)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def make_page_bundle(folder):
    items = films()
    data = Dataset("page", viewers(items), items, source=dict(citation="Nobody (2026)", simulated=True))
    small = dict(embedding_dim=16, n_layers=1, n_heads=2, epochs=1, device="cpu", precision="float32")
    fitted = {"decoder": make_model("decoder", max_len=20, **small)}
    fitted |= {name: make_model(name) for name in ("item-knn", "popular")}
    for m in fitted.values():
        m.fit(data.interactions, items)
    decoder = fitted["decoder"]
    near = neighbour_lists(fitted["item-knn"], decoder.item_ids)
    pipeline = Pipeline(decoder, with_counts(data), by_genre(items, decoder.item_ids), near)
    return save_bundle(folder, data, fitted, pipeline, words_only(items), seed=0)
