"""The `movierec` command as a script sees it: exit codes, streams, files, and no tracebacks for mistakes."""
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

FAST = ["--set", "embedding_dim=16", "--set", "n_layers=1", "--set", "n_heads=2", "--set", "max_len=20", "--epochs", "1", "--device", "cpu"]


def cli(*args, code=0, home=None, timeout=300):
    env = {**os.environ, "MOVIEREC_PROGRESS": "0"} | ({"MOVIEREC_HOME": str(home)} if home else {})
    p = subprocess.run([sys.executable, "-c", "from movierec.cli import main; main()", *map(str, args)], capture_output=True, text=True,
                       env=env, timeout=timeout)
    assert p.returncode == code, p.stdout + p.stderr
    assert "Traceback" not in p.stderr
    return p


@pytest.fixture(scope="module")
def popular(tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "popular"
    cli("train", "popular", "--data", "demo", "--out", out)
    return out


@pytest.mark.parametrize("args", [(), ("data",), ("train",), ("evaluate",), ("recommend",), ("build",), ("serve",), ("report",), ("models",)])
def test_help_teaches(args):
    text = cli(*args, "--help").stdout
    assert "Usage: movierec" in text and len(text) > 120


def test_help_loads_nothing_heavy():
    code = ("import sys; from movierec.cli import app; from typer.testing import CliRunner; CliRunner().invoke(app, ['train', '--help']);"
            "print([m for m in ('torch', 'pandas', 'polars', 'fastapi') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("args,words", [
    (("train", "decodr", "--data", "demo", "--out", "x"), "did you mean 'decoder'"),
    (("train", "popular", "--data", "dmo", "--out", "x"), "did you mean demo"),
    (("train", "popular", "--data", "demo", "--out", "x", "--epochs", "3"), "has no --epochs"),
    (("train", "decoder", "--data", "demo", "--out", "x", "--set", "dropout"), "KEY=VALUE"),
    (("train", "decoder", "--data", "demo", "--out", "x", "--set", "droput=.1"), "did you mean 'dropout'"),
    (("train", "decoder", "--data", "demo", "--out", "x", "--set", "embedding_dim=big"), "embedding_dim"),
    (("train", "decoder", "--data", "demo", "--out", "x", "--device", "tpu"), "unknown device"),
    (("train", "popular", "--data", "demo", "--out", "x", "--protocol", "best"), "unknown protocol"),
    (("train", "popular", "--data", "demo", "--out", "x", "--teacher", "nowhere"), "takes no teachers"),
    (("train", "decoder", "--data", "demo", "--out", "x", "--teacher", "nowhere"), "holds no model"),
    (("evaluate", "nowhere", "--data", "demo"), "movierec train"),
    (("recommend", "nowhere", "--history", "1"), "not there"),
    (("data", "get", "demo"), "nothing to get"),
    (("data", "info", "ml-2m"), "ml-2"),
    (("data", "import", "/nowhere.zip"), "not there"),
    (("report", "--results", "/nowhere"), "no result rows"),
])
def test_mistakes_are_one_line_and_exit_1(args, words, tmp_path):
    p = subprocess.run([sys.executable, "-c", "from movierec.cli import main; main()", *args], capture_output=True, text=True, cwd=tmp_path)
    assert p.returncode == 1, p.stdout + p.stderr
    assert p.stderr.startswith("error: ") and words in p.stderr and p.stdout == ""
    assert "Traceback" not in p.stderr and not any(tmp_path.iterdir())


@pytest.mark.parametrize("args", [("recommend", "x"), ("train", "popular"), ("nonsense",), ("recommend", "x", "--history", "1", "-k", "0")])
def test_wrong_options_exit_2(args): cli(*args, code=2)


def test_other_peoples_folders_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir(); (tmp_path / "mine/thesis.txt").write_text("years of work")
    assert "holds no model" in cli("train", "popular", "--data", "demo", "--out", tmp_path / "mine", code=1).stderr
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_evaluate(popular, tmp_path):
    row = json.loads(cli("evaluate", popular, "--data", "demo", "--split", "test", "--json", "--per-user", tmp_path / "u.parquet",
                         "--save", tmp_path / "rows").stdout)
    assert row["n_users"] == 1500 and row["split"] == "test" and row["command"].startswith("movierec") or row["command"].startswith("-c")
    assert 0 < row["metrics"]["NDCG@10"]["low"] < row["metrics"]["NDCG@10"]["value"] < row["metrics"]["NDCG@10"]["high"]
    users = pd.read_parquet(tmp_path / "u.parquet")
    assert abs((users["rank"] <= 10).mean() - row["metrics"]["HR@10"]["value"]) < 1e-5
    assert len(list((tmp_path / "rows").glob("*.json"))) == 1
    assert "NDCG@10" in cli("evaluate", popular, "--data", "demo").stdout


def test_recommend_for_all_users_is_the_table_scripts_rely_on(popular, tmp_path):
    cli("recommend", popular, "--data", "demo", "--users", "all", "--split", "test", "-k", 7, "--out", tmp_path / "r.parquet")
    r = pd.read_parquet(tmp_path / "r.parquet")
    assert list(r.columns) == ["user_id", "item_id", "score", "rank"] and len(r) == 1500 * 7
    assert (r.groupby("user_id")["rank"].apply(list).map(lambda x: x == list(range(1, 8)))).all()
    from movierec.data.datasets import load_dataset
    from movierec.data.split import make_split
    split = make_split(load_dataset("demo"))
    seen = split.history("test")[["user_id", "item_id"]]
    assert len(r.merge(seen, on=["user_id", "item_id"])) == 0
    cli("recommend", popular, "--data", "demo", "--users", "all", "--split", "test", "-k", 7, "--keep-seen", "--out", tmp_path / "k.parquet")
    assert len(pd.read_parquet(tmp_path / "k.parquet").merge(seen, on=["user_id", "item_id"])) > 0


def test_recommend_for_one_history(popular):
    out = cli("recommend", popular, "--data", "demo", "--history", "1,2,999999", "-k", 3)
    assert "After Star Wars (1977)" in out.stdout and "999999" in out.stderr and out.stdout.count("\n") == 4
    assert "write film or user ids" in cli("recommend", popular, "--history", "1;2", code=1).stderr
    assert "write film or user ids" in cli("recommend", popular, "--history", f"1,{10**20}", code=1).stderr
    assert "not in the test part" in cli("recommend", popular, "--data", "demo", "--users", "99999999", "--out", "x", code=1).stderr


def test_train_build_and_answer(tmp_path):
    cli("train", "decoder", "--data", "demo", "--out", tmp_path / "d", *FAST)
    assert sorted(p.name for p in (tmp_path / "d.run").iterdir() if p.name != "tensorboard") == ["log.csv"]
    made = cli("build", "--data", "demo", "--out", tmp_path / "b", "--from", tmp_path / "d")
    assert "bundle " in made.stdout
    ids = lambda p: [line.rsplit("[")[-1].split("]")[0] for line in p.stdout.splitlines()[1:]]
    a = ids(cli("recommend", tmp_path / "b", "--history", "1,2", "-k", 5))
    assert len(a) == 5 and a == ids(cli("recommend", tmp_path / "d", "--data", "demo", "--history", "1,2", "-k", 5))


def test_ctrl_c_keeps_what_was_done(tmp_path):
    args = ["train", "decoder", "--data", "demo", "--out", tmp_path / "d", *FAST[:-4], "--epochs", "400", "--device", "cpu"]
    p = subprocess.Popen([sys.executable, "-c", "from movierec.cli import main; main()", *map(str, args)], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 240
    while not (tmp_path / "d.run/log.csv").exists() and time.monotonic() < end: time.sleep(.05)
    p.send_signal(signal.SIGINT); err = p.communicate(timeout=60)[1]
    assert p.returncode == 130 and "Traceback" not in err and "goes on from" in err, err
    assert (tmp_path / "d.run/checkpoint/state.safetensors").exists() and not (tmp_path / "d").exists()


def test_a_closed_pipe_is_no_error():
    p = subprocess.run(f'{sys.executable} -c "from movierec.cli import main; main()" data list | head -1', shell=True, capture_output=True, text=True)
    assert p.stderr == "" and p.stdout.startswith("name")


@pytest.mark.realdata
def test_ml_100k_end_to_end(real_data, tmp_path):
    real_data("ml-100k")
    cli("train", "markov", "--data", "ml-100k", "--out", tmp_path / "m")
    row = json.loads(cli("evaluate", tmp_path / "m", "--data", "ml-100k", "--split", "valid", "--json").stdout)
    assert row["n_users"] == 943 and row["metrics"]["NDCG@10"]["value"] > .05     # random is below .01
    cli("train", "decoder", "--data", "ml-100k", "--out", tmp_path / "d", *FAST)
    cli("recommend", tmp_path / "d", "--data", "ml-100k", "--users", "all", "-k", 50, "--out", tmp_path / "r.parquet")
    assert len(pd.read_parquet(tmp_path / "r.parquet")) == 943 * 50
