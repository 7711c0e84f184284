"""A host, as a type checker sees it: `mypy --strict` must accept every line, and flag those that are marked."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from uplifted_ops import AsyncOps, NotFoundError, Ops, OpsError
from uplifted_ops.metrics import Counter, Gauge, Histogram, Info, Summary
from uplifted_ops.prometheus_client import CollectorRegistry, Enum, generate_latest
from uplifted_ops.prometheus_client import Counter as PeerCounter
from uplifted_ops.prometheus_client.core import GaugeMetricFamily
from uplifted_ops.plugins import CheckOutcome, MetricsSnapshot, StoredObject
from uplifted_ops.testing import check_target
from uplifted_ops.types import BackupCreateResponse, HealthCheckResponse, Progress

requests = Counter("requests_total", "Requests", ["method"])
waiting = Gauge("waiting", "Waiting")
latency = Histogram("latency_seconds", "Latency", ("route",), buckets=[0.1, 1])
registry = CollectorRegistry()
own: PeerCounter = PeerCounter("own", "Own", ["method"], registry=registry).labels("GET")
own.inc(2, {"trace_id": "1"})
Enum("task", "Task", states=["a", "b"], registry=registry).state("a")
page: bytes = generate_latest(registry)
now: float | None = registry.get_sample_value("own_total", {"method": "GET"})


class Collector:
    def collect(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily("now", "Now", value=1)]


registry.register(Collector())
sizes = Summary("sizes", "Sizes")
build = Info("build", "Build")


@latency.labels("/").time()
def answer(name: str) -> int:
    with waiting.track_inprogress(), requests.labels(method="GET").count_exceptions():
        return len(name)


number: int = answer("x")
answer(3)  # type: ignore[arg-type]


class Plain:
    def put(self, key: str, data: bytes, if_absent: bool) -> bool:
        return True

    def upload(self, key: str, expected_bytes: int | None) -> "Writing":
        return Writing()

    def get(self, key: str, start: int, end: int) -> bytes:
        return b""

    def list(self, prefix: str, after: str | None) -> Sequence[StoredObject]:
        return []

    def stat(self, key: str) -> StoredObject | None:
        return None

    def delete(self, key: str) -> None: ...


class Writing:
    def write(self, data: bytes) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None: ...


class Awaited:
    async def put(self, key: str, data: bytes, if_absent: bool) -> bool:
        return True

    async def upload(self, key: str, expected_bytes: int | None) -> Writing:
        return Writing()

    async def get(self, key: str, start: int, end: int) -> bytes | None:
        return None

    async def list(self, prefix: str, after: str | None) -> list[StoredObject]:
        return []

    async def stat(self, key: str) -> StoredObject | None:
        return None

    async def delete(self, key: str) -> None: ...


class Keeps:
    async def export(self, snapshot: MetricsSnapshot) -> None: ...


async def ask() -> CheckOutcome:
    return CheckOutcome("pass", "fine")


def note(progress: Progress) -> None:
    print(progress.stage, progress.done_bytes)


def plain(root: Path) -> BackupCreateResponse | None:
    with Ops(root=root, targets={"a": Plain(), "b": Awaited()}, checks={"c": ask}, sinks={"d": Keeps()}) as ops:
        try:
            made = ops.backup.create(label="nightly", on_progress=note, timeout=60)
        except NotFoundError as error:
            print(error.kind, error.hint, error.retryable, error.operation, error.context["target"])
            return None
        except OpsError:
            raise
        time: datetime = ops.backup.list().snapshots[0].time
        print(time, made.outcome == "complete")
        ops.backup.hold(snapshot_id=made.snapshot_id, reason="incident 42").hold.at.astimezone()
        kept = ops.backup.retain(dry_run=True)
        for one in kept.targets[0].decisions:
            if one.action == "delete":
                print(one.time < kept.time, one.verified_at or "never verified", *(why.message for why in one.reasons))
        freed: int = sum(one.freed_bytes for one in ops.backup.collect().targets)
        ops.backup.create(tags=("v2", "release"), layout="repository" if freed else None)
        ops.backup.create(tags=[2])  # type: ignore[list-item]
        ops.backup.create("nightly")  # type: ignore[arg-type, call-arg]
        ops.backup.verify(snapshot_id=made.snapshot_id, depth="deep")  # type: ignore[arg-type]
        return made


async def awaited(root: Path) -> HealthCheckResponse:
    async with AsyncOps.from_config(root / "ops.toml", {"backup": {"level": 3}}) as ops:
        report, status = await asyncio.gather(ops.health.check(), ops.status())
        print(status.uptime_seconds)
        return report


Ops(targets={"bad": object()})  # type: ignore[dict-item]
check_target(Plain)
check_target(Awaited)
