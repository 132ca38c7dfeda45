"""A real server in a process of its own, and patience."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

JSON = {"Content-Type": "application/json"}


def until(check, seconds=60):
    end = time.monotonic() + seconds
    while not (got := check()) and time.monotonic() < end:
        time.sleep(0.02)
    assert got, f"nothing after {seconds} s"
    return got


def processor_seconds(work, runs=5):
    "The least of some runs: what `work()` costs when nothing comes in between."
    took = []
    for _ in range(runs):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return min(took)


class Server:
    "`uvicorn movierec.serve:app` in a process of its own, on a free port."

    def __init__(self, tmp, *args, **env):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.log = open(tmp / "server.log", "w+")
        env = {**os.environ, "MOVIEREC_HOME": str(tmp / "home"), "MOVIEREC_PROGRESS": "0", **env}
        self.p = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "movierec.serve:app", "--port", str(self.port), *args],
            env=env,
            stdout=self.log,
            stderr=self.log,
            cwd=tmp,
        )

    def get(self, path, body=None):
        "(status, parsed body), or (0, None) while nobody listens."
        r = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", None if body is None else json.dumps(body).encode(), JSON
        )
        try:
            with urllib.request.urlopen(r, timeout=10) as a:
                return a.status, json.loads(a.read())
        except urllib.error.HTTPError as e:
            return e.code, json.loads(e.read())
        except (urllib.error.URLError, ConnectionError):
            return 0, None

    def text(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.p.poll() is None:
            self.p.terminate()
        try:
            self.p.wait(20)
        finally:
            self.p.kill()
            self.log.close()
