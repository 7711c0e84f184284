"""Watches of the interpreter: how late the event loop is, how long the garbage collector stops everything."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

from .metrics import Histogram

_lags: Histogram | None = None
_pauses: Histogram | None = None


def watch_event_loop(loop: asyncio.AbstractEventLoop | None = None, *, period: float = 0.1) -> Callable[[], None]:
    """Observes each ``period`` seconds how late the loop runs what was due, in ``python_eventloop_lag_seconds``.

    Of the running loop, or of ``loop`` before it runs. What is returned ends it; so does the loop's end.
    """
    global _lags
    if _lags is None:
        _lags = Histogram("python_eventloop_lag_seconds", "How late the event loop runs what is due", unit="seconds")
    lags = _lags
    loop = loop or asyncio.get_running_loop()
    due = loop.time() + period
    handle: asyncio.TimerHandle

    def look() -> None:
        nonlocal due, handle
        now = loop.time()
        lags.observe(max(now - due, 0.0))
        due = now + period
        handle = loop.call_at(due, look)

    handle = loop.call_at(due, look)

    def stop() -> None:
        handle.cancel()

    return stop


def watch_gc() -> Callable[[], None]:
    """Observes how long each garbage collection takes, in ``python_gc_duration_seconds``, by generation.

    What is returned ends it.
    """
    global _pauses
    if _pauses is None:
        buckets = [0.0001, 0.001, 0.01, 0.1, 1, 2, 5]
        help = "How long garbage collections take, by generation"
        _pauses = Histogram("python_gc_duration_seconds", help, ["generation"], unit="seconds", buckets=buckets)
    # Made before: nothing is allocated while the collector runs.
    by_generation = [_pauses.labels(str(generation)) for generation in range(3)]
    begun = 0.0

    def look(phase: str, info: dict[str, int]) -> None:
        nonlocal begun
        if phase == "start":
            begun = time.perf_counter()
        else:
            by_generation[info["generation"]].observe(time.perf_counter() - begun)

    gc.callbacks.append(look)

    def stop() -> None:
        if look in gc.callbacks:
            gc.callbacks.remove(look)

    return stop
