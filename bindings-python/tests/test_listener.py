"""The listener of a whole host: answers while it hangs, says that it hangs, and passes to the next process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from uplifted_ops import Ops

#: A hang of a test, in seconds.
PATIENCE = 30

#: Opens `ops` that listens on argv[2] in the folder argv[1], says where, and does what it is told on stdin.
HOST = """
import asyncio, ctypes, os, signal, sys, threading, time
from uplifted_ops import *
settings = {
    "metrics": {"listen": sys.argv[2]}, "health": {"heartbeat_seconds": 0.6, "drain_seconds": 0.5},
    "service": {"name": "shop"},
}
def told(ops):
    print(ops.status().listener.address, flush=True)
    return sys.stdin.readline()
"""


class Host:
    """An interpreter of its own, killed at the end."""

    def __init__(self, program: str, root: Path, listen: str = "127.0.0.1:0") -> None:
        arguments = [sys.executable, "-X", "dev", "-c", HOST + program, str(root), listen]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
        )
        self.address = self.line()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def get(self, path: str) -> tuple[int, Any]:
        return get(self.address, path)

    def until(self, path: str, wanted: Callable[[int, Any], bool]) -> Any:
        end = time.monotonic() + PATIENCE
        while True:
            status, body = self.get(path)
            if wanted(status, body):
                return body
            assert time.monotonic() < end, f"{path} stays {status} {body}"
            time.sleep(0.02)


def get(address: str, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def start(program: str, *arguments: Any) -> Host:
        hosts.append(Host(program, tmp_path, *arguments))
        return hosts[-1]

    yield start
    for it in hosts:
        it.process.kill()
        it.process.communicate(timeout=PATIENCE)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_a_busy_interpreter_is_alive(host: Callable[..., Host]) -> None:
    busy = host("""
ops = Ops(settings, root=sys.argv[1])
told(ops)
while True: pass
""")
    busy.tell()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert busy.get("/livez") == (200, {"status": "pass"})


def test_a_thread_that_never_lets_go_of_the_interpreter_is_seen(host: Callable[..., Host]) -> None:
    stuck = host("""
ops = Ops(settings, root=sys.argv[1])
told(ops)
# Called with the interpreter lock held.
ctypes.PyDLL(None).sleep(2)
print("awake", flush=True)
sys.stdin.readline()
""")
    stuck.tell()
    wedged = stuck.until("/livez", lambda status, _: status == 503)["wedged"]
    assert (wedged["pid"], wedged["pulse"]) == (stuck.process.pid, "interpreter")
    assert wedged["age_seconds"] > 0.6
    assert stuck.line() == "awake"
    stuck.until("/livez", lambda status, _: status == 200)


LOOP = """
async def main():
    async with AsyncOps(settings, root=sys.argv[1]) as ops:
        status = await ops.status()
        print(status.listener.address, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        time.sleep(2)
        print("awake", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
print("over", flush=True)
"""


def test_an_event_loop_that_is_blocked_is_seen_and_one_that_has_ended_is_not_missed(host: Callable[..., Host]) -> None:
    loop = host(LOOP)
    time.sleep(1)
    assert loop.get("/livez")[0] == 200
    loop.tell()
    body = loop.until("/livez", lambda status, _: status == 503)
    assert (body["status"], body["wedged"]["pulse"]) == ("fail", "event loop")
    assert loop.get("/readyz")[0] == 503
    assert loop.line() == "awake"
    loop.until("/livez", lambda status, _: status == 200)
    loop.tell()
    assert loop.line() == "over"


def test_a_loop_that_stopped_rests(host: Callable[..., Host]) -> None:
    stopped = host("""
ops = AsyncOps(settings, root=sys.argv[1])
loop = asyncio.new_event_loop()
print(loop.run_until_complete(ops.status()).listener.address, flush=True)
sys.stdin.readline()
""")
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert stopped.get("/livez")[0] == 200


PLAIN = """
ops = Ops(settings, root=sys.argv[1])
told(ops)
sys.stdin.readline()
"""


def test_another_process_takes_over_when_one_is_killed(host: Callable[..., Host]) -> None:
    address = free_port()
    first, second = host(PLAIN, address), host(PLAIN, address)
    assert first.get("/api/v1/status")[1]["pid"] == first.process.pid
    first.process.kill()
    began = time.monotonic()
    while True:
        try:
            assert second.get("/api/v1/status")[1]["pid"] == second.process.pid
            break
        except OSError:
            assert time.monotonic() < began + PATIENCE, "nobody takes over"
            time.sleep(0.005)
    print(f"taken over within {time.monotonic() - began:.3f} s")


def test_examples_and_facts_stay_with_what_several_processes_counted(host: Callable[..., Host]) -> None:
    program = """
from uplifted_ops.prometheus_client import Histogram, Info
Histogram("l_took", "Took", buckets=[1]).observe(0.5, {"pid": str(os.getpid())})
with Ops(settings, root=sys.argv[1]) as ops:
    Histogram("l_later", "Later", buckets=[1]).observe(0.5, {"pid": str(os.getpid())})
    Info("l_about", "About").info({"pid": str(os.getpid())})
    told(ops)
"""
    hosts = host(program), host(program)
    for it in hosts:
        asked = urllib.request.Request(f"http://{it.address}/metrics", headers={"Accept": "application/openmetrics-text"})
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            page = answer.read().decode().splitlines()
        pid = it.process.pid
        for name in ("l_took", "l_later"):
            # The sum of both, and behind it the example of the one that is asked.
            (bucket,) = [line for line in page if line.startswith(f'{name}_bucket{{le="1.0"}}')]
            assert bucket.startswith(f'{name}_bucket{{le="1.0"}} 2 # {{pid="{pid}"}} 0.5'), bucket
        assert [line for line in page if line.startswith("l_about")] == [f'l_about_info{{pid="{pid}"}} 1'], page


def test_what_a_process_collects_itself_is_on_its_own_page_and_what_it_counts_is_on_all(
    host: Callable[..., Host],
) -> None:
    program = """
from uplifted_ops.prometheus_client import REGISTRY, Counter, Gauge
from uplifted_ops.prometheus_client.core import GaugeMetricFamily
counted = Counter("l_asked", "Asked")
class Own:
    def describe(self):
        return [GaugeMetricFamily("l_own", "Own")]
    def collect(self):
        counted.inc()
        yield GaugeMetricFamily("l_own", "Own", value=os.getpid())
REGISTRY.register(Own())
Gauge("l_now", "Now", ["process"]).labels(str(os.getpid())).set_function(lambda: 7)
with Ops(settings, root=sys.argv[1]) as ops:
    told(ops)
"""

    def page(of: Host) -> dict[str, float]:
        with urllib.request.urlopen(f"http://{of.address}/metrics", timeout=PATIENCE) as answer:
            lines = [line for line in answer.read().decode().splitlines() if line.startswith("l_")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    first, second = host(program), host(program)
    asked = 0.0
    for it in (first, second, first, second):
        shown = page(it)
        # As many as there are families of it: what each process collects would be a second value of the same series.
        assert shown["l_own"] == it.process.pid, shown
        assert shown[f'l_now{{process="{it.process.pid}"}}'] == 7, shown
        # The page may be read before, or after its collectors counted; none of what they counted is lost.
        assert shown["l_asked_total"] >= asked, shown
        asked = shown["l_asked_total"]
    second.process.kill()
    second.process.wait(PATIENCE)
    after = page(first)
    assert after["l_own"] == first.process.pid and after["l_asked_total"] >= asked, after


def test_a_forked_child_keeps_no_address(host: Callable[..., Host]) -> None:
    address = free_port()
    parent = host(
        """
ops = Ops(settings, root=sys.argv[1])
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
told(ops)
os.kill(os.getpid(), signal.SIGKILL)
""",
        address,
    )
    child, parent.address = int(parent.address), parent.line()
    try:
        assert parent.get("/livez")[0] == 200
        parent.tell()
        parent.process.wait(PATIENCE)
        os.kill(child, 0)
        after = host(PLAIN, address)
        assert after.get("/api/v1/status")[1]["pid"] == after.process.pid
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_wedged_process_of_a_service_is_named(host: Callable[..., Host]) -> None:
    address = free_port()
    first, second = host(PLAIN, address), host(LOOP, address)
    second.tell()
    body = first.until("/livez", lambda status, _: status == 503)
    assert (body["wedged"]["pid"], body["wedged"]["pulse"]) == (second.process.pid, "event loop")
    # It is the other one that takes no work.
    assert first.get("/readyz")[0] == 200
    first.until("/livez", lambda status, _: status == 200)


def test_sigterm_is_first_not_ready_and_then_the_hosts(host: Callable[..., Host]) -> None:
    own = host("""
ops = Ops(settings, root=sys.argv[1])
signal.signal(signal.SIGTERM, lambda number, frame: (print("mine", flush=True), os._exit(3)))
ops.drain_on_sigterm()
told(ops)
while True: time.sleep(1)
""")
    own.tell()
    own.until("/readyz", lambda status, _: status == 200)
    own.process.send_signal(signal.SIGTERM)
    own.until("/readyz", lambda status, _: status == 503)
    assert own.get("/livez")[0] == 200
    assert own.line() == "mine"
    assert own.process.wait(PATIENCE) == 3


def test_sigterm_without_a_handler_ends_the_process_and_a_second_one_at_once(host: Callable[..., Host]) -> None:
    program = """
ops = Ops(settings, root=sys.argv[1])
ops.drain_on_sigterm({seconds})
told(ops)
while True: time.sleep(1)
"""
    plain = host(program.format(seconds=0.1))
    plain.tell()
    plain.process.send_signal(signal.SIGTERM)
    assert plain.process.wait(PATIENCE) == -signal.SIGTERM
    hurried = host(program.format(seconds=600))
    hurried.tell()
    hurried.process.send_signal(signal.SIGTERM)
    hurried.until("/readyz", lambda status, _: status == 503)
    hurried.process.send_signal(signal.SIGTERM)
    assert hurried.process.wait(PATIENCE) == -signal.SIGTERM


def test_drain_says_no_and_waits(tmp_path: Path) -> None:
    with Ops({"metrics": {"listen": "127.0.0.1:0"}, "health": {"drain_seconds": 0.01}}, root=tmp_path) as ops:
        listener = ops.status().listener
        assert listener is not None and listener.state == "serving"
        ops.drain()
        assert get(listener.address, "/readyz")[0] == 503
        assert get(listener.address, "/livez")[0] == 200
        handler = signal.getsignal(signal.SIGTERM)
        ops.drain_on_sigterm()
        assert signal.getsignal(signal.SIGTERM) is not handler
    assert signal.getsignal(signal.SIGTERM) is handler
