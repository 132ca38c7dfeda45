"The contract over every registered baseline, on the installed package; saving and loading across processes."
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from movierec.core import MovierecError
from movierec.data.schema import check_recommendations
from movierec.data.sequences import Histories
from movierec.models.registry import MODELS, load_model, make_model, model_class
from movierec.recommender import Recommender, check_recommender, contract_data, top_k

BASELINES = {
    "random": [{}], "popular": [{}, dict(days=5), dict(half_life=3.5)], "recent": [{}, dict(days=30, half_life=None)],
    "top-rated": [{}, dict(damping=0.)], "markov": [dict(window=1), dict(smoothing=0.), {}],
}
CASES = [(name, config) for name, configs in BASELINES.items() for config in configs]
case_ids = [f"{name}-{'-'.join(map(str, config)) or 'default'}-{i}" for i, (name, config) in enumerate(CASES)]
every_case = pytest.mark.parametrize("name,config", CASES, ids=case_ids)
ASKED = [[11, 23], [], [309, 401, 99999], [88888]]


@every_case
def test_contract(name, config):
    check_recommender(lambda: make_model(name, **config), learns="order" if name == "markov" else "")


@every_case
def test_a_saved_model_answers_the_same_in_a_fresh_process(name, config, tmp_path):
    model = make_model(name, **config).fit(contract_data(), seed=11)
    model.save(tmp_path / "model")
    code = ("import sys; from movierec.models.registry import load_model; from movierec.data.sequences import Histories\n"
            f"m = load_model(sys.argv[1]); h = Histories.from_lists({ASKED!r})\n"
            "m.recommend(h, 4).to_parquet(sys.argv[2]); print('torch' in sys.modules)")
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "recs.parquet")],
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "False", "a baseline brought torch in"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "recs.parquet"), model.recommend(Histories.from_lists(ASKED), 4))


@every_case
def test_lists_pass_the_schema(name, config):
    model = make_model(name, **config).fit(contract_data())
    recs = model.recommend(Histories.from_lists(ASKED), 5)
    assert len(check_recommendations(recs)) == len(recs)


def test_blocks_dont_show():
    model = make_model("markov").fit(contract_data()); h = Histories.from_table(contract_data())
    want = model.recommend(h, 4)
    for model.block in (1, 5, 23, 1000): pd.testing.assert_frame_equal(model.recommend(h, 4), want)


def test_saving_twice_replaces_and_a_failed_save_keeps_the_old(tmp_path):
    data, folder = contract_data(), tmp_path / "model"
    make_model("popular").fit(data).save(folder)
    make_model("popular", days=30).fit(data).save(folder)
    assert load_model(folder).config.days == 30

    class Dies(model_class("popular")):
        def _save(self, folder): raise OSError("disk full")
    with pytest.raises(OSError): Dies().fit(data).save(folder)
    assert load_model(folder).config.days == 30
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("file", ["config.json", "item_ids.npy", "values.npz"])
def test_damage_is_refused_by_name(file, tmp_path):
    folder = tmp_path / "model"
    make_model("popular").fit(contract_data()).save(folder)
    raw = (folder / file).read_bytes()
    (folder / file).write_bytes(raw[:-3])
    with pytest.raises(MovierecError, match=f"{file} has .*truncated"): load_model(folder)
    (folder / file).write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(MovierecError, match=f"{file} was changed"): load_model(folder)
    (folder / file).unlink()
    with pytest.raises(MovierecError, match=f"{file} is missing"): load_model(folder)


def test_another_models_folder_is_refused(tmp_path):
    make_model("popular").fit(contract_data()).save(tmp_path / "m")
    with pytest.raises(MovierecError, match="holds 'popular', not 'markov'"): model_class("markov").load(tmp_path / "m")


def test_a_folder_holds_plain_files_only(tmp_path):
    for name in BASELINES:
        make_model(name).fit(contract_data()).save(tmp_path / name)
        assert {p.suffix for p in (tmp_path / name).iterdir()} <= {".json", ".npy", ".npz", ".safetensors", ".parquet"}
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config["model"] == name


def test_saving_is_repeatable_to_the_byte(tmp_path):
    for folder in ("a", "b"): make_model("markov").fit(contract_data()).save(tmp_path / folder)
    for p in (tmp_path / "a").iterdir(): assert p.read_bytes() == (tmp_path / "b" / p.name).read_bytes(), p.name


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "10", None])
def test_a_bad_k_is_a_users_error(k):
    with pytest.raises(MovierecError, match="k is"):
        make_model("popular").fit(contract_data()).recommend(Histories.from_lists([[11]]), k)


@pytest.mark.parametrize("name,config,says", [
    ("popular", dict(day=3), "did you mean 'days'"), ("popular", dict(days="3"), "'days' is '3'"),
    ("popular", dict(days=-1), "above 0"), ("markov", dict(window=1.5), "should be int"), ("markov", dict(decay=0.), "0..1"),
    ("popullar", {}, "did you mean 'popular'"), ("zzz", {}, "there are: random"), ("random", dict(x=1), "there are: none"),
])
def test_names_and_settings_are_checked(name, config, says):
    with pytest.raises(MovierecError, match=says): make_model(name, **config)


def test_the_register_keeps_its_word():
    for name in BASELINES:
        cls = model_class(name)
        assert issubclass(cls, Recommender) and cls.name == name
    assert set(BASELINES) <= set(MODELS)


@pytest.mark.parametrize("seed", range(20))
def test_top_k_is_a_stable_sort(seed):
    rng = np.random.default_rng(seed); b, n = rng.integers(1, 40, 2); k = int(rng.integers(1, n + 3))
    scores = rng.integers(rng.integers(2, 50), size=(b, n)).astype(np.float32)
    scores[rng.random((b, n)) < .2] = -np.inf
    cols, got = top_k(scores, k)
    want = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(cols, want)
    np.testing.assert_array_equal(got, np.take_along_axis(scores, want, 1))


def test_somebody_who_has_seen_all_gets_an_empty_list_and_nobody_else_suffers():
    data = contract_data(); model = make_model("popular").fit(data)
    recs = model.recommend(Histories.from_lists([list(model.item_ids), [11]]), 3)
    assert list(recs.user_id) == [1, 1, 1]
    assert len(model.recommend(Histories.from_lists([list(model.item_ids)]), 3)) == 0


def test_recommend_doesnt_change_the_model():
    model = make_model("popular").fit(contract_data()); h = Histories.from_lists([[11, 23], [102]])
    before = model.score(h).copy(); model.recommend(h, 3)
    np.testing.assert_array_equal(model.score(h), before)
