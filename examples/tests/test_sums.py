"""What a real Prometheus sums up is what was sent: to the Rust host, to four workers of gunicorn, to a Node cluster of four,
also when workers are killed in between.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from socket import create_server
from urllib.parse import urlencode

import pytest

EXAMPLES = Path(__file__).parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", EXAMPLES.parent / "target"))
INSTALLED = EXAMPLES.parent / "target/examples"
PATH = "/api/v1/system/status"
WORKERS = 4
#: Whatever does not happen within this never will. A guard, not a measurement.
PATIENCE = 90.0

REQUESTS = f'sum(uplifted_requests_total{{path="{PATH}", status="200"}})'
DURATIONS = f'sum(uplifted_requests_duration_seconds_count{{path="{PATH}"}})'
BUCKETS = f'sum(uplifted_requests_duration_seconds_bucket{{path="{PATH}", le="+Inf"}})'


def rust(root: Path, port: int) -> list[str | Path]:
    program = TARGET / "debug/uplifted-example"
    database = root / "data/uplifted.db"
    return [program, "serve", "--root", root, "--database", database, "--listen", f"127.0.0.1:{port}", "--rate", "20"]


def python(root: Path, port: int) -> list[str | Path]:
    gunicorn = [sys.executable, "-m", "gunicorn", "--chdir", EXAMPLES / "python", "--bind", f"127.0.0.1:{port}"]
    worker = ["--worker-class", "uvicorn_worker.UvicornWorker", "--workers", str(WORKERS), "--log-level", "warning"]
    return [*gunicorn, *worker, "workers:app"]


def node(root: Path, port: int) -> list[str | Path]:
    program = INSTALLED / "node/dist/src/workers.js"
    return ["node", program, str(WORKERS), "--root", root, "--listen", f"127.0.0.1:{port}", "--rate", "20"]


#: A host, and how many processes answer in it beside the first.
HOSTS: dict[str, tuple[Callable[[Path, int], list[str | Path]], int]] = {
    "rust": (rust, 0),
    "python": (python, WORKERS),
    "node": (node, WORKERS),
}


@pytest.mark.parametrize("name", HOSTS)
def test_prometheus_sums_what_was_sent(name: str, tmp_path: Path) -> None:
    command, workers = HOSTS[name]
    port, metrics = free_ports(2)
    root = tmp_path / "service"
    shutil.copytree(EXAMPLES / "service", root)
    (root / "data").mkdir(exist_ok=True)
    with (root / "ops.toml").open("a") as settings:
        settings.write(f'\n[metrics]\nlisten = "127.0.0.1:{metrics}"\n')

    with ExitStack() as running:
        host = running.enter_context(started(command(root, port), tmp_path / "host.log", ROOT=str(root), RATE="20"))
        wait_for("the host answers", lambda: answers(port, PATH))
        wait_for("all workers run", lambda: len(children_of(host.pid)) >= workers)
        prometheus = running.enter_context(Prometheus(tmp_path, metrics))
        # Those of `wait_for`, which went well.
        sent = 1

        sent += load(port)
        prometheus.shows(sent)
        # Each of them, so that the one that listens for Prometheus is among them.
        for worker in children_of(host.pid) if workers else []:
            # What JavaScript has counted in the last tenth of a second is lost with its process: so not at once.
            os.kill(worker, signal.SIGKILL)
            wait_for("a new worker came", lambda: replaced(host.pid, worker, workers))
            sent += load(port, requests=50)
            prometheus.shows(sent)
        sent += load(port)
        prometheus.shows(sent)
        assert prometheus.query(f"sum(resets(uplifted_requests_total{{path='{PATH}'}}[10m]))") == 0


def load(port: int, requests: int = 400) -> int:
    """Sends that many requests, each on a connection of its own, eight at a time. How many there were."""
    with ThreadPoolExecutor(8) as senders:
        answered = list(senders.map(lambda _: answers(port, PATH), range(requests)))
    assert all(answered), f"{answered.count(False)} of {requests} requests were not answered"
    return requests


def answers(port: int, path: str) -> bool:
    """Whether a request is answered with 200."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
        except OSError:
            return False
        return response.status == 200


class Prometheus:
    """A Prometheus that asks an address twice a second."""

    def __init__(self, folder: Path, target: int) -> None:
        (self._port,) = free_ports(1)
        self._folder = folder
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
            "scrape_configs": [{"job_name": "host", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(config))

    def __enter__(self) -> Prometheus:
        program = shutil.which("prometheus")
        assert program, "`prometheus` is not installed: apt-get install prometheus"
        files = [f"--config.file={self._folder}/prometheus.yml", f"--storage.tsdb.path={self._folder}/prometheus"]
        listen = f"--web.listen-address=127.0.0.1:{self._port}"
        self._running = started([program, *files, listen, "--log.level=error"], self._folder / "prometheus.log")
        self._running.__enter__()
        wait_for("Prometheus is ready", lambda: answers(self._port, "/-/ready"))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.__exit__(None, None, None)

    def query(self, query: str) -> float | None:
        """The only value that the query has now; ``None`` where it has none."""
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            connection.request("GET", f"/api/v1/query?{urlencode({'query': query})}")
            answer = json.loads(connection.getresponse().read())
        assert answer["status"] == "success", answer
        found = answer["data"]["result"]
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def shows(self, sent: int) -> None:
        """Waits until it knows of that many requests, and looks once more when it has asked again."""
        queries = [REQUESTS, DURATIONS, BUCKETS]
        wait_for(
            f"Prometheus knows of {sent} requests",
            lambda: all(self.query(query) == sent for query in queries),
            lambda: str([self.query(query) for query in queries]),
        )
        scraped = self.query("timestamp(up)")
        wait_for("Prometheus asks again", lambda: self.query("timestamp(up) and up == 1") != scraped)
        assert [self.query(query) for query in queries] == [sent] * len(queries)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def replaced(host: int, worker: int, workers: int) -> bool:
    """Whether the others know that a worker is gone, and have a new one."""
    children = children_of(host)
    return worker not in children and len(children) >= workers


def wait_for(what: str, is_so: Callable[[], bool], instead: Callable[[], str] = str) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, f"in vain: {what}; {instead()}"
        time.sleep(0.05)


@contextmanager
def started(command: list[str | Path], log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a group of its own, which ends with the block. What it said is shown when something went wrong."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=os.environ | variables, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            yield process
        except BaseException:
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
            raise
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                pass
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait(20)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody has."""
    with ExitStack() as held:
        sockets = [held.enter_context(create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [socket.getsockname()[1] for socket in sockets]
