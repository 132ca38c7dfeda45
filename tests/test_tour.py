"""`make tour` asks every call that the API documents, and notices what isn't as promised."""

import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tiny_world import make_full_bundle

from movierec.bundle import build_bundle
from movierec.serve import create_app

TOUR = Path(__file__).resolve().parents[1] / "tools/tour.py"
pytestmark = [
    pytest.mark.skipif(not TOUR.is_file(), reason="no checkout: tools/ isn't here"),
    pytest.mark.skipif(not shutil.which("curl"), reason="curl isn't installed"),
]


def tour(*args):
    return subprocess.run([sys.executable, TOUR, *map(str, args)], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tour") / "bundle"
    make_full_bundle(folder)
    return tour("--bundle", folder)


def test_every_answer_is_as_promised(said):
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr
    asked, right = map(int, re.search(r"(\d+) calls, (\d+) answered as expected", said.stdout).groups())
    assert asked == right == said.stdout.count("\n$ curl ") + said.stdout.startswith("$ curl ") and asked > 50


def test_every_call_of_the_api_is_asked(said):
    "No route without its curl, each method by its own, and each status that the contract names."
    lines = re.findall(r"^\$ (curl .*)$", said.stdout, re.M)
    asked = {(re.search(r"http://[^/]+(/[^ ?']*)", x)[1], "post" if "--data-binary" in x else "get") for x in lines}
    for path, calls in create_app().openapi()["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", path)
        for method in calls:
            assert any(re.fullmatch(pattern, p) and m == method for p, m in asked), (method, path)
    statuses = set(map(int, re.findall(r"^(\d{3}) ?", said.stdout, re.M)))
    assert {200, 202, 401, 403, 404, 413, 422, 429, 501, 503} <= statuses


def test_commands_can_be_typed_again(said):
    "What is shown is shell: quoted where it must be, and short answers whole."
    for line in re.findall(r"^\$ (curl .*)$", said.stdout, re.M):
        assert subprocess.run(["sh", "-nc", line]).returncode == 0, line


@pytest.mark.slow
def test_the_demo_answers_everything_but_the_two_towers(tmp_path):
    "A bundle as `movierec build` makes it, its models hardly trained."
    pytest.importorskip("sentence_transformers", reason="the pipeline and the search need movierec[text]")
    build_bundle("demo", tmp_path / "bundle", epochs=1, max_minutes=0.02)
    got = tour("--bundle", tmp_path / "bundle")
    assert got.returncode == 0, got.stdout[-3000:] + got.stderr
    missing = re.findall(r"^# (.+)\n\$ curl .*\n501 ", got.stdout, re.M)
    assert missing == ["films by title put in order for a viewer, by the two towers", "a model that isn't there"]


class Yes(BaseHTTPRequestHandler):
    "Says 200 and an empty object to everything."

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b'{"models": [], "offers": {"search": false, "diversity": null}, "recommendations": [1], "translated": ["A:B"]}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_): ...


def test_a_service_that_says_yes_to_everything_fails():
    server = HTTPServer(("127.0.0.1", 0), Yes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        got = tour("--url", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
    assert got.returncode == 1 and "no such film: 200, expected 404" in got.stderr
    assert "by the taste model: 200, expected 501" in got.stderr and "one film: no movie_id, title in the answer" in got.stderr


def test_it_wants_a_service_or_a_bundle():
    assert tour().returncode == 2 and tour("--url", "http://x", "--bundle", "y").returncode == 2
