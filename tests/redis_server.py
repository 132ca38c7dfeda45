"""A real Redis server in a process of its own, that may be killed, hung and started again."""

import shutil
import signal
import socket
import subprocess

import pytest
from running import until


class RedisServer:
    "`redis-server` on a free port; it keeps nothing on disk."

    def __init__(self, tmp, *args):
        self.exe = shutil.which("redis-server")
        if not self.exe:
            pytest.skip("redis-server isn't installed (tools/system_parts.sh installs it)")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.tmp, self.args, self.p = tmp, args, None
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        plain = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        plain += ["--dir", str(self.tmp), "--logfile", str(self.tmp / "redis.log")]
        self.p = subprocess.Popen([self.exe, *plain, *self.args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.listens)
        return self

    def listens(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                s.sendall(b"PING\r\n")
                return s.recv(64)[:1] in b"+-"  # PONG, or: a password first
        except OSError:
            return False

    def kill(self):
        self.p.kill()
        self.p.wait()

    def hang(self):
        self.p.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.p.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()
