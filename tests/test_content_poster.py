"""Poster vectors as installed: every kind of file, each picture looked at once, no network and no guess at missing ones."""

import io
import os
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile

from movierec.content import poster as P
from movierec.core import MovierecError
from movierec.data.posters import poster_bytes


def file_of(im, format="PNG", **kw):
    out = io.BytesIO()
    im.save(out, format, **kw)
    return out.getvalue()


@pytest.fixture
def cover():
    return Image.open(io.BytesIO(poster_bytes("Night Train", 1961, "Thriller"))).convert("RGB")


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MOVIEREC_POSTER_MODEL", raising=False)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_any_mode(cover, mode):
    if mode == "I;16":
        im = Image.fromarray(np.asarray(cover.convert("L"), np.uint16) * 200)
    else:
        im = cover.convert("L").convert(mode) if mode in "IF" else cover.convert(mode)
    got = P._rgb(im)
    assert got.mode == "RGB" and got.size == cover.size
    grey = np.corrcoef(np.asarray(got.convert("L"), float).ravel(), np.asarray(cover.convert("L"), float).ravel())[0, 1]
    assert grey > 0.6  # the same picture, not noise


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 2), (2000, 3000)])
def test_any_size(size):
    rng = np.random.default_rng(0)
    got = P.open_picture(file_of(Image.fromarray(rng.integers(256, size=(size[1], size[0], 3)).astype(np.uint8))))
    assert (got is None) if size == (1, 1) else got.size == P.SIZE
    if got:
        assert np.isfinite(P.describe(got)).all()


def test_each_cut_of_a_file_is_a_picture_or_none(cover):
    "A download may break off anywhere: never an error, and the more there is the nearer to the whole."
    data = file_of(cover, "JPEG", quality=90)
    whole = np.asarray(P.open_picture(data), float)
    away = []
    for cut in range(0, len(data) + 1, max(1, len(data) // 25)):
        got = P.open_picture(data[:cut])
        if got is not None:
            away.append(np.abs(np.asarray(got, float) - whole).mean())
    assert len(away) > 10 and away[-1] < 5 < away[0]
    for data in (file_of(cover), file_of(cover, "WEBP"), file_of(cover.convert("P"), "GIF")):
        for cut in range(0, len(data), max(1, len(data) // 12)):
            P.open_picture(data[:cut])


def test_a_bomb_and_rubbish_are_no_pictures(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert P.open_picture(file_of(Image.effect_noise((200, 200), 50))) is None
    rng = np.random.default_rng(1)
    for magic in (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b"BM"):
        assert P.open_picture(magic + rng.bytes(500)) is None


def test_pillows_switch_is_left_as_it_was(cover):
    data = file_of(cover, "JPEG")[:-400]
    threads = [threading.Thread(target=lambda: [P.open_picture(data) for _ in range(20)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_each_picture_is_looked_at_once(cover, tmp_path, monkeypatch):
    (tmp_path / "1.png").write_bytes(file_of(cover))
    (tmp_path / "2.png").write_bytes(file_of(cover.rotate(180)))
    seen, describe = [], P.describe
    monkeypatch.setattr(P, "describe", lambda p: seen.append(1) or describe(p))
    first = P.poster_vectors([tmp_path / "1.png", None, tmp_path / "1.png"], "descriptor")
    again = P.poster_vectors([tmp_path / "2.png", tmp_path / "1.png"], "descriptor")
    assert len(seen) == 2 and first.there.tolist() == [True, False, True] and again.there.all()
    np.testing.assert_array_equal(again.vectors[1], first.vectors[0])
    assert np.abs(first.vectors[1]).sum() == 0 and not np.allclose(*again.vectors)
    (tmp_path / "1.png").write_bytes(file_of(cover.convert("L")))  # same name, other picture
    assert not np.allclose(P.poster_vectors([tmp_path / "1.png"], "descriptor").vectors, first.vectors[0])


def test_missing_model_is_one_line(monkeypatch):
    with pytest.raises(MovierecError, match="hf download no/such"):
        P.poster_vectors([], "no/such")
    monkeypatch.setenv("MOVIEREC_POSTER_MODEL", "no/other")
    with pytest.raises(MovierecError, match="no/other"):
        P.picture_model()
    assert P.picture_model("descriptor")[0] == "descriptor"


def test_hub_cache_is_used_when_the_weights_are_there(monkeypatch, tmp_path):
    import huggingface_hub

    asked = []

    def snapshot(repo, **kw):
        asked.append((repo, kw))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert P.picture_model() == ("descriptor", None)  # a folder without weights doesn't count
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert P.picture_model() == ("microsoft/resnet-50", tmp_path)
    assert asked[-1] == ("microsoft/resnet-50", {"local_files_only": True})


def test_without_the_extra_it_says_what_to_install(tmp_path, cover):
    (tmp_path / "p.png").write_bytes(file_of(cover))
    code = (
        "import sys; sys.modules['skimage'] = sys.modules['skimage.color'] = None\n"
        "from movierec.content.poster import poster_vectors\n"
        f"print(poster_vectors([None], 'descriptor').there)\nposter_vectors([{str(tmp_path / 'p.png')!r}], 'descriptor')"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert got.stdout.strip() == "[False]" and "movierec[vision]" in got.stderr.strip().split("\n")[-1]


@pytest.mark.realdata
def test_real_posters(real_data):
    real_data("posters/ml-1m")
    items = pd.DataFrame(dict(item_id=[1, 260, 858, 99999999]))
    got = P.poster_vectors(P.film_posters(items, "ml-1m"), "descriptor")
    assert got.vectors.shape == (4, 328) and got.there.tolist() == [True, True, True, False]
