"""Runs the methods of plugins when Rust calls them."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from math import isfinite
from pathlib import Path
from typing import Any

from . import _native
from ._base import _encode
from ._errors import OpsError, remember

#: Plain methods that run at the same time. More wait their turn, under their deadline.
THREADS = 32


class Runner:
    """Runs plain methods on threads and ``async`` ones on an event loop, for one ``Ops``.

    Rust calls :meth:`start` and :meth:`Run.cancel` on its one Python thread, so neither does more than hand over.
    """

    def __init__(self) -> None:
        self._threads = _Threads(THREADS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._own_loop: asyncio.AbstractEventLoop | None = None

    def use_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has ``async`` methods run on the caller's loop from now on."""
        if self._loop is not loop and (self._loop is None or not self._loop.is_running()):
            self._loop = loop

    def start(
        self, reply: _native.Reply, plugin: Any, name: str, arguments: str, block: bytes | None
    ) -> Run:
        """Begins a call. ``arguments`` are JSON, with the block's place as ``{"block": null}``."""
        # A function is a check, and has no method of that name.
        method = getattr(plugin, name, plugin)
        run = Run(self, reply, name)
        positional = _arguments(name, arguments, block)
        if inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(getattr(method, "__call__", None)):
            run.on_loop(method, positional)
        else:
            self._threads.submit(lambda: run.on_thread(method, positional))
        return run

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop for ``async`` methods: the caller's, else one of ours, on a thread that is begun now."""
        if self._loop is not None:
            return self._loop
        if self._own_loop is None:
            self._own_loop = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=[self._own_loop], name="uplifted-ops-loop", daemon=True).start()
        return self._own_loop

    def stop(self) -> None:
        """Ends the threads as soon as what they run has ended."""
        self._threads.stop()
        if self._own_loop is not None:
            try:
                self._own_loop.call_soon_threadsafe(self._own_loop.stop)
            except RuntimeError:
                # Stopped before.
                pass


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Runs a loop until it is stopped, and lets what still runs on it end."""
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    finally:
        loop.close()


class Run:
    """One call of one method."""

    __slots__ = ("_cancelled", "_lock", "_name", "_reply", "_runner", "_task")

    def __init__(self, runner: Runner, reply: _native.Reply, name: str) -> None:
        self._runner = runner
        self._reply = reply
        self._name = name
        self._cancelled = False
        self._lock = threading.Lock()
        self._task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Asks the method to stop: a task is cancelled, a method that waits for its thread is not begun."""
        with self._lock:
            self._cancelled = True
            task = self._task
        if task is not None:
            try:
                task.get_loop().call_soon_threadsafe(task.cancel)
            except RuntimeError:
                pass

    def on_thread(self, method: Callable[..., Any], arguments: list[Any]) -> None:
        """Runs a plain method here."""
        if self._cancelled:
            self._reply.fail("CancelledError", "the call was cancelled before it began", kind="cancelled")
            return
        try:
            value = method(*arguments)
        except BaseException as error:
            self._fail(error)
            return
        if inspect.isawaitable(value):
            # A wrapper without `async` around a coroutine: as good as an `async` method.
            self.on_loop(lambda: value, [])
        else:
            self._answer(value)

    def on_loop(self, method: Callable[..., Any], arguments: list[Any]) -> None:
        """Runs an ``async`` method on the event loop."""
        loop = self._runner.loop()
        try:
            loop.call_soon_threadsafe(self._begin, loop, method, arguments)
        except RuntimeError:
            self._reply.fail(
                "RuntimeError",
                "the event loop of its AsyncOps is closed",
                hint="close the AsyncOps before its event loop, with `async with`",
            )

    def _begin(self, loop: asyncio.AbstractEventLoop, method: Callable[..., Any], arguments: list[Any]) -> None:
        with self._lock:
            self._task = loop.create_task(self._await(method, arguments), name=f"uplifted-ops {self._name}")
            if self._cancelled:
                self._task.cancel()

    async def _await(self, method: Callable[..., Any], arguments: list[Any]) -> None:
        try:
            value = await method(*arguments)
        except asyncio.CancelledError as error:
            if self._cancelled:
                self._reply.fail("CancelledError", "cancelled by the caller", kind="cancelled")
            else:
                self._fail(error)
                raise
        except Exception as error:
            self._fail(error)
        else:
            self._answer(value)

    def _answer(self, value: Any) -> None:
        try:
            if self._name in _OBJECTS and value is not None:
                self._reply.answer("null", None, value)
            elif self._name in ("get", "read_back") and value is not None:
                self._reply.answer("null", _block(value), None)
            else:
                if isinstance(value, float) and not isfinite(value):
                    # JSON has no number for it: it travels as a word, as in a snapshot.
                    value = str(value)
                self._reply.answer(_encode(value), None, None)
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, OpsError):
            self._reply.fail(
                type(error).__name__,
                error.message,
                kind=error.kind,
                hint=error.hint,
                retryable=error.retryable,
                ticket=remember(error),
            )
        else:
            self._reply.fail(
                type(error).__name__, _text(error), kind=_kind(error), errno=_errno(error), ticket=remember(error)
            )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "its text cannot be read"


def _kind(error: BaseException) -> str | None:
    if isinstance(error, NotImplementedError):
        return "unsupported"
    if isinstance(error, TimeoutError) and _errno(error) is None:
        return "timeout"
    return None


def _errno(error: BaseException) -> int | None:
    number = error.errno if isinstance(error, OSError) else None
    return number if isinstance(number, int) else None


def _block(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return bytes(memoryview(value))
    except TypeError:
        raise TypeError(f"bytes are wanted, this is a {type(value).__name__}") from None


# `upload` of a target; the others belong to the scenes of `uplifted_ops.testing`.
_OBJECTS = {"upload", "fresh", "stuck", "open", "hold_open", "sink"}
_FOLDER_FIRST = {
    "snapshot_to",
    "check_copy",
    "inspect_copy",
    "restore_from",
    "open",
    "commit",
    "rows",
    "rows_in",
    "damage",
    "hold_open",
}


def _arguments(name: str, text: str, block: bytes | None) -> list[Any]:
    """The positional arguments of a method, in the types that its protocol promises."""
    arguments: list[Any] = json.loads(text)
    if block is not None:
        arguments[arguments.index({"block": None})] = block
    if name in _FOLDER_FIRST:
        arguments[0] = Path(arguments[0])
    elif name == "export":
        arguments[0] = _snapshot(arguments[0])
    return arguments


def _snapshot(value: dict[str, Any]) -> Any:
    from .plugins import Distribution, Family, MetricsSnapshot, Series

    def read(value: dict[str, Any]) -> float | Distribution:
        if "distribution" in value:
            shape = value["distribution"]
            return Distribution(shape["bounds"], shape["counts"], float(shape["sum"]))
        return float(value["number"])

    return MetricsSnapshot(
        [
            Family(
                family["name"],
                family["kind"],
                family["help"],
                family["unit"],
                [Series(dict(series["labels"]), read(series["value"])) for series in family["series"]],
            )
            for family in value["families"]
        ]
    )


def describe(plugin: Any, contract: str | None, names: list[str]) -> tuple[str, list[str], str | None]:
    """What an object is and has: its class, which of these methods, its capability as JSON."""
    if isinstance(plugin, type):
        raise TypeError(f"{plugin.__name__} is a class, and an object is wanted: give {plugin.__name__}()")
    found = [name for name in names if callable(getattr(plugin, name, None))]
    if contract in ("check", None) and not found and callable(plugin):
        found = ["check"]
    capability = getattr(plugin, "capability", None)
    if callable(capability):
        capability = capability()
        if inspect.isawaitable(capability):
            if isinstance(capability, Coroutine):
                capability.close()
            raise TypeError(f"{type(plugin).__name__}.capability is asked without I/O: make it a plain method")
    text = None if capability is None else _encode(capability)
    return type(plugin).__name__, found, text


class _Threads:
    """At most ``limit`` threads, begun when they are needed.

    Daemons, unlike those of ``concurrent.futures``: a plugin that hangs must not keep the interpreter from ending.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: deque[Callable[[], None]] = deque()
        self._change = threading.Condition()
        self._idle = 0
        self._count = 0
        self._stopped = False

    def submit(self, job: Callable[[], None]) -> None:
        with self._change:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._change.notify()
            elif self._count < self._limit:
                self._count += 1
                threading.Thread(target=self._work, name=f"uplifted-ops-plugin-{self._count}", daemon=True).start()

    def stop(self) -> None:
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._jobs:
                    if self._stopped:
                        return
                    self._idle += 1
                    self._change.wait()
                    self._idle -= 1
                job = self._jobs.popleft()
            job()
            del job
