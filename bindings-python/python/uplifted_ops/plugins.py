"""Stores, targets, checks, sinks and pauses of your own.

A plugin is any object with the methods of one of the protocols here; it need not inherit anything. Methods may be plain or
``async def``. Plain ones run on threads of ours, several at a time; those of an :class:`~uplifted_ops.AsyncOps`
that are ``async`` run on its event loop, those of an :class:`~uplifted_ops.Ops` on a loop of ours. Every operation uses
a plugin like a built-in component, also the operations that run in a worker process: then the call comes back here.

>>> class Offsite:
...     def put(self, key, data, if_absent): ...
...
>>> ops = Ops(root="/opt/uplifted", targets={"offsite": Offsite()})        # doctest: +SKIP

Arguments are positional, in the order shown. Answers may be the dataclasses of this module or dicts of the same fields.
What is missing is said when the plugin is registered, what is answered wrongly when it is called: the error names the
component, the method and the repair. Each call has a deadline (``callback_timeout``, 60 s; ten times that for work on a
whole database). A cancelled call cancels the task of an ``async`` method; a plain one runs to its end, and
nobody listens.

Raise an :class:`~uplifted_ops.OpsError` to say what the caller must do: ``NotFoundError`` for an object that is not
there, ``NoSpaceError``, ``DeniedError``. An ``OSError`` is understood by its number. Anything else is an
``UnavailableError`` with the exception as its ``__cause__``.

:mod:`uplifted_ops.testing` certifies a plugin: each clause below is a case there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

__all__ = [
    "Check",
    "CheckOutcome",
    "Distribution",
    "Family",
    "IntegrityReport",
    "MaintenanceOutcome",
    "MetricsSnapshot",
    "Pause",
    "Series",
    "Sink",
    "Store",
    "StoreCapability",
    "StoreSnapshot",
    "StoreStats",
    "StoredObject",
    "Target",
    "TargetCapability",
    "Upload",
]

CheckStatus = Literal["pass", "warn", "fail"]
CheckDepth = Literal["quick", "full"]
MaintenanceTask = Literal["optimize", "release_free_pages"]


# ---- targets


@dataclass(frozen=True, slots=True)
class TargetCapability:
    """What a target can do."""

    #: The kind, such as ``"sftp"``.
    kind: str
    #: Where it is, for people: a folder, or a URL without secrets.
    location: str
    #: Its folder, absolute, for a target on this machine. Below the service's root it is left out of backups.
    folder: Path | None = None
    #: Whether ``put`` with ``if_absent`` is atomic between machines.
    put_if_absent: bool = False
    #: Whether an upload can be read back before it becomes visible.
    read_before_finish: bool = False


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a target."""

    key: str
    size_bytes: int
    #: When it was last written, by the target's clock. With a time zone.
    modified_at: datetime


class Upload(Protocol):
    """An object being written: what :meth:`Target.upload` returns. May also have ``read_back(start, end) -> bytes``,
    which makes what was written durable and reads it from where it is stored; needed with
    ``TargetCapability.read_before_finish``."""

    def write(self, data: bytes, /) -> Awaitable[None] | None:
        """Appends at most 8 MiB. After an error only ``abort`` is called."""

    def finish(self) -> Awaitable[None] | None:
        """Makes the object visible under its key, durable when this returns. Replaces nothing: raises
        ``RefusedError`` when there is an object of that key."""

    def abort(self) -> Awaitable[None] | None:
        """Removes what was written. Also called when the writer is gone."""


class Target(Protocol):
    """A place where backups go.

    Keys are ``/``-separated names of ``A-Z a-z 0-9 . _ -``. Nothing is visible under its key before ``put`` or
    ``Upload.finish`` returns, and what is visible is whole and durable. An upload that is aborted or
    forgotten leaves nothing visible.

    May also have ``capability``, a :class:`TargetCapability` or a plain method that returns one, and
    ``free_bytes() -> int | None``.
    """

    def put(self, key: str, data: bytes, if_absent: bool, /) -> Awaitable[bool] | bool:
        """Stores a small object (at most 8 MiB) at once. With ``if_absent`` an object that exists is left alone and
        ``False`` returned; of several callers at the same time exactly one gets ``True``."""
        ...

    def upload(self, key: str, expected_bytes: int | None, /) -> Awaitable[Upload] | Upload:
        """Starts an object of any size. ``expected_bytes`` is a hint."""
        ...

    def get(self, key: str, start: int, end: int, /) -> Awaitable[bytes | None] | bytes | None:
        """Bytes ``start`` to ``end`` (exclusive) of an object, fewer only where it ends; at most 8 MiB. ``None`` or
        ``NotFoundError`` when there is no such object."""
        ...

    def list(
        self, prefix: str, after: str | None, /
    ) -> Awaitable[Sequence[StoredObject | Mapping[str, Any]]] | Sequence[StoredObject | Mapping[str, Any]]:
        """The objects whose key begins with ``prefix`` and is greater than ``after``, sorted by key in byte order, at
        most 1,000."""
        ...

    def stat(
        self, key: str, /
    ) -> Awaitable[StoredObject | Mapping[str, Any] | None] | StoredObject | Mapping[str, Any] | None:
        """Size and time of an object, ``None`` when there is none."""
        ...

    def delete(self, key: str, /) -> Awaitable[None] | None:
        """Removes an object for good. Deleting what is missing succeeds."""


# ---- stores


@dataclass(frozen=True, slots=True)
class StoreCapability:
    """What a store can do."""

    #: The kind, such as ``"lmdb"``.
    kind: str
    #: The live database file, absolute; ``None`` for a server, of which a backup has nothing: it is partial, and names it.
    file: Path | None
    #: The files beside it that are part of the live database and never copied by themselves, absolute.
    side_files: Sequence[Path] = ()
    #: The upkeep it knows.
    maintenance: Sequence[MaintenanceTask] = ()


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Sizes and settings of a live database."""

    #: Bytes of the database, without its log.
    size_bytes: int
    #: Bytes of its log or journal.
    log_bytes: int = 0
    #: Facts about it, by names of your own.
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """A consistent copy in a folder."""

    #: The copy's files, relative to the folder. The first is the database itself.
    files: Sequence[str | Path]
    #: Their size together; counted for you when ``None``.
    size_bytes: int | None = None
    #: Everything committed before this moment is in the copy. When the call began, if ``None``.
    taken_at: datetime | None = None
    #: Facts about the database, by names of your own.
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """What a check of integrity found. Damage is a report, not an exception."""

    ok: bool
    #: What was wrong, in the engine's words.
    problems: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class MaintenanceOutcome:
    """What became of a task of upkeep."""

    task: MaintenanceTask
    done: bool
    #: What changed, or why it was skipped.
    message: str


class Store(Protocol):
    """A database under our care. A consistent copy is a folder, never bytes.

    A missing or foreign database is refused, and nothing is created in its place. The live database is rewritten by
    ``maintain`` and ``restore_from`` alone.

    Needs ``capability``, a :class:`StoreCapability` or a plain method that returns one. May also have
    ``maintain(tasks) -> list[MaintenanceOutcome]``, and ``inspect_copy(folder, rows, queries)``, which returns
    ``{"rows": [{"table": …, "rows": …}], "answers": [{"holds": …, "message": …}]}``: without it, drills count no rows of
    this store and ask it no queries.

    A plugin lives in your process. If the live database is a file with POSIX locks (SQLite), do not open it here: use the
    built-in store.
    """

    def stats(self) -> Awaitable[StoreStats | Mapping[str, Any]] | StoreStats | Mapping[str, Any]:
        """Sizes and settings of the live database. Cheap."""
        ...

    def verify(
        self, depth: CheckDepth, /
    ) -> Awaitable[IntegrityReport | Mapping[str, Any]] | IntegrityReport | Mapping[str, Any]:
        """Checks the database's own integrity, on a copy that is removed afterwards."""
        ...

    def snapshot_to(
        self, folder: Path, /
    ) -> Awaitable[StoreSnapshot | Mapping[str, Any]] | StoreSnapshot | Mapping[str, Any]:
        """Puts a consistent copy into the empty ``folder`` while the service writes. The copy holds everything that
        was committed before the call."""
        ...

    def check_copy(
        self, folder: Path, depth: CheckDepth, /
    ) -> Awaitable[IntegrityReport | Mapping[str, Any]] | IntegrityReport | Mapping[str, Any]:
        """Checks a copy that :meth:`snapshot_to` made, or that was restored from a backup."""
        ...

    def restore_from(self, folder: Path, /) -> Awaitable[None] | None:
        """Replaces the database by the copy in ``folder``, which is checked first and stays."""


# ---- checks


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """The answer of a check."""

    status: CheckStatus
    #: What was found, a sentence without a full stop; the repair when the status is not ``"pass"``.
    message: str
    #: The number behind it.
    observed: float | None = None
    #: Its unit: ``"bytes"``, ``"seconds"``, ``"ratio"``.
    unit: str | None = None


class Check(Protocol):
    """One question about the service. It changes nothing and may be asked again at once. An exception means that the
    question could not be asked, and counts as a failure. A function without arguments is a check, too."""

    def check(self) -> Awaitable[CheckOutcome | Mapping[str, Any]] | CheckOutcome | Mapping[str, Any]:
        """Asks."""
        ...


#: A function as a check.
CheckFunction = Callable[
    [], "CheckOutcome | Mapping[str, Any] | Awaitable[CheckOutcome] | Awaitable[Mapping[str, Any]]"
]


# ---- sinks


@dataclass(frozen=True, slots=True)
class Distribution:
    """The buckets of a histogram."""

    #: Upper bounds, inclusive and ascending, without the ``+Inf`` at the end.
    bounds: list[float]
    #: Observations in each bucket alone, one more than there are bounds.
    counts: list[int]
    #: The sum of all observations.
    sum: float


@dataclass(frozen=True, slots=True)
class Series:
    """A family at one set of label values."""

    labels: dict[str, str]
    #: A number, or the buckets of a histogram.
    value: float | Distribution


@dataclass(frozen=True, slots=True)
class Family:
    """One name, and its series."""

    #: The name. Of a counter, without ``_total``.
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    unit: str | None
    series: list[Series]


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """Every series of the process at one moment."""

    families: list[Family]


class Sink(Protocol):
    """Where numbers go, in batches. An exception loses nothing: the next snapshot holds the same counters."""

    def export(self, snapshot: MetricsSnapshot, /) -> Awaitable[None] | None:
        """Takes a snapshot of every series."""


# ---- pauses


class Pause(Protocol):
    """Pauses the service's writes for the moment in which a backup copies its databases."""

    def before(self) -> Awaitable[None] | None:
        """Returns when nothing is being written any more, neither to a database nor to a file of the backup."""

    def after(self) -> Awaitable[None] | None:
        """Lets writing go on. Called whatever became of :meth:`before`, also while it still hangs, and then once more:
        it must do no harm where nothing is paused."""
