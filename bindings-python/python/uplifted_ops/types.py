"""What operations answer with: frozen dataclasses, and the words in them.

Times are `datetime` in UTC. File names are `str` as `os.fsdecode` makes them, so any
name can be opened. Generated from the table of operations by `make generate`: do not
edit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from . import _codec

__all__ = [
    "AtPlan",
    "BackupBisectResponse",
    "BackupCollectResponse",
    "BackupCopyResponse",
    "BackupCreateResponse",
    "BackupDeleteResponse",
    "BackupDrillResponse",
    "BackupExportResponse",
    "BackupHoldResponse",
    "BackupImportResponse",
    "BackupKeysAdoptResponse",
    "BackupKeysCheckResponse",
    "BackupKeysInitResponse",
    "BackupKeysListResponse",
    "BackupKeysRewrapResponse",
    "BackupKeysRotateResponse",
    "BackupListResponse",
    "BackupReleaseResponse",
    "BackupRetainResponse",
    "BackupSampleResponse",
    "BackupShowResponse",
    "BackupVerifyResponse",
    "Base",
    "BisectCheck",
    "BisectProbe",
    "BisectVerdict",
    "BisectedSnapshot",
    "Change",
    "CheckDepth",
    "CheckHistory",
    "CheckReport",
    "CheckStatus",
    "CheckView",
    "CheckedTarget",
    "CollectAction",
    "CollectDecision",
    "CollectFailure",
    "CollectKind",
    "CollectRefusal",
    "CollectedObject",
    "CompactedStore",
    "ConfigCheckResponse",
    "ConfigInitResponse",
    "ConfigShowResponse",
    "ConsistencyGroup",
    "ContinuousCompactResponse",
    "ContinuousStartResponse",
    "ContinuousStatusResponse",
    "ContinuousStopResponse",
    "ContinuousStore",
    "DeletedSnapshot",
    "Deletion",
    "DrillCheck",
    "DrillPhase",
    "DrillProblem",
    "DrillStep",
    "DrilledDatabase",
    "DrilledMoment",
    "DrilledTable",
    "ErrorBody",
    "ErrorKind",
    "FailedDeletion",
    "FailedKey",
    "FailedTarget",
    "Finding",
    "FoundProblem",
    "Gap",
    "GenerateAlertsResponse",
    "GenerateGrafanaResponse",
    "GenerateOutcome",
    "GeneratePrometheusResponse",
    "GeneratedFile",
    "HealthCheckResponse",
    "HealthHistoryResponse",
    "HealthState",
    "HealthStateResponse",
    "HistoryFunction",
    "HistoryKept",
    "HistorySample",
    "Hold",
    "Holder",
    "Included",
    "InitFound",
    "IntegrityReport",
    "JournalReadResponse",
    "JournalRecord",
    "KeyStatus",
    "KnownJob",
    "KnownSnapshot",
    "LastRun",
    "Layout",
    "Leader",
    "LeftOut",
    "Listed",
    "ListedKey",
    "ListenerState",
    "ListenerView",
    "Manifest",
    "MetricsFormat",
    "MetricsHistoryResponse",
    "MetricsRenderResponse",
    "Outcome",
    "PauseReport",
    "Phase",
    "Problem",
    "ProblemKind",
    "Progress",
    "ProofLevel",
    "ReachedStore",
    "RecordOutcome",
    "RemovedSegment",
    "RestoreAction",
    "RestoreApplyResponse",
    "RestoreDatabaseResponse",
    "RestoreDiscardResponse",
    "RestoreMode",
    "RestorePlanResponse",
    "RestorePointsResponse",
    "RestoreSwapDiscardResponse",
    "RestoreSwapResponse",
    "RestoreSwapUndoResponse",
    "RestoreUndoListResponse",
    "RestoreUndoResponse",
    "RestoreUnit",
    "RetentionAction",
    "RetentionDecision",
    "RetentionReason",
    "RetentionRule",
    "RetentionSettings",
    "RetentionTargetPlan",
    "Rewrap",
    "Role",
    "RunMode",
    "RunOutcome",
    "RunReport",
    "RunningJob",
    "SampledTarget",
    "ScheduleListResponse",
    "ScheduleRunResponse",
    "SeriesHistory",
    "ServiceFacts",
    "ServiceReport",
    "Severity",
    "ShownSetting",
    "SkipReason",
    "Skipped",
    "SpaceNeed",
    "Span",
    "StatusResponse",
    "StoreAt",
    "StoreRecord",
    "StoreStanding",
    "StoreStatsResponse",
    "StoreStatus",
    "StoreTimeline",
    "StoreVerdict",
    "StoreVerifyResponse",
    "StoredKey",
    "SwapSession",
    "TargetCollection",
    "TargetResult",
    "TargetStanding",
    "UndoArea",
    "UndoPlan",
    "Unreadable",
    "VerifyDepth",
    "VerifyLevel",
    "Why",
    "Withheld",
]

BisectCheck: TypeAlias = Literal["integrity", "query", "command"]
"""What must hold in a bisection.

- `integrity`: The database is sound, every index held against its table.
- `query`: The query holds.
- `command`: The program `backup.drill.command` of the settings ends well in the
  restored folder.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BisectedSnapshot:
    """A snapshot of a bisection."""

    snapshot_id: str
    """Its identifier."""

    time: datetime
    """When it was made."""


BisectVerdict: TypeAlias = Literal["holds", "fails", "unreadable"]
"""What a snapshot answers.

- `holds`: The check holds.
- `fails`: It does not.
- `unreadable`: The snapshot is damaged, or lacks the database: it says nothing.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BisectProbe:
    """What a snapshot answered."""

    snapshot_id: str
    """Its identifier."""

    time: datetime
    """When it was made."""

    verdict: BisectVerdict
    """What it answered."""

    duration_seconds: float
    """How long that took, in seconds."""

    message: str | None = None
    """Why it fails, or why it could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupBisectResponse:
    """What a bisection found."""

    assumption: str
    """What the search took for granted."""

    neighbours_agree: bool
    """Whether the neighbours of `good` and `bad` agree with that."""

    probes: list[BisectProbe]
    """What was asked, in that order."""

    snapshots: int
    """How many snapshots there are."""

    restores: int
    """How many were restored, in whole or in part."""

    duration_seconds: float
    """How long it took, in seconds."""

    good: BisectedSnapshot | None = None
    """The newest snapshot for which the check holds. Nothing when it holds for none."""

    bad: BisectedSnapshot | None = None
    """The oldest snapshot after it for which the check fails. Nothing when the newest
    of all holds.
    """

    contradicted_by: BisectedSnapshot | None = None
    """The snapshot that contradicts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectRefusal:
    """Why nothing may be collected."""

    message: str
    """What is wrong."""

    hint: str
    """The repair."""


CollectKind: TypeAlias = Literal["pack", "index", "record"]
"""What an object of a repository is.

- `pack`: Content.
- `index`: An index whose pack is gone.
- `record`: A collect record.
"""

CollectAction: TypeAlias = Literal["delete", "condemn", "wait", "keep"]
"""What is done with an object.

- `delete`: It is deleted.
- `condemn`: It is recorded that nobody needs it: no run uses it from then on, and a
  later collection deletes it.
- `wait`: Its time has not come.
- `keep`: It stays as long as something needs it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectDecision:
    """What is decided about an object, and why."""

    key: str
    """Its key."""

    kind: CollectKind
    """What it is."""

    stored_bytes: int
    """Its size; of a pack with its index."""

    action: CollectAction
    """What is to be done."""

    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedObject:
    """An object that was deleted."""

    key: str
    """Its key."""

    stored_bytes: int
    """The bytes that became free."""


ErrorKind: TypeAlias = Literal[
    "invalid_input",
    "not_found",
    "refused",
    "busy",
    "denied",
    "no_space",
    "unavailable",
    "timeout",
    "corrupt",
    "unsupported",
    "cancelled",
    "internal",
]
"""What the caller must do. Few on purpose: match on these, show the rest to a person.

- `invalid_input`: The request or a setting is wrong: change it.
- `not_found`: What was named does not exist: name something that does.
- `refused`: Doing it now would be unsafe: meet the condition in the hint first.
- `busy`: Somebody else holds what is needed: try again later.
- `denied`: The operating system or a server said no: grant the permission.
- `no_space`: The disk or the target is full: free space.
- `unavailable`: Something outside did not answer, or a device failed: bring it back,
  then try again.
- `timeout`: The deadline passed: try again, or allow more time.
- `corrupt`: Data is damaged: do not trust it, use another copy.
- `unsupported`: This build, or this component, cannot do that.
- `cancelled`: The caller cancelled. Nothing was left half-done.
- `internal`: A defect of ours: report it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """An `Error` on the wire: the value of `error` in `{"error": {…}}`."""

    kind: ErrorKind
    """What the caller must do."""

    message: str
    """What happened, for a person."""

    retryable: bool
    """Whether the same call can succeed later without anybody changing it."""

    hint: str | None = None
    """The repair, one line."""

    operation: str | None = None
    """The operation that failed."""

    causes: list[str] = field(default_factory=list)
    """The messages of the underlying causes, nearest first."""

    context: dict[str, str] = field(default_factory=dict)
    """Names and values that help to find the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectFailure:
    """An object that could not be deleted."""

    key: str
    """Its key."""

    error: ErrorBody
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCollection:
    """What is decided about the repository in a target, and what was done."""

    target: str
    """The target."""

    repository_id: str
    """The repository: 32 hexadecimal digits."""

    target_time: datetime
    """What time it is by the target's clock, which ages are judged by. In a dry run it
    is estimated, since asking a target for its time takes writing to it.
    """

    grace_hours: float
    """How long a pack stays after it was condemned."""

    snapshots: int
    """How many snapshots there are."""

    packs: int
    """How many packs there are."""

    dead_packs: int
    """How many of them no snapshot needs."""

    repository_bytes: int
    """Bytes of all packs, indexes and records."""

    dead_bytes: int
    """Bytes of the packs that no snapshot needs, with their indexes."""

    refusals: list[CollectRefusal]
    """Why nothing may be done here."""

    decisions: list[CollectDecision]
    """What is decided about each object that somebody could do without."""

    accepted_missing: list[str]
    """Snapshots that are gone, and that are recorded as removed because the caller says
    that they are lost.
    """

    problems: list[str]
    """What is wrong and does not stand in the way."""

    condemned: int
    """How many packs were condemned."""

    deleted: list[CollectedObject]
    """What was deleted, in this order."""

    freed_bytes: int
    """Bytes that became free."""

    failures: list[CollectFailure]
    """What should have been deleted and was not."""

    deferred: str | None = None
    """Why what is due to be deleted is left for the next time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTarget:
    """A target that could not be asked."""

    target: str
    """Its name."""

    error: ErrorBody
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupCollectResponse:
    """What was planned for each target, and what became of it."""

    targets: list[TargetCollection]
    """The targets that have a repository."""

    without_repository: list[str]
    """The targets that have none: there is nothing to collect."""

    failed: list[FailedTarget]
    """The targets that could not be asked, or where it ended early."""

    dry_run: bool
    """Whether it was to be a plan alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupCopyResponse:
    """What became of a copy."""

    snapshot_id: str
    """The snapshot."""

    from_: str
    """The target that it was read from."""

    to: str
    """The target that has it now."""

    key: str
    """Its key there."""

    stored_bytes: int
    """Its bytes there; of a snapshot in a repository those that were added for it."""

    copied: bool
    """Whether it was copied; `false` when the target had it already, whole."""

    duration_seconds: float
    """How long it took, in seconds."""


Layout: TypeAlias = Literal["archive", "repository"]
"""How a snapshot is stored.

- `archive`: One standard `.tar.zst` for each snapshot.
- `repository`: Packs that snapshots share: each adds only what changed.
"""

Outcome: TypeAlias = Literal["complete", "partial"]
"""Whether everything was read completely.

- `complete`: Everything.
- `partial`: Not everything: see `skipped`.
"""

SkipReason: TypeAlias = Literal[
    "vanished",
    "unreadable",
    "grew",
    "shrank",
    "changed",
    "corrupt",
    "database",
    "socket",
    "device",
]
"""Why something is not in the snapshot, or not completely.

- `vanished`: It was gone when its turn came.
- `unreadable`: It was not readable.
- `grew`: It became longer while it was read; the snapshot has its beginning.
- `shrank`: It became shorter while it was read; the snapshot has what was there.
- `changed`: Its content or kind changed while it was read.
- `corrupt`: A database whose copy failed its own integrity check; the copy is in the
  snapshot.
- `database`: A database that could not be copied consistently.
- `socket`: A socket: listed, since nothing of it can be stored. Does not make the
  snapshot partial.
- `device`: A device: listed, never stored. Does not make the snapshot partial.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Something that is not in the snapshot, or not completely."""

    path: str
    """The path, relative to the root."""

    reason: SkipReason
    """Why."""

    message: str
    """The detail, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """What became of a backup in one target."""

    target: str
    """The target's name."""

    location: str
    """Where it is, for people."""

    error: ErrorBody | None = None
    """Why the target does not have it; nothing when it has, read back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityReport:
    """What a check of integrity found."""

    ok: bool
    """Whether nothing was wrong."""

    problems: list[str]
    """What was wrong, in the engine's words; at most 100 entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRecord:
    """A database in a snapshot."""

    name: str
    """The store's name."""

    kind: str
    """Its kind."""

    path: str
    """The entry that holds it, relative to the root."""

    taken_at: datetime
    """Everything committed before this moment is in it."""

    check: IntegrityReport
    """What the check of the copy found."""

    details: dict[str, Any]
    """Facts by the driver's names; under `rows` how many rows each table has, where the
    store counts them.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseReport:
    """How a pause went."""

    from_: datetime
    """From when on nothing was written."""

    until: datetime
    """When writing was let go on."""

    held: bool
    """Whether it lasted as long as it was wanted, and was not ended by its deadline."""

    error: str | None = None
    """What went wrong when writing was let go on: it may still be paused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyGroup:
    """Which moments a snapshot is of: its files, and against them its databases, each
    of which says when it was taken.
    """

    files_from: datetime
    """When the files began to be looked at."""

    files_until: datetime
    """When the last of them was read."""

    asked: bool
    """Whether the service was to be paused."""

    consistent: bool
    """Whether all databases and files are of one moment, proven by a pause that held.
    """

    pause: PauseReport | None = None
    """How the pause went. Nothing when there was none."""

    message: str | None = None
    """Why not, when it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupCreateResponse:
    """What became of a backup."""

    snapshot_id: str
    """The snapshot's identifier: 12 hexadecimal digits."""

    outcome: Outcome
    """Whether everything was read completely."""

    skipped: list[Skipped]
    """What was not read, or not completely, or cannot be stored."""

    files: int
    """Regular files, hard links included."""

    size_bytes: int
    """Bytes of the files' content."""

    stored_bytes: int
    """Bytes of the archive, or what this run added to the repository."""

    duration_seconds: float
    """How long it took, in seconds."""

    key: str
    """The key of the archive, or of the snapshot's header, in every target."""

    targets: list[TargetResult]
    """What became of it in each target."""

    stores: list[StoreRecord]
    """The databases in it."""

    group: ConsistencyGroup | None = None
    """Which moments it is of."""

    encrypted_to: str | None = None
    """The fingerprint of the key that it is encrypted to. Nothing when it is stored in
    clear.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """One object to remove."""

    target: str
    """The target that has it."""

    key: str
    """Its key there."""

    stored_bytes: int
    """The bytes that become free; of a snapshot in a repository those of its header,
    and the packs that nothing else needs are collected later.
    """

    reason: str
    """Why it is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Who wants a snapshot kept, since when, and why."""

    by: str
    """Who."""

    at: datetime
    """Since when."""

    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupDeleteResponse:
    """What was deleted, or would be."""

    snapshot_id: str
    """The snapshot."""

    deletions: list[Deletion]
    """What is removed."""

    holds: list[Hold]
    """Who holds it. What is held is not removed by force either."""

    deleted: bool
    """Whether it was carried out."""

    refused: str | None = None
    """Why nothing may be removed unless it is forced."""


DrillCheck: TypeAlias = Literal["rows", "migrate", "queries", "command"]
"""What a drill does beside restoring and checking integrity.

- `rows`: Counts the rows of every table.
- `migrate`: Runs `backup.drill.migrate`.
- `queries`: Asks `backup.drill.queries`.
- `command`: Runs `backup.drill.command`.
"""

ProofLevel: TypeAlias = Literal["sealed", "proven"]
"""How much is known of a snapshot.

- `sealed`: Every stored byte is what was stored. Nobody has looked inside.
- `proven`: It was restored, and its databases are sound.
"""

DrillPhase: TypeAlias = Literal[
    "find",
    "open",
    "restore",
    "integrity",
    "rows",
    "moment",
    "migrate",
    "queries",
    "command",
]
"""The steps of a drill, in their order.

- `find`: Finding the snapshot in its target.
- `open`: Reading its index.
- `restore`: Restoring its files, until the disk has them.
- `integrity`: The integrity of every database.
- `rows`: The rows of every table, against those of the backup or of the drill before.
- `moment`: Going on to a moment behind the snapshot, and the integrity of the databases
  there.
- `migrate`: The service's migrations on the restored copy.
- `queries`: Queries that must hold.
- `command`: The service's own look at the restored copy.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillStep:
    """A step of a drill."""

    step: DrillPhase
    """Which step."""

    ok: bool
    """Whether nothing was wrong."""

    duration_seconds: float
    """How long it took, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillProblem:
    """Something wrong that a drill found."""

    step: DrillPhase
    """The step that found it."""

    message: str
    """What is wrong, for a person."""

    path: str | None = None
    """The file or database concerned, relative to the root, when it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrilledTable:
    """A table of a restored database."""

    table: str
    """Its name."""

    rows: int
    """Its rows in the restored copy."""

    rows_at_backup: int | None = None
    """Its rows when the backup was made; nothing where they were not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrilledDatabase:
    """A database that was restored."""

    name: str
    """The store's name."""

    path: str
    """Its file, relative to the root."""

    taken_at: datetime
    """When its copy was taken."""

    sound: bool
    """Whether its integrity was checked and found whole."""

    tables: list[DrilledTable]
    """The tables whose rows were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedStore:
    """Where a store has come to."""

    store: str
    """The store's name."""

    time: datetime
    """The moment of the last commit in it."""

    position: str
    """Its place, in the driver's words."""

    proven: bool | None = None
    """Whether the checksum of the whole database is the one that was noted then;
    nothing where none was.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class DrilledMoment:
    """A moment behind a snapshot that its databases went on to."""

    at: datetime
    """The moment: the one that was asked for, or any that is covered."""

    stores: list[ReachedStore]
    """How far each store that something was committed to came. A database whose
    checksum is not the one that was noted then is a problem.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupDrillResponse:
    """What a drill found."""

    snapshot_id: str
    """The snapshot."""

    target: str
    """The target whose copy was restored."""

    level: ProofLevel
    """What the drill proves when it is `ok`."""

    ok: bool
    """Whether the snapshot was restored and stood every test."""

    recovery_seconds: float
    """How long it took until the service's files were back, durable, and their
    databases proven sound, in seconds. Stopping and starting the service comes on top.
    """

    steps: list[DrillStep]
    """What was done, in order."""

    problems: list[DrillProblem]
    """What was wrong."""

    warnings: list[str]
    """What to know, and what is no reason to doubt the snapshot."""

    databases: list[DrilledDatabase]
    """The databases that were restored."""

    restored_files: int
    """Regular files that were restored."""

    size_bytes: int
    """Bytes of the files' content, as the snapshot has it."""

    duration_seconds: float
    """How long all of it took, in seconds."""

    snapshot_time: datetime | None = None
    """When it was made: what is proven is that the service can be as it was then."""

    moment: DrilledMoment | None = None
    """The moment behind the snapshot that the databases went on to. Nothing where no
    store is followed, or nothing was stored since.
    """

    into: str | None = None
    """The folder that keeps the restored copy. Nothing when it was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupExportResponse:
    """What was exported."""

    snapshot_id: str
    """The snapshot."""

    target: str
    """The target that it was read from."""

    output: str
    """The file: a standard `.tar.zst`, in clear."""

    stored_bytes: int
    """Its size."""

    files: int
    """Regular files in it, hard links included."""

    size_bytes: int
    """Bytes of their content."""

    duration_seconds: float
    """How long it took, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupHoldResponse:
    """What is held."""

    snapshot_id: str
    """The snapshot."""

    hold: Hold
    """The hold."""

    targets: list[str]
    """The targets whose copies are held."""

    failed: list[FailedTarget]
    """The targets whose copies could not be held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupImportResponse:
    """What was imported."""

    snapshot_id: str
    """The snapshot's identifier: 12 hexadecimal digits."""

    outcome: Outcome
    """Whether everything was read completely."""

    skipped: list[Skipped]
    """What was not read, or not completely, or cannot be stored."""

    files: int
    """Regular files, hard links included."""

    size_bytes: int
    """Bytes of the files' content."""

    stored_bytes: int
    """Bytes of the archive, or what this run added to the repository."""

    duration_seconds: float
    """How long it took, in seconds."""

    key: str
    """The key of the archive, or of the snapshot's header, in every target."""

    targets: list[TargetResult]
    """What became of it in each target."""

    stores: list[StoreRecord]
    """The databases in it."""

    time: datetime
    """The time of the snapshot: that of the imported one, or of the newest file in it.
    """

    ignored: list[str]
    """What of the file was left out, since no snapshot holds such things."""

    group: ConsistencyGroup | None = None
    """Which moments it is of."""

    encrypted_to: str | None = None
    """The fingerprint of the key that it is encrypted to. Nothing when it is stored in
    clear.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKeysAdoptResponse:
    """What the host knows again."""

    repository_id: str
    """The repository that the keys are of."""

    fingerprint: str
    """The key that backups are encrypted to from now on: the youngest."""

    former: list[str]
    """The earlier ones, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedTarget:
    """What was proven in a target."""

    target: str
    """The target."""

    snapshot_id: str | None = None
    """The newest encrypted snapshot there. Nothing when there is none yet."""

    encrypted_to: str | None = None
    """The key that it is encrypted to."""

    error: ErrorBody | None = None
    """Why it could not be opened; nothing when it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKeysCheckResponse:
    """What an identity opens."""

    ok: bool
    """Whether the newest encrypted snapshot of every target was opened."""

    opens: list[str]
    """The keys that the identity opens, oldest first."""

    targets: list[CheckedTarget]
    """What was proven in each target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A wrapped key in a target."""

    target: str
    """The target that has it."""

    key: str
    """Its key there: `keys/<fingerprint>-<n>.age`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKeysInitResponse:
    """A key that was made."""

    repository_id: str
    """The repository that the key is of: 32 hexadecimal digits."""

    fingerprint: str
    """The short name of the key."""

    public_key: str
    """Its public half; the secret one is in the wrapped keys alone."""

    stored: list[StoredKey]
    """The wrapped keys."""

    recipients: list[str]
    """Who can open it. Empty when it is whoever knows the passphrase."""

    proven: bool
    """Whether an identity or the passphrase was seen to open it. Where not,
    `backup.keys_check` proves it.
    """


KeyStatus: TypeAlias = Literal["current", "former", "unknown"]
"""What a key is to this host.

- `current`: Backups are encrypted to it.
- `former`: Earlier backups are.
- `unknown`: It is another host's, or this one lost its own.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedKey:
    """A wrapped key, and what is known of it without opening it."""

    target: str
    """The target that has it."""

    key: str
    """Its key there: `keys/<fingerprint>-<n>.age`."""

    fingerprint: str
    """The short name of the key."""

    status: KeyStatus
    """Whether this host encrypts to it, or did."""

    stored_at: datetime
    """When it was stored, by the target's clock."""

    recipients: int | None = None
    """How many recipients open it. Nothing when it is whoever knows a passphrase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedKey:
    """A target or a wrapped key that could not be read."""

    target: str
    """The target."""

    error: ErrorBody
    """Why."""

    key: str | None = None
    """The wrapped key, when it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKeysListResponse:
    """The keys."""

    keys: list[ListedKey]
    """The wrapped keys in the targets."""

    failed: list[FailedKey]
    """The targets that could not be asked, and wrapped keys that could not be read."""

    repository_id: str | None = None
    """The repository that this host's key is of. Nothing when it has none."""

    current: str | None = None
    """The key that backups are encrypted to. Nothing when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrap:
    """A key that is wrapped anew in a target."""

    target: str
    """The target."""

    fingerprint: str
    """The short name of the key."""

    replaces: list[str]
    """The objects that it replaces: they are removed."""

    stored: str | None = None
    """The new object. Nothing in a dry run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKeysRewrapResponse:
    """What was wrapped anew, or would be."""

    rewraps: list[Rewrap]
    """The keys, once for each target."""

    untouched: list[StoredKey]
    """Wrapped keys that stay as they are, since the identity does not open them."""

    recipients: list[str]
    """Who can open them now. Empty when it is whoever knows the passphrase."""

    proven: bool
    """Whether an identity or the passphrase was seen to open the new ones."""

    rewrapped: bool
    """Whether it was carried out."""

    note: str
    """What it does not do: whoever could open the backups before, and kept a copy of a
    wrapped key, still can.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKeysRotateResponse:
    """A key that was made."""

    repository_id: str
    """The repository that the key is of: 32 hexadecimal digits."""

    fingerprint: str
    """The short name of the key."""

    public_key: str
    """Its public half; the secret one is in the wrapped keys alone."""

    stored: list[StoredKey]
    """The wrapped keys."""

    recipients: list[str]
    """Who can open it. Empty when it is whoever knows the passphrase."""

    proven: bool
    """Whether an identity or the passphrase was seen to open it. Where not,
    `backup.keys_check` proves it.
    """


VerifyLevel: TypeAlias = Literal["sealed", "proven"]
"""Whether a verification looked into the snapshot.

- `sealed`: A copy is encrypted and no identity was given: its stored bytes are those
  that the backup read back, and nobody looked into them. `quick` compared their number,
  `data` and `full` every one.
- `proven`: It was looked into, as far as the depth says.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSnapshot:
    """A snapshot, who holds it, and what the journal knows of it."""

    snapshot_id: str
    """The snapshot's identifier: 12 hexadecimal digits."""

    target: str
    """The target that has it."""

    key: str
    """Its key there."""

    time: datetime
    """When the backup began, by the clock of the machine that made it."""

    stored_at: datetime
    """When it was stored, by the target's clock."""

    layout: str
    """How it is stored: `archive` or `repository`."""

    outcome: Outcome
    """Whether everything was read completely."""

    tags: list[str]
    """The tags that the caller gave it, sorted."""

    service: str
    """The service's name."""

    host: str
    """The name of the machine it was made on."""

    size_bytes: int
    """Bytes of the files' content."""

    stored_bytes: int
    """Bytes of the archive; of a snapshot in a repository those that its backup added.
    """

    files: int
    """Regular files, hard links included."""

    skipped: int
    """How many things were skipped."""

    stores: int
    """How many databases are in it."""

    holds: list[Hold]
    """Who holds it, so that nothing deletes it."""

    label: str | None = None
    """What the caller called it."""

    service_version: str | None = None
    """The service's version, when it is known."""

    encrypted_to: str | None = None
    """The fingerprint of the key that it is encrypted to. Nothing when it is stored in
    clear.
    """

    verified_at: datetime | None = None
    """When this copy was last found whole: by a verification in full, by a drill, or
    because samples have read every byte of its target. Nothing when it never was, when
    damage was found since, or when the journal is lost.
    """

    verified_level: VerifyLevel | None = None
    """Whether it was looked into then. One that is encrypted is not, where no identity
    was given.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Something that looks like an archive and could not be read as one."""

    target: str
    """The target that has it."""

    key: str
    """Its key there."""

    stored_bytes: int
    """Its size."""

    error: ErrorBody
    """Why it could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupListResponse:
    """The snapshots."""

    snapshots: list[KnownSnapshot]
    """The snapshots, newest first; one that is in several targets is there once for
    each.
    """

    unreadable: list[Unreadable]
    """What looks like an archive and could not be read as one."""

    failed: list[FailedTarget]
    """The targets that could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReleaseResponse:
    """What was released."""

    snapshot_id: str
    """The snapshot."""

    released: int
    """How many holds were ended, over all targets. 0 when nobody held it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """Which snapshots are kept: each rule keeps some, and what none keeps is deleted,
    unless that would be unsafe. Days, weeks, months and years are those of
    `service.timezone`; a rule that is 0 or empty keeps nothing.
    """

    keep_last: int
    """The newest so many."""

    hourly: int
    """The newest of each hour, for the last so many hours that have one."""

    daily: int
    """The newest of each day, for the last so many days that have one."""

    weekly: int
    """The newest of each week, Monday to Sunday, for the last so many weeks that have
    one.
    """

    monthly: int
    """The newest of each month, for the last so many months that have one."""

    yearly: int
    """The newest of each year, for the last so many years that have one."""

    within_days: int
    """All that are at most so many days older than the newest complete one."""

    tags: list[str]
    """All that have one of these tags."""

    per_label: int
    """The newest so many of each label."""

    per_tag: int
    """The newest so many of each tag."""

    min_verified: int
    """How many verified snapshots each target keeps, whatever the rules say. While it
    has fewer, nothing is deleted there. At least 1.
    """

    per_host: bool | None = None
    """Whether the rules count the snapshots of each machine apart: `true` where several
    machines back up data of their own under one service name, `false` where one goes on
    for another. Until it is set, nothing is deleted where snapshots of several machines
    alternate.
    """


RetentionAction: TypeAlias = Literal["keep", "delete"]
"""What becomes of a snapshot.

- `keep`: It stays.
- `delete`: It is deleted.
"""

RetentionRule: TypeAlias = Literal[
    "keep_last",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "yearly",
    "within",
    "tag",
    "per_label",
    "per_tag",
    "held",
    "newest",
    "min_verified",
    "future",
    "received_late",
    "damaged",
    "ambiguous",
    "too_few_verified",
    "no_newer_verified",
    "several_hosts",
    "superseded",
]
"""What keeps a snapshot, or lets it go.

- `keep_last`: One of the last ones.
- `hourly`: The newest of an hour.
- `daily`: The newest of a day.
- `weekly`: The newest of a week.
- `monthly`: The newest of a month.
- `yearly`: The newest of a year.
- `within`: Not much older than the newest.
- `tag`: It has a tag that is kept.
- `per_label`: One of the last ones of its label.
- `per_tag`: One of the last ones of a tag.
- `held`: Somebody holds it.
- `newest`: The newest complete one.
- `min_verified`: One of the newest that are verified.
- `future`: It is of the future.
- `received_late`: The target received it lately, though it claims to be old.
- `damaged`: A verification found it damaged.
- `ambiguous`: Several objects claim to be it.
- `too_few_verified`: Too few snapshots are verified.
- `no_newer_verified`: No newer one is verified.
- `several_hosts`: Snapshots of several machines alternate.
- `superseded`: No rule keeps it, and a newer verified one exists. The only reason to
  delete.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionReason:
    """One reason of a decision."""

    rule: RetentionRule
    """Which rule it is."""

    message: str
    """The reason in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionDecision:
    """What becomes of one snapshot in one target."""

    snapshot_id: str
    """The snapshot's identifier."""

    key: str
    """Its key in the target."""

    layout: str
    """How it is stored."""

    time: datetime
    """When the backup began."""

    host: str
    """The machine it was made on."""

    tags: list[str]
    """Its tags."""

    outcome: Outcome
    """Whether everything was read completely."""

    stored_bytes: int
    """Bytes that it takes."""

    action: RetentionAction
    """What becomes of it."""

    reasons: list[RetentionReason]
    """All the reasons, those of the rules first."""

    label: str | None = None
    """What the caller called it."""

    verified_at: datetime | None = None
    """When this copy was last verified in full and found whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """Why snapshots that no rule keeps are not deleted, and what can be done about it.
    """

    message: str
    """Why."""

    hint: str
    """What to do."""

    snapshots: int
    """How many snapshots it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionTargetPlan:
    """What is kept and what is deleted in one target."""

    target: str
    """The target's name."""

    decisions: list[RetentionDecision]
    """Every snapshot of the service, newest first."""

    kept: int
    """How many are kept."""

    deletions: int
    """How many are deleted."""

    freed_bytes: int
    """The bytes that become free; of a repository, once they are collected."""

    verified: int
    """How many of those that are kept are complete and verified."""

    withheld: list[Withheld]
    """Why snapshots that no rule keeps are not deleted."""

    unreadable: list[Unreadable]
    """What could not be read as a snapshot. It is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedSnapshot:
    """A snapshot that was deleted."""

    target: str
    """The target that had it."""

    snapshot_id: str
    """The snapshot."""

    key: str
    """Its key there."""

    stored_bytes: int
    """The bytes that became free; of a repository, once they are collected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedDeletion:
    """A snapshot that could not be deleted."""

    target: str
    """The target that has it."""

    snapshot_id: str
    """The snapshot."""

    key: str
    """Its key there."""

    error: ErrorBody
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRetainResponse:
    """What was planned, and what became of it."""

    time: datetime
    """When it was made."""

    timezone: str
    """The time zone that days, weeks, months and years are in."""

    policy: RetentionSettings
    """The rules."""

    targets: list[RetentionTargetPlan]
    """Each target by itself: what another one has is no reason to delete anything."""

    failed: list[FailedTarget]
    """The targets that could not be asked. Nothing is deleted there."""

    dry_run: bool
    """Whether it was to be a plan alone."""

    deleted: list[DeletedSnapshot]
    """What was deleted, in this order."""

    failures: list[FailedDeletion]
    """What should have been deleted and was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProblem:
    """Something wrong with a snapshot in a target."""

    target: str
    """The target whose copy it is."""

    kind: str
    """What is wrong: a word of the archive's, or `corrupt_database`."""

    message: str
    """The detail, for a person."""

    path: str | None = None
    """The entry concerned, when it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledTarget:
    """What was read from a target."""

    target: str
    """The target."""

    since: datetime
    """What became due after this moment was to be read."""

    reached: datetime
    """All that became due until this moment is read. The next run goes on here."""

    objects: int
    """Objects in the target that hold backups."""

    stored_bytes: int
    """Their bytes."""

    read_bytes: int
    """Bytes that were read and held against their checksums."""

    left_bytes: int
    """Bytes that are due and wait for the next run."""

    clean_since: datetime
    """Since this moment everything that became due was read, and nothing was wrong."""

    whole: list[str]
    """The snapshots of which every stored byte was read and found whole since then, by
    samples or by the backups that stored it.
    """

    sealed: bool
    """Whether any of it is encrypted: of that the stored bytes alone were compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSampleResponse:
    """What a sampled verification read and found."""

    ok: bool
    """Whether nothing was wrong with what was read."""

    problems: list[FoundProblem]
    """What was wrong."""

    targets: list[SampledTarget]
    """What was read, by target."""

    failed: list[FailedTarget]
    """The targets that could not be read. Their next run catches up."""

    within_days: float
    """Every stored byte is read within so many days, as long as runs are at most a
    quarter of that apart.
    """

    duration_seconds: float
    """How long it took, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A snapshot in a target."""

    snapshot_id: str
    """The snapshot's identifier: 12 hexadecimal digits."""

    target: str
    """The target that has it."""

    key: str
    """Its key there."""

    time: datetime
    """When the backup began, by the clock of the machine that made it."""

    stored_at: datetime
    """When it was stored, by the target's clock."""

    layout: str
    """How it is stored: `archive` or `repository`."""

    outcome: Outcome
    """Whether everything was read completely."""

    tags: list[str]
    """The tags that the caller gave it, sorted."""

    service: str
    """The service's name."""

    host: str
    """The name of the machine it was made on."""

    size_bytes: int
    """Bytes of the files' content."""

    stored_bytes: int
    """Bytes of the archive; of a snapshot in a repository those that its backup added.
    """

    files: int
    """Regular files, hard links included."""

    skipped: int
    """How many things were skipped."""

    stores: int
    """How many databases are in it."""

    label: str | None = None
    """What the caller called it."""

    service_version: str | None = None
    """The service's version, when it is known."""

    encrypted_to: str | None = None
    """The fingerprint of the key that it is encrypted to. Nothing when it is stored in
    clear.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Included:
    """A path that was asked for."""

    path: str
    """The path, relative to the root. `.` is all of it."""

    present: bool
    """Whether there was anything at the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a snapshot says about itself, without its entries."""

    format: int
    """The version of the format, see `FORMAT`."""

    snapshot_id: str
    """The snapshot's identifier: 12 hexadecimal digits."""

    service: str
    """The service's name."""

    host: str
    """The name of the machine it was made on."""

    made_by: str
    """The version of `uplifted-ops` that made it."""

    time: datetime
    """When the backup began."""

    outcome: Outcome
    """Whether everything was read completely."""

    includes: list[Included]
    """What was asked for, relative to the root."""

    excludes: list[str]
    """The globs of what was left out."""

    stores: list[StoreRecord]
    """The databases in it."""

    skipped: list[Skipped]
    """What was not read, or not completely, or cannot be stored."""

    files: int
    """Regular files, hard links included."""

    entries: int
    """Entries of every kind."""

    size_bytes: int
    """Bytes of the files' content."""

    service_version: str | None = None
    """The service's version, when it is known."""

    label: str | None = None
    """What the caller called it."""

    encrypted_to: str | None = None
    """The fingerprint of the key that it is encrypted to. Nothing when it is stored in
    clear.
    """

    group: ConsistencyGroup | None = None
    """Which moments the snapshot is of. Unknown in one that was made without saying."""

    tags: list[str] = field(default_factory=list)
    """The tags that the caller gave it, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupShowResponse:
    """A snapshot with its manifest."""

    snapshot: Listed
    """As a list has it."""

    targets: list[str]
    """The targets that have it."""

    manifest: Manifest
    """What it says about itself."""


VerifyDepth: TypeAlias = Literal["quick", "data", "full"]
"""How much of a snapshot to verify.

- `quick`: The index, the names, the sizes: a moment.
- `data`: Every byte against its checksum. The databases hold the bytes that were backed
  up; they are not opened.
- `full`: Every byte, and the integrity of every database.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupVerifyResponse:
    """What a verification found."""

    snapshot_id: str
    """The snapshot."""

    depth: VerifyDepth
    """How much was verified."""

    level: VerifyLevel
    """Whether the snapshot was looked into."""

    ok: bool
    """Whether nothing was wrong anywhere."""

    problems: list[FoundProblem]
    """What was wrong."""

    targets: list[str]
    """The targets whose copies were verified."""

    databases: list[str]
    """The databases that were restored into scratch and checked, by name, once for each
    target.
    """

    stored_bytes: int
    """Bytes of the archives that were verified."""

    duration_seconds: float
    """How long it took, in seconds."""

    encrypted_to: str | None = None
    """The fingerprint of the key that it is encrypted to, which looking into it takes.
    Nothing for one in clear.
    """


Severity: TypeAlias = Literal["error", "warning"]
"""How bad a finding is.

- `error`: Something will not work.
- `warning`: It works, and probably not as meant.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something to correct."""

    severity: Severity
    """How bad it is."""

    key: str
    """The setting concerned."""

    message: str
    """What is wrong, as a sentence without a full stop."""

    source: str
    """Where the setting comes from, as `Config::source_of` says it."""

    hint: str | None = None
    """The repair, one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigCheckResponse:
    """What is wrong with the settings."""

    ok: bool
    """Whether no finding is an error."""

    findings: list[Finding]
    """The findings, errors first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something that a backup leaves out."""

    name: str
    """Its name in the root."""

    why: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitFound:
    """What was found in the folder and in the service's own settings."""

    databases: list[str]
    """SQLite databases, relative to the root where they are inside it."""

    included: list[str]
    """Top-level entries that a backup takes."""

    left_out: list[LeftOut]
    """Top-level entries that it leaves out, each with the reason."""

    variables: list[str]
    """Variables of the service that were understood. Their values are not repeated
    here.
    """

    notes: list[str]
    """What could not be looked at, or is worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigInitResponse:
    """What was written."""

    path: str
    """The file."""

    text: str
    """Its whole text."""

    written: bool
    """Whether it was written."""

    found: InitFound
    """What the text is based on."""

    kept: str | None = None
    """Where the file that it replaces is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSetting:
    """One setting."""

    key: str
    """Its key: `backup.level`, `store.main.path`; or the name of a variable that
    belongs to the host.
    """

    value: Any
    """Its value. Secrets, and all values of the host's own, are `***`."""

    source: str
    """Where it comes from: `default`, `ops.toml:12`, `.env:3
    (UPLIFTED__BACKUP__LEVEL)`, `environment (UPLIFTED__BACKUP__LEVEL)`, `code`.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigShowResponse:
    """Every setting."""

    root: str
    """The service's root folder."""

    settings: list[ShownSetting]
    """The settings, sorted by key. Secrets are `***`."""

    file: str | None = None
    """The file that was read, when there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedSegment:
    """A segment that goes."""

    key: str
    """Its key."""

    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactedStore:
    """What was done with a store in a target, or would be."""

    store: str
    """The store."""

    target: str
    """The target."""

    merged: int
    """Segments that become part of a larger one."""

    into: int
    """The larger ones."""

    removed: list[RemovedSegment]
    """Segments that go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuousCompactResponse:
    """What was put together and removed, or would be."""

    stores: list[CompactedStore]
    """For each store and target."""

    compacted: bool
    """Whether it was carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuousStartResponse:
    """What became of it."""

    stores: list[str]
    """The stores that it is about."""

    following: list[str]
    """Those that are followed now."""

    notes: list[str]
    """What to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStanding:
    """How a target stands."""

    target: str
    """The target's name."""

    segments_total: int
    """Segments that were stored there."""

    bytes_total: int
    """Their bytes."""

    waiting_segments: int
    """Segments that wait for it."""

    lost_segments: int
    """Segments that it will never have: more waited for it than may."""

    stored_until: datetime | None = None
    """Everything committed before this moment is stored there, and was read back."""

    tidy_error: ErrorBody | None = None
    """Why segments could not be put together, or old ones removed."""

    error: ErrorBody | None = None
    """What it said when it last failed; nothing once it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStanding:
    """How the following of a store stands."""

    store: str
    """The store's name."""

    kind: str
    """Its kind."""

    following: bool
    """Whether a worker follows it at this moment."""

    position: str
    """Up to where it was read, in the driver's words."""

    log_bytes: int
    """Bytes of log that the database keeps."""

    gaps_total: int
    """How often a new base was needed."""

    spool_segments: int
    """What waits on this disk for some target."""

    spool_bytes: int
    """Its bytes."""

    targets: list[TargetStanding]
    """The targets, in the order of the settings."""

    written_at: datetime | None = None
    """When its worker last wrote this."""

    stream: str | None = None
    """The stream that is being written, 12 hexadecimal digits."""

    since: datetime | None = None
    """When that stream began."""

    seen_until: datetime | None = None
    """Everything committed before this moment was read."""

    waits_for: str | None = None
    """What keeps it from being followed."""

    base_wanted_since: datetime | None = None
    """Since when a backup is needed as a base, because nothing before it can be added
    to: until there is one, that time cannot be gone back to.
    """

    base_wanted_because: str | None = None
    """Why."""

    trouble: ErrorBody | None = None
    """Why the last worker ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuousStore:
    """A store that is to be followed, or was."""

    name: str
    """The store's name."""

    wanted: bool
    """Whether it is to be followed."""

    following: bool
    """Whether a process does."""

    lag_seconds: float | None = None
    """What would be lost if this machine were gone now, in seconds of commits. Nothing
    before anything was stored.
    """

    standing: StoreStanding | None = None
    """How it stands. Nothing where it never was followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuousStatusResponse:
    """How the following of the stores stands."""

    ok: bool
    """Whether every store that is to be followed is, and loses no more than it may."""

    stores: list[ContinuousStore]
    """The stores that are to be followed, or were."""

    leads: bool
    """Whether the process that answers is the one that follows them."""

    trouble: ErrorBody | None = None
    """What keeps it from that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuousStopResponse:
    """What became of it."""

    stores: list[str]
    """The stores that it is about."""

    following: list[str]
    """Those that are followed now."""

    notes: list[str]
    """What to know."""


GenerateOutcome: TypeAlias = Literal["printed", "created", "replaced", "unchanged"]
"""What became of a file.

- `printed`: Nothing was written.
- `created`: It was not there, and is now.
- `replaced`: It was written earlier, by us, and is replaced.
- `unchanged`: It is there already, byte for byte.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedFile:
    """A file that was made."""

    name: str
    """Its name."""

    outcome: GenerateOutcome
    """What became of it."""

    path: str | None = None
    """Where it was written. Absent when it was not."""

    kept: str | None = None
    """Where the file is kept that it replaces, when somebody had changed that."""

    content: str | None = None
    """Its text, when it was not written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateAlertsResponse:
    """What was made."""

    files: list[GeneratedFile]
    """The files."""

    warnings: list[str]
    """What to look after before they are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateGrafanaResponse:
    """What was made."""

    files: list[GeneratedFile]
    """The files."""

    warnings: list[str]
    """What to look after before they are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratePrometheusResponse:
    """What was made."""

    files: list[GeneratedFile]
    """The files."""

    warnings: list[str]
    """What to look after before they are used."""


CheckStatus: TypeAlias = Literal["pass", "warn", "fail"]
"""A verdict. The order is that of severity.

- `pass`: All is well.
- `warn`: Somebody should look, the service works.
- `fail`: The service does not do what it should.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What one check found."""

    name: str
    """The check's name."""

    status: CheckStatus
    """Its verdict."""

    message: str
    """What was found, and the repair when the status is not `pass`. Secrets are `***`.
    """

    duration_seconds: float
    """How long the check took."""

    critical: bool
    """Whether its failure makes the whole answer `fail`."""

    groups: list[str]
    """All of its groups, besides `all`."""

    observed: float | None = None
    """The number behind the verdict, when there is one."""

    unit: str | None = None
    """Its unit: `bytes`, `seconds`, `ratio`, …."""

    group: str | None = None
    """The first of its groups, besides `all`."""

    because_of: str | None = None
    """The check whose failure explains this one's: the first cause among those that it
    depends on.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheckResponse:
    """What the checks found."""

    status: CheckStatus
    """The verdict over all: `fail` when a critical check failed, `warn` when another
    one failed or one warned. Without any check it is `warn`: nothing was asked, so
    nothing is known.
    """

    checks: list[CheckReport]
    """The checks, in the order of the settings."""


HealthState: TypeAlias = Literal["pass", "warn", "unknown", "fail"]
"""What is known of a check, or of several. The order is that of severity.

- `pass`: All is well.
- `warn`: Somebody should look, the service works.
- `unknown`: It never answered, or its answer is too old to count.
- `fail`: The service does not do what it should.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a check's state, or several that were counted together."""

    time: datetime
    """When it was written: with several, after the last of them."""

    from_: HealthState
    """The state before."""

    to: HealthState
    """The state since."""

    message: str
    """What the check said."""

    changes: int
    """How many changes these were: 1, or more of a check that flaps."""

    failures: int
    """How many of them were failures."""

    first: datetime
    """When the first of them was."""

    spent: dict[str, float]
    """How many seconds each state lasted between `first` and `time`."""

    begins: bool
    """Whether it is the first that an observer saw: what was before is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckHistory:
    """What is remembered of a check, over a time."""

    name: str
    """The check's name."""

    status: HealthState
    """Its last state."""

    since: datetime
    """Since when it has had that state, as far as is known."""

    observed_seconds: float
    """For how long it was seen, in seconds."""

    down_seconds: float
    """For how long it failed or was unknown, in seconds."""

    warn_seconds: float
    """For how long it warned, in seconds."""

    changes: int
    """How often its state changed."""

    failures: int
    """How often it began to fail."""

    last_changes: list[Change]
    """The last changes, the newest first."""

    uptime_ratio: float | None = None
    """The share of the time in which it was seen that it did not fail, 0 to 1. Absent
    when it was not seen.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthHistoryResponse:
    """How the checks were."""

    since: datetime
    """The beginning of the time that is told about."""

    until: datetime
    """Its end: now."""

    checks: list[CheckHistory]
    """The checks, by name. Without any, nobody asked them in the background yet."""


Phase: TypeAlias = Literal["starting", "ready", "draining", "stopped"]
"""Where a service is in its life. Only ever goes on.

- `starting`: What it needs to begin has not passed yet.
- `ready`: It has begun.
- `draining`: It is about to stop, and takes no more work.
- `stopped`: It has stopped.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """What is known of a check."""

    name: str
    """The check's name."""

    status: HealthState
    """What is known."""

    message: str
    """What was found, and the repair when the status is not `pass`. Secrets are `***`.
    """

    critical: bool
    """Whether its failure makes the whole answer `fail`."""

    groups: list[str]
    """All of its groups, besides `all`."""

    observed: float | None = None
    """The number behind the verdict, when there is one."""

    unit: str | None = None
    """Its unit: `bytes`, `seconds`, `ratio`, …."""

    duration_seconds: float | None = None
    """How long the check took."""

    age_seconds: float | None = None
    """How old the answer is."""

    time: datetime | None = None
    """When the answer came."""

    since: datetime | None = None
    """Since when the answers have made this status, without one that made another."""

    group: str | None = None
    """The first of its groups, besides `all`."""

    parent: str | None = None
    """The check that it depends on."""

    because_of: str | None = None
    """The check whose failure explains this one's: the first cause among those that it
    depends on.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthStateResponse:
    """What is known of the service, from answers that were there already."""

    status: HealthState
    """The verdict over these checks: `unknown` when a critical one never answered or
    its answer has expired.
    """

    phase: Phase
    """Where the service is in its life."""

    background: bool
    """Whether the checks are asked in the background in this process. What never is,
    stays unknown.
    """

    down: list[str]
    """What is down by itself, and not because of another check."""

    checks: list[CheckView]
    """The checks, in the order of the settings."""

    age_seconds: float | None = None
    """The age of the oldest of these answers, in seconds. Absent without any answer."""


RecordOutcome: TypeAlias = Literal["done", "unhealthy", "failed"]
"""How an operation ended.

- `done`: It did what was asked.
- `unhealthy`: It did what was asked, and the answer is a bad one: a partial backup, a
  failed check.
- `failed`: It did not.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRecord:
    """What was done, by whom, and how it went."""

    time: datetime
    """When the operation began, by the wall clock, which may jump: the journal's order
    is that of writing.
    """

    operation: str
    """The operation: `backup.create`."""

    outcome: RecordOutcome
    """How it ended."""

    duration_seconds: float
    """How long it took, in seconds."""

    pid: int
    """The process that asked for it."""

    request: Any
    """What was asked."""

    response: Any
    """What was answered. Null when it failed."""

    error: ErrorBody | None = None
    """Why it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalReadResponse:
    """What was read."""

    records: list[JournalRecord]
    """The records, in the order asked for."""

    damaged_lines: int
    """Lines that were met and could not be read: torn by a crash, or damaged."""

    unreadable_segments: list[str]
    """Segments that were met and could not be read, or not to their end, with the
    reason.
    """

    more: bool
    """Whether there is more than the limit, or than a page holds."""


HistoryFunction: TypeAlias = Literal[
    "rate",
    "increase",
    "delta",
    "min",
    "max",
    "avg",
    "slope",
]
"""What to make of samples.

- `rate`: By how much a counter grew a second, through restarts.
- `increase`: By how much a counter grew in the window.
- `delta`: By how much a gauge changed in the window.
- `min`: The least value in the window.
- `max`: The greatest value in the window.
- `avg`: The mean of the values in the window.
- `slope`: By how much a gauge grows a second, by the line of least squares.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySample:
    """A value at a moment."""

    time: datetime
    """When."""

    value: float | None = None
    """The value. Absent where there is none: the series had ended, or it is not a
    finite number.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesHistory:
    """What a series was."""

    name: str
    """The name as on the page."""

    labels: dict[str, str]
    """The labels."""

    samples: list[HistorySample]
    """The values, oldest first."""

    min: float | None = None
    """The least of these values. Absent when none is a number."""

    max: float | None = None
    """The greatest of these values."""

    avg: float | None = None
    """The mean of these values."""

    last: float | None = None
    """The newest of these values. Absent when the series has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryKept:
    """What the process keeps of the past."""

    span_seconds: float
    """How far back it goes, in seconds."""

    series: int
    """Series."""

    samples: int
    """Samples."""

    size_bytes: int
    """Bytes of memory."""

    refused: int
    """How often a series was not written down, because there were too many or they took
    too much memory.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsHistoryResponse:
    """What the numbers were."""

    since: datetime
    """The beginning of the time, which is not part of it."""

    until: datetime
    """Its end, which is."""

    series: list[SeriesHistory]
    """The series, by name and labels."""

    left_out: int
    """How many more there are than the limit lets through."""

    kept: HistoryKept
    """What the process keeps in all."""


MetricsFormat: TypeAlias = Literal["text", "openmetrics"]
"""A text format.

- `text`: Prometheus text, version 0.0.4.
- `openmetrics`: OpenMetrics text, version 1.0.0.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsRenderResponse:
    """The numbers."""

    content_type: str
    """What to send as `Content-Type`."""

    body: str
    """The text."""


ProblemKind: TypeAlias = Literal[
    "truncated",
    "damaged_frame",
    "damaged_index",
    "damaged_trailer",
    "header_mismatch",
    "content_mismatch",
    "unsafe_name",
    "bad_entry",
    "inconsistent",
    "limit_exceeded",
    "damaged_pack",
    "damaged_tree",
    "broken_chain",
    "damaged_database",
    "attribute_not_restored",
]
"""What is wrong.

- `truncated`: The archive is shorter than it was.
- `damaged_frame`: Compressed data is damaged; the named file lies in it.
- `damaged_index`: A copy of the index is damaged.
- `damaged_trailer`: The summary or the footer at the end is damaged.
- `header_mismatch`: The tar stream says something else about the entry than the index.
- `content_mismatch`: The file's content is not what its checksum says.
- `unsafe_name`: A name, or what a hard link names, that could lead outside the folder,
  or twice to the same place.
- `bad_entry`: A mode, size, time, attribute or map that no file has.
- `inconsistent`: Offsets, lengths or counts that contradict each other.
- `limit_exceeded`: More entries or bytes than allowed, or a compression that only an
  attack has.
- `damaged_pack`: A pack of the repository is missing, damaged, or not the one that it
  was.
- `damaged_tree`: A part of the list of what is in the snapshot is lost.
- `broken_chain`: The snapshot before this one is gone, or another one than it was.
- `damaged_database`: The file is a database that does not pass its own check, or that
  is missing.
- `attribute_not_restored`: The file is restored, but the filesystem or the permissions
  did not take an attribute of it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with a snapshot, or with one file of it."""

    kind: ProblemKind
    """What is wrong."""

    message: str
    """The detail, for a person."""

    path: str | None = None
    """The entry concerned, when it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport:
    """What was done to the service."""

    stopped: bool
    """Whether it was told to stop."""

    started: bool
    """Whether it was started again."""

    healthy: bool | None = None
    """What the health gate said, when it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreApplyResponse:
    """What a restore or an undo did."""

    snapshot_id: str
    """The snapshot."""

    restored_files: int
    """Regular files that came in, or wait to come in."""

    into: str
    """The folder that received them."""

    restart_required: bool
    """Whether the restore happens only when the service is started again."""

    lost: list[Problem]
    """What could not be restored, when salvaging."""

    warnings: list[str]
    """What to know."""

    service: ServiceReport
    """What was done to the service."""

    reached: list[ReachedStore]
    """Where the stores have come to, in a restore to a moment."""

    undo_id: str | None = None
    """What `restore.undo` takes to bring back what was replaced. Unset for a restore
    into a folder.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreDatabaseResponse:
    """What was restored."""

    snapshot_id: str
    """The snapshot that it comes from."""

    store: str
    """The store."""

    database: str
    """Its name."""

    server_version: str
    """The version of the server that it is on."""

    ok: bool
    """Whether everything is as the copy has it."""

    tables: int
    """Tables whose rows were counted."""

    rows: int
    """Their rows."""

    sequences: int
    """Sequences that were looked at."""

    objects: int
    """Tables, views, indexes, constraints, triggers and partitions that were looked
    for, with their owners.
    """

    large_objects: int
    """Large objects that there are."""

    extensions: list[str]
    """The extensions that the copy asks for."""

    problems: list[str]
    """What is not as the copy has it."""

    notes: list[str]
    """What to know of it."""

    reached: ReachedStore | None = None
    """The last commit in it, where it was brought to a moment. Nothing where none came
    after the snapshot.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoArea:
    """What a restore replaced, kept."""

    undo_id: str
    """What `restore.undo` takes."""

    snapshot_id: str
    """The snapshot that was restored."""

    time: datetime
    """When the restore, or the undo, was asked for."""

    paths: list[str]
    """The names that an undo trades, relative to the root."""

    files: int
    """Regular files that it holds."""

    size_bytes: int
    """Bytes of their content."""

    undoes: str | None = None
    """For the area of an undo: the restore that it undid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreDiscardResponse:
    """What was removed, or would be."""

    areas: list[UndoArea]
    """What goes, and what is lost with it."""

    freed_bytes: int
    """Bytes that become free."""

    discarded: bool
    """Whether it was carried out."""


RestoreMode: TypeAlias = Literal["into", "in_place"]
"""Where a restore goes.

- `into`: Into a folder that is missing or empty.
- `in_place`: Over the service.
"""

RestoreAction: TypeAlias = Literal["create", "replace", "remove", "keep"]
"""What becomes of one name.

- `create`: It is missing and comes in.
- `replace`: What comes in takes its place; what was there goes to the undo area.
- `remove`: It goes to the undo area: the snapshot asked for it when it did not exist.
- `keep`: It is left alone.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreUnit:
    """What becomes of one name in the service's folder."""

    path: str
    """The name, relative to the root."""

    action: RestoreAction
    """What becomes of it."""

    reason: str
    """Why."""

    files: int
    """Regular files that come in."""

    size_bytes: int
    """Bytes of their content."""

    live_bytes: int
    """Bytes of what goes out."""

    carry: list[str]
    """What is carried over from the live folder into the new one, since the backup left
    it out.
    """

    mount: str | None = None
    """The mount, relative to the root, in which it is staged. Unset for the state
    folder.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceNeed:
    """Room on one filesystem."""

    folder: str
    """A folder on it."""

    needed_bytes: int
    """Bytes that the restore writes to it."""

    free_bytes: int
    """Bytes that this user can still write to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that has a database open."""

    path: str
    """The file, relative to the root."""

    pid: int
    """The process. 0 when the system hides which one."""

    program: str
    """Its program, as the system names it. Empty when it is hidden."""

    only_lock_seen: bool
    """Whether only its lock is visible, not the open file itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAt:
    """How a store gets there."""

    store: str
    """The store's name."""

    target: str
    """The target that its changes are read from."""

    base_taken_at: datetime
    """The moment of the copy that it goes on from."""

    segments: int
    """How many segments are added to it."""

    stored_bytes: int
    """Their bytes."""

    reaches: datetime | None = None
    """The last commit that is not after the moment. Nothing when there was none since
    the copy.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class AtPlan:
    """How a restore gets to a moment."""

    at: datetime
    """The moment."""

    stores: list[StoreAt]
    """The stores that go on from their copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlanResponse:
    """What a restore will do."""

    snapshot_id: str
    """The snapshot."""

    mode: RestoreMode
    """Whether it goes into a folder of its own, or over the service."""

    into: str
    """The folder that receives it; the service's root in place."""

    paths: list[str]
    """The paths that were asked for; all when empty."""

    units: list[RestoreUnit]
    """What becomes of each name, in place. Empty for a restore into a folder."""

    files: int
    """Regular files that come in."""

    space: list[SpaceNeed]
    """Room that is needed and there, for each filesystem."""

    databases: list[str]
    """Live databases that are replaced or moved, relative to the root."""

    holders: list[Holder]
    """Processes that have one of them open."""

    can_stop: bool
    """Whether the service can be stopped (`service.stop` is set)."""

    restart_required: bool
    """Whether the service must be restarted for the restore to happen: it is asked from
    inside.
    """

    blockers: list[str]
    """Why it cannot be applied as things are. Empty when it can."""

    warnings: list[str]
    """What to know before applying it."""

    at: AtPlan | None = None
    """How it gets to the moment that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A snapshot that has the store."""

    taken_at: datetime
    """Everything committed before this moment is in it."""

    snapshot_id: str
    """The snapshot."""

    target: str
    """The target that has it."""

    approximate: bool
    """Whether the time is only known roughly, as that of its beginning: its manifest is
    sealed, and no key is at hand.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Seconds that can be gone back to."""

    from_: datetime
    """The first moment."""

    until: datetime
    """The last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Seconds that cannot."""

    from_: datetime
    """The last moment before it that can be gone back to."""

    reason: str
    """Why."""

    until: datetime | None = None
    """The first one behind it; nothing while it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTimeline:
    """The seconds that a store can go back to."""

    store: str
    """The store's name."""

    bases: list[Base]
    """The snapshots that have it, oldest first."""

    coverage: list[Span]
    """What can be gone back to, oldest first. Spans do not touch."""

    gaps: list[Gap]
    """What cannot, between the first base and the last thing that is known."""

    segments: int
    """Segments that are stored, all targets together."""

    stored_bytes: int
    """Their bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePointsResponse:
    """The seconds that can be gone back to."""

    stores: list[StoreTimeline]
    """The stores."""

    failed: list[FailedTarget]
    """The targets that could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapSession:
    """Who is connected. Never what they ask."""

    database: str
    """The database."""

    application_name: str
    """What the program calls itself. Empty where we may not see it."""

    user: str
    """The user. Empty for a process of the server's own."""

    address: str
    """Where it comes from: an address, or `socket`. Empty where we may not see it."""

    sessions: int
    """How many sessions there are of that kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSwapResponse:
    """What was swapped, or would be."""

    store: str
    """The store."""

    live: str
    """The name of the live database."""

    done: bool
    """Whether it was done."""

    sessions: list[SwapSession]
    """Who was connected to one of them. These sessions are ended, or were."""

    obstacles: list[str]
    """What is in the way, each with the repair. With any nothing is done."""

    carried: list[str]
    """What the database that comes in gets from the one that goes out: owner, rights,
    settings, comment.
    """

    notes: list[str]
    """What to know of it."""

    comes_in: str | None = None
    """The database that takes that name; nothing where one is dropped."""

    goes_out: str | None = None
    """What the database is called afterwards that had the name; nothing where there was
    none.
    """

    dropped: str | None = None
    """The database that is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSwapDiscardResponse:
    """What was swapped, or would be."""

    store: str
    """The store."""

    live: str
    """The name of the live database."""

    done: bool
    """Whether it was done."""

    sessions: list[SwapSession]
    """Who was connected to one of them. These sessions are ended, or were."""

    obstacles: list[str]
    """What is in the way, each with the repair. With any nothing is done."""

    carried: list[str]
    """What the database that comes in gets from the one that goes out: owner, rights,
    settings, comment.
    """

    notes: list[str]
    """What to know of it."""

    comes_in: str | None = None
    """The database that takes that name; nothing where one is dropped."""

    goes_out: str | None = None
    """What the database is called afterwards that had the name; nothing where there was
    none.
    """

    dropped: str | None = None
    """The database that is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSwapUndoResponse:
    """What was swapped, or would be."""

    store: str
    """The store."""

    live: str
    """The name of the live database."""

    done: bool
    """Whether it was done."""

    sessions: list[SwapSession]
    """Who was connected to one of them. These sessions are ended, or were."""

    obstacles: list[str]
    """What is in the way, each with the repair. With any nothing is done."""

    carried: list[str]
    """What the database that comes in gets from the one that goes out: owner, rights,
    settings, comment.
    """

    notes: list[str]
    """What to know of it."""

    comes_in: str | None = None
    """The database that takes that name; nothing where one is dropped."""

    goes_out: str | None = None
    """What the database is called afterwards that had the name; nothing where there was
    none.
    """

    dropped: str | None = None
    """The database that is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoPlan:
    """What an undo will do."""

    area: UndoArea
    """What comes back. What is live under these names goes to an undo area of its own.
    """

    databases: list[str]
    """Live databases that are replaced or moved, relative to the root."""

    holders: list[Holder]
    """Processes that have one of them open."""

    can_stop: bool
    """Whether the service can be stopped (`service.stop` is set)."""

    restart_required: bool
    """Whether it happens only when the service is started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreUndoResponse:
    """What came back, or would."""

    snapshot_id: str
    """The snapshot."""

    restored_files: int
    """Regular files that came in, or wait to come in."""

    into: str
    """The folder that received them."""

    restart_required: bool
    """Whether the restore happens only when the service is started again."""

    lost: list[Problem]
    """What could not be restored, when salvaging."""

    warnings: list[str]
    """What to know."""

    service: ServiceReport
    """What was done to the service."""

    reached: list[ReachedStore]
    """Where the stores have come to, in a restore to a moment."""

    plan: UndoPlan
    """The plan."""

    undone: bool
    """Whether it was carried out, or is staged for the next start."""

    undo_id: str | None = None
    """What `restore.undo` takes to bring back what was replaced. Unset for a restore
    into a folder.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreUndoListResponse:
    """What can be taken back."""

    areas: list[UndoArea]
    """The undo areas, newest first."""


Why: TypeAlias = Literal["scheduled", "catch_up", "after", "by_hand"]
"""Why a job runs.

- `scheduled`: Its time has come.
- `catch_up`: Its time came while nobody was there, or its last run was cut short.
- `after`: The job that it follows has succeeded.
- `by_hand`: Somebody asked for it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A run that is going on."""

    since: datetime
    """Since when."""

    why: Why
    """Why."""

    pid: int
    """The process that runs it."""


RunOutcome: TypeAlias = Literal[
    "done",
    "unhealthy",
    "failed",
    "timed_out",
    "interrupted",
    "skipped",
]
"""How a run ended.

- `done`: The operation did what it should.
- `unhealthy`: It did, and the answer is a bad one: a partial backup, a failed check.
- `failed`: It did not.
- `timed_out`: It did not end before its deadline and was cancelled.
- `interrupted`: The process that ran it ended, or somebody cancelled it.
- `skipped`: It was left out, because the last run had not ended.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """A run that ended."""

    started_at: datetime
    """When it began."""

    why: Why
    """Why it ran."""

    outcome: RunOutcome
    """How it ended."""

    duration_seconds: float | None = None
    """How long it took, in seconds. Nothing when its process died."""

    scheduled_for: datetime | None = None
    """The time of the schedule that it was for."""

    error: ErrorBody | None = None
    """Why it did not end well."""

    ping_error: str | None = None
    """Why the address of `ping_url` could not be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownJob:
    """A job."""

    name: str
    """Its name."""

    operation: str
    """The operation that it runs."""

    words: str
    """When it runs, in words."""

    enabled: bool
    """Whether it runs by itself."""

    schedule: str | None = None
    """When it runs, as a cron expression."""

    timezone: str | None = None
    """The time zone of the schedule."""

    after: str | None = None
    """The job after whose success it runs."""

    next_run_at: datetime | None = None
    """When it runs next by itself. A time that is over says that it is due."""

    running: RunningJob | None = None
    """The run that is going on."""

    last_run: LastRun | None = None
    """The last run that ended."""

    last_success_at: datetime | None = None
    """When a run last ended well."""

    overdue_seconds: float | None = None
    """How late it is, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """The process that runs the jobs."""

    pid: int
    """Its process id."""

    since: datetime
    """Since when it leads."""

    is_this_process: bool
    """Whether it is the one that answers."""


Role: TypeAlias = Literal["off", "follower", "leader"]
"""What a process does about the jobs.

- `off`: Nothing: it is no service, or there are no jobs that run by themselves.
- `follower`: It waits to lead.
- `leader`: It runs them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleListResponse:
    """What runs by itself."""

    jobs: list[KnownJob]
    """The jobs, those of `[backup]` first."""

    role: Role
    """What the process that answers does about them."""

    leader: Leader | None = None
    """The process that runs them. Nothing when none does."""

    trouble: ErrorBody | None = None
    """What keeps it from running them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """How a run of a job went."""

    job: str
    """The job."""

    operation: str
    """The operation that it ran."""

    why: Why
    """Why it ran."""

    started_at: datetime
    """When it began."""

    outcome: RunOutcome
    """How it ended."""

    response: Any
    """What the operation answered. Null when it did not."""

    scheduled_for: datetime | None = None
    """The time of the schedule that it ran for."""

    duration_seconds: float | None = None
    """How long it took, in seconds. Nothing when its process died."""

    error: ErrorBody | None = None
    """Why it did not end well."""

    ping_error: str | None = None
    """Why the address of `ping_url` could not be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRunResponse:
    """How the run went."""

    job: str
    """The job."""

    operation: str
    """The operation that it ran."""

    why: Why
    """Why it ran."""

    started_at: datetime
    """When it began."""

    outcome: RunOutcome
    """How it ended."""

    response: Any
    """What the operation answered. Null when it did not."""

    then: list[RunReport]
    """The runs of the jobs that follow it."""

    scheduled_for: datetime | None = None
    """The time of the schedule that it ran for."""

    duration_seconds: float | None = None
    """How long it took, in seconds. Nothing when its process died."""

    error: ErrorBody | None = None
    """Why it did not end well."""

    ping_error: str | None = None
    """Why the address of `ping_url` could not be told."""


RunMode: TypeAlias = Literal["embedded", "command_line"]
"""Who is running.

- `embedded`: Inside the service's own process: it cannot be replaced under its own
  feet.
- `command_line`: On the command line, beside the service.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """The service that is looked after."""

    name: str
    """Its name: `service.name`, else that of the root folder."""

    version: str | None = None
    """Its version, where the settings tell."""


ListenerState: TypeAlias = Literal["serving", "standby", "refused", "stopped"]
"""How the listener of a process stands.

- `serving`: This process answers.
- `standby`: Another process of this service does, and this one takes over within a
  second of its end.
- `refused`: Somebody else has the address, or the system does not give it. It is tried
  again each second.
- `stopped`: It has stopped.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerView:
    """Who answers on the address of `metrics.listen`, or on the socket of the command
    line.
    """

    address: str
    """The address: the one of the settings, or, while this process listens on it, the
    one that it got. The path of a socket.
    """

    state: ListenerState
    """How it stands."""

    message: str
    """What it means, and the repair when it is not well."""

    pid: int | None = None
    """The process that listens: this one, another of this service, or a stranger.
    Absent where it cannot be seen.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusResponse:
    """What runs here."""

    time: datetime
    """The time, by this machine's clock."""

    pid: int
    """The process that answers."""

    uptime_seconds: float
    """How long that process has been running, in seconds."""

    mode: RunMode
    """Whether it is the service itself or the command line beside it."""

    service: ServiceFacts
    """The service."""

    version: str
    """The version of uplifted-ops."""

    protocol_version: int
    """The version of the protocol between host and worker."""

    features: list[str]
    """The features that this build has."""

    root: str
    """The service's root folder."""

    state: str
    """The state folder."""

    workers: int
    """How many worker processes this process has now."""

    listener: ListenerView | None = None
    """Who answers on the address of `metrics.listen`. Absent without one."""

    socket: ListenerView | None = None
    """Who answers the command line on `ops.sock` in the state folder. Absent where
    nobody is to (`http.socket = false`), and where the command line itself answers.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """Sizes and settings of one database."""

    name: str
    """Its name."""

    kind: str
    """Its kind."""

    ok: bool
    """Whether it answered."""

    error: ErrorBody | None = None
    """Why it did not answer."""

    details: dict[str, Any] = field(default_factory=dict)
    """Facts about the database, by the driver's names."""

    log_bytes: int | None = None
    """Bytes of its write-ahead log or journal. Nothing where the server does not let us
    see them.
    """

    size_bytes: int | None = None
    """Bytes of the database, without its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatsResponse:
    """Sizes and settings of databases."""

    stores: list[StoreStatus]
    """The databases, in the order of the settings."""


CheckDepth: TypeAlias = Literal["quick", "full"]
"""How much of a database to check.

- `quick`: Structure: every page is reachable and well-formed (SQLite's `quick_check`).
- `full`: Structure, and that every index agrees with its table (SQLite's
  `integrity_check`).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreVerdict:
    """What the check of one database found."""

    name: str
    """Its name."""

    kind: str
    """Its kind."""

    ok: bool
    """Whether nothing was wrong."""

    problems: list[str]
    """What was wrong."""

    error: ErrorBody | None = None
    """Why it could not be checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreVerifyResponse:
    """What the checks found."""

    stores: list[StoreVerdict]
    """The databases, in the order of the settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a piece of work has come. Counts only grow within a stage."""

    stage: str
    """What is being done, as a person would say it: `copying database main`."""

    done_bytes: int
    """Bytes done in this stage."""

    done_files: int
    """Files done in this stage."""

    total_bytes: int | None = None
    """Bytes that this stage will do, when known."""

    total_files: int | None = None
    """Files that this stage will do, when known."""

    uninterruptible: bool = False
    """While true the work is inside a step that must not be interrupted; a cancel
    waits.
    """


_BISECTED_SNAPSHOT = _codec.Record(BisectedSnapshot, time=_codec.TIME)
_BISECT_PROBE = _codec.Record(BisectProbe, time=_codec.TIME)
_codec.Record(
    BackupBisectResponse,
    good=_BISECTED_SNAPSHOT,
    bad=_BISECTED_SNAPSHOT,
    contradicted_by=_BISECTED_SNAPSHOT,
    probes=_codec.ListOf(_BISECT_PROBE),
)
_COLLECT_REFUSAL = _codec.Record(CollectRefusal)
_COLLECT_DECISION = _codec.Record(CollectDecision)
_COLLECTED_OBJECT = _codec.Record(CollectedObject)
_ERROR_BODY = _codec.Record(ErrorBody)
_COLLECT_FAILURE = _codec.Record(CollectFailure, error=_ERROR_BODY)
_TARGET_COLLECTION = _codec.Record(
    TargetCollection,
    target_time=_codec.TIME,
    refusals=_codec.ListOf(_COLLECT_REFUSAL),
    decisions=_codec.ListOf(_COLLECT_DECISION),
    deleted=_codec.ListOf(_COLLECTED_OBJECT),
    failures=_codec.ListOf(_COLLECT_FAILURE),
)
_FAILED_TARGET = _codec.Record(FailedTarget, error=_ERROR_BODY)
_codec.Record(
    BackupCollectResponse,
    targets=_codec.ListOf(_TARGET_COLLECTION),
    failed=_codec.ListOf(_FAILED_TARGET),
)
_codec.Record(BackupCopyResponse)
_SKIPPED = _codec.Record(Skipped, path=_codec.PATH)
_TARGET_RESULT = _codec.Record(TargetResult, error=_ERROR_BODY)
_INTEGRITY_REPORT = _codec.Record(IntegrityReport)
_STORE_RECORD = _codec.Record(
    StoreRecord,
    path=_codec.PATH,
    taken_at=_codec.TIME,
    check=_INTEGRITY_REPORT,
)
_PAUSE_REPORT = _codec.Record(PauseReport, from_=_codec.TIME, until=_codec.TIME)
_CONSISTENCY_GROUP = _codec.Record(
    ConsistencyGroup,
    files_from=_codec.TIME,
    files_until=_codec.TIME,
    pause=_PAUSE_REPORT,
)
_codec.Record(
    BackupCreateResponse,
    skipped=_codec.ListOf(_SKIPPED),
    targets=_codec.ListOf(_TARGET_RESULT),
    stores=_codec.ListOf(_STORE_RECORD),
    group=_CONSISTENCY_GROUP,
)
_DELETION = _codec.Record(Deletion)
_HOLD = _codec.Record(Hold, at=_codec.TIME)
_codec.Record(
    BackupDeleteResponse,
    deletions=_codec.ListOf(_DELETION),
    holds=_codec.ListOf(_HOLD),
)
_DRILL_STEP = _codec.Record(DrillStep)
_DRILL_PROBLEM = _codec.Record(DrillProblem, path=_codec.PATH)
_DRILLED_TABLE = _codec.Record(DrilledTable)
_DRILLED_DATABASE = _codec.Record(
    DrilledDatabase,
    path=_codec.PATH,
    taken_at=_codec.TIME,
    tables=_codec.ListOf(_DRILLED_TABLE),
)
_REACHED_STORE = _codec.Record(ReachedStore, time=_codec.TIME)
_DRILLED_MOMENT = _codec.Record(
    DrilledMoment,
    at=_codec.TIME,
    stores=_codec.ListOf(_REACHED_STORE),
)
_codec.Record(
    BackupDrillResponse,
    snapshot_time=_codec.TIME,
    steps=_codec.ListOf(_DRILL_STEP),
    problems=_codec.ListOf(_DRILL_PROBLEM),
    databases=_codec.ListOf(_DRILLED_DATABASE),
    moment=_DRILLED_MOMENT,
    into=_codec.PATH,
)
_codec.Record(BackupExportResponse, output=_codec.PATH)
_codec.Record(BackupHoldResponse, hold=_HOLD, failed=_codec.ListOf(_FAILED_TARGET))
_codec.Record(
    BackupImportResponse,
    skipped=_codec.ListOf(_SKIPPED),
    targets=_codec.ListOf(_TARGET_RESULT),
    stores=_codec.ListOf(_STORE_RECORD),
    group=_CONSISTENCY_GROUP,
    time=_codec.TIME,
    ignored=_codec.ListOf(_codec.PATH),
)
_codec.Record(BackupKeysAdoptResponse)
_CHECKED_TARGET = _codec.Record(CheckedTarget, error=_ERROR_BODY)
_codec.Record(BackupKeysCheckResponse, targets=_codec.ListOf(_CHECKED_TARGET))
_STORED_KEY = _codec.Record(StoredKey)
_codec.Record(BackupKeysInitResponse, stored=_codec.ListOf(_STORED_KEY))
_LISTED_KEY = _codec.Record(ListedKey, stored_at=_codec.TIME)
_FAILED_KEY = _codec.Record(FailedKey, error=_ERROR_BODY)
_codec.Record(
    BackupKeysListResponse,
    keys=_codec.ListOf(_LISTED_KEY),
    failed=_codec.ListOf(_FAILED_KEY),
)
_REWRAP = _codec.Record(Rewrap)
_codec.Record(
    BackupKeysRewrapResponse,
    rewraps=_codec.ListOf(_REWRAP),
    untouched=_codec.ListOf(_STORED_KEY),
)
_codec.Record(BackupKeysRotateResponse, stored=_codec.ListOf(_STORED_KEY))
_KNOWN_SNAPSHOT = _codec.Record(
    KnownSnapshot,
    time=_codec.TIME,
    stored_at=_codec.TIME,
    verified_at=_codec.TIME,
    holds=_codec.ListOf(_HOLD),
)
_UNREADABLE = _codec.Record(Unreadable, error=_ERROR_BODY)
_codec.Record(
    BackupListResponse,
    snapshots=_codec.ListOf(_KNOWN_SNAPSHOT),
    unreadable=_codec.ListOf(_UNREADABLE),
    failed=_codec.ListOf(_FAILED_TARGET),
)
_codec.Record(BackupReleaseResponse)
_RETENTION_SETTINGS = _codec.Record(RetentionSettings)
_RETENTION_REASON = _codec.Record(RetentionReason)
_RETENTION_DECISION = _codec.Record(
    RetentionDecision,
    time=_codec.TIME,
    verified_at=_codec.TIME,
    reasons=_codec.ListOf(_RETENTION_REASON),
)
_WITHHELD = _codec.Record(Withheld)
_RETENTION_TARGET_PLAN = _codec.Record(
    RetentionTargetPlan,
    decisions=_codec.ListOf(_RETENTION_DECISION),
    withheld=_codec.ListOf(_WITHHELD),
    unreadable=_codec.ListOf(_UNREADABLE),
)
_DELETED_SNAPSHOT = _codec.Record(DeletedSnapshot)
_FAILED_DELETION = _codec.Record(FailedDeletion, error=_ERROR_BODY)
_codec.Record(
    BackupRetainResponse,
    time=_codec.TIME,
    policy=_RETENTION_SETTINGS,
    targets=_codec.ListOf(_RETENTION_TARGET_PLAN),
    failed=_codec.ListOf(_FAILED_TARGET),
    deleted=_codec.ListOf(_DELETED_SNAPSHOT),
    failures=_codec.ListOf(_FAILED_DELETION),
)
_FOUND_PROBLEM = _codec.Record(FoundProblem, path=_codec.PATH)
_SAMPLED_TARGET = _codec.Record(
    SampledTarget,
    since=_codec.TIME,
    reached=_codec.TIME,
    clean_since=_codec.TIME,
)
_codec.Record(
    BackupSampleResponse,
    problems=_codec.ListOf(_FOUND_PROBLEM),
    targets=_codec.ListOf(_SAMPLED_TARGET),
    failed=_codec.ListOf(_FAILED_TARGET),
)
_LISTED = _codec.Record(Listed, time=_codec.TIME, stored_at=_codec.TIME)
_INCLUDED = _codec.Record(Included, path=_codec.PATH)
_MANIFEST = _codec.Record(
    Manifest,
    time=_codec.TIME,
    includes=_codec.ListOf(_INCLUDED),
    stores=_codec.ListOf(_STORE_RECORD),
    skipped=_codec.ListOf(_SKIPPED),
    group=_CONSISTENCY_GROUP,
)
_codec.Record(BackupShowResponse, snapshot=_LISTED, manifest=_MANIFEST)
_codec.Record(BackupVerifyResponse, problems=_codec.ListOf(_FOUND_PROBLEM))
_FINDING = _codec.Record(Finding)
_codec.Record(ConfigCheckResponse, findings=_codec.ListOf(_FINDING))
_LEFT_OUT = _codec.Record(LeftOut)
_INIT_FOUND = _codec.Record(InitFound, left_out=_codec.ListOf(_LEFT_OUT))
_codec.Record(ConfigInitResponse, path=_codec.PATH, found=_INIT_FOUND)
_SHOWN_SETTING = _codec.Record(ShownSetting)
_codec.Record(
    ConfigShowResponse,
    root=_codec.PATH,
    file=_codec.PATH,
    settings=_codec.ListOf(_SHOWN_SETTING),
)
_REMOVED_SEGMENT = _codec.Record(RemovedSegment)
_COMPACTED_STORE = _codec.Record(
    CompactedStore,
    removed=_codec.ListOf(_REMOVED_SEGMENT),
)
_codec.Record(ContinuousCompactResponse, stores=_codec.ListOf(_COMPACTED_STORE))
_codec.Record(ContinuousStartResponse)
_TARGET_STANDING = _codec.Record(
    TargetStanding,
    stored_until=_codec.TIME,
    tidy_error=_ERROR_BODY,
    error=_ERROR_BODY,
)
_STORE_STANDING = _codec.Record(
    StoreStanding,
    written_at=_codec.TIME,
    since=_codec.TIME,
    seen_until=_codec.TIME,
    base_wanted_since=_codec.TIME,
    targets=_codec.ListOf(_TARGET_STANDING),
    trouble=_ERROR_BODY,
)
_CONTINUOUS_STORE = _codec.Record(ContinuousStore, standing=_STORE_STANDING)
_codec.Record(
    ContinuousStatusResponse,
    stores=_codec.ListOf(_CONTINUOUS_STORE),
    trouble=_ERROR_BODY,
)
_codec.Record(ContinuousStopResponse)
_GENERATED_FILE = _codec.Record(GeneratedFile, path=_codec.PATH, kept=_codec.PATH)
_codec.Record(GenerateAlertsResponse, files=_codec.ListOf(_GENERATED_FILE))
_codec.Record(GenerateGrafanaResponse, files=_codec.ListOf(_GENERATED_FILE))
_codec.Record(GeneratePrometheusResponse, files=_codec.ListOf(_GENERATED_FILE))
_CHECK_REPORT = _codec.Record(CheckReport)
_codec.Record(HealthCheckResponse, checks=_codec.ListOf(_CHECK_REPORT))
_CHANGE = _codec.Record(Change, time=_codec.TIME, first=_codec.TIME)
_CHECK_HISTORY = _codec.Record(
    CheckHistory,
    since=_codec.TIME,
    last_changes=_codec.ListOf(_CHANGE),
)
_codec.Record(
    HealthHistoryResponse,
    since=_codec.TIME,
    until=_codec.TIME,
    checks=_codec.ListOf(_CHECK_HISTORY),
)
_CHECK_VIEW = _codec.Record(CheckView, time=_codec.TIME, since=_codec.TIME)
_codec.Record(HealthStateResponse, checks=_codec.ListOf(_CHECK_VIEW))
_JOURNAL_RECORD = _codec.Record(JournalRecord, time=_codec.TIME, error=_ERROR_BODY)
_codec.Record(JournalReadResponse, records=_codec.ListOf(_JOURNAL_RECORD))
_HISTORY_SAMPLE = _codec.Record(HistorySample, time=_codec.TIME)
_SERIES_HISTORY = _codec.Record(SeriesHistory, samples=_codec.ListOf(_HISTORY_SAMPLE))
_HISTORY_KEPT = _codec.Record(HistoryKept)
_codec.Record(
    MetricsHistoryResponse,
    since=_codec.TIME,
    until=_codec.TIME,
    series=_codec.ListOf(_SERIES_HISTORY),
    kept=_HISTORY_KEPT,
)
_codec.Record(MetricsRenderResponse)
_PROBLEM = _codec.Record(Problem, path=_codec.PATH)
_SERVICE_REPORT = _codec.Record(ServiceReport)
_codec.Record(
    RestoreApplyResponse,
    into=_codec.PATH,
    lost=_codec.ListOf(_PROBLEM),
    service=_SERVICE_REPORT,
    reached=_codec.ListOf(_REACHED_STORE),
)
_codec.Record(RestoreDatabaseResponse, reached=_REACHED_STORE)
_UNDO_AREA = _codec.Record(UndoArea, time=_codec.TIME, paths=_codec.ListOf(_codec.PATH))
_codec.Record(RestoreDiscardResponse, areas=_codec.ListOf(_UNDO_AREA))
_RESTORE_UNIT = _codec.Record(
    RestoreUnit,
    path=_codec.PATH,
    carry=_codec.ListOf(_codec.PATH),
    mount=_codec.PATH,
)
_SPACE_NEED = _codec.Record(SpaceNeed, folder=_codec.PATH)
_HOLDER = _codec.Record(Holder, path=_codec.PATH)
_STORE_AT = _codec.Record(StoreAt, base_taken_at=_codec.TIME, reaches=_codec.TIME)
_AT_PLAN = _codec.Record(AtPlan, at=_codec.TIME, stores=_codec.ListOf(_STORE_AT))
_codec.Record(
    RestorePlanResponse,
    into=_codec.PATH,
    paths=_codec.ListOf(_codec.PATH),
    units=_codec.ListOf(_RESTORE_UNIT),
    space=_codec.ListOf(_SPACE_NEED),
    databases=_codec.ListOf(_codec.PATH),
    holders=_codec.ListOf(_HOLDER),
    at=_AT_PLAN,
)
_BASE = _codec.Record(Base, taken_at=_codec.TIME)
_SPAN = _codec.Record(Span, from_=_codec.TIME, until=_codec.TIME)
_GAP = _codec.Record(Gap, from_=_codec.TIME, until=_codec.TIME)
_STORE_TIMELINE = _codec.Record(
    StoreTimeline,
    bases=_codec.ListOf(_BASE),
    coverage=_codec.ListOf(_SPAN),
    gaps=_codec.ListOf(_GAP),
)
_codec.Record(
    RestorePointsResponse,
    stores=_codec.ListOf(_STORE_TIMELINE),
    failed=_codec.ListOf(_FAILED_TARGET),
)
_SWAP_SESSION = _codec.Record(SwapSession)
_codec.Record(RestoreSwapResponse, sessions=_codec.ListOf(_SWAP_SESSION))
_codec.Record(RestoreSwapDiscardResponse, sessions=_codec.ListOf(_SWAP_SESSION))
_codec.Record(RestoreSwapUndoResponse, sessions=_codec.ListOf(_SWAP_SESSION))
_UNDO_PLAN = _codec.Record(
    UndoPlan,
    area=_UNDO_AREA,
    databases=_codec.ListOf(_codec.PATH),
    holders=_codec.ListOf(_HOLDER),
)
_codec.Record(
    RestoreUndoResponse,
    into=_codec.PATH,
    lost=_codec.ListOf(_PROBLEM),
    service=_SERVICE_REPORT,
    reached=_codec.ListOf(_REACHED_STORE),
    plan=_UNDO_PLAN,
)
_codec.Record(RestoreUndoListResponse, areas=_codec.ListOf(_UNDO_AREA))
_RUNNING_JOB = _codec.Record(RunningJob, since=_codec.TIME)
_LAST_RUN = _codec.Record(
    LastRun,
    started_at=_codec.TIME,
    scheduled_for=_codec.TIME,
    error=_ERROR_BODY,
)
_KNOWN_JOB = _codec.Record(
    KnownJob,
    next_run_at=_codec.TIME,
    running=_RUNNING_JOB,
    last_run=_LAST_RUN,
    last_success_at=_codec.TIME,
)
_LEADER = _codec.Record(Leader, since=_codec.TIME)
_codec.Record(
    ScheduleListResponse,
    jobs=_codec.ListOf(_KNOWN_JOB),
    leader=_LEADER,
    trouble=_ERROR_BODY,
)
_RUN_REPORT = _codec.Record(
    RunReport,
    scheduled_for=_codec.TIME,
    started_at=_codec.TIME,
    error=_ERROR_BODY,
)
_codec.Record(
    ScheduleRunResponse,
    scheduled_for=_codec.TIME,
    started_at=_codec.TIME,
    error=_ERROR_BODY,
    then=_codec.ListOf(_RUN_REPORT),
)
_SERVICE_FACTS = _codec.Record(ServiceFacts)
_LISTENER_VIEW = _codec.Record(ListenerView)
_codec.Record(
    StatusResponse,
    time=_codec.TIME,
    service=_SERVICE_FACTS,
    root=_codec.PATH,
    state=_codec.PATH,
    listener=_LISTENER_VIEW,
    socket=_LISTENER_VIEW,
)
_STORE_STATUS = _codec.Record(StoreStatus, error=_ERROR_BODY)
_codec.Record(StoreStatsResponse, stores=_codec.ListOf(_STORE_STATUS))
_STORE_VERDICT = _codec.Record(StoreVerdict, error=_ERROR_BODY)
_codec.Record(StoreVerifyResponse, stores=_codec.ListOf(_STORE_VERDICT))
_codec.Record(Progress)
