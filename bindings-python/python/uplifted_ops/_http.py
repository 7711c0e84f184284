"""The routes of uplifted-ops as an ASGI and as a WSGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

from . import _native
from ._native import MAX_BODY

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ExcInfo = tuple[type[BaseException], BaseException, "TracebackType"] | tuple[None, None, None]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Asgi:
    """An ASGI application: ``app.mount("/ops", ops.asgi())`` in FastAPI and Starlette, or served by itself."""

    def __init__(self, responder: _native.Responder, use_loop: Callable[[], None]) -> None:
        self._responder = responder
        self._use_loop = use_loop

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one connection."""
        # The loop that serves is the one to be missed, should it hang.
        self._use_loop()
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "lifespan":
            await _lifespan(receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"a connection of type {kind!r} cannot be answered here")

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        import asyncio

        body = await _body(receive)
        if body is None:
            return
        waiter = _Waiter(asyncio.get_running_loop())
        client = scope.get("client")
        call = self._responder.start(
            scope["method"],
            scope["path"],
            bytes(scope.get("query_string", b"")),
            scope.get("root_path", ""),
            [(bytes(name), bytes(value)) for name, value in scope["headers"]],
            body,
            client[0] if client else None,
            waiter,
        )
        # A client that goes away takes its operation with it.
        left = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((waiter.future, left), return_when=asyncio.FIRST_COMPLETED)
            if not waiter.future.done():
                return
            status, headers, answer = waiter.future.result()
        finally:
            call.cancel()
            left.cancel()
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            }
        )
        await send({"type": "http.response.body", "body": answer})


async def _body(receive: Receive) -> bytes | None:
    """The body, up to one byte more than is allowed; ``None`` when the client went away."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        parts.append(part)
        length += len(part)
        if length > MAX_BODY or not message.get("more_body", False):
            return b"".join(parts)[: MAX_BODY + 1]


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


class _Waiter:
    """Takes an answer from the thread of Rust to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.future: asyncio.Future[tuple[int, list[tuple[str, str]], bytes]] = loop.create_future()

    def respond(self, status: int, reason: str, headers: list[tuple[str, str]], body: bytes) -> None:
        try:
            self._loop.call_soon_threadsafe(self._answered, (status, headers, body))
        except RuntimeError:
            # The loop is closed, and with it whoever waited.
            pass

    def _answered(self, answer: tuple[int, list[tuple[str, str]], bytes]) -> None:
        if not self.future.done():
            self.future.set_result(answer)


class Wsgi:
    """A WSGI application: for Flask by ``DispatcherMiddleware``, for Django, or served by itself."""

    def __init__(self, responder: _native.Responder) -> None:
        self._responder = responder

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request."""
        headers = [
            (name[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in environ.items()
            if name.startswith("HTTP_")
        ]
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if value := environ.get(name):
                headers.append((name.replace("_", "-").lower().encode("latin-1"), value.encode("latin-1")))
        status, reason, answered, body = self._responder.respond(
            environ["REQUEST_METHOD"],
            _text(environ.get("PATH_INFO", "")),
            environ.get("QUERY_STRING", "").encode("latin-1", "replace"),
            _text(environ.get("SCRIPT_NAME", "")),
            headers,
            _wsgi_body(environ),
            environ.get("REMOTE_ADDR") or None,
        )
        start_response(f"{status} {reason}", answered)
        return [body]


def _text(latin: str) -> str:
    """WSGI's Latin-1 characters are the bytes of UTF-8."""
    return latin.encode("latin-1", "replace").decode("utf-8", "replace")


def _wsgi_body(environ: dict[str, Any]) -> bytes:
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = 0
    if environ["REQUEST_METHOD"] != "POST" or length <= 0:
        return b""
    read: bytes = environ["wsgi.input"].read(min(length, MAX_BODY + 1))
    return read
