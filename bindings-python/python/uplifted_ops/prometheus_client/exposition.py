"""As ``prometheus_client.exposition``: pages, and servers of them."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .._registry import REGISTRY, CollectorRegistry, RestrictedRegistry
from ..metrics import CONTENT_TYPE_LATEST

__all__ = [
    "CONTENT_TYPE_LATEST",
    "CONTENT_TYPE_PLAIN_0_0_4",
    "MetricsHandler",
    "choose_encoder",
    "generate_latest",
    "make_asgi_app",
    "make_wsgi_app",
    "start_http_server",
    "start_wsgi_server",
    "write_to_textfile",
]

#: The text format, as ``prometheus_client`` calls it.
CONTENT_TYPE_PLAIN_0_0_4 = CONTENT_TYPE_LATEST

#: What is read.
_Registry = CollectorRegistry | RestrictedRegistry


def generate_latest(registry: _Registry = REGISTRY, escaping: str = "underscores") -> bytes:
    """Every series of a registry, as text for Prometheus."""
    return registry._page()[0]


def choose_encoder(accept_header: str) -> tuple[Callable[[_Registry], bytes], str]:
    """What writes the page in the format that suits an ``Accept`` header best, and its content type."""
    _, content_type = CollectorRegistry()._page(accept_header)
    return (lambda registry: registry._page(accept_header)[0]), content_type


def _page(
    registry: CollectorRegistry, query: str, accept: str | None, encodings: str | None
) -> tuple[bytes, dict[str, str]]:
    """A page and its headers, compressed where one of the encodings is gzip."""
    names = parse_qs(query).get("name[]")
    body, content_type = (registry.restricted_registry(names) if names else registry)._page(accept)
    headers = {"Content-Type": content_type}
    if any(encoding.split(";")[0].strip().lower() == "gzip" for encoding in (encodings or "").split(",")):
        # The levels above make it a hundredth smaller.
        body = gzip.compress(body, compresslevel=1)
        headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(body))
    return body, headers


def make_wsgi_app(
    registry: CollectorRegistry = REGISTRY, disable_compression: bool = False
) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """A WSGI application that answers with the page."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [("Allow", "GET, HEAD")])
            return [b""]
        if environ.get("PATH_INFO") == "/favicon.ico":
            start_response("200 OK", [])
            return [b""]
        encodings = None if disable_compression else environ.get("HTTP_ACCEPT_ENCODING")
        body, headers = _page(registry, environ.get("QUERY_STRING", ""), environ.get("HTTP_ACCEPT"), encodings)
        start_response("200 OK", list(headers.items()))
        return [body]

    return app


_Message = dict[str, Any]


def make_asgi_app(
    registry: CollectorRegistry = REGISTRY, disable_compression: bool = False
) -> Callable[[_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]]:
    """An ASGI application that answers with the page."""

    async def app(
        scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        assert scope["type"] == "http"
        asked = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in scope.get("headers", [])}
        encodings = None if disable_compression else asked.get(b"accept-encoding")
        query = scope.get("query_string", b"").decode("latin-1")
        body, headers = _page(registry, query, asked.get(b"accept"), encodings)
        # In lower case: ASGI asks for it.
        sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": sent})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


class MetricsHandler(BaseHTTPRequestHandler):
    """Answers with the page of :attr:`registry`."""

    #: What is read.
    registry: CollectorRegistry = REGISTRY

    def do_GET(self) -> None:
        """Answers."""
        accept, encodings = self.headers.get("Accept"), self.headers.get("Accept-Encoding")
        body, headers = _page(self.registry, urlsplit(self.path).query, accept, encodings)
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a scrape each few seconds is no news."""

    @classmethod
    def factory(cls, registry: CollectorRegistry) -> type[MetricsHandler]:
        """A handler of another registry."""
        return type(cls.__name__, (cls,), {"registry": registry})


def start_http_server(
    port: int, addr: str = "0.0.0.0", registry: CollectorRegistry = REGISTRY
) -> tuple[ThreadingHTTPServer, Thread]:
    """Serves the page on a thread of its own. ``metrics.listen`` in the settings does so without Python."""
    server = ThreadingHTTPServer((addr, port), MetricsHandler.factory(registry))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    return server, thread


#: As ``prometheus_client`` has it.
start_wsgi_server = start_http_server


def write_to_textfile(path: str, registry: _Registry) -> None:
    """Writes the page to a file that the textfile collector of node_exporter reads. The file is whole at each moment."""
    folder, name = os.path.split(os.path.abspath(path))
    descriptor, beside = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(generate_latest(registry))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
