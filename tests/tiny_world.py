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


def two_towers(data):
    "The two towers with chance for weights: trained they would need TensorFlow, to answer they don't."
    import numpy as np

    from movierec.data.sequences import Vocab
    from movierec.models.tfrs import TFRSConfig, TFRSSide, tower_index

    m, train, rng = TFRSSide(TFRSConfig(embedding_dim=4)), data.interactions, np.random.default_rng(0)
    m.item_ids = Vocab(train.item_id).item_ids
    m.ids = dict(user=np.unique(train.user_id).astype(np.int32), film=data.items.item_id.to_numpy(np.int32))
    m.index = {
        side: tower_index(m.ids[side], train[key].unique(), table, key, m.FIELDS[side])
        for side, key, table in (("user", "user_id", None), ("film", "item_id", data.items))
    }
    tables = {
        side: {f: rng.normal(size=(int(x.max()) + 1, 4)).astype(np.float32) for f, x in index.items()}
        for side, index in m.index.items()
    }
    head = dict(mean=np.float32(3.5), c=np.float32(0), a=np.zeros(4, np.float32), b=np.zeros(4, np.float32))
    m.weights = dict(head=head, **tables)
    return m._ready()


def make_full_bundle(folder, **meta):
    "A bundle with a model for every question, none of them any good."
    from movierec.models.registry import make_model

    data = dataset()
    data.items = data.items.assign(actors=["Tom Hanks|Tim Allen", "Tom Hanks"] + [""] * (len(data.items) - 2))
    data.interactions["rating"] = (1 + (data.interactions.user_id + data.interactions.item_id) % 5).astype("float32")
    small = dict(embedding_dim=8, n_layers=1, n_heads=2, epochs=1, device="cpu", precision="float32")
    fit = {
        "decoder": make_model("decoder", max_len=10, **small),
        "taste": make_model("taste", **small),
        "rating": make_model("rating", embedding_dim=2, watch_dim=2, epochs=1),
        "item-knn": make_model("item-knn"),
        "pearson": make_model("pearson", min_overlap=2, min_votes=1.0, min_average=1.0, beta=1.0),
        "popular": make_model("popular"),
    }
    for m in fit.values():
        m.fit(data.interactions, data.items)
    fit["tfrs-side"] = two_towers(data)
    return save_bundle(folder, data, fit, search=words_only(data.items), **{"seed": 0, **meta})


def words_only(items):
    "A search that needs no text model."
    import numpy as np

    from movierec.content.search import Bags, Search
    from movierec.content.text import film_text

    s, texts = Search(), film_text(items.sort_values("item_id"))
    s.item_ids = np.sort(items.item_id.to_numpy(np.int64))
    s.bags = Bags.learn(texts)
    s.rows = s.bags.rows(texts)
    return s
