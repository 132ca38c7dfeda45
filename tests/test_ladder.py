"Every model of the register: the contract, a fresh process that needs none of the big libraries, and what is said when one is missing."
import os
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.sequences import Histories
from movierec.models.registry import MODELS, make_model, model_class
from movierec.recommender import Recommender, check_recommender, contract_data

FAST = {  # trained in steps: small enough for 92 events
    "decoder": dict(embedding_dim=16, n_layers=1, n_heads=2, epochs=8, device="cpu", precision="float32"),
    "taste": dict(embedding_dim=16, n_layers=1, n_heads=2, epochs=4, device="cpu", precision="float32"),
    "rating": dict(epochs=3), "tfrs": dict(epochs=2), "tfrs-side": dict(epochs=2), "fm": dict(n_iter=20, samples=5), "lightfm": dict(epochs=5),
}
EXTRAS = {"lightfm": ("lightfm", "baselines"), "als": ("implicit", "baselines"), "fm": ("myfm", "baselines"),
          "tfrs": ("tensorflow_recommenders", "tf"), "tfrs-side": ("tensorflow_recommenders", "tf"),
          "content": ("sentence_transformers", "text")}
BIG = ["lightfm", "implicit", "myfm", "tensorflow", "tensorflow_recommenders", "sentence_transformers"]
ASKED = [[11, 23], [], [309, 401, 99999], [88888]]
every_model = pytest.mark.parametrize("name", list(MODELS))


def made(name): return make_model(name, **FAST.get(name, {}))


@pytest.fixture(scope="module")
def fitted():
    "Each model fitted once on the contract's data."
    kept = {}

    def get(name) -> Recommender:
        if name not in kept: kept[name] = made(name).fit(contract_data(), seed=5)
        return kept[name]

    return get


@every_model
def test_contract(name): check_recommender(lambda: made(name))


@every_model
def test_is_told_in_one_line(name):
    line = (model_class(name).__doc__ or "").strip().splitlines()[0]
    assert 20 < len(line) <= 120 and model_class(name).name == name


@every_model
def test_a_saved_model_answers_in_a_fresh_process_without_the_big_libraries(name, fitted, tmp_path):
    fitted(name).save(tmp_path / "m")
    code = ("import sys; from movierec.models.registry import load_model; from movierec.data.sequences import Histories\n"
            f"load_model(sys.argv[1]).recommend(Histories.from_lists({ASKED!r}), 4).to_parquet(sys.argv[2])\n"
            f"print([m for m in {BIG!r} if m in sys.modules])")
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m"), str(tmp_path / "r.parquet")], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().splitlines()[-1] == "[]"
    want, got = fitted(name).recommend(Histories.from_lists(ASKED), 4), pd.read_parquet(tmp_path / "r.parquet")
    np.testing.assert_array_equal(got.item_id, want.item_id); np.testing.assert_allclose(got.score, want.score, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [m for m in MODELS if m != "random"])   # chance is drawn from the id
def test_an_anonymous_history_is_nobodys(name, fitted):
    "Row 0 of a list is not user 0, row 1000 not user 1000: the answer depends on the films alone."
    lists = Histories.from_lists([[11, 23]]); other = Histories.from_lists([[11, 23]]); other.user_ids = np.array([1000])
    np.testing.assert_array_equal(fitted(name).score(lists), fitted(name).score(other))


@every_model
def test_those_that_rate_guess_stars_for_anybody(name, fitted):
    model = fitted(name)
    pairs = pd.DataFrame(dict(user_id=[1000, 1001, 999999, 1000], item_id=[11, 102, 11, 888888], timestamp=[1, 2, 3, 4]))
    assert model.rates == hasattr(model, "predict")
    if not model.rates: return
    guess = model.predict(pairs)
    assert guess.shape == (4,) and np.isfinite(guess).all() and (guess > 0).all() and (guess < 6).all()


@pytest.mark.parametrize("name", list(EXTRAS))
def test_a_missing_library_is_one_line(name, tmp_path):
    module, extra = EXTRAS[name]
    code = f"import sys; sys.modules[{module!r}] = None\nfrom movierec.cli import main\nmain(sys.argv[1:])"
    fresh = {**os.environ, "MOVIEREC_HOME": str(tmp_path / "home")}   # vectors of texts that are kept from before need no library
    run = subprocess.run([sys.executable, "-c", code, "train", name, "--data", "demo", "--out", str(tmp_path / "m")], capture_output=True, text=True, env=fresh)
    said = run.stderr.strip().splitlines()[-1]
    assert run.returncode == 1 and said.startswith("error:") and f"movierec[{extra}]" in said and "Traceback" not in run.stderr


@pytest.mark.realdata
def test_ratings_from_the_command_line(real_data, tmp_path):
    real_data("ml-100k")
    from movierec.cli import app
    from typer.testing import CliRunner
    run = CliRunner()
    for args in (["train", "rating", "--data", "ml-100k", "--protocol", "fold-u1", "--out", str(tmp_path / "m"), "--epochs", "2"],
                 ["evaluate", str(tmp_path / "m"), "--data", "ml-100k", "--protocol", "fold-u1", "--split", "valid", "--save", str(tmp_path)]):
        got = run.invoke(app, args); assert got.exit_code == 0, got.output
    row = json.loads((tmp_path / "ml-100k_fold-u1_valid_rating_seed0.json").read_text())
    assert row["n_targets"] == 8000 and .85 < row["metrics"]["RMSE"]["value"] < 1.1 and row["fit_seconds"] > 0
    got = run.invoke(app, ["train", "popular", "--data", "ml-100k", "--out", str(tmp_path / "p")]); assert got.exit_code == 0
    with pytest.raises(MovierecError, match="guesses no ratings"):
        run.invoke(app, ["evaluate", str(tmp_path / "p"), "--data", "ml-100k", "--protocol", "fold-u1"], catch_exceptions=False)
