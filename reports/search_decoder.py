"""How much the decoder should listen to its memory, judged on MovieLens 1M's valid part; the log is searches/decoder_memory.csv.

It is asked in three ways: with the time of the request, without it, and with no times at all.

    python reports/search_decoder.py [folder of a decoder trained on train alone]

The network is the same for all weights, so it reads the histories once. The default folder is what
`movierec train decoder --data ml-1m --seed 0 --out $MOVIEREC_HOME/models/decoder-ml-1m-seed0` writes.
"""
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from movierec.core import home
from movierec.data.datasets import load_dataset
from movierec.data.split import make_split
from movierec.evaluate import make_question, ranks_of
from movierec.metrics import rank_table, ranking_metrics
from movierec.models.decoder import Decoder
from movierec.recommender import mask_seen

WEIGHTS = (0., .05, .1, .15, .2, .25, .3, .4, .5, 1.)


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else home() / "models" / "decoder-ml-1m-seed0"
    model = Decoder.load(folder); assert model.fit_on == "train", "a model that learned from valid can't choose on it"
    q = make_question(make_split(load_dataset("ml-1m")), "valid", model.item_ids)
    films = model.item_vectors().T; model.config.memory = 1.
    bare = replace(q.histories, timestamps=np.zeros_like(q.histories.timestamps))
    rows = []
    for asked, histories, now in (("request told", q.histories, q.now), ("request not told", q.histories, None), ("no times at all", bare, None)):
        ranks = {w: [] for w in WEIGHTS}
        for a in range(0, len(histories), 512):
            part = histories[a:a + 512]; at = (q.rows >= a) & (q.rows < a + len(part)); then = None if now is None else now[a:a + 512]
            logits, memory = model.embed(part, then) @ films, model.memory(part)
            for w in WEIGHTS:
                scores = mask_seen(logits + np.float32(w) * memory, part, model.item_ids)
                ranks[w].append(ranks_of(scores, q.rows[at] - a, q.cols[at]))
        for w, r in ranks.items():
            metrics = ranking_metrics(rank_table(np.concatenate(r), q.rows, len(histories)), (10, 50)).mean()
            rows.append(dict(model="decoder", dataset="ml-1m", protocol="leave-last-out", seed=0, asked=asked, memory=w)
                        | {f"valid {k}": round(float(metrics[k]), 4) for k in ("HR@10", "NDCG@10", "HR@50", "NDCG@50", "MRR")})
    table = pd.DataFrame(rows); out = Path(__file__).with_name("searches") / "decoder_memory.csv"
    table.to_csv(out, index=False)
    print(table.to_string(index=False)); print(out)


if __name__ == "__main__": main()
