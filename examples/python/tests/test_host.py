"""The host, started for real on the loopback and asked over HTTP, with the steps that every host of `examples` takes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent
SCRIPT = json.loads((HERE.parent / "requests.json").read_text())


class Host:
    """A running host. When its stdin closes, it stops."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, HERE / "app.py", "--root", root, "--until-stdin-closes", "--rate", "100"),
                *("--listen", "127.0.0.1:0", "--tools", "127.0.0.1:0"),
            ],
            env=os.environ | {"UPLIFTED__HTTP__WRITE_TOKEN": SCRIPT["write_token"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        #: Where the service answers, and its tools.
        self.address: dict[str, str] = {}
        assert self._process.stderr is not None
        said: list[str] = []
        while len(self.address) < 2:
            line = self._process.stderr.readline()
            assert line, f"the host ended before it listened: {''.join(said)}"
            said.append(line)
            if line.startswith("listening on http://"):
                where, _, path = line.removeprefix("listening on http://").strip().partition("/")
                self.address[path] = where
        # Until each check has answered once, it is not ready.
        until = time.monotonic() + 60
        while '"unknown"' in self.ask({"ask": "GET /health"})[2]:
            assert time.monotonic() < until, "a check does not answer"
            time.sleep(0.05)

    def stop(self) -> dict[str, Any]:
        """Stops it. What its writer did."""
        out, err = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, err
        report: dict[str, Any] = json.loads(out)
        return report

    def kill(self) -> None:
        """Ends it, if it runs."""
        self._process.kill()
        self._process.communicate()

    def ask(self, step: Mapping[str, Any]) -> tuple[int, HTTPMessage, str]:
        """One request on a connection of its own."""
        method, target = step["ask"].split(" ")
        headers = dict(step.get("with", {}))
        body = None
        if "send" in step:
            body = json.dumps(step["send"])
            headers["content-type"] = "application/json"
        if step.get("writing"):
            headers["authorization"] = f"Bearer {SCRIPT['write_token']}"
        address = self.address["tools" if step.get("tools") else "status"]
        with closing(HTTPConnection(address, timeout=60)) as connection:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()


@contextmanager
def hosts(root: Path) -> Iterator[list[Host]]:
    """The host, and those that are started after it: the last one is the one that runs."""
    running = [Host(root)]
    try:
        yield running
    finally:
        for host in running:
            host.kill()


def has(answer: Any, wanted: Any) -> bool:
    """Whether an answer has at least what is wanted."""
    if isinstance(wanted, dict):
        return isinstance(answer, dict) and all(name in answer and has(answer[name], wanted[name]) for name in wanted)
    return bool(answer == wanted)


def check_answer(step: Mapping[str, Any], status: int, headers: HTTPMessage, body: str) -> None:
    """Compares an answer with what the step wants."""
    said = f"{step['ask']}: {status} {body}"
    assert status == step["status"], said
    for name, value in step.get("headers", {}).items():
        assert headers[name] == value, said
    for text in step.get("text", []):
        assert text in body, said
    if "json" in step:
        assert has(json.loads(body), step["json"]), said
    for name, item in step.get("items", {}).items():
        assert any(has(one, item) for one in json.loads(body)[name]), said


def test_the_host_answers_as_every_host_does(tmp_path: Path) -> None:
    root = tmp_path / "service"
    shutil.copytree(HERE.parent / "service", root)
    with hosts(root) as running:
        for step in SCRIPT["steps"]:
            match step:
                case {"ask": _}:
                    check_answer(step, *running[-1].ask(step))
                case {"write": name}:
                    (root / name).write_text("written by the test")
                case {"exists": name}:
                    assert (root / name).exists(), f"{name} is gone"
                case {"gone": name}:
                    assert not (root / name).exists(), f"{name} is there"
                case {"restart": True}:
                    running[-1].stop()
                    running.append(Host(root))
                case _:
                    raise AssertionError(f"no such step: {step}")
        report = running[-1].stop()
    # Every transfer of the last run is in the database that is there now: it was not traded after it was opened.
    with closing(sqlite3.connect(root / "data/uplifted.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT last_transfer FROM counter").fetchone() == (report["last_transfer"],)
        assert database.execute("SELECT sum(balance) FROM account").fetchone() == (1000 * 1000,)
    assert report["transactions"] > 0


def test_settings_that_are_wrong_keep_it_from_starting(tmp_path: Path) -> None:
    (tmp_path / "ops.toml").write_text("[servcie]\n")
    started = subprocess.run(
        [sys.executable, HERE / "app.py", "--root", tmp_path], check=False, capture_output=True, text=True, timeout=60
    )
    assert started.returncode == 2
    assert "servcie" in started.stderr and "Traceback" not in started.stderr, started.stderr
    assert not (tmp_path / "data").exists(), "the database was opened"
