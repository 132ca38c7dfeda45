"Drawn covers: the same everywhere, whatever the title; real posters only from the data set's own folder."
import hashlib
import io
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from movierec.data import posters as P

CODE = """
import hashlib
from movierec.data.posters import draw_poster
for film in [("Amélie", 2001, "Comedy|Romance"), ("8½", 1963, "Drama|Fantasy"), ("", None, "")]:
    print(hashlib.sha256(draw_poster(*film).tobytes()).hexdigest())
"""
HOSTILE = ["", " ", "\n\t", "\x00\x1b[31m", "\ud800", "a" * 5000, "word " * 1000, "Rindfleischetikettierungsgesetz" * 9,
           "七人の侍", "Война и мир", "مرحبا", "👩‍🚀🚀", "e" + "\u0301" * 300, "\u0301\u0308", "<script>alert(1)</script>",
           "../../etc/passwd", "%s {0} {x}", "…" * 50, "½", "ı̇ß", "A|B", "-", "Ring (七人)"]


def digest(*film): return hashlib.sha256(P.draw_poster(*film).tobytes()).hexdigest()


def test_the_same_in_every_process():
    outs = [subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, encoding="utf-8",
                           env={**os.environ, "PYTHONHASHSEED": seed}).stdout.split() for seed in ("0", "12345")]
    here = [digest("Amélie", 2001, "Comedy|Romance"), digest("8½", 1963, "Drama|Fantasy"), digest("", None, "")]
    assert outs[0] == outs[1] == here


def test_it_leaves_the_global_dice_alone():
    import random
    random.seed(1); before = random.random(); random.seed(1)
    P.draw_poster("Alien", 1979, "Horror")
    assert random.random() == before


def test_title_and_year_make_the_cover():
    one = digest("Alien", 1979, "Horror")
    assert one != digest("Aliens", 1979, "Horror") and one != digest("Alien", 1980, "Horror")
    assert one == digest("Alien", np.int64(1979), ["Horror"]) == digest("Alien", 1979.0, "Horror")


@pytest.mark.parametrize("title", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_titles(title):
    im = P.draw_poster(title, 1999, "Drama|Horror")
    assert im.size == (300, 450) and im.mode == "RGB" and len(im.getcolors(200_000)) > 4


@pytest.mark.parametrize("title", [*filter(str.strip, HOSTILE), "The Lord of the Rings: The Fellowship of the Ring"])
def test_no_letter_leaves_the_panel(title, monkeypatch):
    "Only the panel's own colour in the margins beside the title, whatever the title."
    monkeypatch.setitem(P.MOTIFS, "Drama", [lambda c, r, p: p[4]])
    im = np.asarray(P.draw_poster(title, 1999, "Drama"))
    panel = im[445, 150]
    for part in (im[P.ART + 1:, :19], im[P.ART + 1:, 281:], im[P.ART + 1:P.ART + 8], im[440:]):
        assert (part == panel).all()


@pytest.mark.parametrize("year", [None, float("nan"), pd.NA, pd.NaT, "", "soon", 0, -5, float("inf"), 10**9])
def test_unknown_years(year):
    assert digest("Alien", year, "Horror") == digest("Alien", None, "Horror")


@pytest.mark.parametrize("genres", ["", None, float("nan"), pd.NA, "(no genres listed)", [], "||", "Telenovela",
                                    ["Drama", "X" * 200]])
def test_odd_genres(genres):
    assert P.draw_poster("Alien", 1979, genres).size == (300, 450)


@pytest.mark.parametrize("genre", [*P.MOTIFS])
def test_every_motif_with_every_palette(genre):
    "Each paints its picture without error and leaves more than the bare ground."
    import random
    for motif in P.MOTIFS[genre]:
        for palette in P._palettes(genre):
            for seed in range(3):
                c = P._Canvas(palette[0])
                panel = motif(c, random.Random(seed), palette)
                assert panel is None or panel in palette
                assert len(c.im.crop((0, 0, P.W * P.S, P.ART * P.S)).reduce(6).getcolors(100_000)) > 1, motif.__name__


def test_text_can_be_read():
    "On every panel there is an ink and an accent with enough contrast (WCAG AA for large text is 3)."
    for genre in P.PALETTES:
        for p in P._palettes(genre):
            for panel in (p[3], p[4]):
                assert max(P._contrast(q, panel) for q in [(250, 246, 236), p[3], p[0], (24, 24, 28)]) >= 4
                assert any(P._contrast(q, panel) >= 3.2 for q in [*p, (250, 246, 236), (24, 24, 28)])


@pytest.mark.parametrize("size", [(300, 450), (150, 225), (200, 200), (600, 900), (1, 1), (37, 400)])
def test_sizes(size):
    assert P.draw_poster("Alien", 1979, "Horror", size=size).size == size
    assert Image.open(io.BytesIO(P.poster_bytes("Alien", 1979, "Horror", size=size))).size == size


def test_files_are_small_images():
    for title, year, genres in [("Alien", 1979, "Horror"), ("Vertigo", 1958, "Mystery"), ("Clue", 1985, "Comedy")]:
        data = P.poster_bytes(title, year, genres)
        assert data[:4] == b"RIFF" and len(data) < 25_000
        assert P.poster_bytes(title, year, genres, format="jpeg")[:3] == b"\xff\xd8\xff"
    with pytest.raises(ValueError, match="webp or jpeg"): P.poster_bytes("Alien", format="bmp")


def test_find_poster(tmp_path, monkeypatch):
    monkeypatch.setenv("MOVIEREC_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data/posters/ml-1m"; folder.mkdir(parents=True)
    (folder / "50.jpg").write_bytes(b"x"); (tmp_path / "data/posters/51.jpg").write_bytes(b"x")
    assert P.find_poster("ml-1m", 50) == folder / "50.jpg" == P.find_poster("ml-1m", np.int32(50))
    for name in ("ml-100k", "..", ".", "", "../posters/ml-1m", "/etc", "ml-1m/", "ml-1m\n", "ml-1m\x00"):
        assert P.find_poster(name, 50) is None and P.find_poster(name, 51) is None


@pytest.mark.realdata
def test_real_posters_are_found():
    from movierec.core import data_dir
    folder = data_dir() / "posters/ml-1m"
    if not folder.is_dir(): pytest.skip(f"no {folder}: posters may not be passed on")
    some = next(folder.glob("*.jpg"))
    assert P.find_poster("ml-1m", int(some.stem)) == some and P.find_poster("ml-100k", int(some.stem)) is None
