"""The front door of hosts with asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ._base import Answer, Base, StrPath, _decode, _encode, heard, heard_failure, typed, watched, with_progress
from ._errors import from_json

from ._operations import AsyncOperations

if TYPE_CHECKING:
    from ._codec import Response
    from .plugins import Check, CheckFunction, Pause, Sink, Store, Target
    from .types import Progress

T = TypeVar("T")


class AsyncOps(Base, AsyncOperations):
    """Operations of a service, awaited. The same operations, settings and errors as :class:`Ops`.

    ``stores``, ``targets``, ``checks``, ``sinks`` and ``pauses`` are objects of yours by their names, see
    :mod:`uplifted_ops.plugins`; they replace those of the same name in the settings. ``callback_timeout`` is how long
    one of them may be silent when it is called, in seconds (60).

    Cancelling the task that awaits cancels the operation, and ends the process group of its worker if that does not
    stop in time. It may be used from several event loops, in one thread each.

    Use it as an async context manager, or await :meth:`aclose`.
    """

    def __init__(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        root: StrPath | None = None,
        stores: Mapping[str, Store] | None = None,
        targets: Mapping[str, Target] | None = None,
        checks: Mapping[str, Check | CheckFunction] | None = None,
        sinks: Mapping[str, Sink] | None = None,
        pauses: Mapping[str, Pause] | None = None,
        callback_timeout: float | None = None,
    ) -> None:
        plugins = {"store": stores, "target": targets, "check": checks, "sink": sinks, "pause": pauses}
        self._build(None, settings, root, plugins, callback_timeout)

    @classmethod
    def from_config(
        cls,
        path: StrPath,
        settings: Mapping[str, Any] | None = None,
        *,
        root: StrPath | None = None,
        stores: Mapping[str, Store] | None = None,
        targets: Mapping[str, Target] | None = None,
        checks: Mapping[str, Check | CheckFunction] | None = None,
        sinks: Mapping[str, Sink] | None = None,
        pauses: Mapping[str, Pause] | None = None,
        callback_timeout: float | None = None,
    ) -> Self:
        """The same from a settings file. ``root`` is the file's folder when not given."""
        self = cls.__new__(cls)
        plugins = {"store": stores, "target": targets, "check": checks, "sink": sinks, "pause": pauses}
        self._build(path, settings, root, plugins, callback_timeout)
        return self

    async def call(
        self,
        name: str,
        request: Mapping[str, Any] | None = None,
        *,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Runs any operation by its name, as ``uplifted-ops call`` does.

        ``on_progress`` is called on the event loop, with a dict; what it raises cancels the operation and is raised
        here. ``timeout`` is in seconds; past it the operation is cancelled and :class:`TimedOutError` raised.
        """
        listener = None if on_progress is None else lambda text: on_progress(_decode(text))
        healthy, text = await self._run(name, request or {}, timeout, listener)
        return Answer(_decode(text), healthy)

    async def _call(
        self,
        name: str,
        request: dict[str, Any],
        response: Response[T],
        on_progress: Callable[[Progress], object] | None,
        timeout: float | None,
    ) -> T:
        _, text = await self._run(name, request, timeout, with_progress(on_progress))
        return typed(name, response, text)

    async def _run(
        self,
        name: str,
        request: Mapping[str, Any],
        timeout: float | None,
        on_progress: Callable[[str], object] | None,
    ) -> tuple[bool, str]:
        loop = asyncio.get_running_loop()
        if self._runner is not None:
            self._runner.use_loop(loop)
        if self._heart is not None:
            self._use_loop()
        on_progress = watched(name, on_progress)
        waiter = _Waiter(loop, on_progress)
        began = time.perf_counter()
        call = self._native.start(name, _encode(request), waiter, timeout, on_progress is not None)
        if call.settled is not None:
            waiter.settled(*call.settled)
        try:
            answer = await waiter.future
        except BaseException as error:
            heard_failure(name, began, error)
            # Nothing, once it has ended. Otherwise this task was cancelled, or `on_progress` raised.
            call.cancel()
            raise
        heard(name, began, answer[0])
        return answer

    async def drain(self, seconds: float | None = None) -> None:
        """Says that the service is about to stop, and returns when ``seconds`` have passed (``health.drain_seconds`` when not
        given): ``/readyz`` is 503 from the first moment on, and everything else goes on. First thing on SIGTERM.
        """
        own = self._native.drain()
        await asyncio.sleep(own if seconds is None else seconds)

    async def aclose(self, timeout: float = 30.0) -> None:
        """Cancels what runs and ends the workers. What is called afterwards is refused; closing again is fine.

        Raises :class:`TimedOutError` when something did not stop in ``timeout`` seconds; it was abandoned then.
        """
        # On a thread: plugins of this loop are cancelled meanwhile.
        await asyncio.to_thread(self._close, timeout)

    async def __aenter__(self) -> Self:
        self._use_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _Waiter:
    """Takes what Rust tells, on a thread of Rust, to the event loop. The loop may be closed by then."""

    __slots__ = ("_loop", "_on_progress", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_progress: Callable[[str], object] | None) -> None:
        self._loop = loop
        self._on_progress = on_progress
        self.future: asyncio.Future[tuple[bool, str]] = loop.create_future()

    def settle(self, ok: bool, healthy: bool, text: str) -> None:
        self._tell(self.settled, ok, healthy, text)

    def progress(self, texts: list[str]) -> None:
        self._tell(self._progressed, texts)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop is closed, and with it whoever waited.
            pass

    def settled(self, ok: bool, healthy: bool, text: str) -> None:
        """The end, on the thread of the loop."""
        if self.future.done():
            return
        if ok:
            self.future.set_result((healthy, text))
        else:
            self.future.set_exception(from_json(text))

    def _progressed(self, texts: list[str]) -> None:
        assert self._on_progress is not None
        for text in texts:
            if self.future.done():
                return
            try:
                self._on_progress(text)
            except Exception as error:
                self.future.set_exception(error)
