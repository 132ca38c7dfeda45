"""Training survives kill -9, resumes to the same losses, and refuses what doesn't belong to it."""
import csv
import os
import signal
import subprocess
import sys
import time

import pytest

from movierec.core import MovierecError
from movierec.models.decoder import Decoder, DecoderConfig
from movierec.recommender import contract_data

SETTINGS = dict(embedding_dim=16, n_layers=1, n_heads=2, max_len=8, epochs=30, batch_tokens=16, eval_every=1, patience=99,
                device="cpu", precision="float32")

SCRIPT = """
import sys, time
import movierec.models.decoder as d
from movierec.recommender import contract_data
slow, plain = float(sys.argv[2]), d.next_item_loss
def loss(*a): time.sleep(slow); return plain(*a)
d.next_item_loss = loss
data = contract_data()
valid = data.groupby("user_id").tail(1)
d.Decoder(d.DecoderConfig(**{settings})).fit(data.drop(valid.index), valid=valid, seed=5, folder=sys.argv[1]).save(sys.argv[1] + "/model")
"""


def run(folder, slow=0., wait=True):
    p = subprocess.Popen([sys.executable, "-c", SCRIPT.replace("{settings}", repr(SETTINGS)), str(folder), str(slow)],
                         env={**os.environ, "MOVIEREC_PROGRESS": "0"}, stderr=subprocess.PIPE, text=True)
    if wait:
        err = p.communicate(timeout=300)[1]
        assert p.returncode == 0, err
        return err
    return p


def log(folder):
    with open(folder / "log.csv", newline="") as f: return list(csv.DictReader(f))


def test_kill_9_and_resume_gives_the_same_losses(tmp_path):
    run(tmp_path / "whole")
    p = run(tmp_path / "killed", slow=.01, wait=False)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed/log.csv").exists() or len(log(tmp_path / "killed")) < 4:
        assert p.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(.02)
    p.send_signal(signal.SIGKILL); p.wait()
    assert not (tmp_path / "killed/model").exists()
    assert "resuming at epoch" in run(tmp_path / "killed")
    whole, resumed = log(tmp_path / "whole"), log(tmp_path / "killed")
    assert [r["epoch"] for r in resumed] == [str(e) for e in range(1, 31)]
    for key in ("loss", "valid", "tokens"): assert [r[key] for r in whole] == [r[key] for r in resumed], key
    weights = [(tmp_path / n / "model/model.safetensors").read_bytes() for n in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_a_checkpoint_of_other_settings_or_data_is_refused(tmp_path):
    Decoder(DecoderConfig(**SETTINGS | dict(epochs=1))).fit(contract_data(), folder=tmp_path, seed=1)
    with pytest.raises(MovierecError, match="embedding_dim differ"):
        Decoder(DecoderConfig(**SETTINGS | dict(epochs=1, embedding_dim=32, n_heads=2))).fit(contract_data(), folder=tmp_path, seed=1)
    with pytest.raises(MovierecError, match="digest"):
        Decoder(DecoderConfig(**SETTINGS | dict(epochs=1))).fit(contract_data().assign(item_id=lambda d: d.item_id.to_numpy()[::-1]),
                                                                 folder=tmp_path, seed=1)


def test_early_stopping_and_the_best_weights(tmp_path):
    data = contract_data(); valid = data.groupby("user_id").tail(1)
    m = Decoder(DecoderConfig(**SETTINGS | dict(epochs=200, patience=2))).fit(data.drop(valid.index), valid=valid, seed=5)
    looks = [r["valid"] for r in m.result["history"]]
    assert m.result["epochs"] < 200 and len(looks) - 1 - looks.index(max(looks)) == 2
    assert m.result["best"] == max(looks)


def test_minutes_end_a_run_on_a_small_rate():
    m = Decoder(DecoderConfig(**SETTINGS | dict(epochs=100_000, max_minutes=.02))).fit(contract_data(), seed=5)
    rates = [r["learning_rate"] for r in m.result["history"]]
    assert m.result["epochs"] < 100_000 and rates[-1] < .05 * max(rates)
