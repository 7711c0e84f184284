"""Instruments, with the names and manners of `prometheus_client`."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from uplifted_ops import Ops
from uplifted_ops.metrics import (
    CONTENT_TYPE_LATEST,
    Counter,
    Gauge,
    Histogram,
    Info,
    Summary,
    generate_latest,
    watch_event_loop,
    watch_gc,
)

from scene import RunPython, Service


def page() -> dict[str, float]:
    lines = [line for line in generate_latest().decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_instruments_work_before_any_ops(run_python: RunPython) -> None:
    done = run_python(
        "from uplifted_ops.metrics import Counter, generate_latest\n"
        "Counter('early_total', 'x').inc(3)\n"
        "print(generate_latest().decode())"
    )
    assert done.returncode == 0, done.stderr
    assert "early_total 3\n" in done.stdout
    assert "process_cpu_seconds_total" in done.stdout


def test_counter() -> None:
    plain = Counter("t_plain_total", "Plain")
    plain.inc()
    plain.inc(2.5)
    with pytest.raises(ValueError, match="-1"):
        plain.inc(-1)
    labelled = Counter("t_requests", "By label", ["method", "code"], namespace="shop", subsystem="web")
    labelled.labels("GET", 200).inc()
    labelled.labels(code="200", method="GET").inc()
    labelled.labels("POST", "500").inc()
    labelled.remove("POST", "500")
    now = page()
    assert now["t_plain_total"] == 3.5
    assert now['shop_web_t_requests_total{method="GET",code="200"}'] == 2
    assert not any("POST" in name for name in now)
    labelled.clear()
    assert not any("t_requests_total" in name for name in page())


def test_labels_must_fit() -> None:
    metric = Counter("t_fit", "Labels", ("a", "b"))
    for wrong in (
        lambda: metric.inc(),
        lambda: metric.labels("1"),
        lambda: metric.labels(a="1"),
        lambda: metric.labels("1", b="2"),
        lambda: metric.labels("1", "2").labels("3"),
        lambda: Counter("t_fit", "Twice"),
        lambda: Counter("t fit", "No name"),
        lambda: Counter("t_le", "Reserved", ["le"]),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_gauge() -> None:
    gauge = Gauge("t_gauge", "A gauge")
    gauge.set(10)
    gauge.inc(2)
    gauge.dec()
    assert page()["t_gauge"] == 11
    with gauge.track_inprogress():
        assert page()["t_gauge"] == 12
    gauge.set_to_current_time()
    assert page()["t_gauge"] > 1.7e9
    gauge.set(math.nan)
    assert math.isnan(page()["t_gauge"])


async def test_decorators_time_plain_and_async_functions() -> None:
    histogram = Histogram("t_seconds", "Time", ["way"], unit="seconds", buckets=[0.001, 10, math.inf])
    failures = Counter("t_failures", "Failures")
    busy = Gauge("t_busy", "Busy")

    @histogram.labels("plain").time()
    def plain(value: int) -> int:
        return value

    @failures.count_exceptions(ZeroDivisionError)
    @histogram.labels("async").time()
    @busy.track_inprogress()
    async def divide(value: int) -> float:
        await asyncio.sleep(0)
        assert page()["t_busy"] >= 1
        return 1 / value

    assert plain(3) == 3
    assert await asyncio.gather(divide(1), divide(2)) == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        await divide(0)
    with failures.count_exceptions((KeyError, LookupError)), pytest.raises(ValueError):
        raise ValueError
    now = page()
    assert now['t_seconds_count{way="plain"}'] == 1
    assert now['t_seconds_count{way="async"}'] == 3
    assert now['t_seconds_bucket{way="async",le="10.0"}'] == 3
    assert now["t_failures_total"] == 1
    assert now["t_busy"] == 0


def test_summary_and_info() -> None:
    summary = Summary("t_size_bytes", "Sizes")
    summary.observe(3)
    summary.observe(4)
    info = Info("t_build", "Build")
    info.info({"version": "1.2", "branch": "main"})
    now = page()
    assert (now["t_size_bytes_count"], now["t_size_bytes_sum"]) == (2, 7)
    assert now['t_build_info{version="1.2",branch="main"}'] == 1
    by_part = Info("t_part", "Parts", ["part"])
    by_part.labels("web").info({"version": "3"})
    assert page()['t_part_info{part="web",version="3"}'] == 1


def test_threads_count_together() -> None:
    counter = Counter("t_threads", "From threads", ["who"])

    def count(_: int) -> None:
        for _ in range(1000):
            counter.labels("all").inc()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert page()['t_threads_total{who="all"}'] == 8000


def test_too_many_label_values_share_a_series() -> None:
    counter = Counter("t_many", "Many", ["user"], max_series=3)
    for user in range(10):
        counter.labels(user).inc()
    assert page()['t_many_total{user="__overflow__"}'] == 7


def test_they_are_on_the_page_of_an_ops(service: Service) -> None:
    Counter("t_page", "On the page").inc()
    with Ops(root=service.root) as ops:
        rendered = ops.metrics.render()
    assert "t_page_total 1\n" in rendered.body
    assert rendered.content_type == CONTENT_TYPE_LATEST


async def test_a_late_event_loop_is_seen() -> None:
    stop = watch_event_loop(period=0.01)
    await asyncio.sleep(0.05)
    time.sleep(0.3)
    await asyncio.sleep(0.05)
    stop()
    now = page()
    late = now["python_eventloop_lag_seconds_count"] - now['python_eventloop_lag_seconds_bucket{le="0.25"}']
    assert late >= 1
    await asyncio.sleep(0.05)
    assert page()["python_eventloop_lag_seconds_count"] == now["python_eventloop_lag_seconds_count"]


def test_garbage_collections_are_timed() -> None:
    stop = watch_gc()
    gc.collect()
    stop()
    seen = page()['python_gc_duration_seconds_count{generation="2"}']
    assert seen >= 1
    gc.collect()
    assert page()['python_gc_duration_seconds_count{generation="2"}'] == seen


SHARING = """
import os, sys, threading, warnings
from uplifted_ops import Ops
from uplifted_ops.metrics import Counter, Histogram

warnings.simplefilter("ignore")
counter = Counter("s_things", "Things", ["who"]).labels("x")
took = Histogram("s_took", "Took", buckets=[1])

def count():
    for _ in range(100):
        counter.inc()
        took.observe(0.5)

def everywhere():
    count()
    thread = threading.Thread(target=count)
    thread.start()
    thread.join()

def stands(ops):
    page = dict(line.rsplit(" ", 1) for line in ops.metrics.render().body.splitlines())
    return int(page['s_things_total{who="x"}']), int(page["s_took_count"])

everywhere()
with Ops(root=sys.argv[1]) as ops:
    assert stands(ops) == (200, 200), stands(ops)
    everywhere()
    assert stands(ops) == (400, 400), stands(ops)
    child = os.fork()
    if child == 0:
        everywhere()
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert stands(ops) == (600, 600), stands(ops)
    everywhere()
    assert stands(ops) == (800, 800), stands(ops)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_nothing_is_lost_when_sharing_begins_nor_in_a_child_that_is_killed(run_python: RunPython, tmp_path: Path) -> None:
    service = tmp_path / "service"
    service.mkdir()
    done = run_python(SHARING, service)
    assert done.returncode == 0, done.stderr
