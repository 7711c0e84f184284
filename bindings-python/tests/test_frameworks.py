"""The applications inside the frameworks that people use."""

from __future__ import annotations

from typing import Any

import django
import flask
import httpx
from django.conf import settings as django_settings
from django.core.wsgi import get_wsgi_application
from starlette.applications import Starlette
from starlette.routing import Mount
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from scene import Service
from uplifted_ops import AsyncOps, Ops


def look(app: Any) -> None:
    """Asks a WSGI application that has ours below /ops."""
    client = Client(app)
    local = {"REMOTE_ADDR": "127.0.0.1"}
    assert client.get("/ops/status", environ_base=local).get_json()["service"] == "shop"
    stats = client.get("/ops/api/v1/store/stats?store=main", environ_base=local)
    assert stats.get_json()["stores"][0]["name"] == "main"
    assert client.get("/ops/metrics", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 403


def test_flask(service: Service) -> None:
    app = flask.Flask("shop")
    app.add_url_rule("/", "home", lambda: "home")
    with Ops(service.with_target, root=service.root) as ops:
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/ops": ops.wsgi()})  # type: ignore[method-assign]
        assert app.test_client().get("/").data == b"home"
        look(app.wsgi_app)


def test_django(service: Service) -> None:
    django_settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
    django.setup()
    with Ops(service.with_target, root=service.root) as ops:
        app = DispatcherMiddleware(get_wsgi_application(), {"/ops": ops.wsgi()})
        assert Client(app).get("/nothing").status_code == 404
        look(app)


#: Of Django: no pages of its own.
urlpatterns: list[Any] = []


async def test_starlette(service: Service) -> None:
    async with AsyncOps(service.with_target, root=service.root) as ops:
        app = Starlette(routes=[Mount("/ops", app=ops.asgi())])
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/ops/status")).json()["service"] == "shop"
            assert (await client.get("/ops/api/v1/store/stats")).json()["stores"][0]["name"] == "main"
            assert "process_open_fds" in (await client.get("/ops/metrics")).text
