"""The routes as ASGI and WSGI applications."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from scene import Service
from uplifted_ops import AsyncOps, Ops

LOCAL = [(b"host", b"127.0.0.1:7541")]


async def ask(
    app: Any,
    method: str,
    path: str,
    *,
    query: bytes = b"",
    headers: list[tuple[bytes, bytes]] = LOCAL,
    body: bytes = b"",
    client: tuple[str, int] | None = ("127.0.0.1", 5),
    root_path: str = "",
) -> tuple[int, dict[bytes, bytes], bytes]:
    """One request of an ASGI server, its body in two parts."""
    half = len(body) // 2
    messages = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:]},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(3600)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "root_path": root_path,
        "headers": headers,
        "client": client,
    }
    await app(scope, receive, send)
    start, content = sent
    return start["status"], dict(start["headers"]), content["body"]


@pytest.fixture
async def app(service: Service) -> AsyncIterator[Any]:
    settings = service.with_target | {"http": {"write_token": "w" * 32}}
    async with AsyncOps(settings, root=service.root) as ops:
        yield ops.asgi()


async def test_probes_answer_anybody_and_the_rest_does_not(app: Any) -> None:
    for path in ("/status", "/livez", "/readyz"):
        status, headers, body = await ask(app, "GET", path, client=("203.0.113.9", 1))
        assert status in (200, 503)
        assert headers[b"content-type"] == b"application/json"
        assert int(headers[b"content-length"]) == len(body)
        assert json.loads(body)["status"]
    for path in ("/metrics", "/health", "/api/v1/backup/list"):
        status, _, _ = await ask(app, "GET", path, client=("203.0.113.9", 1))
        assert status in (401, 403), path
        status, _, _ = await ask(app, "GET", path, client=None)
        assert status in (401, 403), path
        status, _, _ = await ask(app, "GET", path, headers=[*LOCAL, (b"x-forwarded-for", b"203.0.113.9")])
        assert status in (401, 403), path


async def test_reads_and_writes(app: Any) -> None:
    status, _, body = await ask(app, "GET", "/metrics")
    assert status == 200
    assert b"process_cpu_seconds_total" in body
    status, _, body = await ask(app, "GET", "/api/v1/store/stats", query=b"store=main")
    assert (status, json.loads(body)["stores"][0]["name"]) == (200, "main")
    assert (await ask(app, "POST", "/api/v1/backup/create", body=b"{}"))[0] in (401, 403)
    token = [*LOCAL, (b"authorization", b"Bearer " + b"w" * 32), (b"content-type", b"application/json")]
    status, headers, body = await ask(app, "POST", "/api/v1/backup/create", headers=token, body=b'{"label": "by http"}')
    assert (status, headers[b"uplifted-ops-healthy"]) == (200, b"true"), body
    status, _, body = await ask(app, "POST", "/api/v1/backup/create", headers=token, body=b"x" * (2 << 20))
    assert status == 413


async def test_a_mounted_application_finds_its_paths(app: Any) -> None:
    # Starlette leaves the prefix in the path, others take it off.
    for path in ("/ops/status", "/status"):
        assert (await ask(app, "GET", path, root_path="/ops"))[0] == 200


async def test_lifespan(app: Any) -> None:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_client_that_leaves_cancels(service: Service) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    asked = 0

    async def slow() -> dict[str, str]:
        nonlocal asked
        asked += 1
        if asked == 1:
            # In the background: whoever comes meanwhile shares the answer, and to leave ends it for nobody.
            return {"status": "pass", "message": ""}
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        return {"status": "pass", "message": ""}

    settings = service.settings | {"health": {"deadline_seconds": 600}}
    async with AsyncOps(settings, root=service.root, checks={"slow": slow}) as ops:
        await ops.status()
        app = ops.asgi()
        while (await ops.health.state()).status == "unknown":
            await asyncio.sleep(0.01)
        messages = [{"type": "http.request", "body": b'{"group": null}'}]

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await begun.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there any more")

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/v1/health/check",
            "headers": [*LOCAL, (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 5),
        }
        await asyncio.wait_for(app(scope, receive, send), 20)
        await asyncio.wait_for(ended.wait(), 20)


def test_wsgi(service: Service) -> None:
    with Ops(service.with_target, root=service.root) as ops:
        app = validator(ops.wsgi())

        def get(path: str, **more: Any) -> tuple[str, bytes]:
            environ: dict[str, Any] = {"PATH_INFO": path, "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost"}
            environ |= {"SCRIPT_NAME": "", "QUERY_STRING": ""}
            setup_testing_defaults(environ)
            environ.update(more)
            statuses: list[str] = []

            def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
                statuses.append(status)
                return lambda data: None

            answer = app(environ, start_response)
            try:
                body = b"".join(answer)
            finally:
                answer.close()  # type: ignore[attr-defined]
            return statuses[0], body

        status, body = get("/status")
        assert (status, json.loads(body)["service"]) == ("200 OK", "shop")
        status, body = get("/api/v1/store/stats", QUERY_STRING="store=main")
        assert (status, json.loads(body)["stores"][0]["name"]) == ("200 OK", "main")
        text = b'{"limit": 1}'
        posted = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(text))}
        status, body = get("/api/v1/journal/read", **posted, **{"wsgi.input": io.BytesIO(text)})
        assert status == "200 OK", body
        assert get("/metrics", REMOTE_ADDR="203.0.113.9")[0].startswith("403")
        assert get("/nothing")[0] == "404 Not Found"
