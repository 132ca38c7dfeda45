"""Published weights: the assembled model is the trained one; whatever doesn't fit is refused, and then trained; nothing of the ratings is given away."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from movierec.bundle import build_bundle, published_model
from movierec.core import MovierecError, write_json
from movierec.data.datasets import load_dataset
from movierec.data.schema import Dataset
from movierec.data.sequences import Histories
from movierec.data.split import make_split
from movierec.models.registry import make_model
from movierec.pretrained import PLACE, learned_from, load_pretrained, publish, with_weights

ROOT = Path(__file__).resolve().parents[1]
SMALL = dict(decoder=dict(embedding_dim=16, n_layers=1, n_heads=2, max_len=20), taste=dict(embedding_dim=16, n_layers=1, n_heads=2, max_len=20, stride=20))
ASKED = Histories.from_lists([[1, 2, 3], [], [50, 7]], [[10, 20, 99999], [], [5, 6]])


@pytest.fixture(scope="module")
def demo():
    "The demo's first 120 viewers: enough to train on for a second."
    d = load_dataset("demo")
    return Dataset("demo", d.interactions[d.interactions.user_id <= 120].reset_index(drop=True), d.items, d.users, d.source)


@pytest.fixture(scope="module", params=["decoder", "taste"])
def trained(request, demo):
    name, fit_on = request.param, dict(decoder="train+valid", taste="train")[request.param]
    model = make_model(name, **SMALL[name], epochs=1, device="cpu", precision="float32")
    model.fit(learned_from(make_split(demo, "leave-last-out"), fit_on), demo.items, seed=0)
    model.fit_on, model.fit_seconds = fit_on, 1.5
    return model


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    publish(trained, tmp_path / "weights" / f"{trained.name}-demo", dataset="demo", card="# A card\n")
    monkeypatch.setattr("movierec.pretrained.PLACE", tmp_path / "weights")
    return tmp_path / "weights" / f"{trained.name}-demo"


@pytest.fixture
def said():
    "What the log says."
    records = []
    handler = logging.Handler()
    handler.emit = lambda r: records.append(r.getMessage())
    log = logging.getLogger("movierec")
    log.addHandler(handler)
    yield records
    log.removeHandler(handler)


# ---- put together again ---------------------------------------------------------------------------------------------


def test_the_assembled_model_is_the_trained_one(trained, place, demo, tmp_path):
    model, manifest = load_pretrained(trained.name, demo)
    assert np.array_equal(model.score(ASKED), trained.score(ASKED))
    assert (model.config, model.fit_on, model.fit_seconds) == (trained.config, trained.fit_on, 1.5)
    for who, m in dict(a=trained, b=model).items():
        m.save(tmp_path / who)
    files = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir() if p.suffix != ".npz"}
    assert files.keys() >= {"config.json", "model.safetensors", "item_ids.npy"}
    assert all((tmp_path / "b" / name).read_bytes() == b for name, b in files.items() if name != "manifest.json")


def test_nothing_is_trained(trained, place, demo, monkeypatch):
    def never(*_):
        raise AssertionError("a step was taken")

    monkeypatch.setattr("movierec.train._step", never)
    load_pretrained(trained.name, demo)


def test_counts_come_from_the_part_that_was_learned_from(trained, place, demo, monkeypatch):
    given, fit = [], type(trained).fit
    monkeypatch.setattr(type(trained), "fit", lambda self, events, *a, **k: given.append(events) or fit(self, events, *a, **k))
    load_pretrained(trained.name, demo)
    hidden = 1 if trained.fit_on == "train+valid" else 2
    assert len(given[0]) == demo.n_interactions - hidden * demo.interactions.user_id.nunique()
    test = make_split(demo, "leave-last-out").test
    assert not len(given[0].merge(test, on=["user_id", "item_id"])), "a hidden film was counted"


# ---- what is refused ------------------------------------------------------------------------------------------------


def damage(place, name, change):
    f = place / name
    f.write_bytes(change(f.read_bytes()))


@pytest.mark.parametrize("name", ["model.safetensors", "item_ids.npy", "config.json"])
def test_a_changed_or_missing_file_is_refused_by_name(name, trained, place, demo):
    flip = lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 1]) + b[len(b) // 2 + 1 :]
    for change in (flip, lambda b: b[:-1]):
        good = (place / name).read_bytes()
        damage(place, name, change)
        with pytest.raises(MovierecError, match=name):
            load_pretrained(trained.name, demo)
        (place / name).write_bytes(good)
    (place / name).unlink()
    with pytest.raises(MovierecError, match=f"{name} is missing"):
        load_pretrained(trained.name, demo)


@pytest.mark.parametrize("change, told", [
    (dict(format=99), "upgrade"), (dict(kind="model"), "not a weights"), (dict(dataset="ml-1m"), "of ml-1m, not"), (dict(model="ease"), "holds ease"),
])  # fmt: skip
def test_other_weights_than_the_folder_says_are_refused(change, told, trained, place, demo):
    m = json.loads((place / "manifest.json").read_text())
    write_json(place / "manifest.json", m | change)
    with pytest.raises(MovierecError, match=told):
        load_pretrained(trained.name, demo)


def test_one_film_less_or_more_is_refused(trained, place, demo):
    t = demo.interactions
    rare = t.item_id.value_counts().index[-1]
    less = Dataset("demo", t[t.item_id != rare].reset_index(drop=True), demo.items, demo.users, demo.source)
    more = Dataset("demo", t.assign(item_id=t.item_id.where(t.index != 5, 9999).astype(t.item_id.dtype)), demo.items, demo.users, demo.source)
    for data, said in ((less, "lack 1, and have 0 others"), (more, "have 1 others")):
        with pytest.raises(MovierecError, match=said):
            load_pretrained(trained.name, data)


def test_a_network_of_another_shape_is_refused(trained, demo):
    tensors = dict(trained.net.state_dict())
    tensors.pop(next(iter(tensors)))
    events = learned_from(make_split(demo, "leave-last-out"), trained.fit_on)
    with pytest.raises(MovierecError, match="don't fit"):
        with_weights(make_model(trained.name, **vars(trained.config)), tensors, events)


def test_what_is_known_of_films_is_not_published(demo, tmp_path):
    model = make_model("decoder", **SMALL["decoder"], epochs=1, device="cpu", precision="float32", metadata="genres")
    model.fit(demo.interactions, demo.items)
    publish(model, tmp_path / "w", dataset="demo")
    from safetensors.torch import load_file

    tensors = load_file(tmp_path / "w/model.safetensors")
    assert "item.weight" in tensors and not {"features", "about.weight"} & tensors.keys()   # only as far as it shaped the vectors


# ---- in a build -----------------------------------------------------------------------------------------------------


def fast(monkeypatch):
    "Builds without texts, posters and pipeline, and tiny trainings."
    monkeypatch.setattr("movierec.bundle.make_pipeline", lambda *_: None)
    monkeypatch.setitem(__import__("movierec.bundle", fromlist=["PRESETS"]).PRESETS, ("demo", "decoder"), SMALL["decoder"] | dict(epochs=1, precision="float32"))
    monkeypatch.setitem(__import__("movierec.bundle", fromlist=["PRESETS"]).PRESETS, ("demo", "taste"), SMALL["taste"] | dict(epochs=1, precision="float32"))


@pytest.mark.slow
def test_a_build_takes_the_weights_unless_a_training_is_asked_for(trained, place, demo, tmp_path, monkeypatch, said):
    fast(monkeypatch)
    monkeypatch.setattr("movierec.bundle.load_dataset", lambda _: demo)
    name, checksum = trained.name, json.loads((place / "manifest.json").read_text())["files"]["model.safetensors"]["sha256"]
    m = build_bundle("demo", tmp_path / "b", models=[name])
    assert m["weights"] == {name: checksum} == {name: m["files"][f"{name}/model.safetensors"]["sha256"]}
    assert any("weights that come with movierec" in s and "--train" in s for s in said)
    for how in (dict(train=True), dict(epochs=1), dict(max_minutes=1.0), dict(seed=3), dict(model_options=dict(dropout=0.1))):
        said.clear()
        m = build_bundle("demo", tmp_path / "b", models=[name], **how)
        assert "weights" not in m and any("trained in" in s for s in said), how


def test_weights_that_dont_fit_are_told_of_and_trained_anew(trained, place, demo, said):
    damage(place, "model.safetensors", lambda b: b[:-1])
    assert published_model(trained.name, demo) is None
    assert any("is trained anew" in s and "model.safetensors" in s for s in said)


def test_no_weights_no_word(demo, said, monkeypatch, tmp_path):
    monkeypatch.setattr("movierec.pretrained.PLACE", tmp_path)
    assert published_model("decoder", demo) is None and not said


# ---- those of MovieLens 1M --------------------------------------------------------------------------------------------

PUBLISHED = sorted(p.name for p in PLACE.iterdir())


def test_decoder_and_taste_come_along():
    assert {"decoder-ml-1m", "taste-ml-1m"} <= set(PUBLISHED)
    assert sum(f.stat().st_size for f in PLACE.rglob("*") if f.is_file()) < 16 << 20


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_fit_todays_networks_and_hold_no_ratings(name):
    "Without the data: the manifest, the shapes, and that no tensor or file is a table of counts."
    from safetensors.torch import load_file

    from movierec.core import read_manifest

    folder = PLACE / name
    m = read_manifest(folder, "weights")
    assert {p.name for p in folder.iterdir()} == {"README.md", "manifest.json", *m["files"]}
    assert set(m["files"]) == {"config.json", "item_ids.npy", "model.safetensors"}
    saved, ids = json.loads((folder / "config.json").read_text()), np.load(folder / "item_ids.npy", allow_pickle=False)
    assert (np.diff(ids) > 0).all() and ids.dtype == np.int32 and m["dataset"] == "ml-1m" and 3_600 < len(ids) <= 3_706
    made_up = pd.DataFrame(dict(user_id=np.arange(len(ids)) // 2, item_id=ids, rating=4.0, timestamp=np.arange(len(ids))))
    made_up = made_up.astype(dict(user_id="int32", rating="float32", timestamp="int64"))
    tensors = load_file(folder / "model.safetensors")
    model = with_weights(make_model(m["model"], **saved["config"]), tensors, made_up)
    assert tensors.keys() == {k for k, _ in model.net.named_parameters()}, "more than the network's parameters"
    assert all(t.is_floating_point() for t in tensors.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_card_says_what_the_rows_say(name):
    folder = PLACE / name
    m, card = json.loads((folder / "manifest.json").read_text()), (folder / "README.md").read_text()
    assert m["files"]["model.safetensors"]["sha256"] in card and m["commit"] in card and m["command"] in card
    for word in ("research", "redistributed", "10.1145/2827872", "interpolated", "leave-last-out"):
        assert word in card, word
    label = m["label"]
    rows = [json.loads(p.read_text()) for p in (ROOT / "reports/results").glob(f"ml-1m_leave-last-out_test_{label}_seed{m['seed']}*.json")]
    assert rows and all(r["commit"] == m["commit"] and not r["dirty"] for r in rows)
    for r in rows:
        for k in ("HR@10", "NDCG@10", "HR@50", "NDCG@50", "MRR"):
            v = r["metrics"][k]
            assert f"{v['value']:.4f} ({v['low']:.4f} – {v['high']:.4f})" in card, (r["label"], k)


@pytest.mark.slow
def test_a_wheel_carries_the_weights(tmp_path):
    code = f"import sys; sys.argv = ['setup.py', '-q', 'build_py', '--build-lib', {str(tmp_path / 'lib')!r}]; exec(open('setup.py').read())"
    work = tmp_path / "src"
    work.mkdir()
    for name in ("setup.py", "settings.ini", "movierec", "data/demo"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).symlink_to(ROOT / name)
    subprocess.run([sys.executable, "-c", "__file__ = 'setup.py'; " + code], cwd=work, check=True, capture_output=True)
    for f in PLACE.rglob("*"):
        if f.is_file():
            assert (tmp_path / "lib/movierec/weights" / f.relative_to(PLACE)).read_bytes() == f.read_bytes()
    assert re.search(r"^recursive-include movierec/weights \*$", (ROOT / "MANIFEST.in").read_text(), re.M)


@pytest.mark.realdata
@pytest.mark.parametrize("name", PUBLISHED)
def test_on_movielens_the_ranks_are_those_of_the_trained_model(name, real_data):
    "The hidden films of 512 viewers get the ranks that lie beside the trained model's result row."
    from movierec.evaluate import load_ranks, make_question, ranks_of
    from movierec.recommender import checked_scores, mask_seen

    real_data("ml-1m")
    data = load_dataset("ml-1m")
    model, m = load_pretrained(name.removesuffix("-ml-1m"), data)
    q = make_question(make_split(data, "leave-last-out"), "test", model.item_ids)
    some = q.histories[:512]
    ours = ranks_of(mask_seen(checked_scores(model, some), some, model.item_ids), q.rows[:512], q.cols[:512])
    label = m["label"]
    theirs = load_ranks(ROOT / f"reports/results/ml-1m_leave-last-out_test_{label}_seed{m['seed']}.json")[:512, 0]
    assert (ours == theirs).mean() > 0.98  # another processor may round another way, and two films change places
    ndcg = lambda r: np.where(r <= 10, 1 / np.log2(1 + r), 0).mean()
    assert abs(ndcg(ours) - ndcg(theirs)) < 1e-3
