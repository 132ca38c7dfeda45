"""RecTools' SASRec on tables that `benchmarks/peers.py` wrote: it runs this file in an environment of its own.

    python benchmarks/peers_rectools.py fit WORK OUT --settings '{"batch_size": 32}' --minutes 20 --epochs 100
    python benchmarks/peers_rectools.py recommend WORK OUT --k 100
    python benchmarks/peers_rectools.py time WORK OUT --batches 8 --users 1000
    python benchmarks/peers_rectools.py profile WORK OUT --batches 4

`fit` trains on WORK/train.parquet for at most so many epochs and processor minutes and looks at NDCG@10 on
WORK/valid.parquet after each epoch; weights, optimiser and log stand in OUT after each epoch, and the same command goes
on from there. `recommend` writes OUT/valid.parquet and OUT/test.parquet with the weights of the best epoch. `time`
prints the processor seconds of training batches and of recommending, `profile` which operations take them. Nothing here ever sees a test target.
"""
import argparse
import json
import logging
import time
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet
from safetensors.torch import load_file, save_file

# What the library's authors found best for ML-1M (github.com/blondered/transformer_benchmark), with the full softmax,
# which costs no more on a CPU than 256 sampled negatives a position and is the loss of our decoder too.
SETTINGS = dict(n_factors=64, n_blocks=2, n_heads=1, dropout_rate=.1, session_max_len=200, lr=1e-3, batch_size=128,
                loss="softmax")


def table(*paths) -> Dataset:
    "RecTools' dataset of interaction tables; `time` counts a user's events, so that no two of them tie."
    t = pd.concat([pd.read_parquet(p) for p in paths])
    return Dataset.construct(pd.DataFrame(dict(user_id=t.user_id, item_id=t.item_id, weight=1,
                                               datetime=pd.to_datetime(t.time, unit="s"))))


class Clock:
    "Processor and wall seconds since it was made."
    def __init__(self): self.start = time.process_time(), time.perf_counter()
    def read(self): return time.process_time() - self.start[0], time.perf_counter() - self.start[1]


class Keeper(Callback):
    "After each epoch: NDCG@10 on valid, log, weights and optimiser on disk; stops by patience and by processor minutes."
    def __init__(self, model_of, data, valid, out, minutes, patience):
        self.model_of, self.data, self.out, self.minutes, self.patience = model_of, data, out, minutes, patience
        self.valid = valid.set_index("user_id").item_id
        self.rows = json.loads((out / "log.json").read_text()) if (out / "log.json").exists() else []
        self.fresh = True

    def __deepcopy__(self, memo): return self    # RecTools copies its trainer with all callbacks before fitting

    def on_train_epoch_start(self, trainer, module):
        if self.fresh and self.rows: self._restore(trainer, module)    # not earlier: RecTools draws weights at train start
        self.fresh, self.clock = False, Clock()

    def on_train_epoch_end(self, trainer, module):
        ndcg = self._look(); module.train()
        cpu, wall = self.clock.read(); last = self.rows[-1] if self.rows else dict(epoch=0, processor_s=0., wall_s=0.)
        loss = trainer.callback_metrics.get("train_loss")
        self.rows.append(dict(epoch=last["epoch"] + 1, loss=None if loss is None else float(loss), valid=ndcg,
                             processor_s=last["processor_s"] + cpu, wall_s=last["wall_s"] + wall))
        print(f"epoch {self.rows[-1]['epoch']}: valid NDCG@10 {ndcg:.4f}, {self.rows[-1]['processor_s'] / 60:.1f} processor "
              f"minutes ({self.rows[-1]['wall_s'] / 60:.0f} on the clock)", flush=True)
        self._save(trainer, module)
        best = int(np.argmax([r["valid"] for r in self.rows]))
        if len(self.rows) - 1 - best >= self.patience: trainer.should_stop = True
        if self.rows[-1]["processor_s"] + cpu > 60 * self.minutes: trainer.should_stop = True

    def _look(self) -> float:
        "NDCG@10 over the valid users: the lists as RecTools gives them, seen films filtered."
        model = self.model_of()
        was, model.is_fitted = model.is_fitted, True
        recs = model.recommend(self.valid.index.to_numpy(), self.data, k=10, filter_viewed=True)
        model.is_fitted = was
        hit = recs[recs.item_id.to_numpy() == self.valid.reindex(recs.user_id).to_numpy()]
        return float((1 / np.log2(1 + hit["rank"])).sum() / len(self.valid))

    def _save(self, trainer, module):
        weights = {k: v.detach().contiguous().clone() for k, v in module.torch_model.state_dict().items()}
        state = {f"{i}.{k}": torch.as_tensor(v).contiguous().clone()
                 for i, s in trainer.optimizers[0].state_dict()["state"].items() for k, v in s.items()}
        save_file(weights, self.out / "last.safetensors"); save_file(state, self.out / "optimizer.safetensors")
        if self.rows[-1]["valid"] >= max(r["valid"] for r in self.rows): save_file(weights, self.out / "best.safetensors")
        (self.out / "log.json").write_text(json.dumps(self.rows, indent=1))

    def _restore(self, trainer, module):
        module.torch_model.load_state_dict(load_file(self.out / "last.safetensors"))
        state = {}
        for name, v in load_file(self.out / "optimizer.safetensors").items():
            i, k = name.split("."); state.setdefault(int(i), {})[k] = v
        opt = trainer.optimizers[0]; opt.load_state_dict(opt.state_dict() | {"state": state})


def make_model(settings, epochs, callbacks=(), batches=None, precision="32-true") -> SASRecModel:
    trainer = lambda: Trainer(max_epochs=max(epochs, 0), accelerator="cpu", logger=False, enable_checkpointing=False,
                              enable_progress_bar=False, enable_model_summary=False, limit_train_batches=batches, precision=precision,
                              callbacks=list(callbacks))
    return SASRecModel(**SETTINGS | settings, item_net_block_types=(IdEmbeddingsItemNet,), get_trainer_func=trainer)


def fit(a):
    keeper = Keeper(lambda: model, table(a.work / "train.parquet"), pd.read_parquet(a.work / "valid.parquet"), a.out,
                    a.minutes, a.patience)
    done = keeper.rows
    if done and (len(done) - 1 - int(np.argmax([r["valid"] for r in done])) >= a.patience
                 or done[-1]["processor_s"] * (1 + 1 / len(done)) > 60 * a.minutes or len(done) >= a.epochs): return
    seed_everything(a.seed + 1000 * len(done))     # a run that goes on draws its batches in another order than one in one go
    model = make_model(a.settings, a.epochs - len(done), [keeper])
    model.fit(keeper.data)


def load(a):
    "The fitted model: RecTools builds it, untrained, for the train table; then come the weights of the best epoch."
    seed_everything(a.seed)
    model = make_model(a.settings, 1, batches=0)
    model.fit(table(a.work / "train.parquet"))
    model.torch_model.load_state_dict(load_file(a.out / "best.safetensors"))
    return model


def recommend(a):
    model, facts = load(a), {}
    for part, known in dict(valid=["train"], test=["train", "valid"]).items():
        data = table(*(a.work / f"{p}.parquet" for p in known)); users = pd.read_parquet(a.work / "users.parquet").user_id
        clock = Clock()
        recs = model.recommend(users.to_numpy(), data, k=a.k, filter_viewed=True)
        cpu, wall = clock.read()
        recs.to_parquet(a.out / f"{part}.parquet", index=False)
        facts[part] = dict(processor_s=cpu, wall_s=wall)
    best = int(np.argmax([r["valid"] for r in json.loads((a.out / "log.json").read_text())]))
    facts |= dict(settings=SETTINGS | a.settings, epoch=best + 1, n_items=len(model.data_preparator.get_known_item_ids()),
                  versions={p: metadata.version(p) for p in ("rectools", "torch", "pytorch-lightning", "numpy")})
    (a.out / "facts.json").write_text(json.dumps(facts, indent=1))


class Stopwatch(Callback):
    "Processor seconds of each training batch."
    def __init__(self): self.seconds = []
    def __deepcopy__(self, memo): return self
    def on_train_batch_start(self, *_): self.start = time.process_time()
    def on_train_batch_end(self, *_): self.seconds.append(time.process_time() - self.start)


def clocked(a):
    watch = Stopwatch(); data = table(a.work / "train.parquet")
    seed_everything(a.seed)
    model = make_model(a.settings, 1, [watch], a.batches, a.precision); model.fit(data)
    users = pd.read_parquet(a.work / "users.parquet").user_id.to_numpy()
    clock = Clock(); model.recommend(users[:: max(1, len(users) // a.users)][:a.users], data, k=10, filter_viewed=True)
    size = (SETTINGS | a.settings)["batch_size"]
    print(json.dumps(dict(epoch_s=float(np.median(watch.seconds[1:])) * len(users) / size, recommend_s=clock.read()[0])))


def profiled(a):
    data = table(a.work / "train.parquet"); seed_everything(a.seed)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as p:
        make_model(a.settings, 1, batches=a.batches).fit(data)
    took = pd.Series({e.key: e.self_cpu_time_total for e in p.key_averages()}).sort_values(ascending=False)
    print(json.dumps((took / took.sum()).head(10).round(4).to_dict()))


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["fit", "recommend", "time", "profile"])
    ap.add_argument("work", type=Path, help="folder with train.parquet, valid.parquet (user_id, item_id, time), users.parquet")
    ap.add_argument("out", type=Path, help="folder of this run")
    ap.add_argument("--settings", type=json.loads, default={}, help="JSON of SASRecModel arguments, over the defaults above")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--minutes", type=float, default=20, help="processor minutes of training, all calls together")
    ap.add_argument("--epochs", type=int, default=100)
    ap.add_argument("--patience", type=int, default=5, help="epochs without gain on valid before stopping")
    ap.add_argument("--k", type=int, default=100)
    ap.add_argument("--precision", default="32-true", help="of `time`'s training steps: the library's default, or bf16-mixed")
    ap.add_argument("--batches", type=int, default=8)
    ap.add_argument("--users", type=int, default=1000)
    a = ap.parse_args()
    warnings.simplefilter("ignore"); logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1); a.out.mkdir(parents=True, exist_ok=True)
    dict(fit=fit, recommend=recommend, time=clocked, profile=profiled)[a.what](a)
