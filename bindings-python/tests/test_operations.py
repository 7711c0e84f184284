"""Operations as methods: what goes in, what comes out."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import uplifted_ops
from uplifted_ops import AsyncOps, Ops, OpsError
from uplifted_ops.types import BackupCreateResponse, Progress, StatusResponse

from scene import Service


def test_a_backup_is_made_verified_and_restored(ops: Ops, tmp_path: Path) -> None:
    stages: list[str] = []

    def note(progress: Progress) -> None:
        stages.append(progress.stage)

    made = ops.backup.create(label="nightly", on_progress=note)
    assert isinstance(made, BackupCreateResponse)
    assert made.outcome == "complete"
    assert "copying database main" in stages

    [listed] = ops.backup.list().snapshots
    assert listed.snapshot_id == made.snapshot_id
    assert listed.time.tzinfo is UTC
    assert abs(datetime.now(UTC) - listed.time) < timedelta(minutes=5)

    assert ops.backup.verify(snapshot_id=made.snapshot_id, depth="full").ok
    restored = ops.restore.apply(snapshot_id=made.snapshot_id, into=tmp_path / "back")
    assert restored.restored_files >= 2
    assert (tmp_path / "back" / "config" / "app.yaml").read_text(encoding="utf-8") == "name: café\n"


async def test_the_same_awaited(service: Service) -> None:
    stages: list[str] = []
    loop = asyncio.get_running_loop()

    def note(progress: Progress) -> None:
        assert asyncio.get_running_loop() is loop
        stages.append(progress.stage)

    async with AsyncOps(service.with_target, root=service.root) as ops:
        made, status = await asyncio.gather(ops.backup.create(on_progress=note), ops.status())
        assert isinstance(status, StatusResponse)
        assert [one.snapshot_id for one in (await ops.backup.list()).snapshots] == [made.snapshot_id]
    assert "copying database main" in stages


def test_times_round_trip(ops: Ops) -> None:
    ops.backup.create()
    [record] = ops.journal.read(operation="backup.create").records
    assert record.time.tzinfo is UTC
    # Python's microseconds are coarser than the record's nanoseconds.
    assert ops.journal.read(since=record.time).records
    assert not ops.journal.read(since=record.time + timedelta(seconds=1)).records
    with pytest.raises(ValueError, match="zone"):
        ops.journal.read(since=datetime(2026, 1, 1))


def test_what_is_not_well_is_a_value(service: Service) -> None:
    with Ops(service.settings | {"check": [{"name": "gone", "kind": "tcp", "address": "127.0.0.1:1"}]}, root=service.root) as ops:
        assert ops.health.check().status == "fail"
        answer = ops.call("health.check")
        assert not answer.healthy
        assert answer.response["status"] == "fail"


def test_from_config_reads_the_file(service: Service) -> None:
    (service.root / "ops.toml").write_text('[service]\nname = "from the file"\n')
    with Ops.from_config(service.root / "ops.toml") as ops:
        assert ops.status().service.name == "from the file"
    with Ops.from_config(service.root / "ops.toml", {"service": {"name": "from code"}}) as ops:
        assert ops.status().service.name == "from code"


async def test_async_from_config(service: Service) -> None:
    (service.root / "ops.toml").write_text('[service]\nname = "from the file"\n')
    async with AsyncOps.from_config(str(service.root / "ops.toml")) as ops:
        assert (await ops.status()).service.name == "from the file"


def test_two_ops_in_one_process(service: Service, tmp_path: Path) -> None:
    other = Service(tmp_path / "other")
    with Ops(service.with_target, root=service.root) as one, Ops(other.with_target, root=other.root) as two:
        assert one.backup.create().outcome == two.backup.create().outcome == "complete"
        one.close()
        assert two.store.verify().stores[0].ok


def test_progress_that_raises_cancels_and_is_raised(ops: Ops) -> None:
    def stop(progress: Progress) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        ops.backup.create(on_progress=stop)


async def test_progress_that_raises_cancels_and_is_raised_when_awaited(service: Service) -> None:
    def stop(progress: Progress) -> None:
        raise LookupError("enough")

    async with AsyncOps(service.with_target, root=service.root) as ops:
        with pytest.raises(LookupError, match="enough"):
            await ops.backup.create(on_progress=stop)


def test_every_method_is_there_twice_and_documented() -> None:
    def methods(owner: type) -> dict[str, inspect.Signature]:
        found = {}
        for name, member in inspect.getmembers(owner):
            if isinstance(member, property):
                group = member.fget.__annotations__["return"]  # type: ignore[union-attr]
                cls = getattr(uplifted_ops._operations, group)  # type: ignore[attr-defined]
                for method, function in inspect.getmembers(cls, inspect.isfunction):
                    if not method.startswith("_"):
                        assert function.__doc__
                        found[f"{name}.{method}"] = inspect.signature(function)
        return found

    plain, awaited = methods(Ops), methods(AsyncOps)
    assert plain.keys() == awaited.keys()
    assert len(plain) >= 18
    for name, signature in plain.items():
        assert signature.parameters.keys() == awaited[name].parameters.keys(), name


def test_a_closed_ops_says_so(service: Service) -> None:
    ops = Ops(root=service.root)
    ops.close()
    ops.close()
    with pytest.raises(OpsError, match="closed"):
        ops.status()
