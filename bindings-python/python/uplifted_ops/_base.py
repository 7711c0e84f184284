"""What :class:`Ops` and :class:`AsyncOps` share."""

from __future__ import annotations

import atexit
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakSet, finalize

from . import _native, _worker
from ._errors import InternalError, OpsError

if TYPE_CHECKING:
    from ._codec import Response
    from ._beat import Heart
    from ._http import Asgi, Wsgi
    from ._runner import Runner
    from .types import Progress

T = TypeVar("T")
StrPath = str | os.PathLike[str]

#: How long the end of the interpreter waits for what it cancelled.
_EXIT_PATIENCE = 5.0


class Answer(NamedTuple):
    """What an operation answered."""

    #: The response, as the operation's schema describes it.
    response: dict[str, Any]
    #: Whether all is well. ``False`` is what makes the command line exit 1: a failed check, a partial backup.
    healthy: bool


def _plain(value: Any) -> Any:
    """What JSON cannot write by itself."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    isoformat = getattr(value, "isoformat", None)
    if isoformat is not None:
        if getattr(value, "tzinfo", None) is None:
            raise TypeError(f"{value!r} has no time zone: give it one, such as datetime.timezone.utc")
        return isoformat()
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {name: getattr(value, name) for name in fields}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, bytes, bytearray)):
        raise TypeError(f"a {type(value).__name__} has no form in JSON")
    try:
        return list(value)
    except TypeError:
        raise TypeError(f"{value!r} has no form in JSON") from None


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain).encode
_decode = json.JSONDecoder().decode


class Listener(NamedTuple):
    """Who hears of every call, see :func:`uplifted_ops.enable_logging`."""

    done: Callable[[str, bool, float], None]
    failed: Callable[[str, BaseException, float], None]
    stage: Callable[[str, str], None] | None


#: Nobody, until logging is enabled.
listener: Listener | None = None


class Base:
    """Builds the native half, and keeps what belongs to it."""

    _native: _native.Ops
    _runner: Runner | None = None
    _heart: Heart | None = None
    _without_sigterm: Callable[[], None] | None = None

    def _build(
        self,
        config: StrPath | None,
        settings: Mapping[str, Any] | None,
        root: StrPath | None,
        plugins: Mapping[str, Mapping[str, object] | None],
        callback_timeout: float | None,
    ) -> None:
        options = {
            "root": root,
            "config_file": config,
            "settings": settings,
            "callback_seconds": callback_timeout,
            "worker": self._worker(),
        }
        given = [(contract, name, plugin) for contract, of in plugins.items() for name, plugin in (of or {}).items()]
        if given:
            # Only now: asyncio and threads cost an import that a host without plugins does not pay.
            from ._runner import Runner

            self._runner = Runner()
        self._native = _native.Ops(_encode(options), given, self._runner)
        if self._native.listens:
            # What listens answers for this interpreter, also while it hangs.
            from ._beat import Heart

            self._heart = Heart(self._native.pulse("interpreter"), self._native.beat_seconds)
            finalize(self, self._heart.stop)
        _open.add(self)

    @staticmethod
    def _worker() -> dict[str, Any]:
        try:
            return {"command": _worker.command()}
        except LookupError as reason:
            return {"none": str(reason)}

    def asgi(self) -> Asgi:
        """The routes ``/status``, ``/livez``, ``/readyz``, ``/startupz``, ``/health``, ``/metrics`` and ``/api/v1/…`` as an
        ASGI application, to be mounted in FastAPI, Starlette or Django, or served by itself.

        Everybody may ask for the first four. The others need the token of the setting ``http.token``, or a caller on this
        machine; operations that change something need that of ``http.write_token``, and are off without it. Keep the
        application: it has the cache of the probes.
        """
        from ._http import Asgi

        return Asgi(self._native.responder(), self._use_loop)

    def wsgi(self) -> Wsgi:
        """The same as a WSGI application, for Flask and Django."""
        from ._http import Wsgi

        return Wsgi(self._native.responder())

    def drain_on_sigterm(self, seconds: float | None = None) -> None:
        """From now on SIGTERM makes the service not ready first, and is passed on to the handler that was there (or ends the
        process, where there was none) when ``seconds`` have passed: ``health.drain_seconds`` when not given. A second SIGTERM is
        passed on at once.

        Call it on the main thread, after the server has set its own handler: in the startup of uvicorn's lifespan, in
        gunicorn's ``post_worker_init``. A handler by ``loop.add_signal_handler`` hears of the signal at once in any case:
        there, await :meth:`AsyncOps.drain` instead.
        """
        from . import _sigterm

        def drain() -> float:
            own = self._native.drain()
            return own if seconds is None else seconds

        if self._without_sigterm is None:
            self._without_sigterm = _sigterm.install(drain)

    def _use_loop(self) -> None:
        """The event loop of this thread beats from now on."""
        if self._heart is None:
            return
        import asyncio

        loop = asyncio.get_running_loop()
        if not self._heart.knows(loop):
            self._heart.use_loop(loop, self._native.pulse("event loop"))

    def _close(self, timeout: float) -> None:
        if self._heart is not None:
            self._heart.stop()
        if self._without_sigterm is not None:
            self._without_sigterm()
            self._without_sigterm = None
        try:
            self._native.close(timeout)
        finally:
            self._native.stop()
            if self._runner is not None:
                self._runner.stop()
            _open.discard(self)


# Those that somebody still holds. At the interpreter's end they are closed while Python still works; later no
# thread of Rust may enter it.
_open: WeakSet[Base] = WeakSet()


@atexit.register
def _close_all() -> None:
    for ops in list(_open):
        try:
            ops._close(_EXIT_PATIENCE)
        except OpsError:
            # Something hangs. Its worker was killed, and the interpreter ends all the same.
            pass


def typed(name: str, response: Response[T], text: str) -> T:
    """The dataclass of an answer."""
    try:
        return response.decode(_decode(text))
    except ValueError as error:
        raise InternalError(
            f"the answer has another shape: {error}",
            hint="this is a defect of uplifted-ops: please report it with this message",
            operation=name,
        ) from error


def with_progress(on_progress: Callable[[Progress], object] | None) -> Callable[[str], object] | None:
    """A listener of JSON text that gives ``on_progress`` the dataclass."""
    if on_progress is None:
        return None
    # `types` is imported only now.
    from ._codec import Response

    progress: Response[Progress] = Response("Progress")
    return lambda text: on_progress(progress.decode(_decode(text)))


def heard(name: str, began: float, healthy: bool) -> None:
    """Tells the listener of a call that has ended."""
    if listener is not None:
        listener.done(name, healthy, time.perf_counter() - began)


def heard_failure(name: str, began: float, error: BaseException) -> None:
    """Tells the listener of a call that has failed."""
    if listener is not None:
        listener.failed(name, error, time.perf_counter() - began)


def watched(
    name: str, on_progress: Callable[[str], object] | None
) -> Callable[[str], object] | None:
    """``on_progress``, and before it the listener when it wants stages."""
    if listener is None or (tell := listener.stage) is None:
        return on_progress
    last = ""

    def both(text: str) -> None:
        nonlocal last
        stage = _decode(text)["stage"]
        if stage != last:
            last = stage
            tell(name, stage)
        if on_progress is not None:
            on_progress(text)

    return both
