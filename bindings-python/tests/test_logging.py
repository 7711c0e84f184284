"""Nothing is logged until it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from scene import Service
from uplifted_ops import AsyncOps, Ops, OpsError, _base, enable_logging


@pytest.fixture(autouse=True)
def silent_afterwards() -> Iterator[None]:
    yield
    _base.listener = None


def test_silence(ops: Ops, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ops.backup.create()
    assert not [record for record in caplog.records if record.name.startswith("uplifted")]


def test_operations_are_logged(ops: Ops, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    enable_logging(progress=True)
    ops.backup.create()
    with pytest.raises(OpsError):
        ops.backup.verify(snapshot_id="abcdef")
    of_ours = [record for record in caplog.records if record.name == "uplifted_ops"]
    assert "backup.create: copying database main" in [record.getMessage() for record in of_ours]
    done, failed = (record for record in of_ours if record.levelno > logging.DEBUG)
    assert done.levelname == "INFO"
    assert done.getMessage().startswith("backup.create: done in ")
    assert vars(done)["operation"] == "backup.create"
    assert failed.levelname == "ERROR"
    assert "abcdef" in failed.getMessage()


async def test_awaited_operations_are_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    log = enable_logging("shop.ops")
    log.setLevel(logging.INFO)
    settings = service.settings | {"check": [{"name": "gone", "kind": "tcp", "address": "127.0.0.1:1"}]}
    async with AsyncOps(settings, root=service.root) as ops:
        await ops.health.check()
    [record] = [record for record in caplog.records if record.name == "shop.ops"]
    assert (record.levelname, "not well" in record.getMessage()) == ("WARNING", True)
