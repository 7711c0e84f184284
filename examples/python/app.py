"""A small service with uplifted-ops inside: what embedding takes.

    python app.py --root /opt/uplifted
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from socket import socket

import uvicorn
from fastapi import FastAPI, Request, Response
from uplifted_ops import AsyncOps, OpsError
from uplifted_ops.metrics import Counter, Gauge, Histogram

from catalog import Catalog
from ledger import Writer

# Instruments are there before any Ops is. The names are the guide's.
REQUESTS = Counter(
    "uplifted_requests_total", "Requests answered, by method, route and status code", ["method", "path", "status"]
)
DURATION = Histogram(
    "uplifted_requests_duration_seconds",
    "Time taken to answer requests, by method and route",
    ["method", "path"],
    unit="seconds",
)
ACTIVE_PLUGINS = Gauge("uplifted_active_plugins", "Plugins that are active")


class Options(argparse.Namespace):
    """How the service runs."""

    root: Path
    database: Path | None
    listen: tuple[str, int]
    tools: tuple[str, int] | None
    rate: float
    check_every: float
    backup_every: float | None
    until_stdin_closes: bool


def create_app(options: Options, tools: Server | None = None) -> FastAPI:
    """The service. Its operations are built here, before anything opens the database: a restore that was asked for while
    the service ran, or that was killed half-way, is finished or undone now, and trades the database's file for another.
    """
    catalog = Catalog(options.root)
    ops = AsyncOps(root=options.root, checks={"plugins": catalog.check})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        database = options.database or options.root / "data/uplifted.db"
        async with ops, asyncio.TaskGroup() as chores:
            running = [chores.create_task(every(options.check_every, lambda: check(ops)))]
            if options.backup_every is not None:
                running.append(chores.create_task(every(options.backup_every, lambda: back_up(ops))))
            with Writer(database, options.rate) as writer:
                yield
            for chore in running:
                chore.cancel()
        print(json.dumps({"transactions": writer.transactions, "last_transfer": writer.last_transfer}), flush=True)

    app = FastAPI(title="ledger", lifespan=lifespan)

    @app.middleware("http")
    async def count(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.perf_counter()
        response = await call_next(request)
        # The route's pattern, and never the path: a series for each path that somebody tries is without end.
        path = getattr(request.scope.get("route"), "path", "operations")
        REQUESTS.labels(request.method, path, response.status_code).inc()
        DURATION.labels(request.method, path).observe(time.perf_counter() - began)
        return response

    @app.get("/api/v1/system/status")
    def system_status() -> dict[str, int | bool]:
        status = catalog.status(mcp_available=tools is not None and tools.is_serving)
        ACTIVE_PLUGINS.set(status["active_plugin_count"])
        return status

    # What the service does not answer itself: /status, /health, /livez, /readyz, /metrics, /api/v1/backup/list, …
    app.mount("/", ops.asgi())
    return app


def create_tools(options: Options) -> FastAPI:
    """The tool server: its own health, and the tools of the plugins that are switched on."""
    catalog = Catalog(options.root)
    app = FastAPI(title="tools")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/tools")
    def list_tools() -> dict[str, list[str]]:
        return {"tools": catalog.tools()}

    return app


async def check(ops: AsyncOps) -> None:
    """Runs the checks, and says which are not well."""
    health = await ops.health.check()
    for result in health.checks:
        if result.status != "pass":
            print(f"{result.name}: {result.status}: {result.message}", file=sys.stderr)


async def back_up(ops: AsyncOps) -> None:
    """Makes a backup, and says when something is missing in it."""
    backup = await ops.backup.create(label="example")
    if backup.outcome != "complete":
        print(f"backup {backup.snapshot_id} is {backup.outcome}: {backup.skipped}", file=sys.stderr)


async def every(seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
    """Does a chore again and again. An error goes to the log; it never ends the service."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await chore()
        except OpsError as error:
            print(error, file=sys.stderr)


class Server(uvicorn.Server):
    """A server that says where it listens, and leaves signals to whoever runs it when it is not the main one."""

    def __init__(self, app: FastAPI, address: tuple[str, int], path: str, *, main: bool) -> None:
        host, port = address
        # Who asks decides about what is answered: the peer is whom the connection comes from, not who a header says.
        super().__init__(uvicorn.Config(app, host, port, log_level="warning", proxy_headers=False))
        self._path = path
        self._main = main

    @property
    def is_serving(self) -> bool:
        """Whether it answers."""
        return self.started and not self.should_exit

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers if self.started else ():
            host, port = server.sockets[0].getsockname()[:2]
            print(f"listening on http://{host}:{port}/{self._path}", file=sys.stderr, flush=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if not self._main:
            yield
            return
        with super().capture_signals():
            yield


async def serve(server: Server, tools: Server | None) -> None:
    """Serves until the main server stops, the tools beside it."""
    async with asyncio.TaskGroup() as group:
        if tools is not None:
            group.create_task(tools.serve())
        await server.serve()
        if tools is not None:
            tools.should_exit = True


def stop_with_stdin(server: Server) -> None:
    """Stops the server when stdin closes: a child that watches it never outlives the program that started it."""
    # Not `sys.stdin.read`: its lock is held while it waits, and the interpreter wants it when it ends.
    while os.read(0, 4096):
        pass
    server.should_exit = True


def address(text: str) -> tuple[str, int]:
    """An address such as `127.0.0.1:7541`."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A small service with a ledger, and uplifted-ops inside.")
    parser.add_argument("--root", type=Path, default=Path("."), help="the service's folder")
    parser.add_argument("--database", type=Path, help="the database; data/uplifted.db in the root when not given")
    parser.add_argument("--listen", type=address, default=("127.0.0.1", 7541), help="where the service answers")
    parser.add_argument("--tools", type=address, help="where the tools are offered, such as 127.0.0.1:8086")
    parser.add_argument("--rate", type=float, default=500, help="transfers a second")
    parser.add_argument("--check-every", type=float, default=30, help="seconds between health checks")
    parser.add_argument("--backup-every", type=float, help="seconds between backups; none when not given")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when stdin closes, too")
    options = parser.parse_args(namespace=Options())
    try:
        tools = options.tools and Server(create_tools(options), options.tools, "tools", main=False)
        server = Server(create_app(options, tools), options.listen, "status", main=True)
    except OpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if options.until_stdin_closes:
        threading.Thread(target=stop_with_stdin, args=[server], daemon=True).start()
    try:
        asyncio.run(serve(server, tools))
    except KeyboardInterrupt:
        pass
    if not server.started:
        sys.exit(2)


if __name__ == "__main__":
    main()
