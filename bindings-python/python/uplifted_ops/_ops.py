"""The front door of hosts without asyncio."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ._base import Answer, Base, StrPath, _decode, _encode, heard, heard_failure, typed, watched, with_progress
from ._operations import Operations

if TYPE_CHECKING:
    from ._codec import Response
    from .plugins import Check, CheckFunction, Pause, Sink, Store, Target
    from .types import Progress

T = TypeVar("T")


class Ops(Base, Operations):
    """Operations of a service. Each call returns when it is done.

    ``settings`` win over the environment, which wins over ``.env``, ``ops.toml`` in ``root`` and the defaults; they
    are nested as in ``ops.toml``: ``{"backup": {"level": 5}}``. Nothing that belongs to the service is opened
    and no process is started before the first operation that needs one.

    ``stores``, ``targets``, ``checks``, ``sinks`` and ``pauses`` are objects of yours by their names, see
    :mod:`uplifted_ops.plugins`; they replace those of the same name in the settings. ``callback_timeout`` is how long
    one of them may be silent when it is called, in seconds (60).

    Calls release the interpreter lock and may be made from any thread, but not from one that runs an event loop:
    there, use :class:`AsyncOps`. Ctrl-C cancels the operation and raises ``KeyboardInterrupt`` at once.

    Use it as a context manager, or call :meth:`close`; what is left open is closed when the interpreter ends. A
    forked child must make its own (gunicorn: ``post_fork``).
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

    def call(
        self,
        name: str,
        request: Mapping[str, Any] | None = None,
        *,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Runs any operation by its name, as ``uplifted-ops call`` does.

        ``on_progress`` is called on this thread, with a dict; what it raises cancels the operation and is raised
        here. ``timeout`` is in seconds; past it the operation is cancelled and :class:`TimedOutError` raised.
        """
        listener = None if on_progress is None else lambda text: on_progress(_decode(text))
        healthy, text = self._run(name, request or {}, timeout, listener)
        return Answer(_decode(text), healthy)

    def _call(
        self,
        name: str,
        request: dict[str, Any],
        response: Response[T],
        on_progress: Callable[[Progress], object] | None,
        timeout: float | None,
    ) -> T:
        _, text = self._run(name, request, timeout, with_progress(on_progress))
        return typed(name, response, text)

    def _run(
        self,
        name: str,
        request: Mapping[str, Any],
        timeout: float | None,
        on_progress: Callable[[str], object] | None,
    ) -> tuple[bool, str]:
        # Without asyncio having been imported no loop runs.
        events = sys.modules.get("asyncio.events")
        if events is not None and events._get_running_loop() is not None:
            raise RuntimeError(
                f"{name} was called on a thread that runs an event loop, and would block it: use AsyncOps, and await "
                "the same call"
            )
        began = time.perf_counter()
        try:
            answer = self._native.call(name, _encode(request), timeout, watched(name, on_progress))
        except BaseException as error:
            heard_failure(name, began, error)
            raise
        heard(name, began, answer[0])
        return answer

    def drain(self, seconds: float | None = None) -> None:
        """Says that the service is about to stop, and returns when ``seconds`` have passed (``health.drain_seconds`` when not
        given): ``/readyz`` is 503 from the first moment on, and everything else goes on. First thing on SIGTERM, on a thread
        that serves nobody.
        """
        own = self._native.drain()
        time.sleep(own if seconds is None else seconds)

    def close(self, timeout: float = 30.0) -> None:
        """Cancels what runs and ends the workers. What is called afterwards is refused; closing again is fine.

        Raises :class:`TimedOutError` when something did not stop in ``timeout`` seconds; it was abandoned then.
        """
        self._close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
