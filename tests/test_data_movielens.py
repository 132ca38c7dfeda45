"""Every edition's files, faults in them, the cache, and downloads from a server that misbehaves."""
import hashlib
import http.server
import io
import os
import re
import stat
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from movierec import fetch
from movierec.core import MovierecError
from movierec.data import movielens as ml
from movierec.data.movielens import FORMATS, clean_title, find_dataset, get_movielens, import_movielens, list_datasets, load_movielens
from movierec.data.schema import SchemaError

FLAGS = {"Comedy": "0000010000000000000", "unknown": "1000000000000000000"}
LATIN = "Misérables, Les (1995)"
FILES = {   # the same three films and four ratings, as each family spells them
    "ml-100k": {"u.data": "2\t3\t4\t881250949\n1\t1\t5\t881250949\n1\t2\t3\t881250950\n2\t1\t1\t881250900\n",
                "u.item": "".join(f"{i}|{t}|01-Jan-1995||http://x|{'|'.join(FLAGS[g])}\n" for i, t, g in
                                  [(1, "Toy Story (1995)", "Comedy"), (2, LATIN, "Comedy"), (3, "unknown", "unknown")]),
                "u.user": "1|24|M|technician|85711\n2|53|F|other|T8H1N\n", "u1.base": "1\t1\t5\t881250949\n"},
    "ml-1m": {"ratings.dat": "2::3::4::881250949\n1::1::5::881250949\n1::2::3::881250950\n2::1::1::881250900\n",
              "movies.dat": f"1::Toy Story (1995)::Animation|Children's|Comedy\n2::{LATIN}::Drama\n3::unknown::\n",
              "users.dat": "1::M::18::17::85711\n2::F::50::0::06811-1234\n"},
    "ml-10m": {"ratings.dat": "2::3::4::881250949\n1::1::5::881250949\n1::2::3.5::881250950\n2::1::0.5::881250900\n",
               "movies.dat": f"1::Toy Story (1995)::Animation|Comedy\n2::{LATIN}::Drama\n3::unknown::(no genres listed)\n",
               "tags.dat": "1::2::a:b::c::881250950\n"},
    "ml-25m": {"ratings.csv": "userId,movieId,rating,timestamp\n2,3,4.0,881250949\n1,1,5.0,881250949\n1,2,3.5,881250950\n2,1,0.5,881250900\n",
               "movies.csv": f'movieId,title,genres\n1,Toy Story (1995),Animation|Comedy\n2,"{LATIN}",Drama\n3,"unknown","(no genres listed)"\n',
               "tags.csv": 'userId,movieId,tag,timestamp\n1,2,"say ""hi"", twice",881250950\n1,3,,881250951\n',
               "links.csv": "movieId,imdbId,tmdbId\n1,0114709,862\n2,10954600,\n3,,\n"},
}


def write(folder: Path, edition="ml-1m", **change) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for f, text in (FILES[edition] | change).items():
        (folder / f).write_bytes(text if isinstance(text, bytes) else text.encode(FORMATS[edition].encoding))
    return folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    "A data folder and a home of one's own."
    monkeypatch.setenv("MOVIEREC_DATA", str(tmp_path / "data")); monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path / "home"))
    return tmp_path


# ------------------------------------------------------------------ titles

@pytest.mark.parametrize("filed, said", [
    ("American President, The (1995)", ("The American President", 1995)),
    ("City of Lost Children, The (Cité des enfants perdus, La) (1995)", ("The City of Lost Children (La Cité des enfants perdus)", 1995)),
    ("Shanghai Triad (Yao a yao yao dao waipo qiao) (1995)", ("Shanghai Triad (Yao a yao yao dao waipo qiao)", 1995)),
    ("Hate (Haine, La) (1995)", ("Hate (La Haine)", 1995)), ("Enfer, L' (1994)", ("L'Enfer", 1994)), ("Bewegte Mann, Der (1994)", ("Der Bewegte Mann", 1994)),
    ("Children Are Watching us, The (Bambini ci guardano, I) (1942)", ("The Children Are Watching us (I Bambini ci guardano)", 1942)),
    ("Convent, The (Convento, O) (1995)", ("The Convent (O Convento)", 1995)), ("Autumn Tale, An (Conte d'automne) (1998)", ("An Autumn Tale (Conte d'automne)", 1998)),
    ("Bug's Life, A (1998)", ("A Bug's Life", 1998)), ("Dorado, El (1967)", ("El Dorado", 1967)), ("Lola Rennt (a.k.a. Boot, Das) (1998)", ("Lola Rennt (a.k.a. Das Boot)", 1998)),
    ("Paris, Texas (1984)", ("Paris, Texas", 1984)), ("Happy, Texas (1999)", ("Happy, Texas", 1999)), ("301, 302 (1995)", ("301, 302", 1995)),
    ("Lust, Caution (Se, jie) (2007)", ("Lust, Caution (Se, jie)", 2007)), ("Truth or Consequences, N.M. (1997)", ("Truth or Consequences, N.M.", 1997)),
    ("Seven (a.k.a. Se7en) (1995)", ("Seven (a.k.a. Se7en)", 1995)), ("(500) Days of Summer (2009)", ("(500) Days of Summer", 2009)),
    ("Two Friends (1986) ", ("Two Friends", 1986)), ("Land (1995) (V)", ("Land", 1995)), ("The OA", ("The OA", None)), ("", ("", None)),
    ("Fullmetal Alchemist 2018 (2017)", ("Fullmetal Alchemist 2018", 2017)), ("Blade Runner 2049 (2017)", ("Blade Runner 2049", 2017)),
    ("Cosmos (1980– )", ("Cosmos", 1980)), ("Broken (Story (1999)", ("Broken (Story", 1999)), ("Bad Year (9999)", ("Bad Year (9999)", None)),
])
def test_clean_title(filed, said): assert clean_title(filed) == said


# ------------------------------------------------------------------ parsing

@pytest.mark.parametrize("edition", FILES)
def test_every_family_gives_the_same_tables(places, edition):
    write(places / "data" / edition, edition)
    ds = load_movielens(edition)
    assert ds.interactions.item_id.tolist() == [3, 1, 2, 1]                 # the order of the file
    assert ds.interactions.timestamp.tolist() == [881250949, 881250949, 881250950, 881250900]
    assert [str(t) for t in ds.interactions.dtypes] == ["int32", "int32", "float32", "int64"]
    assert ds.items.title.tolist() == ["Toy Story", "Les Misérables", "unknown"]
    assert ds.items.year.tolist()[:2] == [1995, 1995] and ds.items.year.isna().tolist() == [False, False, True]
    assert ds.items.genres[2] == "" and ds.items.genres[0].endswith("Comedy")
    assert ds.scale == FORMATS[edition].scale and len(ds.source["fingerprint"]) == 64
    again = load_movielens(edition)                                         # now from the cache
    for t in ml.TABLES:
        a, b = getattr(ds, t), getattr(again, t)
        assert (a is None) == (b is None)
        if a is not None: pd.testing.assert_frame_equal(a, b)
    assert again.source == ds.source


def test_what_comes_along(places):
    for e in FILES: write(places / "data" / e, e)
    old, m1, m10, m25 = (load_movielens(e) for e in FILES)
    assert old.users.values.tolist() == [[1, "M", "18-24", "technician", "85711", 24], [2, "F", "50-55", "other", "T8H1N", 53]]
    assert m1.users.values.tolist() == [[1, "M", "18-24", "technician/engineer", "85711"], [2, "F", "50-55", "other", "06811-1234"]]
    assert m10.users is None and m10.tags.tag.tolist() == ["a:b::c"]
    assert m25.tags.tag.tolist() == ['say "hi", twice', ""] and m25.links.imdb_id.tolist() == ["tt0114709", "tt10954600", ""]
    assert m25.links.tmdb_id.isna().tolist() == [False, True, True] and old.tags is None and old.links is None


def test_tables_may_be_written_to_parsed_or_cached(places):
    write(places / "data/ml-1m")
    for _ in range(2):
        t = load_movielens("ml-1m").interactions; t.loc[0, "rating"] = 1.; t["rating"] += 1
        assert t.rating[0] == 2


@pytest.mark.parametrize("edition, file, text, message", [
    ("ml-1m", "ratings.dat", "1::1::5::9\n1::2::3\n", "ratings.dat, line 2: 3 fields instead of 4"),
    ("ml-1m", "ratings.dat", "1::1::5::9\n1::2::3::9::9\n", "ratings.dat, line 2: 5 fields instead of 4"),
    ("ml-1m", "ratings.dat", "1::1::5::9\n\n1::2::3::9\n", "ratings.dat, line 2: the line is blank"),
    ("ml-1m", "ratings.dat", "1::1::5::9\n1:7:2::3::9\n", "ratings.dat, line 2: 3 fields"),
    ("ml-1m", "ratings.dat", "1:1:5:9\n", "ratings.dat, line 1: 1 fields"),
    ("ml-1m", "ratings.dat", "1::1::5::9\n1::2::x::9\n", "ratings.dat, line 2: rating 'x' is no number"),
    ("ml-1m", "ratings.dat", "1::1::5::9\n1::2::3.5::9\n", "ratings.dat, line 2: rating 3.5 is no step of 1"),
    ("ml-1m", "ratings.dat", "1::1::5::9\n1::2::9::9\n", "ratings.dat, line 2: rating 9 is outside 1..5"),
    ("ml-1m", "ratings.dat", "1::1::5::9\n-1::2::3::9\n", "ratings.dat, line 2: user_id"),
    ("ml-1m", "ratings.dat", "1::1::5::9\n1::2::3::978300760000\n", "ratings.dat, line 2: timestamp 978300760000"),
    ("ml-1m", "ratings.dat", "1::1::5::9\n1::77::3::9\n", "ratings.dat, line 2: film 77 isn't in movies.dat"),
    ("ml-1m", "ratings.dat", b"1::1::5::9\n\x00\xff::\n", "ratings.dat, line 2: 2 fields"),
    ("ml-1m", "movies.dat", "1::A (1990)::Drama\n2::B (1990)\n", "movies.dat, line 2: 2 fields instead of 3"),
    ("ml-1m", "movies.dat", "1::A (1990)::Drama\n1::B (1990)::Drama\n", "movies.dat, line 2: item_id 1 is there twice"),
    ("ml-1m", "movies.dat", "1::A (1990)::Drama\nx::B (1990)::Drama\n", "movies.dat, line 2: item_id 'x' is no number"),
    ("ml-1m", "users.dat", "1::F::18::17::1\n2::F::18\n", "users.dat, line 2: 3 fields instead of 5"),
    ("ml-1m", "users.dat", "1::F::18::17::1\n2::Z::18::17::1\n", "users.dat, line 2: gender 'Z'"),
    ("ml-1m", "users.dat", "1::F::18::99::1\n", "users.dat: age or occupation"),
    ("ml-25m", "ratings.csv", "movieId,userId,rating,timestamp\n1,1,5,9\n", "ratings.csv, line 1: the header is"),
    ("ml-25m", "ratings.csv", "userId,movieId,rating,timestamp\n1,1,5,9\n1,1,5\n", "ratings.csv, line 3: 3 fields"),
    ("ml-25m", "movies.csv", "movieId,title,genres\n1,A,Drama\n2,B\n", "movies.csv, line 3: 2 fields"),
    ("ml-25m", "movies.csv", b"movieId,title,genres\n1,A,Drama\n2,B\xe9,Drama\n", "movies.csv, line 3: byte 0xe9 isn't utf-8"),
    ("ml-25m", "tags.csv", "userId,movieId,tag,timestamp\n1,x,a,9\n", "tags.csv"),
    ("ml-25m", "links.csv", "movieId,imdbId,tmdbId\n1,abc,1\n", "links.csv"),
    ("ml-100k", "u.item", "1|A|b\n", "u.item, line 1: 3 fields instead of 24"),
    ("ml-100k", "u.data", "1\t1\t5\n", "u.data, line 1: 3 fields"),
])
def test_a_malformed_file_is_refused_by_file_and_line(places, edition, file, text, message):
    write(places / "data" / edition, edition, **{file: text})
    with pytest.raises(SchemaError) as e: load_movielens(edition)
    assert message in str(e.value)
    assert not list((places / "home").rglob("*.parquet"))


def test_line_ends_and_blank_last_lines_do_no_harm(places):
    crlf = {f: t.replace("\n", "\r\n") + "\r\n" for f, t in FILES["ml-25m"].items()}
    write(places / "data/ml-25m", "ml-25m", **crlf | {"movies.csv": "\ufeff" + crlf["movies.csv"]})
    ds = load_movielens("ml-25m")
    assert len(ds.interactions) == 4 and ds.items.title[1] == "Les Misérables" and ds.items.genres[0] == "Animation|Comedy"
    write(places / "data/ml-1m", **{"ratings.dat": FILES["ml-1m"]["ratings.dat"].rstrip("\n")})     # no line end at the end
    assert len(load_movielens("ml-1m").interactions) == 4


# ------------------------------------------------------------------ finding and caching

def test_a_missing_edition_says_how_to_get_it(places):
    with pytest.raises(MovierecError, match="run `movierec data get ml-20m`"): load_movielens("20m")
    with pytest.raises(MovierecError, match="did you mean ml-1m"): load_movielens("ml1m")


def test_published_data_go_before_downloads(places):
    write(places / "home/data/ml-1m"); assert find_dataset("ml-1m") == places / "home/data/ml-1m"
    write(places / "data/ml-1m"); assert find_dataset("ml-1m") == places / "data/ml-1m"


def cached(places): return sorted((places / "home/cache/data").glob("ml-1m-*"))


def test_the_cache_follows_its_source(places):
    folder = write(places / "data/ml-1m"); load_movielens("ml-1m"); before = cached(places)
    write(folder, **{"ratings.dat": "1::1::2::881250949\n"})
    assert load_movielens("ml-1m").interactions.rating.tolist() == [2]
    assert len(cached(places)) == 1 and cached(places) != before            # the elder is gone
    same_size = "1::1::4::881250949\n"; f = folder / "ratings.dat"; f.write_text(same_size); os.utime(f, ns=(1, 1))
    assert load_movielens("ml-1m").interactions.rating.tolist() == [4]      # same size, another time


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty", "delete", "meta"])
def test_a_damaged_cache_is_made_again(places, harm):
    write(places / "data/ml-1m"); good = load_movielens("ml-1m"); cache, = cached(places)
    f = cache / "interactions.parquet"; raw = bytearray(f.read_bytes())
    if harm == "truncate": f.write_bytes(raw[:len(raw) // 2])
    if harm == "flip": raw[40] ^= 0xff; f.write_bytes(raw)                   # in a page's data: only its checksum tells
    if harm == "empty": f.write_bytes(b"")
    if harm == "delete": f.unlink()
    if harm == "meta": (cache / "meta.json").write_text("{half")
    pd.testing.assert_frame_equal(load_movielens("ml-1m").interactions, good.interactions)
    pd.testing.assert_frame_equal(load_movielens("ml-1m").interactions, good.interactions)


def test_a_home_that_cannot_be_written_costs_only_speed(places):
    write(places / "data/ml-1m"); (places / "home").write_text("a file where the folder should be")
    assert load_movielens("ml-1m").n_interactions == 4


def test_the_source_folder_is_only_read(places):
    folder = write(places / "data/ml-1m"); before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}
    load_movielens("ml-1m"); import_movielens(folder)
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()} == before


# ------------------------------------------------------------------ importing

def zipped(path: Path, files: dict) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for n, b in files.items(): z.writestr(n, b)
    return path


def ml_zip(path, edition="ml-1m", inner="ml-1m/"):
    return zipped(path, {inner + f: t.encode(FORMATS[edition].encoding) for f, t in FILES[edition].items()})


@pytest.mark.parametrize("edition", FILES)
def test_import_of_folder_and_zip(places, edition):
    for source in (write(places / "mine" / edition, edition), ml_zip(places / f"{edition}.zip", edition, "whatever/")):
        got = import_movielens(source)
        assert got == places / "home/data" / edition and load_movielens(edition).n_interactions == 4
        assert {p.name for p in got.iterdir()} == set(FILES[edition]) | {ml.NOTE}
        assert load_movielens(edition).source["verified"].startswith("not: the counts differ, 4 ratings")


def test_import_says_which_it_cannot_tell(places):
    folder = write(places / "mine/stuff", "ml-25m")
    with pytest.raises(MovierecError, match="say which by name"): import_movielens(folder)
    assert import_movielens(folder, "20m").name == "ml-20m"
    with pytest.raises(MovierecError, match="holds no MovieLens files"): import_movielens(places)
    with pytest.raises(MovierecError, match="is not there"): import_movielens(places / "nothing.zip")
    with pytest.raises(MovierecError, match="no ratings.csv"): import_movielens(write(places / "mine/ml-1m"), "ml-25m")


def test_counts_decide_where_they_are_the_published_ones(places, monkeypatch):
    from dataclasses import replace
    monkeypatch.setitem(FORMATS, "ml-32m", replace(FORMATS["ml-32m"], n_ratings=4, n_users=2, n_films=3))
    got = import_movielens(write(places / "mine/stuff", "ml-25m"))
    assert got.name == "ml-32m" and load_movielens("ml-32m").source["verified"] == "by structure: 4 ratings, 2 users, 3 films"


def test_a_broken_import_changes_nothing(places):
    import_movielens(write(places / "mine/ml-1m"))
    with pytest.raises(SchemaError): import_movielens(write(places / "bad/ml-1m", **{"ratings.dat": "oops\n"}))
    with pytest.raises(MovierecError, match="no sound zip"): import_movielens(write(places / "bad/ml-1m") / "ratings.dat")
    assert load_movielens("ml-1m").n_interactions == 4
    assert [p.name for p in (places / "home/data").iterdir()] == ["ml-1m"]          # no temporary folder is left


# ------------------------------------------------------------------ evil zips

def special(name, mode):
    m = zipfile.ZipInfo(name); m.external_attr = mode << 16; return m


@pytest.mark.parametrize("name", ["../evil", "/abs/evil", "ml-1m/../../evil", "C:/evil", "..\\evil", "\\\\host\\evil"])
def test_no_member_leaves_the_folder(places, name):
    z = zipped(places / "e.zip", {name: b"x"}); out = places / "deep/out"; out.mkdir(parents=True)
    with pytest.raises(MovierecError, match="points outside"): fetch.unpack_zip(z, out)
    assert not list(places.rglob("evil*")) and not list(out.iterdir())


def test_links_devices_bombs_and_doubles_are_refused(places):
    out = places / "out"; out.mkdir()
    def refuse(path, message):
        with pytest.raises(MovierecError, match=message): fetch.unpack_zip(path, out)
    refuse(zipped(places / "a.zip", {special("ml/link", stat.S_IFLNK | 0o777): b"/etc/passwd"}), "no plain file")
    refuse(zipped(places / "b.zip", {special("ml/dev", stat.S_IFCHR | 0o666): b""}), "no plain file")
    refuse(zipped(places / "d.zip", {f"f{i}": b"" for i in range(1001)}), "1,001 files")
    with pytest.raises(MovierecError, match="bytes unpacked"): fetch.unpack_zip(zipped(places / "c.zip", {"bomb": bytes(10**7)}), out, max_bytes=10**6)
    with pytest.warns(UserWarning), zipfile.ZipFile(places / "t.zip", "w") as z: z.writestr("a", "1"); z.writestr("a", "2")
    refuse(places / "t.zip", "two members have one name")
    assert not list(out.iterdir())


def test_a_lying_or_damaged_zip_is_refused(places):
    z = zipped(places / "a.zip", {"ml-1m/ratings.dat": b"1::1::5::9\n" * 1000}); raw = bytearray(z.read_bytes()); out = places / "out"; out.mkdir()
    liar = raw.copy(); at = liar.rindex(b"PK\x01\x02"); liar[at + 24:at + 28] = (10).to_bytes(4, "little")     # says: 10 bytes unpacked
    (places / "l.zip").write_bytes(liar)
    with pytest.raises(MovierecError): fetch.unpack_zip(places / "l.zip", out)
    assert all(p.stat().st_size <= 10 for p in out.rglob("*.dat"))
    flipped = raw.copy(); flipped[60] ^= 0xff; (places / "f.zip").write_bytes(flipped)
    with pytest.raises(MovierecError, match="no sound zip"): fetch.unpack_zip(places / "f.zip", out)
    (places / "h.zip").write_bytes(raw[:-40])
    with pytest.raises(MovierecError, match="no sound zip"): fetch.unpack_zip(places / "h.zip", out)


def test_a_full_disk_is_said_in_words(places, monkeypatch):
    z = ml_zip(places / "ml-1m.zip")
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda p: SimpleNamespace(free=100))
    with pytest.raises(MovierecError, match="the disk is full"): import_movielens(z)
    monkeypatch.undo(); monkeypatch.setenv("MOVIEREC_HOME", str(places / "home"))
    def full(*a, **k): raise OSError(28, "No space left on device")
    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with pytest.raises(MovierecError, match="the disk is full"): import_movielens(z)


# ------------------------------------------------------------------ downloading

class Server(http.server.ThreadingHTTPServer):
    "Serves `files`; `breaks` says after how many bytes each answer breaks off; `mood` changes its manners."
    daemon_threads = True
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.breaks, self.seen, self.mood, self.etag = {}, [], [], "", '"v1"'
        self.base = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        s = self.server; body = s.files.get(self.path.lstrip("/")); m = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        s.seen.append((self.path.lstrip("/"), int(m[1]) if m else None))
        if body is None: return self.send_error(404)
        if s.mood == "busy" and s.seen[-1][0].endswith(".zip") and len(s.seen) < 4: return self.send_error(503)
        fresh = self.headers.get("If-Range") in (None, s.etag)
        at = int(m[1]) if m and fresh and s.mood != "no ranges" else 0
        if at and at >= len(body):
            self.send_response(416); self.send_header("Content-Range", f"bytes */{len(body)}"); self.send_header("Content-Length", "0"); return self.end_headers()
        self.send_response(206 if at else 200); self.send_header("ETag", s.etag)
        if at: self.send_header("Content-Range", f"bytes {at if s.mood != 'wrong range' else at + 7}-{len(body) - 1}/{len(body)}")
        if s.mood != "no length": self.send_header("Content-Length", str(len(body) - at))
        self.end_headers()
        self.wfile.write(body[at:at + s.breaks.pop(0)] if s.breaks and self.path.endswith(".zip") else body[at:])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1"); monkeypatch.setenv("no_proxy", "127.0.0.1")
    s = Server(); threading.Thread(target=s.serve_forever, args=(0.01,), daemon=True).start()
    yield s
    s.shutdown(); s.server_close()


@pytest.fixture
def published(places, server, monkeypatch):
    "A server that has ml-10m (whose MD5 it tells), of 1.5 MB or so, so that it can be broken off."
    noise = np.random.default_rng(0).bytes(1_500_000)
    raw = ml_zip(places / "x.zip", "ml-10m", "ml-10M100K/"); buf = io.BytesIO(raw.read_bytes())
    with zipfile.ZipFile(buf, "a") as z: z.writestr("ml-10M100K/README.html", noise)
    body = buf.getvalue(); raw.unlink()
    server.files |= {"ml-10m.zip": body, "ml-10m.zip.md5": f"MD5 (ml-10m.zip) = {hashlib.md5(body).hexdigest()}\n".encode()}
    return server


def downloads(places): return sorted(p.name for p in (places / "home/downloads").glob("*"))
def ranges(server): return [r for p, r in server.seen if p.endswith(".zip")]


def test_download_verify_unpack_load(places, published):
    got = get_movielens("10M", base=published.base)
    assert got == places / "home/data/ml-10m" and downloads(places) == []
    ds = load_movielens("ml-10m")
    assert ds.n_interactions == 4 and ds.source["verified"].startswith("by checksum")
    published.seen.clear(); assert get_movielens("ml-10m", base=published.base) == got and not published.seen    # it is here
    (got / "ratings.dat").write_text("1::1::5::881250949\n")
    assert load_movielens("ml-10m").source["verified"].startswith("not")       # changed by hand since: no checksum vouches


def test_an_interrupted_download_goes_on(places, published):
    published.breaks = [400_000, 500_000]
    get_movielens("ml-10m", base=published.base)
    r = ranges(published)
    assert len(r) == 3 and r[0] is None and 0 < r[1] <= 400_000 < r[2] <= 900_000 and load_movielens("ml-10m").n_interactions == 4


def test_a_later_process_goes_on(places, published):
    published.breaks = [600_000, 0, 0, 0, 0, 0]
    with pytest.raises(MovierecError, match="goes on where it stopped"): get_movielens("ml-10m", base=published.base)
    assert downloads(places) == ["ml-10m.zip.json", "ml-10m.zip.part"]
    published.seen.clear(); get_movielens("ml-10m", base=published.base)
    assert ranges(published)[0] > 0 and downloads(places) == []


@pytest.mark.parametrize("mood", ["no ranges", "wrong range", "no length", "busy"])
def test_a_server_with_odd_manners(places, published, mood):
    published.mood = mood; published.breaks = [] if mood in ("no length", "busy") else [400_000]
    get_movielens("ml-10m", base=published.base)
    assert load_movielens("ml-10m").source["verified"].startswith("by checksum")


def test_a_file_that_changed_meanwhile_is_fetched_whole(places, published):
    published.breaks = [600_000, 0, 0, 0, 0, 0]
    with pytest.raises(MovierecError): get_movielens("ml-10m", base=published.base)
    published.etag = '"v2"'; get_movielens("ml-10m", base=published.base)
    assert load_movielens("ml-10m").n_interactions == 4


def test_a_part_of_another_file_is_not_continued(places, published):
    part = places / "home/downloads/ml-10m.zip.part"; part.parent.mkdir(parents=True); part.write_bytes(b"x" * 500_000)
    get_movielens("ml-10m", base=published.base)                    # no note beside it: not trusted
    assert ranges(published) == [None]


def test_a_damaged_part_is_fetched_anew_once(places, published):
    published.breaks = [600_000, 0, 0, 0, 0, 0]
    with pytest.raises(MovierecError): get_movielens("ml-10m", base=published.base)
    part = places / "home/downloads/ml-10m.zip.part"; raw = bytearray(part.read_bytes()); raw[1000] ^= 1; part.write_bytes(raw)
    published.seen.clear(); get_movielens("ml-10m", base=published.base)
    assert len(ranges(published)) == 2 and ranges(published)[1] is None


def test_a_part_that_is_whole_already(places, published):
    published.breaks = [600_000, 0, 0, 0, 0, 0]
    with pytest.raises(MovierecError): get_movielens("ml-10m", base=published.base)
    (places / "home/downloads/ml-10m.zip.part").write_bytes(published.files["ml-10m.zip"])
    get_movielens("ml-10m", base=published.base); assert load_movielens("ml-10m").n_interactions == 4


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(places, published):
    published.files["ml-10m.zip"] += b"!"
    with pytest.raises(MovierecError, match="not the published"): get_movielens("ml-10m", base=published.base)
    assert downloads(places) == [] and find_dataset("ml-10m") is None


def test_without_an_md5_file_the_structure_is_checked(places, published):
    del published.files["ml-10m.zip.md5"]
    get_movielens("ml-10m", base=published.base)
    assert load_movielens("ml-10m").source["verified"].startswith("not: the counts differ")


def test_errors_of_the_network_are_said_in_words(places, server):
    with pytest.raises(MovierecError, match=r"ml-20m.zip is not there \(404\)"): get_movielens("ml-20m", base=server.base)
    with pytest.raises(MovierecError, match="check the network.*movierec data import PATH"): get_movielens("ml-20m", base="http://127.0.0.1:9/", timeout=2)
    assert find_dataset("ml-20m") is None


def test_a_file_too_large_to_be_movielens_is_refused(places, published, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 1000)
    with pytest.raises(MovierecError, match="can't be right"): get_movielens("ml-10m", base=published.base)
    published.mood = "no length"
    with pytest.raises(MovierecError, match="can't be right"): get_movielens("ml-10m", base=published.base)


def test_a_disk_that_fills_while_downloading(places, published, monkeypatch):
    def full(*a, **k): raise OSError(28, "No space left on device")
    monkeypatch.setattr(fetch, "_fetch", full)
    with pytest.raises(MovierecError, match="the disk is full"): get_movielens("ml-10m", base=published.base)


# ------------------------------------------------------------------ listing, and the real files

def test_list_datasets(places):
    write(places / "data/ml-1m"); rows = {r["name"]: r for r in list_datasets()}
    assert list(rows) == list(FORMATS) and rows["ml-1m"]["where"] == str(places / "data/ml-1m")
    assert rows["ml-25m"]["where"] == "not here: movierec data get ml-25m" and rows["ml-25m"]["ratings"] == 25_000_095
    assert ml.dataset_info("1m")["md5"] == "c4d9eecfca2ab87c1945afe126590906"


def real(name):
    folder = Path(os.environ.get("MOVIEREC_DATA") or "data") / name
    return pytest.param(name, marks=[pytest.mark.realdata, pytest.mark.skipif(not folder.is_dir(), reason=f"{name} is not under MOVIEREC_DATA")])


@pytest.mark.parametrize("name", [real("ml-100k"), real("ml-1m"), real("ml-latest-small")])
def test_the_published_counts(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path))
    ds, f = load_movielens(name), FORMATS[name]
    assert (ds.n_interactions, ds.n_users, ds.n_items) == (f.n_ratings, f.n_users, f.n_films)
    assert ds.source["verified"].startswith("by structure")
    left = ds.items.title[ds.items.title.str.contains(r", (?:The|A|An|Le|La|Les|L'|Il|El|Der|Die|Das)\)?$")]
    assert not len(left) and (ds.items.year.notna().mean() > .99) and not ds.items.genres.str.contains("no genres").any()


@pytest.mark.parametrize("name", [real("ml-1m")])
def test_pinned_facts_of_ml_1m(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MOVIEREC_HOME", str(tmp_path))
    ds = load_movielens(name); items = ds.items.set_index("item_id")
    assert ds.n_rated == 3706 and ds.interactions.iloc[0].tolist() == [1, 1193, 5, 978300760]
    assert items.loc[11, ["title", "year"]].tolist() == ["The American President", 1995] and items.genres[1] == "Animation|Children's|Comedy"
    assert ds.users.loc[0].tolist() == [1, "F", "Under 18", "K-12 student", "48067"]
    assert import_movielens(Path(os.environ["MOVIEREC_DATA"]) / name) == tmp_path / "data" / name
