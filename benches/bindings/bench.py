"""What a call costs from Python: prints one JSON object, in microseconds and milliseconds.

Run by `make bench-bindings` with the interpreter of an environment that has the wheel.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from uplifted_ops import AsyncOps, Ops
from uplifted_ops.metrics import Counter

ROUNDS = 5


def median(run: Callable[[], float]) -> float:
    run()
    return statistics.median(run() for _ in range(ROUNDS))


def each(count: int, act: Callable[[], object]) -> float:
    """Seconds of one of `count` calls."""
    began = time.perf_counter()
    for _ in range(count):
        act()
    return (time.perf_counter() - began) / count


async def each_async(ops: AsyncOps, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        await ops.status()
    return (time.perf_counter() - began) / count


def import_milliseconds() -> float:
    """What `import uplifted_ops` adds to the start of the interpreter, by `-X importtime`."""
    found = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", "-c", "import uplifted_ops"], capture_output=True, text=True, check=True
    )
    last = [line for line in found.stderr.splitlines() if line.rstrip().endswith("| uplifted_ops")][-1]
    return int(last.split("|")[1]) / 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config").mkdir()
        with Ops(root=folder) as ops:
            empty = median(lambda: each(5_000, ops.status))
            plain = median(lambda: each(5_000, lambda: ops.call("status")))
            ops.store.stats()
            warm = median(lambda: each(200, lambda: ops.call("store.stats")))
        began = time.perf_counter()
        with Ops(root=folder) as ops:
            ops.call("store.stats")
            cold = time.perf_counter() - began

        async def awaited() -> float:
            async with AsyncOps(root=folder) as ops:
                await each_async(ops, 1_000)
                return statistics.median([await each_async(ops, 5_000) for _ in range(ROUNDS)])

        in_loop = asyncio.run(awaited())
    counter = Counter("bench_counts", "Counts of the bench")
    inc = median(lambda: each(200_000, counter.inc))
    print(
        json.dumps(
            {
                "empty_us": empty * 1e6,
                "empty_untyped_us": plain * 1e6,
                "empty_async_us": in_loop * 1e6,
                "warm_worker_ms": warm * 1e3,
                "first_call_of_a_worker_ms": cold * 1e3,
                "counter_inc_us": inc * 1e6,
                "import_ms": statistics.median(import_milliseconds() for _ in range(2 * ROUNDS)),
            }
        )
    )


main()
