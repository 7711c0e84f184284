"""Plugins of Python in every operation, also those that run in the worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scene import Service
from targets import AsyncMemoryTarget, MemoryTarget
from uplifted_ops import (
    AsyncOps,
    CorruptError,
    InvalidInputError,
    NoSpaceError,
    Ops,
    OpsError,
)
from uplifted_ops.plugins import (
    CheckOutcome,
    IntegrityReport,
    MetricsSnapshot,
    StoreCapability,
    StoredObject,
    StoreSnapshot,
    StoreStats,
)


def test_a_backup_to_a_target_of_ours(service: Service, tmp_path: Path) -> None:
    target = MemoryTarget()
    with Ops(service.settings, root=service.root, targets={"offsite": target}) as ops:
        made = ops.backup.create()
        assert made.outcome == "complete"
        [result] = made.targets
        assert (result.target, result.location) == ("offsite", "memory of the test")
        assert any(key.endswith(".tar.zst") for key in target.objects)
        assert ops.backup.verify(snapshot_id=made.snapshot_id, depth="full").ok
        assert ops.restore.apply(snapshot_id=made.snapshot_id, into=tmp_path / "back").restored_files >= 2
        ops.backup.delete(snapshot_id=made.snapshot_id, force=True)
        assert not any(key.endswith(".tar.zst") for key in target.objects)
    # On bounded threads of ours, never on one of Rust's.
    assert all(name.startswith("uplifted-ops-plugin-") for name in target.threads)


async def test_async_methods_run_on_the_callers_loop(service: Service) -> None:
    target = AsyncMemoryTarget()
    async with AsyncOps(service.settings, root=service.root, targets={"offsite": target}) as ops:
        assert (await ops.backup.create()).outcome == "complete"
    assert target.loops == {asyncio.get_running_loop()}


def test_async_methods_of_a_plain_ops_run_on_a_loop_of_ours(service: Service) -> None:
    target = AsyncMemoryTarget()
    with Ops(service.settings, root=service.root, targets={"offsite": target}) as ops:
        assert ops.backup.create().outcome == "complete"
    [loop] = target.loops
    assert not any(thread is threading.main_thread() for thread in threading.enumerate() if thread.name == "uplifted-ops-loop")


class NoRoom(MemoryTarget):
    """A target whose put fails as it is told."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def get(self, key: str, start: int, end: int) -> bytes | None:
        raise self.error


def failing(service: Service, error: BaseException) -> OpsError:
    target = NoRoom(error)
    with Ops(service.settings, root=service.root, targets={"offsite": target}) as ops, pytest.raises(OpsError) as caught:
        ops.backup.create()
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NoSpaceError("the bucket is full", hint="buy another"), "no_space"),
        (CorruptError("the bucket is damaged"), "corrupt"),
        (PermissionError(13, "no"), "denied"),
        (ZeroDivisionError("boom"), "unavailable"),
        (TimeoutError("too late"), "timeout"),
        (NotImplementedError("later"), "unsupported"),
        (SystemExit(3), "unavailable"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_a_plugin_raises_keeps_its_kind_and_is_the_cause(service: Service, error: BaseException, kind: str) -> None:
    raised = failing(service, error)
    assert raised.kind == kind
    assert str(error) in str(raised) or isinstance(error, PermissionError)
    chain: list[BaseException] = [raised]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert error in chain
    if isinstance(error, NoSpaceError):
        assert raised.hint == "buy another"
    assert "exception" not in raised.context


@pytest.mark.parametrize(
    "garbage",
    [42, "text", object(), float("nan"), [{"key": 1}], {"a": 1}, b"bytes", [StoredObject("b", 1, None)]],  # type: ignore[arg-type]
    ids=lambda value: type(value).__name__ + repr(value)[:8].strip("<>"),
)
def test_a_plugin_that_returns_garbage_is_named(service: Service, garbage: object) -> None:
    class Garbage(MemoryTarget):
        def list(self, prefix: str, after: str | None) -> Any:
            return garbage

    with Ops(service.settings, root=service.root, targets={"odd": Garbage()}) as ops:
        text = ""
        try:
            ops.backup.create()
            ops.backup.verify(snapshot_id="abcd")
        except OpsError as error:
            text = str(error) + str(error.context)
        assert "odd" in text


def test_what_is_missing_is_said_when_it_is_registered(service: Service) -> None:
    class Half:
        def put(self, key: str, data: bytes, if_absent: bool) -> bool:
            return True

    with pytest.raises(InvalidInputError, match="upload, get, list, stat, delete") as caught:
        Ops(root=service.root, targets={"half": Half()})  # type: ignore[dict-item]
    assert "class Half" in str(caught.value)
    with pytest.raises(TypeError, match=r"MemoryTarget\(\)"):
        Ops(root=service.root, targets={"cls": MemoryTarget})  # type: ignore[dict-item]

    class Slow(MemoryTarget):
        async def capability(self) -> Any:  # type: ignore[override]
            return None

    with pytest.raises(TypeError, match="plain method"):
        Ops(root=service.root, targets={"slow": Slow()})


def test_functions_are_checks(service: Service) -> None:
    async def later() -> CheckOutcome:
        await asyncio.sleep(0)
        return CheckOutcome("warn", "look at it", 3.0, "seconds")

    def broken() -> CheckOutcome:
        raise RuntimeError("cannot ask")

    checks = {"now": lambda: {"status": "pass", "message": "fine"}, "later": later, "broken": broken}
    with Ops(root=service.root, checks=checks) as ops:
        found = {check.name: check for check in ops.health.check().checks}
    assert found["now"].status == "pass"
    assert (found["later"].status, found["later"].observed, found["later"].unit) == ("warn", 3.0, "seconds")
    assert found["broken"].status == "fail"
    assert "cannot ask" in found["broken"].message


def test_a_plugin_may_call_back(service: Service) -> None:
    inner: list[str] = []
    with Ops(service.with_target, root=service.root, checks={"backups": lambda: ask()}) as ops:

        def ask() -> CheckOutcome:
            inner.append(ops.status().service.name)
            return CheckOutcome("pass", f"{len(ops.backup.list().snapshots)} backups")

        assert any(check.name == "backups" and check.status == "pass" for check in ops.health.check().checks)
    assert inner == ["shop"]


async def test_an_async_plugin_may_call_back(service: Service) -> None:
    async with AsyncOps(service.with_target, root=service.root, checks={"backups": lambda: ask()}) as ops:

        async def ask() -> CheckOutcome:
            return CheckOutcome("pass", f"{len((await ops.backup.list()).snapshots)} backups")

        report = await ops.health.check()
        assert any(check.name == "backups" and check.status == "pass" for check in report.checks)


def test_a_plugin_that_hangs_is_given_up(service: Service) -> None:
    release = threading.Event()

    class Hangs(MemoryTarget):
        def list(self, prefix: str, after: str | None) -> Sequence[StoredObject]:
            release.wait(50)
            return super().list(prefix, after)

    ops = Ops(service.settings, root=service.root, targets={"slow": Hangs()}, callback_timeout=0.3)
    try:
        with pytest.raises(OpsError, match="slow"):
            ops.backup.create()
            ops.backup.verify(snapshot_id="abcd")
        assert ops.status()
    finally:
        release.set()
        ops.close()


async def test_a_plugin_that_blocks_its_loop_is_given_up(service: Service) -> None:
    release = threading.Event()

    class Blocks(AsyncMemoryTarget):
        async def get(self, key: str, start: int, end: int) -> bytes | None:
            # What an `async` method must not do. The deadline is Rust's, and passes all the same.
            release.wait(2)
            return await super().get(key, start, end)

    async with AsyncOps(service.settings, root=service.root, targets={"slow": Blocks()}, callback_timeout=0.2) as ops:
        with pytest.raises(OpsError, match="slow"):
            await ops.backup.create()
        release.set()
        assert await ops.status()


async def test_a_cancelled_call_cancels_the_plugin(service: Service) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    class Waits(AsyncMemoryTarget):
        async def put(self, key: str, data: bytes, if_absent: bool) -> bool:
            begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.set()
                raise
            return True

    async with AsyncOps(service.settings, root=service.root, targets={"slow": Waits()}) as ops:
        task = asyncio.create_task(ops.backup.create())
        await asyncio.wait_for(begun.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(ended.wait(), 20)


async def test_what_a_plugin_raises_after_its_call_is_nobodys(service: Service) -> None:
    raised = asyncio.Event()

    class Late(AsyncMemoryTarget):
        async def put(self, key: str, data: bytes, if_absent: bool) -> bool:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raised.set()
                raise RuntimeError("too late for anybody") from None
            return True

    async with AsyncOps(service.settings, root=service.root, targets={"late": Late()}, callback_timeout=0.2) as ops:
        with pytest.raises(OpsError, match="late"):
            await ops.backup.create()
        await asyncio.wait_for(raised.wait(), 20)
        assert await ops.status()


class Notes:
    """A store whose database is a text file, written whole."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.capability = StoreCapability(kind="notes", file=file)

    def stats(self) -> StoreStats:
        return StoreStats(size_bytes=self.file.stat().st_size, details={"lines": 2})

    async def verify(self, depth: str) -> IntegrityReport:
        return IntegrityReport(ok=self.file.exists())

    def snapshot_to(self, folder: Path) -> StoreSnapshot:
        (folder / "notes.txt").write_bytes(self.file.read_bytes())
        return StoreSnapshot(files=["notes.txt"])

    def check_copy(self, folder: Path, depth: str) -> dict[str, object]:
        return {"ok": (folder / "notes.txt").exists(), "problems": []}

    def restore_from(self, folder: Path) -> None:
        self.file.write_bytes((folder / "notes.txt").read_bytes())


def test_a_store_of_ours(service: Service, tmp_path: Path) -> None:
    file = service.root / "data" / "notes.txt"
    file.write_text("one\ntwo\n")
    with Ops(service.with_target, root=service.root, stores={"notes": Notes(file)}) as ops:
        made = ops.backup.create()
        assert {store.name for store in made.stores} == {"main", "notes"}
        assert {store.name: store.ok for store in ops.store.verify().stores} == {"main": True, "notes": True}
        assert {store.name: store.size_bytes for store in ops.store.stats().stores}["notes"] == 8
        ops.restore.apply(snapshot_id=made.snapshot_id, into=tmp_path / "back")
    assert (tmp_path / "back" / "data" / "notes.txt").read_text() == "one\ntwo\n"


def test_a_sink_is_taken(service: Service) -> None:
    class Keeps:
        def export(self, snapshot: MetricsSnapshot) -> None: ...

    with Ops(root=service.root, sinks={"keeps": Keeps()}) as ops:
        assert ops.status()
    with pytest.raises(InvalidInputError, match="export"):
        Ops(root=service.root, sinks={"none": object()})  # type: ignore[dict-item]


def test_the_service_is_paused_while_its_databases_are_copied(service: Service) -> None:
    class Writer:
        def __init__(self, refuses: bool = False) -> None:
            self.calls: list[str] = []
            self.refuses = refuses

        def before(self) -> None:
            self.calls.append("before")
            if self.refuses:
                raise RuntimeError("not now")

        async def after(self) -> None:
            self.calls.append("after")

    writer = Writer()
    with Ops(service.settings, root=service.root, pauses={"writer": writer}) as ops:
        group = ops.backup.create().group
    assert group is not None and group.consistent and group.pause is not None and group.pause.held
    assert writer.calls == ["before", "after"]

    refusing = Writer(refuses=True)
    with Ops(service.settings, root=service.root, pauses={"writer": refusing}) as ops:
        made = ops.backup.create()
    assert made.outcome == "complete" and made.group is not None and not made.group.consistent
    assert "not now" in (made.group.message or "")
    assert refusing.calls == ["before", "after"]
