"""Under real servers with several processes: gunicorn's prefork, uvicorn's workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from scene import Service

WSGI = """
import os
from uplifted_ops import Ops

ops = Ops(root=os.environ["SERVICE"])
inner = ops.wsgi()

def app(environ, start_response):
    # Who answers, and that a worker process can be used from here.
    assert ops.store.stats().stores[0].name == "main"
    def start(status, headers, *more):
        return start_response(status, [*headers, ("x-pid", str(os.getpid()))], *more)
    return inner(environ, start)
"""
ASGI = """
import os
from uplifted_ops import AsyncOps

ops = None

async def app(scope, receive, send):
    global ops
    if scope["type"] == "lifespan":
        async with AsyncOps(root=os.environ["SERVICE"]) as ops:
            await ops.asgi()(scope, receive, send)
        return
    assert (await ops.store.stats()).stores[0].name == "main"
    async def signed(message):
        if message["type"] == "http.response.start":
            message["headers"].append((b"x-pid", str(os.getpid()).encode()))
        await send(message)
    await ops.asgi()(scope, receive, signed)
"""


class UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self.path))


@contextmanager
def served(command: list[str], folder: Path, service: Service) -> Iterator[Callable[[], tuple[str, str]]]:
    """Starts a server; gives a function that asks it for `/status` and says who answered."""
    (service.root / "ops.toml").write_text('[[store]]\nname = "main"\nkind = "sqlite"\npath = "data/uplifted.db"\n')
    address = folder / "s"
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"SERVICE": str(service.root)}, stderr=subprocess.PIPE, text=True
    )

    def ask() -> tuple[str, str]:
        connection = UnixConnection(address)
        connection.request("GET", "/status")
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        connection.close()
        return json.loads(body)["status"], response.headers["x-pid"]

    try:
        until = time.monotonic() + 30
        while True:
            try:
                ask()
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < until, "the server does not answer"
                time.sleep(0.05)
        yield ask
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert process.returncode in (0, -signal.SIGTERM), err
        assert "Traceback" not in err, err
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_each_process_of_the_server_has_an_ops_of_its_own(server: str, service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "host.py").write_text(WSGI if server == "gunicorn" else ASGI)
    options = ["--workers", "2", "host:app"]
    where = ["--bind", "unix:s"] if server == "gunicorn" else ["--uds", "s", "--lifespan", "on"]
    command = [sys.executable, "-m", server, *where, *options]
    with served(command, folder, service) as ask:
        answers = {ask() for _ in range(40)}
    assert {status for status, _ in answers} == {"Server is running"}
    assert len({pid for _, pid in answers}) >= 1
