"""Two libraries beside us on one split: RecTools' SASRec and `implicit`, same machine, same questions, our metrics.

    python benchmarks/peers.py                            all steps, each kept: run again to go on
    python benchmarks/peers.py --minutes 60               an hour of one processor for RecTools, search included
    python benchmarks/peers.py --steps implicit score     some steps only
    python benchmarks/peers.py --steps time --rounds 5    seconds side by side, printed and kept in reports/runs

Steps: `tables` writes who saw what in which order (no test target, no rating) as Parquet into --work; `implicit` and
`rectools` choose settings on valid and write everybody's best 100 films; `score` measures those lists by the code that
measures our own models and saves rows; `time` trains and asks the transformers in turns, one thread each. RecTools
wants other versions than ours, so it gets an environment of its own (--venv, made when missing: about 1.5 GB);
`implicit` comes with `pip install movierec[baselines]`.

Seconds are processor seconds of one thread: on a quiet machine the same as by the clock, on a busy one the fairer number.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from movierec.core import MovierecError, home, write_json
from movierec.data.datasets import load_dataset
from movierec.data.sequences import Histories
from movierec.data.split import make_split
from movierec.evaluate import evaluate, save_result, summary, write_parquet
from movierec.metrics import reciprocal_rank
from movierec.recommender import Recommender

HERE = Path(__file__).resolve().parent
REPORTS = HERE.parent / "reports"
STEPS = ["tables", "implicit", "rectools", "score", "time"]
KINDS = ["cosine", "bm25", "als"]
PACKAGES = ["rectools[torch]==0.19.0", "torch<2.14", "safetensors", "pyarrow<20"]   # this RecTools holds numpy below 2
CANDIDATES = [dict(batch_size=32), dict(batch_size=128)]   # small steps learn sooner, the authors' size is 128
TRIAL = 2                                                  # epochs; after one, all are still at popularity
OURS = {"decoder": {}, "decoder-all": {}, "decoder-float32": dict(precision="float32")}   # over the settings of those rows
THEIRS = {"rectools-sasrec": "32-true", "rectools-sasrec-bfloat16": "bf16-mixed"}
LENGTH = 100                                               # of the lists the peers hand over
ONE = dict(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")


def run(*command, capture=False):
    "One process with one thread, at low priority; its output is shown, or given back."
    got = subprocess.run([str(c) for c in command], env=os.environ | ONE | dict(PYTHONPATH=str(HERE.parent)), text=True,
                         stdout=subprocess.PIPE if capture else None)
    if got.returncode: sys.exit(f"{Path(command[1]).name} failed ({got.returncode}); what it finished is kept: run again")
    return got.stdout


def environment(venv: Path) -> Path:
    "The Python of the peers' environment, which is made if it isn't there."
    python = venv / "bin/python"
    if not (venv / ".installed").exists():
        print(f"making {venv} with {', '.join(PACKAGES)} …", flush=True)
        run(sys.executable, "-m", "venv", venv)
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES)
        (venv / ".installed").write_text("\n".join(PACKAGES))
    return python


# ---- what the peers get, and what they give back ------------------------------------------------------------------


def tables(split, work: Path):
    "train and valid as (user_id, item_id, time), `time` counting each user's events: nothing ties, nothing leaks."
    h = Histories.from_table(split.history("test"))       # train and valid, each user's in order
    t = pd.DataFrame(dict(user_id=h.user_ids[h.rows], item_id=h.item_ids,
                          time=np.arange(len(h.item_ids)) - h.offsets[h.rows]))
    last = t.user_id.isin(split.valid.user_id) & ~t.user_id.duplicated(keep="last")
    assert t[last].item_id.to_numpy().tolist() == split.valid.sort_values("user_id").item_id.tolist()
    work.mkdir(parents=True, exist_ok=True)
    for name, part in dict(train=t[~last], valid=t[last], users=t[last][["user_id"]]).items():
        write_parquet(work / f"{name}.parquet", part)


class Lists(Recommender):
    "Somebody else's lists as a recommender: the score of a listed film falls with its rank, the others have 0."
    def __init__(self, name, recs, item_ids):
        super().__init__()
        self.name, self.item_ids = name, item_ids
        self.recs = recs[recs.item_id.isin(item_ids)].sort_values(["user_id", "rank"])
        self.starts = self.recs.user_id.to_numpy()

    def score(self, histories):
        out = np.zeros((len(histories), len(self.item_ids)), np.float32)
        for row, user in enumerate(histories.user_ids):
            a, b = np.searchsorted(self.starts, [user, user + 1])
            cols = np.searchsorted(self.item_ids, self.recs.item_id.to_numpy()[a:b])
            out[row, cols] = LENGTH + 1 - self.recs["rank"].to_numpy()[a:b]
        return out


def checked(recs, split, part, users):
    "The lists, after making sure that they keep to the rules: their films are new to the user, ranks 1, 2, 3, …"
    seen = split.history(part)[["user_id", "item_id"]]
    if len(recs.merge(seen, on=["user_id", "item_id"])): raise MovierecError(f"{part}: a list holds a film already seen")
    recs = recs.sort_values(["user_id", "rank"])
    if (recs.groupby("user_id").cumcount() + 1 != recs["rank"]).any(): raise MovierecError(f"{part}: ranks have gaps")
    if recs.duplicated(["user_id", "item_id"]).any(): raise MovierecError(f"{part}: a film twice in one list")
    if missing := len(set(users) - set(recs.user_id)): print(f"{part}: {missing} users have no list; they count as misses")
    return recs


def measure(name, folder, split, part, dataset, seed):
    "The row and per-user results of a peer's lists, by our `evaluate`."
    facts = json.loads((folder / "facts.json").read_text())
    recs = checked(pd.read_parquet(folder / f"{part}.parquet"), split, part, split.targets(part).user_id)
    cut = facts.get("training", {}).get("stopped", "").startswith("after")     # by the budget, not by valid: the name says so
    result = evaluate(Lists(name, recs, np.unique(split.train.item_id)), split, part, seed=seed, dataset=dataset,
                      label=f"peer-{name}" + (f"-{facts['training']['epochs']}-epochs" if cut else ""))
    row, each = result.row, result.per_user.drop(columns="rank_unfiltered")
    each["rank"] = each["rank"].where(each["rank"] <= LENGTH, np.inf)       # the list ends there: what is beyond is unknown
    each["MRR"] = reciprocal_rank(each["rank"])
    row["metrics"] |= summary(each[["MRR"]], seed)
    row.pop("metrics_unfiltered")                          # the lists came filtered
    row |= dict(config=facts["settings"], fit_seconds=round(facts["fit_s"], 2), list_length=LENGTH, n_items_known=facts["n_items"],
                note=f"lists of {LENGTH}: MRR counts 0 beyond; seconds are processor seconds of one thread")
    row["seconds"] = dict(score=round(facts[part]["processor_s"], 2), wall=round(facts[part]["wall_s"], 2))
    row["versions"] |= facts["versions"]
    if "training" in facts: row["training"] = facts["training"]
    return row, each


# ---- steps --------------------------------------------------------------------------------------------------------


def implicit_step(a):
    for kind in KINDS:
        out = a.work / f"implicit-{kind}"
        if not (out / "facts.json").exists():
            run(sys.executable, "-W", "ignore", HERE / "peers_implicit.py", a.work, "--kind", kind, "--out", out, "--k", LENGTH,
                "--seed", a.seed)


def log_of(folder) -> list:
    "What RecTools' training has logged so far, a row an epoch."
    return json.loads(p.read_text()) if (p := folder / "log.json").exists() else []


def rectools_step(a):
    "Some epochs of each candidate; the better one goes on for the minutes that are left."
    python, out = environment(a.venv), a.work / "rectools-sasrec"
    folders = [a.work / f"rectools-batch{s['batch_size']}" for s in CANDIDATES]
    common = ["--seed", a.seed, "--minutes", a.minutes]
    for settings, folder in zip(CANDIDATES, folders):
        if len(log_of(folder)) < TRIAL:
            run(python, "-W", "ignore", HERE / "peers_rectools.py", "fit", a.work, folder, "--settings", json.dumps(settings),
                *common, "--epochs", TRIAL)
    tried = [log_of(f)[TRIAL - 1] for f in folders]
    best = int(np.argmax([t["valid"] for t in tried])); folder, settings = folders[best], json.dumps(CANDIDATES[best])
    left = a.minutes - sum(log_of(f)[-1]["processor_s"] / 60 for f in folders if f != folder)
    run(python, "-W", "ignore", HERE / "peers_rectools.py", "fit", a.work, folder, "--settings", settings, "--seed", a.seed,
        "--minutes", left, "--epochs", a.epochs)
    run(python, "-W", "ignore", HERE / "peers_rectools.py", "recommend", a.work, folder, "--settings", settings, "--k", LENGTH)
    log, facts = log_of(folder), json.loads((folder / "facts.json").read_text())
    facts |= dict(fit_s=log[-1]["processor_s"], training=dict(
        epochs=len(log), best_epoch=facts["epoch"], valid=[round(r["valid"], 6) for r in log],
        processor_minutes=round(log[-1]["processor_s"] / 60, 2), wall_minutes=round(log[-1]["wall_s"] / 60, 1),
        stopped=f"after {a.minutes:g} processor minutes, search included" if facts["epoch"] > len(log) - 5 else "by valid"))
    out.mkdir(exist_ok=True)
    for part in ("valid", "test"): (out / f"{part}.parquet").write_bytes((folder / f"{part}.parquet").read_bytes())
    write_json(out / "facts.json", facts)
    write_json(out / "search.json", [dict(settings=s | dict(epochs=TRIAL), valid=t["valid"], fit_s=t["processor_s"])
                                     for s, t in zip(CANDIDATES, tried)])
    with open(REPORTS / f"runs/peer-rectools-sasrec-seed{a.seed}.csv", "w", newline="") as f:
        w = csv.DictWriter(f, log[0]); w.writeheader(); w.writerows(log)


def finished(work):
    return [n for n in ("rectools-sasrec", *(f"implicit-{k}" for k in KINDS)) if (work / n / "facts.json").exists()]


def score_step(a, split, dataset):
    "Rows of all lists that are there, and the log of what was tried on valid."
    names = finished(a.work)
    for name in names:
        for part in ("valid", "test"):
            row, each = measure(name, a.work / name, split, part, dataset, a.seed)
            path = save_result(row, a.save, per_user=each); m = row["metrics"]
            for old in a.save.glob(f"{dataset.name}_leave-last-out_{part}_peer-{name}*_seed{a.seed}.*"):
                if old.stem != path.stem: old.unlink()       # the same training, ended earlier
            print(f"{part:5} {name:16} " + "  ".join(f"{k} {m[k]['value']:.4f}" for k in ("HR@10", "NDCG@10", "HR@50", "NDCG@50", "MRR"))
                  + f"   → {path.name}", flush=True)
    with open(REPORTS / "searches/peers.csv", "w", newline="") as f:
        w = csv.writer(f); w.writerow(["model", "dataset", "protocol", "seed", "settings", "NDCG@10", "fit_seconds"])
        for name in names:
            w.writerows([f"peer-{name}", dataset.name, split.protocol, a.seed, json.dumps(t["settings"]), f"{t['valid']:.5f}",
                         f"{t['fit_s']:.1f}"] for t in json.loads((a.work / name / "search.json").read_text()))


def settings_of(label, a) -> dict:
    "The settings of our row with this label; rows from before `memory` was a setting had none."
    path = a.save / f"{a.data}_leave-last-out_test_{label.removesuffix('-float32')}_seed{a.seed}.json"
    return dict(memory=0) | json.loads(path.read_text())["config"]


def time_step(a):
    "The transformers in turns, in fresh processes: processor seconds an epoch, and for a thousand users' lists of ten."
    python = environment(a.venv); rounds = []; facts = a.work / "rectools-sasrec/facts.json"
    size = json.loads(facts.read_text())["settings"]["batch_size"] if facts.exists() else CANDIDATES[0]["batch_size"]
    theirs = lambda what, *more: [python, "-W", "ignore", HERE / "peers_rectools.py", what, a.work, a.work / "time",
                                  "--settings", json.dumps(dict(batch_size=size)), *more]
    shares = json.loads(run(*theirs("profile", "--batches", 4), capture=True).splitlines()[-1])
    for i in range(a.rounds):
        turns = {n: [sys.executable, "-W", "ignore", __file__, "--child", a.work, json.dumps(settings_of(n, a) | c)]
                 for n, c in OURS.items()}
        turns |= {n: theirs("time", "--precision", p) for n, p in THEIRS.items()}
        for name, command in turns.items():
            got = json.loads(run(*command, capture=True).splitlines()[-1])
            rounds.append(dict(name=name, round=i, **got))
            print(f"round {i + 1}/{a.rounds} {name:24} {got['epoch_s']:6.1f} s an epoch, {got['recommend_s']:5.2f} s for 1,000 users", flush=True)
        median = pd.DataFrame(rounds).groupby("name")[["epoch_s", "recommend_s"]].median().round(3)
        write_json(REPORTS / "runs/peers_seconds.json", dict(median=median.to_dict("index"), rounds=rounds, threads=1,
                                                             batch_size=size, kind="processor seconds",
                                                             rectools_profile=shares))
    print(median)


def child(work: Path, config: dict, batches: int = 12, users: int = 1000):
    "Our side of `time`: some training steps of the decoder, and its lists of ten for the same users."
    import torch
    from movierec.follow import Follow
    from movierec.data.sequences import Vocab, make_batch, training_batches
    from movierec.models.decoder import Decoder, DecoderNet, next_item_loss
    from movierec.train import autocast, pick_precision
    torch.set_num_threads(1); torch.manual_seed(0)
    t = pd.read_parquet(work / "train.parquet")
    h = Histories.from_table(t.assign(timestamp=t.time, rating=1.))
    model = Decoder(Decoder.Config(**config)); c = model.config; model.item_ids = np.unique(h.item_ids)
    inner = Vocab(model.item_ids).encode(h.item_ids)
    model.net = DecoderNet(c, torch.zeros(len(model.item_ids) + 1, 0)); model.popularity = np.zeros(len(model.item_ids), np.float32)
    model.follow = Follow.count(inner - 1, h.rows, len(model.item_ids))
    dtype = pick_precision(c.precision, torch.device("cpu"))
    opt = torch.optim.AdamW(model.net.parameters(), lr=c.learning_rate, betas=(.9, .98), weight_decay=c.weight_decay)
    plan = training_batches(h.offsets, c.max_len, c.batch_tokens, np.random.default_rng(0))
    took = tokens = 0
    for i, g in enumerate(plan[:batches + 1]):
        start = time.process_time()
        batch = make_batch(inner, *g, c.max_len)
        with autocast(torch.device("cpu"), dtype): total, n = next_item_loss(model.net, batch)
        (total / n).backward()
        torch.nn.utils.clip_grad_norm_(model.net.parameters(), c.clip)
        opt.step(); opt.zero_grad(set_to_none=True)
        if i: took += time.process_time() - start; tokens += n      # the first one warms up
    epoch = took / tokens * int((np.minimum(h.lengths, c.max_len + 1) - 1).sum())
    step = max(1, len(h) // users); wanted = h.user_ids[::step][:users]
    asked = Histories.from_table(t.assign(timestamp=t.time, rating=1.), users=wanted)
    start = time.process_time(); model.recommend(asked, k=10)
    print(json.dumps(dict(epoch_s=epoch, recommend_s=time.process_time() - start, precision=str(dtype))))


def main(a):
    dataset = load_dataset(a.data); split = make_split(dataset, "leave-last-out")
    for folder in ("runs", "searches"): (REPORTS / folder).mkdir(exist_ok=True)
    for step in a.steps:
        print(f"— {step}", flush=True)
        if step == "tables" and not (a.work / "users.parquet").exists(): tables(split, a.work)
        if step == "implicit": implicit_step(a)
        if step == "rectools": rectools_step(a)
        if step == "score": score_step(a, split, dataset)
        if step == "time": time_step(a)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]: child(Path(sys.argv[2]), json.loads(sys.argv[3])); sys.exit()
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", default="ml-1m")
    ap.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, metavar="STEP", help=f"some of: {' '.join(STEPS)}")
    ap.add_argument("--minutes", type=float, default=25, help="processor minutes for RecTools, search included (default 25)")
    ap.add_argument("--epochs", type=int, default=100, help="RecTools trains no longer than this (default 100, as its authors)")
    ap.add_argument("--rounds", type=int, default=5, help="turns of the step `time` (default 5)")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--work", type=Path, default=home() / "peers", help="tables, weights and lists (default artifacts/peers)")
    ap.add_argument("--venv", type=Path, default=home() / "peers-venv", help="RecTools' environment (default artifacts/peers-venv)")
    ap.add_argument("--save", type=Path, default=REPORTS / "results", help="folder of the rows")
    a = ap.parse_args()
    a.work, a.venv = a.work.resolve(), a.venv.absolute()
    main(a)
