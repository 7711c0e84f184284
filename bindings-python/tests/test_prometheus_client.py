"""What programs of `prometheus_client` do, after a change of import."""

from __future__ import annotations

import gc
import math
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from uplifted_ops import InvalidInputError, _native
from uplifted_ops.prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Enum,
    GCCollector,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    Summary,
    generate_latest,
    make_asgi_app,
    make_wsgi_app,
    start_http_server,
    write_to_textfile,
)
from uplifted_ops.prometheus_client.exposition import choose_encoder
from uplifted_ops.prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
    SummaryMetricFamily,
    UntypedMetricFamily,
)

from scene import RunPython


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_registry_of_ones_own_is_apart(registry: CollectorRegistry) -> None:
    counter = Counter("pc_own", "Own", ["method"], registry=registry)
    counter.labels("GET").inc(2)
    assert registry.get_sample_value("pc_own_total", {"method": "GET"}) == 2
    assert registry.get_sample_value("pc_own_total", {"method": "PUT"}) is None
    assert b"pc_own" not in generate_latest()
    assert generate_latest(registry) == b'# HELP pc_own_total Own\n# TYPE pc_own_total counter\npc_own_total{method="GET"} 2\n'
    with pytest.raises(ValueError):
        Gauge("pc_own", "Twice", registry=registry)
    registry.unregister(counter)
    assert generate_latest(registry) == b""
    Gauge("pc_own", "Free again", registry=registry)
    nowhere = Counter("pc_nowhere", "In none", registry=None)
    nowhere.inc()
    registry.register(nowhere)
    registry.register(nowhere)
    assert registry.get_sample_value("pc_nowhere_total") == 1


def test_instruments_by_every_way_in(registry: CollectorRegistry) -> None:
    counter = Counter("c", "C", registry=registry)
    counter.inc()
    counter.inc(2)
    counter.inc(amount=0.5)
    counter.inc(True)
    assert registry.get_sample_value("c_total") == 4.5
    for wrong in (-1, math.nan, math.inf, -math.inf, -0.5):
        with pytest.raises(ValueError):
            counter.inc(wrong)
    for no_number in ("x", None, [], 1j):
        with pytest.raises((TypeError, ValueError)):
            counter.inc(no_number)  # type: ignore[arg-type]
    with pytest.raises((TypeError, OverflowError, ValueError)):
        counter.inc(1 << 2000)
    with pytest.raises(TypeError):
        counter.inc(1, {}, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        counter.inc(by=1)  # type: ignore[call-arg]
    assert registry.get_sample_value("c_total") == 4.5

    gauge = Gauge("g", "G", registry=registry)
    gauge.set(3)
    gauge.inc()
    gauge.dec(amount=2)
    gauge.inc(0.5)
    assert registry.get_sample_value("g") == 2.5
    gauge.set(-math.inf)
    assert registry.get_sample_value("g") == -math.inf

    class Odd:
        def __float__(self) -> float:
            return 7.0

    gauge.set(Odd())  # type: ignore[arg-type]
    assert registry.get_sample_value("g") == 7

    histogram = Histogram("h", "H", registry=registry, buckets=(1, 2.5, "Inf"))
    for value in (0, 1, 2, 100, True, math.nan, math.inf):
        histogram.observe(value)
    histogram.observe(amount=1)
    assert registry.get_sample_value("h_bucket", {"le": "1.0"}) == 4
    assert registry.get_sample_value("h_bucket", {"le": "+Inf"}) == 6
    assert registry.get_sample_value("h_count") == 6
    assert registry.get_sample_value("h_sum") == 105
    with pytest.raises(ValueError):
        Histogram("h2", "Unsorted", registry=registry, buckets=[2, 1])

    summary = Summary("s", "S", ["a"], registry=registry)
    summary.labels("x").observe(10)
    assert registry.get_sample_value("s_sum", {"a": "x"}) == 10
    assert registry.get_sample_value("s_count", {"a": "x"}) == 1


def test_quick_methods_name_the_very_class(registry: CollectorRegistry) -> None:
    """The interpreter calls a descriptor without checks where it names the class of ``self`` itself, and not one above it."""
    quick = {Counter: ("inc", "labels"), Gauge: ("inc", "dec", "set", "labels"), Histogram: ("observe", "labels"), Summary: ("observe", "labels")}
    for kind, names in quick.items():
        for name in names:
            assert vars(kind)[name].__objclass__ is kind, (kind, name)

    class Twice(Counter):
        def inc(self, amount: float = 1, exemplar: Any = None) -> None:
            super().inc(2 * amount, exemplar)

    class Same(Counter):
        pass

    twice, same = Twice("twice", "Twice", registry=registry), Same("same", "Same", ["a"], registry=registry)
    for _ in range(100):
        twice.inc()
        same.labels("x").inc()
    assert type(same.labels("x")) is Same
    assert registry.get_sample_value("twice_total") == 200
    assert registry.get_sample_value("same_total", {"a": "x"}) == 100
    # What is no such instrument is refused before the native half sees it.
    for wrong in (Gauge("no_counter", "G", registry=registry), object(), Counter):
        with pytest.raises(TypeError):
            Counter.inc(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Summary.observe(Histogram("no_summary", "H", registry=registry), 1)  # type: ignore[arg-type]
    for no_class in (int, 3):
        with pytest.raises(TypeError):
            _native.quick(no_class)  # type: ignore[type-var]


def test_labels_by_every_way_in(registry: CollectorRegistry) -> None:
    counter = Counter("c", "C", ["a", "b"], registry=registry)
    child = counter.labels("x", "1")
    assert isinstance(child, Counter)
    # By the same objects, by equal ones, by name, by what becomes the same text.
    same = [
        counter.labels("x", "1"),
        counter.labels("".join(["", "x"]), str(int("1"))),
        counter.labels(b="1", a="x"),
        counter.labels("x", 1),
        counter.labels("x", 1),
        counter.labels(a="x", b=1),
    ]
    assert all(other is child for other in same)
    # What is equal and not the same text is another series.
    others = {id(counter.labels("x", value)) for value in (True, 1.0, "1.0", "True", None)}
    assert len(others) == 3 and id(child) not in others
    for wrong in (
        lambda: counter.labels("x"),
        lambda: counter.labels("x", "1", "2"),
        lambda: counter.labels("x", b="1"),
        lambda: counter.labels(a="x", c="1"),
        lambda: counter.labels(),
        lambda: child.labels("x", "1"),
        lambda: counter.inc(),
        lambda: counter.remove("x"),
    ):
        with pytest.raises(ValueError):
            wrong()
    child.inc()
    counter.remove("x", "1")
    child.inc()
    assert registry.get_sample_value("c_total", {"a": "x", "b": "1"}) is None
    assert counter.labels("x", "1") is not child
    counter.labels("x", "1").inc(5)
    assert registry.get_sample_value("c_total", {"a": "x", "b": "1"}) == 5
    counter.clear()
    assert generate_latest(registry).count(b"c_total{") == 0
    many = Counter("many", "More labels than are remembered by object", list("abcdef"), registry=registry)
    for _ in range(3):
        many.labels(*"uvwxyz").inc()
    assert registry.get_sample_value("many_total", dict(zip("abcdef", "uvwxyz", strict=True))) == 3


def test_exemplars(registry: CollectorRegistry) -> None:
    counter = Counter("c", "C", ["a"], registry=registry)
    histogram = Histogram("h", "H", registry=registry, buckets=[1, 2])
    counter.labels("x").inc(2.5, {"trace_id": "abc"})
    counter.labels("x").inc(exemplar={"trace_id": "def"})
    histogram.observe(1.5, {"trace_id": "1"})
    histogram.observe(7, exemplar={"trace_id": "2"})
    page = choose_encoder("application/openmetrics-text; version=1.0.0")[0](registry).decode()
    assert 'c_total{a="x"} 3.5 # {trace_id="def"} 1' in page
    assert 'h_bucket{le="2.0"} 1 # {trace_id="1"} 1.5' in page
    assert 'h_bucket{le="+Inf"} 2 # {trace_id="2"} 7' in page
    kept = {
        (sample.name, sample.labels.get("le")): sample.exemplar
        for metric in registry.collect()
        for sample in metric.samples
        if sample.exemplar
    }
    assert {key: exemplar.labels["trace_id"] for key, exemplar in kept.items()} == {
        ("c_total", None): "def",
        ("h_bucket", "2.0"): "1",
        ("h_bucket", "+Inf"): "2",
    }
    for wrong in ({"x" * 100: "y" * 100}, {"no name": "x"}):
        with pytest.raises(ValueError):
            counter.labels("x").inc(1, wrong)
    with pytest.raises(ValueError):
        counter.labels("x").inc(-1, {"trace_id": "x"})
    # What is wrong with an exemplar costs the exemplar alone.
    assert registry.get_sample_value("c_total", {"a": "x"}) == 5.5


def test_more_series_than_slots_stay_apart(registry: CollectorRegistry) -> None:
    counter = Counter("c", "C", ["n", "m"], registry=registry)
    values = [(str(n), str(n % 7)) for n in range(1500)]
    for _ in range(3):
        for n, (a, b) in enumerate(values):
            counter.labels(a, b).inc(n)
    for n, (a, b) in enumerate(values):
        assert counter.labels(a, b)._get() == 3 * n


def test_too_few_values_never_find_a_child(registry: CollectorRegistry) -> None:
    counter = Counter("c", "C", ["a", "b"], registry=registry, max_series=5_000)
    for n in range(3_000):
        value = str(n)
        counter.labels(value, "x").inc()
        with pytest.raises(ValueError):
            counter.labels(value)
        with pytest.raises(ValueError):
            counter.labels(value, "x", "y")


def test_hard_label_values(registry: CollectorRegistry) -> None:
    counter = Counter("c", "C", ["a"], registry=registry)
    for value in ("\ud800", 'q"\\\n', "", "\0", "x" * (1 << 20), "é" * 600):
        for _ in range(2):
            counter.labels(value).inc()
    page = generate_latest(registry).decode()
    for text in ("\ufffd", '\\"\\\\\\n'.join(["q", ""]), "", "x" * 1024, "é" * 512):
        assert f'c_total{{a="{text}"}} ' in page, text[:20]
    held = sys.getsizeof(counter)
    assert held < 10_000

    class Name:
        def __str__(self) -> str:
            # Counts while its own label is made.
            counter.labels("nested").inc()
            return "named"

    counter.labels(Name()).inc()
    assert counter.labels("nested")._get() == counter.labels("named")._get() == 1

    class Broken:
        def __str__(self) -> str:
            raise KeyError("on purpose")

    with pytest.raises(KeyError):
        counter.labels(Broken())


def test_set_function_info_and_enum(registry: CollectorRegistry) -> None:
    items = [1, 2]
    gauge = Gauge("g", "G", ["of"], registry=registry)
    gauge.labels("items").set_function(lambda: len(items))
    assert registry.get_sample_value("g", {"of": "items"}) == 2
    items.append(3)
    assert b'g{of="items"} 3\n' in generate_latest(registry)
    info = Info("build", "Build", registry=registry)
    info.info({"version": "1.2"})
    assert registry.get_sample_value("build_info", {"version": "1.2"}) == 1
    with pytest.raises(ValueError):
        Info("labelled", "L", ["a"], registry=registry).info({"x": "y"})
    enum = Enum("task", "Task", states=["starting", "running"], registry=registry)
    enum.state("running")
    assert registry.get_sample_value("task", {"task": "starting"}) == 0
    assert registry.get_sample_value("task", {"task": "running"}) == 1
    by_name = Enum("job", "Job", ["name"], states=["a", "b"], registry=registry)
    by_name.labels("x").state("b")
    assert by_name.labels("x") is not None
    assert registry.get_sample_value("job", {"name": "x", "job": "b"}) == 1
    by_name.remove("x")
    assert registry.get_sample_value("job", {"name": "x", "job": "b"}) is None
    for wrong in (
        lambda: enum.state("unheard of"),
        lambda: Enum("none", "No states", registry=registry),
        lambda: by_name.state("a"),
    ):
        with pytest.raises(ValueError):
            wrong()


class Custom:
    def __init__(self) -> None:
        self.fails = False

    def collect(self) -> Iterator[Metric]:
        if self.fails:
            raise RuntimeError("on purpose")
        counter = CounterMetricFamily("x_requests_total", "Requests", labels=["method"])
        counter.add_metric(["GET"], 4)
        yield counter
        yield GaugeMetricFamily("x_now", "Now", value=7)
        yield SummaryMetricFamily("x_took", "Took", count_value=2, sum_value=3.5)
        histogram = HistogramMetricFamily("x_sizes", "Sizes", labels=["a"])
        histogram.add_metric(["b"], [("1.0", 1), ("2.0", 3), ("+Inf", 4)], 9.5)
        yield histogram
        yield GaugeHistogramMetricFamily("x_ages", "Ages", buckets=[("1.0", 1), ("+Inf", 2)], gsum_value=5)
        yield InfoMetricFamily("x_build", "Build", value={"version": "1"})
        yield StateSetMetricFamily("x_state", "State", value={"on": True, "off": False})
        yield UntypedMetricFamily("x_what", "What", value=1.5)


def test_collectors_of_the_host(registry: CollectorRegistry) -> None:
    custom = Custom()
    registry.register(custom)
    page = generate_latest(registry).decode()
    for line in (
        'x_requests_total{method="GET"} 4',
        "x_now 7",
        "x_took_count 2",
        "x_took_sum 3.5",
        'x_sizes_bucket{a="b",le="1.0"} 1',
        'x_sizes_bucket{a="b",le="2.0"} 3',
        'x_sizes_bucket{a="b",le="+Inf"} 4',
        'x_sizes_count{a="b"} 4',
        'x_sizes_sum{a="b"} 9.5',
        'x_ages_bucket{le="+Inf"} 2',
        'x_build_info{version="1"} 1',
        'x_state{x_state="on"} 1',
        "x_what 1.5",
    ):
        assert f"{line}\n" in page, f"{line}\n{page}"
    assert registry.get_sample_value("x_sizes_bucket", {"a": "b", "le": "2.0"}) == 3
    with pytest.raises(ValueError, match="Duplicated"):
        CollectorRegistry.register(registry, Custom()) if registry._auto_describe else registry.register(Twice())
    counter = Counter("besides", "Besides", registry=registry)
    custom.fails = True
    page = generate_latest(registry).decode()
    assert "besides_total 0\n" in page and "x_now" not in page
    assert 'uplifted_ops_collector_failures_total{collector="python"} ' in page
    custom.fails = False
    registry.unregister(custom)
    counter.inc()
    assert "x_now" not in generate_latest(registry).decode()


class Twice:
    def describe(self) -> Iterable[Metric]:
        raise ValueError("Duplicated")

    def collect(self) -> Iterable[Metric]:
        return []


def test_collectors_of_the_process_registry_are_on_every_page() -> None:
    class Late:
        def collect(self) -> Iterable[Metric]:
            # A collector may define instruments.
            if not made:
                made.append(Gauge("pc_made_late", "Made while it is read"))
            made[0].set(3)
            return [GaugeMetricFamily("pc_late", "Late", value=1)]

    made: list[Gauge] = []
    late = Late()
    REGISTRY.register(late)
    try:
        page = generate_latest().decode()
        assert "pc_late 1\n" in page
        assert "pc_made_late 3\n" in generate_latest().decode()
        assert 'python_info{' in page and 'python_gc_collections_total{generation="2"}' in page
        assert "process_open_fds " in page
    finally:
        REGISTRY.unregister(late)
    assert "pc_late " not in generate_latest().decode()


def test_default_collectors_in_a_registry_of_ones_own(registry: CollectorRegistry) -> None:
    GCCollector(registry)
    PlatformCollector(registry)
    ProcessCollector(namespace="shop", registry=registry)
    gc.collect()
    assert (registry.get_sample_value("python_gc_collections_total", {"generation": "2"}) or 0) >= 1
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds", "virtual_memory_bytes"):
        assert (registry.get_sample_value(f"shop_process_{name}") or 0) > 0, name


def test_servers_and_files(registry: CollectorRegistry, tmp_path: Path) -> None:
    Counter("c", "C", registry=registry).inc()
    Gauge("other", "O", registry=registry)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.headers["Content-Type"] == CONTENT_TYPE_LATEST
            assert answer.read() == generate_latest(registry)
        with urllib.request.urlopen(f"{url}?name[]=c_total", timeout=10) as answer:
            assert b"other" not in answer.read()
        asked = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert answer.read().endswith(b"# EOF\n")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
    statuses: list[str] = []
    body = make_wsgi_app(registry)({"REQUEST_METHOD": "GET"}, lambda status, headers: statuses.append(status))
    assert (statuses, b"".join(body)) == (["200 OK"], generate_latest(registry))
    write_to_textfile(str(tmp_path / "c.prom"), registry)
    assert (tmp_path / "c.prom").read_bytes() == generate_latest(registry)
    assert [path.name for path in tmp_path.iterdir()] == ["c.prom"]


async def test_asgi(registry: CollectorRegistry) -> None:
    Counter("c", "C", registry=registry).inc()
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {}

    await make_asgi_app(registry)({"type": "http", "method": "GET", "headers": []}, receive, send)
    assert sent[1]["body"] == generate_latest(registry)


def test_counting_from_a_signal_handler_a_finaliser_and_during_collection(registry: CollectorRegistry) -> None:
    counter = Counter("c", "C", ["from"], registry=registry)
    took = Histogram("h", "H", registry=registry)
    rings = 0

    def ring(*_: object) -> None:
        nonlocal rings
        rings += 1
        counter.labels("signal").inc()
        took.observe(0.5)

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            counter.labels("finaliser").inc()
            counter.labels(str(id(self) % 3)).inc()

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for n in range(3_000):
            Cycle()
            counter.labels(f"loop-{n % 50}").inc()
            took.observe(n)
            if n % 500 == 0:
                gc.collect()
                generate_latest(registry)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    gc.collect()
    assert counter.labels("finaliser")._get() == 3_000
    assert counter.labels("signal")._get() == rings
    assert sum(took._get()[0]) == 3_000 + rings
    assert sum(counter.labels(f"loop-{n}")._get() for n in range(50)) == 3_000


@pytest.mark.parametrize("bounds", [[1, 1], [2, 1], [1, 2, 2, 3], [math.nan], [-math.inf, 1], [math.inf, 1]])
def test_bounds_that_are_not_ascending_are_refused_and_leave_no_name(
    registry: CollectorRegistry, bounds: list[float]
) -> None:
    with pytest.raises(InvalidInputError, match="the bounds of histogram \"h\"") as refused:
        Histogram("h", "H", buckets=bounds, registry=registry)
    assert refused.value.hint is not None and "ascending" in refused.value.hint
    fine = Histogram("h", "H", buckets=[1, 2, math.inf], registry=registry)
    fine.observe(1)
    assert registry.get_sample_value("h_bucket", {"le": "1.0"}) == 1


def test_threads_and_readers(registry: CollectorRegistry) -> None:
    counter = Counter("c", "C", ["n"], registry=registry)
    done = threading.Event()

    def count() -> None:
        for n in range(20_000):
            counter.labels(str(n % 40)).inc()

    def read() -> None:
        last = 0.0
        while not done.is_set():
            now = sum(sample.value for metric in registry.collect() for sample in metric.samples)
            assert now >= last
            last = now

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=count) for _ in range(4)]
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join(50)
    done.set()
    reader.join(50)
    assert sum(counter.labels(str(n))._get() for n in range(40)) == 80_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_instruments_survive_a_fork(run_python: RunPython) -> None:
    done = run_python(
        "import os\n"
        "from uplifted_ops.prometheus_client import Counter, Gauge, Histogram, CollectorRegistry\n"
        "registry = CollectorRegistry()\n"
        "c = Counter('c', 'C', ['n'], registry=registry)\n"
        "g = Gauge('g', 'G', registry=registry); h = Histogram('h', 'H', registry=registry)\n"
        "c.labels('1').inc(5)\n"
        "pid = os.fork()\n"
        "for _ in range(100): c.labels('1').inc(); c.labels('2').inc(); g.inc(); h.observe(1)\n"
        "assert g._get() == 100 and sum(h._get()[0]) == 100 and c.labels('2')._get() == 100\n"
        "registry.get_sample_value('g')\n"
        "if pid == 0: os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
    )
    assert done.returncode == 0, done.stderr


def test_garbage_is_collected() -> None:
    import weakref

    class Watched(Counter):
        __slots__ = ("__weakref__",)

    registry = CollectorRegistry()
    counter = Watched("c", "C", ["n"], registry=registry)
    child = weakref.ref(counter.labels("1"))
    counter.labels("1").inc()
    assert child() is not None
    counter.remove("1")
    gc.collect()
    assert child() is None
    registry.unregister(counter)
    gone = weakref.ref(counter)
    del counter
    gc.collect()
    assert gone() is None
