"""What counting costs in Python: prints nanoseconds of each job as one JSON object.

    metrics.py CONTENDER

Run by `uplifted-bench metrics`, one process for each contender and round, with an interpreter that has the wheel and
`prometheus_client`.
"""

import atexit
import json
import os
import shutil
import sys
import tempfile
import timeit
from typing import Any

#: As a service has them: the same texts come again, some made anew for each request.
SETS = [(("GET", "POST", "PUT", "DELETE")[n % 4], f"/api/v1/items/{n}", ("200", "404", "500")[n % 3]) for n in range(64)]

JOBS = {
    "inc": ("counter.inc()", 5_000),
    "cached child, inc": ("child.inc()", 5_000),
    "three labels and inc": ("labelled.labels('GET', '/api/v1/items/3', '200').inc()", 2_000),
    "three labels by turns and inc": ("for a, b, c in SETS: labelled.labels(a, b, c).inc()", 30),
    "observe": ("histogram.observe(0.3)", 3_000),
    "observe, where examples are kept": ("traced.observe(0.3)", 3_000),
    "observe with an example": ("traced.observe(0.3, TRACE)", 500),
}

#: What leads to an observation.
TRACE = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}

#: On the page that is timed.
SERIES = 100_000


def main(who: str) -> None:
    ours = who.startswith("uplifted-ops")
    if ours:
        from uplifted_ops import prometheus_client as library

        # An `Ops` makes this process one of several: from there on what is counted lies in a file that others read.
        if who.endswith("multi-process"):
            from uplifted_ops import Ops

            root = tempfile.mkdtemp(prefix="uplifted-bench-")
            atexit.register(shutil.rmtree, root)
            atexit.register(Ops(root=root).close)
    else:
        if who == "prometheus_client, multi-process":
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="uplifted-bench-")
        import prometheus_client as library

    counter = library.Counter("bench_one", "One")
    labelled = library.Counter("bench_requests", "Requests", ["method", "path", "status"])
    histogram = library.Histogram("bench_seconds", "Took")
    traced = library.Histogram("bench_traced_seconds", "Took")
    # In a peer's file that processes share there is no place for examples.
    alone = not who.endswith("multi-process")
    if ours or alone:
        traced.observe(0.3, TRACE)
    names = {
        "counter": counter,
        "child": labelled.labels(*SETS[0]),
        "labelled": labelled,
        "histogram": histogram,
        "traced": traced,
        "SETS": SETS,
        "TRACE": TRACE,
    }
    found = {}
    for job, (statement, number) in JOBS.items():
        if "traced" in statement and not (ours or alone):
            continue
        timer = timeit.Timer(statement, globals=names)
        each = number * (len(SETS) if "for" in statement else 1)
        timer.timeit(number)
        # The least of many short runs: what else the machine does hits some of them, and not all.
        found[job] = min(timer.repeat(500, number)) / each * 1e9
    if alone:
        found[f"page of {SERIES:,} series"] = page(library, {"max_series": 2 * SERIES} if ours else {})
    print(json.dumps(found))


def page(library: Any, more: dict[str, int]) -> float:
    """Nanoseconds of a page."""
    registry = library.CollectorRegistry()
    many = library.Counter("bench_many", "Many", ["method", "path", "status"], registry=registry, **more)
    for n in range(SERIES):
        many.labels(("GET", "POST", "PUT", "DELETE")[n % 4], f"/api/v1/items/{n}", ("200", "404", "500")[n % 3]).inc(n * 7)
    text = library.generate_latest(registry)
    assert text.count(b"\nbench_many_total{") == SERIES, text[:1_000]
    return min(timeit.repeat(lambda: library.generate_latest(registry), number=1, repeat=5)) * 1e9


main(sys.argv[1])
