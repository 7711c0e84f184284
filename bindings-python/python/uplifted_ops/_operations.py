"""The operations as methods: `ops.backup.create(...)`, and the same to be awaited.

`types` is imported when the first answer comes, not with this module. Generated from
the table of operations by `make generate`: do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ._codec import Response, list_to_wire, path_to_wire, request, time_to_wire

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from .types import (
        BackupBisectResponse,
        BackupCollectResponse,
        BackupCopyResponse,
        BackupCreateResponse,
        BackupDeleteResponse,
        BackupDrillResponse,
        BackupExportResponse,
        BackupHoldResponse,
        BackupImportResponse,
        BackupKeysAdoptResponse,
        BackupKeysCheckResponse,
        BackupKeysInitResponse,
        BackupKeysListResponse,
        BackupKeysRewrapResponse,
        BackupKeysRotateResponse,
        BackupListResponse,
        BackupReleaseResponse,
        BackupRetainResponse,
        BackupSampleResponse,
        BackupShowResponse,
        BackupVerifyResponse,
        BisectCheck,
        CheckDepth,
        ConfigCheckResponse,
        ConfigInitResponse,
        ConfigShowResponse,
        ContinuousCompactResponse,
        ContinuousStartResponse,
        ContinuousStatusResponse,
        ContinuousStopResponse,
        DrillCheck,
        GenerateAlertsResponse,
        GenerateGrafanaResponse,
        GeneratePrometheusResponse,
        HealthCheckResponse,
        HealthHistoryResponse,
        HealthStateResponse,
        HistoryFunction,
        JournalReadResponse,
        Layout,
        MetricsFormat,
        MetricsHistoryResponse,
        MetricsRenderResponse,
        Progress,
        RestoreApplyResponse,
        RestoreDatabaseResponse,
        RestoreDiscardResponse,
        RestorePlanResponse,
        RestorePointsResponse,
        RestoreSwapDiscardResponse,
        RestoreSwapResponse,
        RestoreSwapUndoResponse,
        RestoreUndoListResponse,
        RestoreUndoResponse,
        ScheduleListResponse,
        ScheduleRunResponse,
        StatusResponse,
        StoreStatsResponse,
        StoreVerifyResponse,
        VerifyDepth,
    )

T = TypeVar("T")

_BACKUP_BISECT: Response[BackupBisectResponse] = Response("BackupBisectResponse")
_BACKUP_COLLECT: Response[BackupCollectResponse] = Response("BackupCollectResponse")
_BACKUP_COPY: Response[BackupCopyResponse] = Response("BackupCopyResponse")
_BACKUP_CREATE: Response[BackupCreateResponse] = Response("BackupCreateResponse")
_BACKUP_DELETE: Response[BackupDeleteResponse] = Response("BackupDeleteResponse")
_BACKUP_DRILL: Response[BackupDrillResponse] = Response("BackupDrillResponse")
_BACKUP_EXPORT: Response[BackupExportResponse] = Response("BackupExportResponse")
_BACKUP_HOLD: Response[BackupHoldResponse] = Response("BackupHoldResponse")
_BACKUP_IMPORT: Response[BackupImportResponse] = Response("BackupImportResponse")
_BACKUP_KEYS_ADOPT: Response[BackupKeysAdoptResponse] = Response(
    "BackupKeysAdoptResponse",
)
_BACKUP_KEYS_CHECK: Response[BackupKeysCheckResponse] = Response(
    "BackupKeysCheckResponse",
)
_BACKUP_KEYS_INIT: Response[BackupKeysInitResponse] = Response("BackupKeysInitResponse")
_BACKUP_KEYS_LIST: Response[BackupKeysListResponse] = Response("BackupKeysListResponse")
_BACKUP_KEYS_REWRAP: Response[BackupKeysRewrapResponse] = Response(
    "BackupKeysRewrapResponse",
)
_BACKUP_KEYS_ROTATE: Response[BackupKeysRotateResponse] = Response(
    "BackupKeysRotateResponse",
)
_BACKUP_LIST: Response[BackupListResponse] = Response("BackupListResponse")
_BACKUP_RELEASE: Response[BackupReleaseResponse] = Response("BackupReleaseResponse")
_BACKUP_RETAIN: Response[BackupRetainResponse] = Response("BackupRetainResponse")
_BACKUP_SAMPLE: Response[BackupSampleResponse] = Response("BackupSampleResponse")
_BACKUP_SHOW: Response[BackupShowResponse] = Response("BackupShowResponse")
_BACKUP_VERIFY: Response[BackupVerifyResponse] = Response("BackupVerifyResponse")
_CONFIG_CHECK: Response[ConfigCheckResponse] = Response("ConfigCheckResponse")
_CONFIG_INIT: Response[ConfigInitResponse] = Response("ConfigInitResponse")
_CONFIG_SHOW: Response[ConfigShowResponse] = Response("ConfigShowResponse")
_CONTINUOUS_COMPACT: Response[ContinuousCompactResponse] = Response(
    "ContinuousCompactResponse",
)
_CONTINUOUS_START: Response[ContinuousStartResponse] = Response(
    "ContinuousStartResponse",
)
_CONTINUOUS_STATUS: Response[ContinuousStatusResponse] = Response(
    "ContinuousStatusResponse",
)
_CONTINUOUS_STOP: Response[ContinuousStopResponse] = Response("ContinuousStopResponse")
_GENERATE_ALERTS: Response[GenerateAlertsResponse] = Response("GenerateAlertsResponse")
_GENERATE_GRAFANA: Response[GenerateGrafanaResponse] = Response(
    "GenerateGrafanaResponse",
)
_GENERATE_PROMETHEUS: Response[GeneratePrometheusResponse] = Response(
    "GeneratePrometheusResponse",
)
_HEALTH_CHECK: Response[HealthCheckResponse] = Response("HealthCheckResponse")
_HEALTH_HISTORY: Response[HealthHistoryResponse] = Response("HealthHistoryResponse")
_HEALTH_STATE: Response[HealthStateResponse] = Response("HealthStateResponse")
_JOURNAL_READ: Response[JournalReadResponse] = Response("JournalReadResponse")
_METRICS_HISTORY: Response[MetricsHistoryResponse] = Response("MetricsHistoryResponse")
_METRICS_RENDER: Response[MetricsRenderResponse] = Response("MetricsRenderResponse")
_RESTORE_APPLY: Response[RestoreApplyResponse] = Response("RestoreApplyResponse")
_RESTORE_DATABASE: Response[RestoreDatabaseResponse] = Response(
    "RestoreDatabaseResponse",
)
_RESTORE_DISCARD: Response[RestoreDiscardResponse] = Response("RestoreDiscardResponse")
_RESTORE_PLAN: Response[RestorePlanResponse] = Response("RestorePlanResponse")
_RESTORE_POINTS: Response[RestorePointsResponse] = Response("RestorePointsResponse")
_RESTORE_SWAP: Response[RestoreSwapResponse] = Response("RestoreSwapResponse")
_RESTORE_SWAP_DISCARD: Response[RestoreSwapDiscardResponse] = Response(
    "RestoreSwapDiscardResponse",
)
_RESTORE_SWAP_UNDO: Response[RestoreSwapUndoResponse] = Response(
    "RestoreSwapUndoResponse",
)
_RESTORE_UNDO: Response[RestoreUndoResponse] = Response("RestoreUndoResponse")
_RESTORE_UNDO_LIST: Response[RestoreUndoListResponse] = Response(
    "RestoreUndoListResponse",
)
_SCHEDULE_LIST: Response[ScheduleListResponse] = Response("ScheduleListResponse")
_SCHEDULE_RUN: Response[ScheduleRunResponse] = Response("ScheduleRunResponse")
_STATUS: Response[StatusResponse] = Response("StatusResponse")
_STORE_STATS: Response[StoreStatsResponse] = Response("StoreStatsResponse")
_STORE_VERIFY: Response[StoreVerifyResponse] = Response("StoreVerifyResponse")
PROGRESS: Response[Progress] = Response("Progress")


class BackupGroup:
    """The operations `backup.*`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Operations) -> None:
        self._owner = owner

    def bisect(
        self,
        *,
        check: BisectCheck,
        identity_file: str | os.PathLike[str] | None = None,
        query: str | None = None,
        store: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupBisectResponse:
        """Find the last snapshot for which a check still holds.

        Changes nothing.

        Args:
            check: What must hold.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            query: For `query`: what to ask. It must return a row whose first column
                is neither null nor zero.
            store: The database to ask, by its name in the snapshots. The only one
                when missing.
            target: Look among the snapshots in this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a bisection found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.bisect",
            request(
                check=check,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                query=query,
                store=store,
                target=target,
            ),
            _BACKUP_BISECT,
            on_progress,
            timeout,
        )

    def collect(
        self,
        *,
        accept_missing: bool = False,
        dry_run: bool = False,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupCollectResponse:
        """Free what no snapshot of a repository needs, while backups go on.

        Deletes or replaces something.

        Args:
            accept_missing: Go on although snapshots are missing that nobody
                removed: they are lost for good, and recorded as removed.
            dry_run: Say what would be done, and change nothing.
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was planned for each target, and what became of it.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.collect",
            request(accept_missing=accept_missing, dry_run=dry_run, target=target),
            _BACKUP_COLLECT,
            on_progress,
            timeout,
        )

    def copy(
        self,
        *,
        snapshot_id: str,
        to: str,
        from_: str | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupCopyResponse:
        """Copy a snapshot to another target: verified, sent, and read back there.

        Adds something.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            to: The target that it goes to.
            from_: The target that it comes from. The first that has a whole copy
                when missing.
            identity_file: The file with the secret half of a recipient, for a
                snapshot in a sealed repository: it is opened on its way, and only what
                the other repository lacks is sent. Without it the packs that it needs
                are sent as they are, to a repository of the same identity. What the
                settings name when missing. Read where the request runs, and never
                recorded.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What became of a copy.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.copy",
            request(
                snapshot_id=snapshot_id,
                to=to,
                from_=from_,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
            ),
            _BACKUP_COPY,
            on_progress,
            timeout,
        )

    def create(
        self,
        *,
        anew: bool = False,
        label: str | None = None,
        layout: Layout | None = None,
        tags: Sequence[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupCreateResponse:
        """Back the service up while it runs: databases consistent, read back, then
        visible.

        Adds something.

        Args:
            anew: Go on although a target has lost the repository that this host
                stored into, or has another one: use what is there, and begin a
                repository where there is none. Without it such a target is refused,
                since what looks like that is a disk that is not mounted.
            label: What to call it.
            layout: How it is stored. What `backup.layout` says when missing, and
                else `archive`; a job of the schedule asks for `repository` then.
            tags: Words to find it by, and that `backup.retention` may keep it by:
                at most 32 of at most 64 letters, digits and `. _ - : @ + = /` each.
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What became of a backup.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.create",
            request(
                anew=anew,
                label=label,
                layout=layout,
                tags=None if tags is None else list_to_wire(tags),
                target=target,
            ),
            _BACKUP_CREATE,
            on_progress,
            timeout,
        )

    def delete(
        self,
        *,
        snapshot_id: str,
        dry_run: bool = False,
        force: bool = False,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupDeleteResponse:
        """Delete a snapshot, unless it is the last good one.

        Deletes or replaces something.

        Args:
            snapshot_id: The snapshot: its identifier, or the beginning of it.
            dry_run: Say what would be deleted, and delete nothing.
            force: Delete it even when it is the last good one. What is held stays
                all the same.
            target: Delete it from this target only. From all when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was deleted, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.delete",
            request(
                snapshot_id=snapshot_id,
                dry_run=dry_run,
                force=force,
                target=target,
            ),
            _BACKUP_DELETE,
            on_progress,
            timeout,
        )

    def drill(
        self,
        *,
        at: datetime | None = None,
        checks: Sequence[DrillCheck] | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        into: str | os.PathLike[str] | None = None,
        snapshot_id: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupDrillResponse:
        """Rehearse a restore: restore into scratch, test the copy, say how long
        recovery takes.

        Changes nothing.

        Args:
            at: The moment to go on to where stores are followed: the snapshot is
                then the newest from which it can be reached, unless one is named. When
                missing, a random one of those that are covered behind the snapshot.
            checks: What to do beside restoring and checking integrity. When
                missing, all that the settings have.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            into: A folder, missing or empty, that receives the restored copy and
                keeps it. When missing, the copy is made in scratch and removed.
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`, which is meant when missing.
            target: Restore the copy in this target. When missing, the one of the
                target that was not drilled for the longest time.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a drill found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.drill",
            request(
                at=None if at is None else time_to_wire(at),
                checks=None if checks is None else list_to_wire(checks),
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                into=None if into is None else path_to_wire(into),
                snapshot_id=snapshot_id,
                target=target,
            ),
            _BACKUP_DRILL,
            on_progress,
            timeout,
        )

    def export(
        self,
        *,
        snapshot_id: str,
        output: str | os.PathLike[str],
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupExportResponse:
        """Write a snapshot as a standard .tar.zst, read back before it appears.

        Adds something.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            output: The file to make, a standard `.tar.zst`. A file that exists is
                never replaced.
            identity_file: The operator's identity, when the snapshot is encrypted.
                The export is not.
            target: Read it from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was exported.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.export",
            request(
                snapshot_id=snapshot_id,
                output=path_to_wire(output),
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_EXPORT,
            on_progress,
            timeout,
        )

    def hold(
        self,
        *,
        snapshot_id: str,
        reason: str,
        by: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupHoldResponse:
        """Hold a snapshot: nothing deletes it before it is released.

        Adds something.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            reason: Why nothing may delete it, for whoever wants to.
            by: Who holds it. The user and the machine when missing.
            target: Hold the copy in this target only. Every copy when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What is held.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.hold",
            request(snapshot_id=snapshot_id, reason=reason, by=by, target=target),
            _BACKUP_HOLD,
            on_progress,
            timeout,
        )

    def import_(
        self,
        *,
        path: str | os.PathLike[str],
        label: str | None = None,
        layout: Layout | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupImportResponse:
        """Make a snapshot of an archive in a file, databases recognised and checked.

        Adds something.

        Args:
            path: The file: a `.tar.zst` of uplifted-ops, or a `.tar`, `.tar.gz` or
                `.tar.zst` that tar made.
            label: What to call it. The file's own label, or its name, when missing.
            layout: How it is stored. What `backup.layout` says when missing, and
                else `archive`. With `backup.export` before it, this is how a snapshot
                changes from one layout to the other; it gets another identifier then.
            target: Into this target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was imported.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.import",
            request(path=path_to_wire(path), label=label, layout=layout, target=target),
            _BACKUP_IMPORT,
            on_progress,
            timeout,
        )

    def keys_adopt(
        self,
        *,
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysAdoptResponse:
        """Restore what this host keeps of the keys, when it was lost or the host is
        new.

        Adds something.

        Args:
            identity_file: The file with the secret half of a recipient, or a key
                that was unwrapped by hand. What the settings name when missing. Read
                where the request runs, and never recorded.
            target: Read the wrapped keys from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What the host knows again.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.keys_adopt",
            request(
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_KEYS_ADOPT,
            on_progress,
            timeout,
        )

    def keys_check(
        self,
        *,
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysCheckResponse:
        """Prove that an identity opens the newest snapshot.

        Changes nothing.

        Args:
            identity_file: The file with the secret half of a recipient. What the
                settings name when missing. Read where the request runs, and never
                recorded.
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What an identity opens.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.keys_check",
            request(
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_KEYS_CHECK,
            on_progress,
            timeout,
        )

    def keys_init(
        self,
        *,
        anew: bool = False,
        identity_file: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysInitResponse:
        """Make the key that backups are encrypted to, and keep only its public half
        here.

        Adds something.

        Args:
            anew: Make a key although a target holds keys that this host does not
                know: another host's, or one that was lost.
            identity_file: The file with the secret half of a recipient, to prove at
                once that it opens the new key. Read where the request runs, and never
                recorded.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            A key that was made.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.keys_init",
            request(
                anew=anew,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
            ),
            _BACKUP_KEYS_INIT,
            on_progress,
            timeout,
        )

    def keys_list(
        self,
        *,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysListResponse:
        """List the keys of encrypted backups, and where they are kept.

        Changes nothing.

        Args:
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            The keys.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.keys_list",
            request(target=target),
            _BACKUP_KEYS_LIST,
            on_progress,
            timeout,
        )

    def keys_rewrap(
        self,
        *,
        dry_run: bool = False,
        identity_file: str | os.PathLike[str] | None = None,
        passphrase: str | None = None,
        proof_file: str | os.PathLike[str] | None = None,
        unproven: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysRewrapResponse:
        """Wrap the keys to the recipients that the settings name now.

        Deletes or replaces something.

        Args:
            dry_run: Say what would be done, and change nothing.
            identity_file: The file with the secret half of a present recipient.
                What the settings name when missing. Read where the request runs, and
                never recorded.
            passphrase: The variable with the passphrase that opens the present
                keys, as `env:NAME`.
            proof_file: The file with the secret half of a new recipient, to prove
                that it opens what is stored before the old goes. Not needed when
                `identity_file` is that of a new recipient as well.
            unproven: Remove the old although nobody proved that the new can be
                opened.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was wrapped anew, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.keys_rewrap",
            request(
                dry_run=dry_run,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                passphrase=passphrase,
                proof_file=None if proof_file is None else path_to_wire(proof_file),
                unproven=unproven,
            ),
            _BACKUP_KEYS_REWRAP,
            on_progress,
            timeout,
        )

    def keys_rotate(
        self,
        *,
        identity_file: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysRotateResponse:
        """Start a new key for new backups; the old ones keep theirs.

        Adds something.

        Args:
            identity_file: The file with the secret half of a recipient, to prove at
                once that it opens the new key. Read where the request runs, and never
                recorded.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            A key that was made.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.keys_rotate",
            request(
                identity_file=None if identity_file is None else path_to_wire(identity_file),
            ),
            _BACKUP_KEYS_ROTATE,
            on_progress,
            timeout,
        )

    def list(
        self,
        *,
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupListResponse:
        """List the snapshots, newest first.

        Changes nothing.

        Args:
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            The snapshots.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.list",
            request(
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_LIST,
            on_progress,
            timeout,
        )

    def release(
        self,
        *,
        snapshot_id: str,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupReleaseResponse:
        """End every hold of a snapshot.

        Deletes or replaces something.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            target: Release the copy in this target only. Every copy when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was released.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.release",
            request(snapshot_id=snapshot_id, target=target),
            _BACKUP_RELEASE,
            on_progress,
            timeout,
        )

    def retain(
        self,
        *,
        dry_run: bool = False,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupRetainResponse:
        """Delete the snapshots that backup.retention does not keep, never the last good
        ones.

        Deletes or replaces something.

        Args:
            dry_run: Say what would be deleted and why, and delete nothing.
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was planned, and what became of it.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.retain",
            request(dry_run=dry_run, target=target),
            _BACKUP_RETAIN,
            on_progress,
            timeout,
        )

    def sample(
        self,
        *,
        max_bytes: int | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupSampleResponse:
        """Read what is due of all backups, so that every stored byte is read within
        days.

        Changes nothing.

        Args:
            max_bytes: Not more than about so many bytes; what is due and not read
                waits for the next run. No bound when missing.
            target: Read from this target only. From all of the settings when
                missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a sampled verification read and found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.sample",
            request(max_bytes=max_bytes, target=target),
            _BACKUP_SAMPLE,
            on_progress,
            timeout,
        )

    def show(
        self,
        *,
        snapshot_id: str,
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupShowResponse:
        """Show what a snapshot says about itself.

        Changes nothing.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            target: Read it from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            A snapshot with its manifest.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.show",
            request(
                snapshot_id=snapshot_id,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_SHOW,
            on_progress,
            timeout,
        )

    def verify(
        self,
        *,
        snapshot_id: str,
        depth: VerifyDepth = "full",
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupVerifyResponse:
        """Prove that a snapshot can be restored.

        Changes nothing.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            depth: `quick` looks at the index and the sizes; `data` reads every
                byte; `full`, the default, does so and checks the databases.
            identity_file: The file with the secret half of a recipient, to look
                into encrypted snapshots. What the settings name when missing; without
                any, the stored bytes alone are compared, and the answer's `level` says
                so. Read where the request runs, and never recorded.
            target: Verify the copy in this target only. Every copy when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a verification found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "backup.verify",
            request(
                snapshot_id=snapshot_id,
                depth=depth,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_VERIFY,
            on_progress,
            timeout,
        )


class ConfigGroup:
    """The operations `config.*`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Operations) -> None:
        self._owner = owner

    def check(
        self,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ConfigCheckResponse:
        """Say what is wrong, or probably wrong, with the settings.

        Changes nothing.

        Args:
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What is wrong with the settings.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "config.check",
            request(),
            _CONFIG_CHECK,
            on_progress,
            timeout,
        )

    def init(
        self,
        *,
        dry_run: bool = False,
        force: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ConfigInitResponse:
        """Look at the service's folder and write an ops.toml for it.

        Adds something.

        Args:
            dry_run: Say what would be written, and write nothing.
            force: Replace an `ops.toml` that exists, also one that is broken. It is
                kept beside the new one.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was written.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "config.init",
            request(dry_run=dry_run, force=force),
            _CONFIG_INIT,
            on_progress,
            timeout,
        )

    def show(
        self,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ConfigShowResponse:
        """Show every setting, and where its value comes from.

        Changes nothing.

        Args:
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            Every setting.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "config.show",
            request(),
            _CONFIG_SHOW,
            on_progress,
            timeout,
        )


class ContinuousGroup:
    """The operations `continuous.*`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Operations) -> None:
        self._owner = owner

    def compact(
        self,
        *,
        dry_run: bool = False,
        store: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ContinuousCompactResponse:
        """Put small segments together and remove what is too old, as the process that
        follows does now and then.

        Deletes or replaces something.

        Args:
            dry_run: Say what would be done, and change nothing.
            store: This store only. All when missing.
            target: In this target only. In all of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was put together and removed, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "continuous.compact",
            request(dry_run=dry_run, store=store, target=target),
            _CONTINUOUS_COMPACT,
            on_progress,
            timeout,
        )

    def start(
        self,
        *,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ContinuousStartResponse:
        """Follow stores from now on, also after a restart, whatever the settings say.

        Adds something.

        Args:
            store: This store only. All when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What became of it.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "continuous.start",
            request(store=store),
            _CONTINUOUS_START,
            on_progress,
            timeout,
        )

    def status(
        self,
        *,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ContinuousStatusResponse:
        """Say which stores are followed, how far behind what is stored is, and what is
        missing.

        Changes nothing.

        Args:
            store: This store only. All when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            How the following of the stores stands.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "continuous.status",
            request(store=store),
            _CONTINUOUS_STATUS,
            on_progress,
            timeout,
        )

    def stop(
        self,
        *,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ContinuousStopResponse:
        """Follow stores no longer: what was committed until now is stored, and what is
        stored stays.

        Adds something.

        Args:
            store: This store only. All when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What became of it.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "continuous.stop",
            request(store=store),
            _CONTINUOUS_STOP,
            on_progress,
            timeout,
        )


class GenerateGroup:
    """The operations `generate.*`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Operations) -> None:
        self._owner = owner

    def alerts(
        self,
        *,
        force: bool = False,
        write: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> GenerateAlertsResponse:
        """Write the alert rules of this service for Prometheus, with the tests of them.

        Adds something.

        Args:
            force: Replace a file that somebody has changed, or made. It is kept
                beside the new one.
            write: The folder to write into, absolute. Nothing is written when
                missing: the answer has the text.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was made.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "generate.alerts",
            request(force=force, write=write),
            _GENERATE_ALERTS,
            on_progress,
            timeout,
        )

    def grafana(
        self,
        *,
        force: bool = False,
        write: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> GenerateGrafanaResponse:
        """Write the dashboard of this service for Grafana.

        Adds something.

        Args:
            force: Replace a file that somebody has changed, or made. It is kept
                beside the new one.
            write: The folder to write into, absolute. Nothing is written when
                missing: the answer has the text.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was made.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "generate.grafana",
            request(force=force, write=write),
            _GENERATE_GRAFANA,
            on_progress,
            timeout,
        )

    def prometheus(
        self,
        *,
        alertmanager: str | None = None,
        force: bool = False,
        target: str | None = None,
        write: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> GeneratePrometheusResponse:
        """Write a configuration with which Prometheus scrapes this service and loads
        its alerts.

        Adds something.

        Args:
            alertmanager: Where an Alertmanager is, as `host:port`. None when
                missing.
            force: Replace a file that somebody has changed, or made. It is kept
                beside the new one.
            target: Where the service's metrics are, as `host:port`. What
                `metrics.listen` says when missing.
            write: The folder to write into, absolute. Nothing is written when
                missing: the answer has the text.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was made.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "generate.prometheus",
            request(alertmanager=alertmanager, force=force, target=target, write=write),
            _GENERATE_PROMETHEUS,
            on_progress,
            timeout,
        )


class HealthGroup:
    """The operations `health.*`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Operations) -> None:
        self._owner = owner

    def check(
        self,
        *,
        critical: bool = False,
        group: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> HealthCheckResponse:
        """Run the health checks and add up their verdicts.

        Changes nothing.

        Args:
            critical: Only the checks whose failure makes the whole answer `fail`.
            group: Only the checks of this group. All when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What the checks found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "health.check",
            request(critical=critical, group=group),
            _HEALTH_CHECK,
            on_progress,
            timeout,
        )

    def history(
        self,
        *,
        changes: int | None = None,
        check: str | None = None,
        hours: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> HealthHistoryResponse:
        """Tell how the checks were: uptime, failures, the last changes.

        Changes nothing.

        Args:
            changes: At most this many changes of each check, the newest. 20 when
                missing.
            check: Only this check. All when missing.
            hours: How many hours back. 168, a week, when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            How the checks were.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "health.history",
            request(changes=changes, check=check, hours=hours),
            _HEALTH_HISTORY,
            on_progress,
            timeout,
        )

    def state(
        self,
        *,
        critical: bool = False,
        group: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> HealthStateResponse:
        """Tell what the checks that run in the background last found, without asking
        any.

        Changes nothing.

        Args:
            critical: Only the checks whose failure makes the whole answer `fail`.
            group: Only the checks of this group. All when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What is known of the service, from answers that were there already.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "health.state",
            request(critical=critical, group=group),
            _HEALTH_STATE,
            on_progress,
            timeout,
        )


class JournalGroup:
    """The operations `journal.*`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Operations) -> None:
        self._owner = owner

    def read(
        self,
        *,
        limit: int | None = None,
        operation: str | None = None,
        since: datetime | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> JournalReadResponse:
        """Read what was done, newest first.

        Changes nothing.

        Args:
            limit: At most this many, the newest. 100 when missing.
            operation: Only this operation.
            since: Only what was done at or after this time, RFC 3339.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was read.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "journal.read",
            request(
                limit=limit,
                operation=operation,
                since=None if since is None else time_to_wire(since),
            ),
            _JOURNAL_READ,
            on_progress,
            timeout,
        )


class MetricsGroup:
    """The operations `metrics.*`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Operations) -> None:
        self._owner = owner

    def history(
        self,
        *,
        function: HistoryFunction | None = None,
        labels: Sequence[str] | None = None,
        limit: int | None = None,
        metric: str | None = None,
        range_seconds: float | None = None,
        step_seconds: float | None = None,
        until: datetime | None = None,
        window_seconds: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> MetricsHistoryResponse:
        """Tell what the metrics of this process were lately, or what they add up to.

        Changes nothing.

        Args:
            function: What to make of the samples. Their values when missing.
            labels: Labels and what they must be, each as `name=value`; `*` in a
                value is any text.
            limit: At most so many series, in the order of their names. 100 when
                missing.
            metric: The name as on the page of metrics, such as
                `uplifted_requests_total`; `*` in it is any text. All when missing.
            range_seconds: How far back, in seconds. An hour when missing.
            step_seconds: One value each so many seconds. Every sample as it was
                taken when missing, and for a function as often as samples are taken.
            until: The end of the time. Now when missing.
            window_seconds: Over how much time before each value the function
                reckons, in seconds. Five minutes when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What the numbers were.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "metrics.history",
            request(
                function=function,
                labels=None if labels is None else list_to_wire(labels),
                limit=limit,
                metric=metric,
                range_seconds=range_seconds,
                step_seconds=step_seconds,
                until=None if until is None else time_to_wire(until),
                window_seconds=window_seconds,
            ),
            _METRICS_HISTORY,
            on_progress,
            timeout,
        )

    def render(
        self,
        *,
        format: MetricsFormat | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> MetricsRenderResponse:
        """Write every metric as Prometheus reads it.

        Changes nothing.

        Args:
            format: The format. `text` when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            The numbers.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "metrics.render",
            request(format=format),
            _METRICS_RENDER,
            on_progress,
            timeout,
        )


class RestoreGroup:
    """The operations `restore.*`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Operations) -> None:
        self._owner = owner

    def apply(
        self,
        *,
        at: datetime | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        into: str | os.PathLike[str] | None = None,
        paths: Sequence[str | os.PathLike[str]] | None = None,
        salvage: bool = False,
        snapshot_id: str = "",
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreApplyResponse:
        """Restore a snapshot, into a folder or in place, verified before anything is
        replaced.

        Deletes or replaces something.

        Args:
            at: The moment to go back to: of the stores that are followed the last
                commit that is not after it. The snapshot is then the newest one from
                which every one of them gets there; files are as they are in it.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            into: A folder, missing or empty, that receives the files. In place when
                missing.
            paths: What to restore, relative to the root. All when missing or empty.
            salvage: Restore what is undamaged, and what the keys at hand open, and
                name the rest, instead of failing.
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`. Or the path of an archive: one of uplifted-ops, or a `.tar`,
                `.tar.gz` or `.tar.zst` that tar made, such as
                `/backup/uplifted_20260101_020000.tar.gz`. May be left out with `at`.
            target: Read it from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a restore or an undo did.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "restore.apply",
            request(
                at=None if at is None else time_to_wire(at),
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                into=None if into is None else path_to_wire(into),
                paths=None if paths is None else list_to_wire(paths, path_to_wire),
                salvage=salvage,
                snapshot_id=snapshot_id,
                target=target,
            ),
            _RESTORE_APPLY,
            on_progress,
            timeout,
        )

    def database(
        self,
        *,
        database: str,
        at: datetime | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        place: str | None = None,
        snapshot_id: str = "",
        store: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreDatabaseResponse:
        """Restore a database of a server into a new one beside it, and hold it against
        the snapshot.

        Adds something.

        Args:
            database: The name of the new database. There must be none of that name:
                none is ever replaced.
            at: The moment to go back to: the last commit that is not after it. The
                store has to be followed (`continuous.start`), and a server of the same
                version of PostgreSQL has to be installed on this machine. The snapshot
                is then the newest one from which it gets there.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            place: A place in the log of the server to go back to: an LSN
                (`0/3000060`: everything that was logged before it), or the name of a
                restore point (`pg_create_restore_point`: everything up to it). It is
                looked for behind the newest snapshot that is older than `at`, or than
                the newest moment there is. Needs what `at` needs.
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`. May be left out with `at` and with `place`.
            store: The store whose database it is. The only one of a server when
                missing.
            target: Read it from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was restored.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "restore.database",
            request(
                database=database,
                at=None if at is None else time_to_wire(at),
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                place=place,
                snapshot_id=snapshot_id,
                store=store,
                target=target,
            ),
            _RESTORE_DATABASE,
            on_progress,
            timeout,
        )

    def discard(
        self,
        *,
        undo_ids: Sequence[str],
        dry_run: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreDiscardResponse:
        """Remove for good what restores replaced.

        Deletes or replaces something.

        Args:
            undo_ids: The `undo_id`s.
            dry_run: Say what would be removed, and remove nothing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was removed, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "restore.discard",
            request(undo_ids=list_to_wire(undo_ids), dry_run=dry_run),
            _RESTORE_DISCARD,
            on_progress,
            timeout,
        )

    def plan(
        self,
        *,
        at: datetime | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        into: str | os.PathLike[str] | None = None,
        paths: Sequence[str | os.PathLike[str]] | None = None,
        salvage: bool = False,
        snapshot_id: str = "",
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestorePlanResponse:
        """Say what a restore would do, and change nothing.

        Changes nothing.

        Args:
            at: The moment to go back to: of the stores that are followed the last
                commit that is not after it. The snapshot is then the newest one from
                which every one of them gets there; files are as they are in it.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            into: A folder, missing or empty, that receives the files. In place when
                missing.
            paths: What to restore, relative to the root. All when missing or empty.
            salvage: Restore what is undamaged, and what the keys at hand open, and
                name the rest, instead of failing.
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`. Or the path of an archive: one of uplifted-ops, or a `.tar`,
                `.tar.gz` or `.tar.zst` that tar made, such as
                `/backup/uplifted_20260101_020000.tar.gz`. May be left out with `at`.
            target: Read it from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a restore will do.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "restore.plan",
            request(
                at=None if at is None else time_to_wire(at),
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                into=None if into is None else path_to_wire(into),
                paths=None if paths is None else list_to_wire(paths, path_to_wire),
                salvage=salvage,
                snapshot_id=snapshot_id,
                target=target,
            ),
            _RESTORE_PLAN,
            on_progress,
            timeout,
        )

    def points(
        self,
        *,
        identity_file: str | os.PathLike[str] | None = None,
        store: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestorePointsResponse:
        """Say which seconds each store can go back to: bases, coverage, and gaps with
        their reasons.

        Changes nothing.

        Args:
            identity_file: The file with the secret half of a recipient, for
                encrypted repositories: without it the times of the bases are known only
                roughly. Read where the request runs, and never recorded.
            store: This store only. All when missing.
            target: In this target only. In all of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            The seconds that can be gone back to.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "restore.points",
            request(
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                store=store,
                target=target,
            ),
            _RESTORE_POINTS,
            on_progress,
            timeout,
        )

    def swap(
        self,
        *,
        database: str,
        drain: bool = False,
        drain_seconds: float = 30.0,
        dry_run: bool = False,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreSwapResponse:
        """Let a database that was restored beside the live one take its name; the live
        one is put aside.

        Deletes or replaces something.

        Args:
            database: The database that `restore.database` made, and found to be as
                the snapshot has it.
            drain: End the sessions that are open. Without it an open session is a
                reason to refuse.
            drain_seconds: How long ending them may take, in seconds (0 to 3600; 30
                when missing).
            dry_run: Say what would be done and what is in the way, and change
                nothing.
            store: The store. The only one of a server when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was swapped, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "restore.swap",
            request(
                database=database,
                drain=drain,
                drain_seconds=drain_seconds,
                dry_run=dry_run,
                store=store,
            ),
            _RESTORE_SWAP,
            on_progress,
            timeout,
        )

    def swap_discard(
        self,
        *,
        drain: bool = False,
        drain_seconds: float = 30.0,
        dry_run: bool = False,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreSwapDiscardResponse:
        """Drop for good the database that a swap put aside.

        Deletes or replaces something.

        Args:
            drain: End the sessions that are open. Without it an open session is a
                reason to refuse.
            drain_seconds: How long ending them may take, in seconds (0 to 3600; 30
                when missing).
            dry_run: Say what would be done and what is in the way, and change
                nothing.
            store: The store. The only one of a server when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was swapped, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "restore.swap_discard",
            request(
                drain=drain,
                drain_seconds=drain_seconds,
                dry_run=dry_run,
                store=store,
            ),
            _RESTORE_SWAP_DISCARD,
            on_progress,
            timeout,
        )

    def swap_undo(
        self,
        *,
        drain: bool = False,
        drain_seconds: float = 30.0,
        dry_run: bool = False,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreSwapUndoResponse:
        """Take a swap of databases back: what was put aside becomes the live one again.

        Deletes or replaces something.

        Args:
            drain: End the sessions that are open. Without it an open session is a
                reason to refuse.
            drain_seconds: How long ending them may take, in seconds (0 to 3600; 30
                when missing).
            dry_run: Say what would be done and what is in the way, and change
                nothing.
            store: The store. The only one of a server when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was swapped, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "restore.swap_undo",
            request(
                drain=drain,
                drain_seconds=drain_seconds,
                dry_run=dry_run,
                store=store,
            ),
            _RESTORE_SWAP_UNDO,
            on_progress,
            timeout,
        )

    def undo(
        self,
        *,
        undo_id: str,
        dry_run: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreUndoResponse:
        """Take a restore back: what it replaced becomes the service again.

        Deletes or replaces something.

        Args:
            undo_id: The `undo_id` that `restore.apply` answered.
            dry_run: Say what would come back, and change nothing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What came back, or would.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "restore.undo",
            request(undo_id=undo_id, dry_run=dry_run),
            _RESTORE_UNDO,
            on_progress,
            timeout,
        )

    def undo_list(
        self,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreUndoListResponse:
        """List what restores replaced and still keep.

        Changes nothing.

        Args:
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What can be taken back.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "restore.undo_list",
            request(),
            _RESTORE_UNDO_LIST,
            on_progress,
            timeout,
        )


class ScheduleGroup:
    """The operations `schedule.*`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Operations) -> None:
        self._owner = owner

    def list(
        self,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ScheduleListResponse:
        """List the jobs: when they run, how the last run went, who runs them.

        Changes nothing.

        Args:
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What runs by itself.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "schedule.list",
            request(),
            _SCHEDULE_LIST,
            on_progress,
            timeout,
        )

    def run(
        self,
        *,
        job: str,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ScheduleRunResponse:
        """Run a job now, and after its success those that follow it.

        Adds something.

        Args:
            job: The job's name.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            How the run went.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "schedule.run",
            request(job=job),
            _SCHEDULE_RUN,
            on_progress,
            timeout,
        )


class StoreGroup:
    """The operations `store.*`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Operations) -> None:
        self._owner = owner

    def stats(
        self,
        *,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> StoreStatsResponse:
        """Say how large the databases are and how they are set up.

        Changes nothing.

        Args:
            store: This database only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            Sizes and settings of databases.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "store.stats",
            request(store=store),
            _STORE_STATS,
            on_progress,
            timeout,
        )

    def verify(
        self,
        *,
        depth: CheckDepth = "full",
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> StoreVerifyResponse:
        """Check the integrity of the databases, on copies.

        Changes nothing.

        Args:
            depth: How much of it to check.
            store: This database only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What the checks found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._owner._call(
            "store.verify",
            request(depth=depth, store=store),
            _STORE_VERIFY,
            on_progress,
            timeout,
        )


class Operations:
    """The front door to every operation; `Ops` is one."""

    __slots__ = ()

    def _call(
        self,
        name: str,
        request: dict[str, Any],
        response: Response[T],
        on_progress: Callable[[Progress], object] | None,
        timeout: float | None,
    ) -> T:
        raise NotImplementedError

    @property
    def backup(self) -> BackupGroup:
        """The operations `backup.*`."""
        return BackupGroup(self)

    @property
    def config(self) -> ConfigGroup:
        """The operations `config.*`."""
        return ConfigGroup(self)

    @property
    def continuous(self) -> ContinuousGroup:
        """The operations `continuous.*`."""
        return ContinuousGroup(self)

    @property
    def generate(self) -> GenerateGroup:
        """The operations `generate.*`."""
        return GenerateGroup(self)

    @property
    def health(self) -> HealthGroup:
        """The operations `health.*`."""
        return HealthGroup(self)

    @property
    def journal(self) -> JournalGroup:
        """The operations `journal.*`."""
        return JournalGroup(self)

    @property
    def metrics(self) -> MetricsGroup:
        """The operations `metrics.*`."""
        return MetricsGroup(self)

    @property
    def restore(self) -> RestoreGroup:
        """The operations `restore.*`."""
        return RestoreGroup(self)

    @property
    def schedule(self) -> ScheduleGroup:
        """The operations `schedule.*`."""
        return ScheduleGroup(self)

    @property
    def store(self) -> StoreGroup:
        """The operations `store.*`."""
        return StoreGroup(self)

    def status(
        self,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> StatusResponse:
        """Say what runs here: process, service, build.

        Changes nothing.

        Args:
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What runs here.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return self._call(
            "status",
            request(),
            _STATUS,
            on_progress,
            timeout,
        )


class AsyncBackupGroup:
    """The operations `backup.*`, to be awaited."""

    __slots__ = ("_owner",)

    def __init__(self, owner: AsyncOperations) -> None:
        self._owner = owner

    async def bisect(
        self,
        *,
        check: BisectCheck,
        identity_file: str | os.PathLike[str] | None = None,
        query: str | None = None,
        store: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupBisectResponse:
        """Find the last snapshot for which a check still holds.

        Changes nothing.

        Args:
            check: What must hold.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            query: For `query`: what to ask. It must return a row whose first column
                is neither null nor zero.
            store: The database to ask, by its name in the snapshots. The only one
                when missing.
            target: Look among the snapshots in this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a bisection found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.bisect",
            request(
                check=check,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                query=query,
                store=store,
                target=target,
            ),
            _BACKUP_BISECT,
            on_progress,
            timeout,
        )

    async def collect(
        self,
        *,
        accept_missing: bool = False,
        dry_run: bool = False,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupCollectResponse:
        """Free what no snapshot of a repository needs, while backups go on.

        Deletes or replaces something.

        Args:
            accept_missing: Go on although snapshots are missing that nobody
                removed: they are lost for good, and recorded as removed.
            dry_run: Say what would be done, and change nothing.
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was planned for each target, and what became of it.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.collect",
            request(accept_missing=accept_missing, dry_run=dry_run, target=target),
            _BACKUP_COLLECT,
            on_progress,
            timeout,
        )

    async def copy(
        self,
        *,
        snapshot_id: str,
        to: str,
        from_: str | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupCopyResponse:
        """Copy a snapshot to another target: verified, sent, and read back there.

        Adds something.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            to: The target that it goes to.
            from_: The target that it comes from. The first that has a whole copy
                when missing.
            identity_file: The file with the secret half of a recipient, for a
                snapshot in a sealed repository: it is opened on its way, and only what
                the other repository lacks is sent. Without it the packs that it needs
                are sent as they are, to a repository of the same identity. What the
                settings name when missing. Read where the request runs, and never
                recorded.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What became of a copy.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.copy",
            request(
                snapshot_id=snapshot_id,
                to=to,
                from_=from_,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
            ),
            _BACKUP_COPY,
            on_progress,
            timeout,
        )

    async def create(
        self,
        *,
        anew: bool = False,
        label: str | None = None,
        layout: Layout | None = None,
        tags: Sequence[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupCreateResponse:
        """Back the service up while it runs: databases consistent, read back, then
        visible.

        Adds something.

        Args:
            anew: Go on although a target has lost the repository that this host
                stored into, or has another one: use what is there, and begin a
                repository where there is none. Without it such a target is refused,
                since what looks like that is a disk that is not mounted.
            label: What to call it.
            layout: How it is stored. What `backup.layout` says when missing, and
                else `archive`; a job of the schedule asks for `repository` then.
            tags: Words to find it by, and that `backup.retention` may keep it by:
                at most 32 of at most 64 letters, digits and `. _ - : @ + = /` each.
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What became of a backup.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.create",
            request(
                anew=anew,
                label=label,
                layout=layout,
                tags=None if tags is None else list_to_wire(tags),
                target=target,
            ),
            _BACKUP_CREATE,
            on_progress,
            timeout,
        )

    async def delete(
        self,
        *,
        snapshot_id: str,
        dry_run: bool = False,
        force: bool = False,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupDeleteResponse:
        """Delete a snapshot, unless it is the last good one.

        Deletes or replaces something.

        Args:
            snapshot_id: The snapshot: its identifier, or the beginning of it.
            dry_run: Say what would be deleted, and delete nothing.
            force: Delete it even when it is the last good one. What is held stays
                all the same.
            target: Delete it from this target only. From all when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was deleted, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.delete",
            request(
                snapshot_id=snapshot_id,
                dry_run=dry_run,
                force=force,
                target=target,
            ),
            _BACKUP_DELETE,
            on_progress,
            timeout,
        )

    async def drill(
        self,
        *,
        at: datetime | None = None,
        checks: Sequence[DrillCheck] | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        into: str | os.PathLike[str] | None = None,
        snapshot_id: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupDrillResponse:
        """Rehearse a restore: restore into scratch, test the copy, say how long
        recovery takes.

        Changes nothing.

        Args:
            at: The moment to go on to where stores are followed: the snapshot is
                then the newest from which it can be reached, unless one is named. When
                missing, a random one of those that are covered behind the snapshot.
            checks: What to do beside restoring and checking integrity. When
                missing, all that the settings have.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            into: A folder, missing or empty, that receives the restored copy and
                keeps it. When missing, the copy is made in scratch and removed.
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`, which is meant when missing.
            target: Restore the copy in this target. When missing, the one of the
                target that was not drilled for the longest time.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a drill found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.drill",
            request(
                at=None if at is None else time_to_wire(at),
                checks=None if checks is None else list_to_wire(checks),
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                into=None if into is None else path_to_wire(into),
                snapshot_id=snapshot_id,
                target=target,
            ),
            _BACKUP_DRILL,
            on_progress,
            timeout,
        )

    async def export(
        self,
        *,
        snapshot_id: str,
        output: str | os.PathLike[str],
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupExportResponse:
        """Write a snapshot as a standard .tar.zst, read back before it appears.

        Adds something.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            output: The file to make, a standard `.tar.zst`. A file that exists is
                never replaced.
            identity_file: The operator's identity, when the snapshot is encrypted.
                The export is not.
            target: Read it from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was exported.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.export",
            request(
                snapshot_id=snapshot_id,
                output=path_to_wire(output),
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_EXPORT,
            on_progress,
            timeout,
        )

    async def hold(
        self,
        *,
        snapshot_id: str,
        reason: str,
        by: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupHoldResponse:
        """Hold a snapshot: nothing deletes it before it is released.

        Adds something.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            reason: Why nothing may delete it, for whoever wants to.
            by: Who holds it. The user and the machine when missing.
            target: Hold the copy in this target only. Every copy when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What is held.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.hold",
            request(snapshot_id=snapshot_id, reason=reason, by=by, target=target),
            _BACKUP_HOLD,
            on_progress,
            timeout,
        )

    async def import_(
        self,
        *,
        path: str | os.PathLike[str],
        label: str | None = None,
        layout: Layout | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupImportResponse:
        """Make a snapshot of an archive in a file, databases recognised and checked.

        Adds something.

        Args:
            path: The file: a `.tar.zst` of uplifted-ops, or a `.tar`, `.tar.gz` or
                `.tar.zst` that tar made.
            label: What to call it. The file's own label, or its name, when missing.
            layout: How it is stored. What `backup.layout` says when missing, and
                else `archive`. With `backup.export` before it, this is how a snapshot
                changes from one layout to the other; it gets another identifier then.
            target: Into this target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was imported.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.import",
            request(path=path_to_wire(path), label=label, layout=layout, target=target),
            _BACKUP_IMPORT,
            on_progress,
            timeout,
        )

    async def keys_adopt(
        self,
        *,
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysAdoptResponse:
        """Restore what this host keeps of the keys, when it was lost or the host is
        new.

        Adds something.

        Args:
            identity_file: The file with the secret half of a recipient, or a key
                that was unwrapped by hand. What the settings name when missing. Read
                where the request runs, and never recorded.
            target: Read the wrapped keys from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What the host knows again.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.keys_adopt",
            request(
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_KEYS_ADOPT,
            on_progress,
            timeout,
        )

    async def keys_check(
        self,
        *,
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysCheckResponse:
        """Prove that an identity opens the newest snapshot.

        Changes nothing.

        Args:
            identity_file: The file with the secret half of a recipient. What the
                settings name when missing. Read where the request runs, and never
                recorded.
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What an identity opens.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.keys_check",
            request(
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_KEYS_CHECK,
            on_progress,
            timeout,
        )

    async def keys_init(
        self,
        *,
        anew: bool = False,
        identity_file: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysInitResponse:
        """Make the key that backups are encrypted to, and keep only its public half
        here.

        Adds something.

        Args:
            anew: Make a key although a target holds keys that this host does not
                know: another host's, or one that was lost.
            identity_file: The file with the secret half of a recipient, to prove at
                once that it opens the new key. Read where the request runs, and never
                recorded.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            A key that was made.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.keys_init",
            request(
                anew=anew,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
            ),
            _BACKUP_KEYS_INIT,
            on_progress,
            timeout,
        )

    async def keys_list(
        self,
        *,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysListResponse:
        """List the keys of encrypted backups, and where they are kept.

        Changes nothing.

        Args:
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            The keys.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.keys_list",
            request(target=target),
            _BACKUP_KEYS_LIST,
            on_progress,
            timeout,
        )

    async def keys_rewrap(
        self,
        *,
        dry_run: bool = False,
        identity_file: str | os.PathLike[str] | None = None,
        passphrase: str | None = None,
        proof_file: str | os.PathLike[str] | None = None,
        unproven: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysRewrapResponse:
        """Wrap the keys to the recipients that the settings name now.

        Deletes or replaces something.

        Args:
            dry_run: Say what would be done, and change nothing.
            identity_file: The file with the secret half of a present recipient.
                What the settings name when missing. Read where the request runs, and
                never recorded.
            passphrase: The variable with the passphrase that opens the present
                keys, as `env:NAME`.
            proof_file: The file with the secret half of a new recipient, to prove
                that it opens what is stored before the old goes. Not needed when
                `identity_file` is that of a new recipient as well.
            unproven: Remove the old although nobody proved that the new can be
                opened.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was wrapped anew, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.keys_rewrap",
            request(
                dry_run=dry_run,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                passphrase=passphrase,
                proof_file=None if proof_file is None else path_to_wire(proof_file),
                unproven=unproven,
            ),
            _BACKUP_KEYS_REWRAP,
            on_progress,
            timeout,
        )

    async def keys_rotate(
        self,
        *,
        identity_file: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupKeysRotateResponse:
        """Start a new key for new backups; the old ones keep theirs.

        Adds something.

        Args:
            identity_file: The file with the secret half of a recipient, to prove at
                once that it opens the new key. Read where the request runs, and never
                recorded.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            A key that was made.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.keys_rotate",
            request(
                identity_file=None if identity_file is None else path_to_wire(identity_file),
            ),
            _BACKUP_KEYS_ROTATE,
            on_progress,
            timeout,
        )

    async def list(
        self,
        *,
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupListResponse:
        """List the snapshots, newest first.

        Changes nothing.

        Args:
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            The snapshots.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.list",
            request(
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_LIST,
            on_progress,
            timeout,
        )

    async def release(
        self,
        *,
        snapshot_id: str,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupReleaseResponse:
        """End every hold of a snapshot.

        Deletes or replaces something.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            target: Release the copy in this target only. Every copy when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was released.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.release",
            request(snapshot_id=snapshot_id, target=target),
            _BACKUP_RELEASE,
            on_progress,
            timeout,
        )

    async def retain(
        self,
        *,
        dry_run: bool = False,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupRetainResponse:
        """Delete the snapshots that backup.retention does not keep, never the last good
        ones.

        Deletes or replaces something.

        Args:
            dry_run: Say what would be deleted and why, and delete nothing.
            target: This target only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was planned, and what became of it.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.retain",
            request(dry_run=dry_run, target=target),
            _BACKUP_RETAIN,
            on_progress,
            timeout,
        )

    async def sample(
        self,
        *,
        max_bytes: int | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupSampleResponse:
        """Read what is due of all backups, so that every stored byte is read within
        days.

        Changes nothing.

        Args:
            max_bytes: Not more than about so many bytes; what is due and not read
                waits for the next run. No bound when missing.
            target: Read from this target only. From all of the settings when
                missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a sampled verification read and found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.sample",
            request(max_bytes=max_bytes, target=target),
            _BACKUP_SAMPLE,
            on_progress,
            timeout,
        )

    async def show(
        self,
        *,
        snapshot_id: str,
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupShowResponse:
        """Show what a snapshot says about itself.

        Changes nothing.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            target: Read it from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            A snapshot with its manifest.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.show",
            request(
                snapshot_id=snapshot_id,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_SHOW,
            on_progress,
            timeout,
        )

    async def verify(
        self,
        *,
        snapshot_id: str,
        depth: VerifyDepth = "full",
        identity_file: str | os.PathLike[str] | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> BackupVerifyResponse:
        """Prove that a snapshot can be restored.

        Changes nothing.

        Args:
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`.
            depth: `quick` looks at the index and the sizes; `data` reads every
                byte; `full`, the default, does so and checks the databases.
            identity_file: The file with the secret half of a recipient, to look
                into encrypted snapshots. What the settings name when missing; without
                any, the stored bytes alone are compared, and the answer's `level` says
                so. Read where the request runs, and never recorded.
            target: Verify the copy in this target only. Every copy when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a verification found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "backup.verify",
            request(
                snapshot_id=snapshot_id,
                depth=depth,
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                target=target,
            ),
            _BACKUP_VERIFY,
            on_progress,
            timeout,
        )


class AsyncConfigGroup:
    """The operations `config.*`, to be awaited."""

    __slots__ = ("_owner",)

    def __init__(self, owner: AsyncOperations) -> None:
        self._owner = owner

    async def check(
        self,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ConfigCheckResponse:
        """Say what is wrong, or probably wrong, with the settings.

        Changes nothing.

        Args:
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What is wrong with the settings.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "config.check",
            request(),
            _CONFIG_CHECK,
            on_progress,
            timeout,
        )

    async def init(
        self,
        *,
        dry_run: bool = False,
        force: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ConfigInitResponse:
        """Look at the service's folder and write an ops.toml for it.

        Adds something.

        Args:
            dry_run: Say what would be written, and write nothing.
            force: Replace an `ops.toml` that exists, also one that is broken. It is
                kept beside the new one.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was written.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "config.init",
            request(dry_run=dry_run, force=force),
            _CONFIG_INIT,
            on_progress,
            timeout,
        )

    async def show(
        self,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ConfigShowResponse:
        """Show every setting, and where its value comes from.

        Changes nothing.

        Args:
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            Every setting.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "config.show",
            request(),
            _CONFIG_SHOW,
            on_progress,
            timeout,
        )


class AsyncContinuousGroup:
    """The operations `continuous.*`, to be awaited."""

    __slots__ = ("_owner",)

    def __init__(self, owner: AsyncOperations) -> None:
        self._owner = owner

    async def compact(
        self,
        *,
        dry_run: bool = False,
        store: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ContinuousCompactResponse:
        """Put small segments together and remove what is too old, as the process that
        follows does now and then.

        Deletes or replaces something.

        Args:
            dry_run: Say what would be done, and change nothing.
            store: This store only. All when missing.
            target: In this target only. In all of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was put together and removed, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "continuous.compact",
            request(dry_run=dry_run, store=store, target=target),
            _CONTINUOUS_COMPACT,
            on_progress,
            timeout,
        )

    async def start(
        self,
        *,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ContinuousStartResponse:
        """Follow stores from now on, also after a restart, whatever the settings say.

        Adds something.

        Args:
            store: This store only. All when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What became of it.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "continuous.start",
            request(store=store),
            _CONTINUOUS_START,
            on_progress,
            timeout,
        )

    async def status(
        self,
        *,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ContinuousStatusResponse:
        """Say which stores are followed, how far behind what is stored is, and what is
        missing.

        Changes nothing.

        Args:
            store: This store only. All when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            How the following of the stores stands.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "continuous.status",
            request(store=store),
            _CONTINUOUS_STATUS,
            on_progress,
            timeout,
        )

    async def stop(
        self,
        *,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ContinuousStopResponse:
        """Follow stores no longer: what was committed until now is stored, and what is
        stored stays.

        Adds something.

        Args:
            store: This store only. All when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What became of it.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "continuous.stop",
            request(store=store),
            _CONTINUOUS_STOP,
            on_progress,
            timeout,
        )


class AsyncGenerateGroup:
    """The operations `generate.*`, to be awaited."""

    __slots__ = ("_owner",)

    def __init__(self, owner: AsyncOperations) -> None:
        self._owner = owner

    async def alerts(
        self,
        *,
        force: bool = False,
        write: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> GenerateAlertsResponse:
        """Write the alert rules of this service for Prometheus, with the tests of them.

        Adds something.

        Args:
            force: Replace a file that somebody has changed, or made. It is kept
                beside the new one.
            write: The folder to write into, absolute. Nothing is written when
                missing: the answer has the text.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was made.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "generate.alerts",
            request(force=force, write=write),
            _GENERATE_ALERTS,
            on_progress,
            timeout,
        )

    async def grafana(
        self,
        *,
        force: bool = False,
        write: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> GenerateGrafanaResponse:
        """Write the dashboard of this service for Grafana.

        Adds something.

        Args:
            force: Replace a file that somebody has changed, or made. It is kept
                beside the new one.
            write: The folder to write into, absolute. Nothing is written when
                missing: the answer has the text.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was made.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "generate.grafana",
            request(force=force, write=write),
            _GENERATE_GRAFANA,
            on_progress,
            timeout,
        )

    async def prometheus(
        self,
        *,
        alertmanager: str | None = None,
        force: bool = False,
        target: str | None = None,
        write: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> GeneratePrometheusResponse:
        """Write a configuration with which Prometheus scrapes this service and loads
        its alerts.

        Adds something.

        Args:
            alertmanager: Where an Alertmanager is, as `host:port`. None when
                missing.
            force: Replace a file that somebody has changed, or made. It is kept
                beside the new one.
            target: Where the service's metrics are, as `host:port`. What
                `metrics.listen` says when missing.
            write: The folder to write into, absolute. Nothing is written when
                missing: the answer has the text.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was made.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "generate.prometheus",
            request(alertmanager=alertmanager, force=force, target=target, write=write),
            _GENERATE_PROMETHEUS,
            on_progress,
            timeout,
        )


class AsyncHealthGroup:
    """The operations `health.*`, to be awaited."""

    __slots__ = ("_owner",)

    def __init__(self, owner: AsyncOperations) -> None:
        self._owner = owner

    async def check(
        self,
        *,
        critical: bool = False,
        group: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> HealthCheckResponse:
        """Run the health checks and add up their verdicts.

        Changes nothing.

        Args:
            critical: Only the checks whose failure makes the whole answer `fail`.
            group: Only the checks of this group. All when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What the checks found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "health.check",
            request(critical=critical, group=group),
            _HEALTH_CHECK,
            on_progress,
            timeout,
        )

    async def history(
        self,
        *,
        changes: int | None = None,
        check: str | None = None,
        hours: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> HealthHistoryResponse:
        """Tell how the checks were: uptime, failures, the last changes.

        Changes nothing.

        Args:
            changes: At most this many changes of each check, the newest. 20 when
                missing.
            check: Only this check. All when missing.
            hours: How many hours back. 168, a week, when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            How the checks were.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "health.history",
            request(changes=changes, check=check, hours=hours),
            _HEALTH_HISTORY,
            on_progress,
            timeout,
        )

    async def state(
        self,
        *,
        critical: bool = False,
        group: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> HealthStateResponse:
        """Tell what the checks that run in the background last found, without asking
        any.

        Changes nothing.

        Args:
            critical: Only the checks whose failure makes the whole answer `fail`.
            group: Only the checks of this group. All when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What is known of the service, from answers that were there already.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "health.state",
            request(critical=critical, group=group),
            _HEALTH_STATE,
            on_progress,
            timeout,
        )


class AsyncJournalGroup:
    """The operations `journal.*`, to be awaited."""

    __slots__ = ("_owner",)

    def __init__(self, owner: AsyncOperations) -> None:
        self._owner = owner

    async def read(
        self,
        *,
        limit: int | None = None,
        operation: str | None = None,
        since: datetime | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> JournalReadResponse:
        """Read what was done, newest first.

        Changes nothing.

        Args:
            limit: At most this many, the newest. 100 when missing.
            operation: Only this operation.
            since: Only what was done at or after this time, RFC 3339.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was read.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "journal.read",
            request(
                limit=limit,
                operation=operation,
                since=None if since is None else time_to_wire(since),
            ),
            _JOURNAL_READ,
            on_progress,
            timeout,
        )


class AsyncMetricsGroup:
    """The operations `metrics.*`, to be awaited."""

    __slots__ = ("_owner",)

    def __init__(self, owner: AsyncOperations) -> None:
        self._owner = owner

    async def history(
        self,
        *,
        function: HistoryFunction | None = None,
        labels: Sequence[str] | None = None,
        limit: int | None = None,
        metric: str | None = None,
        range_seconds: float | None = None,
        step_seconds: float | None = None,
        until: datetime | None = None,
        window_seconds: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> MetricsHistoryResponse:
        """Tell what the metrics of this process were lately, or what they add up to.

        Changes nothing.

        Args:
            function: What to make of the samples. Their values when missing.
            labels: Labels and what they must be, each as `name=value`; `*` in a
                value is any text.
            limit: At most so many series, in the order of their names. 100 when
                missing.
            metric: The name as on the page of metrics, such as
                `uplifted_requests_total`; `*` in it is any text. All when missing.
            range_seconds: How far back, in seconds. An hour when missing.
            step_seconds: One value each so many seconds. Every sample as it was
                taken when missing, and for a function as often as samples are taken.
            until: The end of the time. Now when missing.
            window_seconds: Over how much time before each value the function
                reckons, in seconds. Five minutes when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What the numbers were.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "metrics.history",
            request(
                function=function,
                labels=None if labels is None else list_to_wire(labels),
                limit=limit,
                metric=metric,
                range_seconds=range_seconds,
                step_seconds=step_seconds,
                until=None if until is None else time_to_wire(until),
                window_seconds=window_seconds,
            ),
            _METRICS_HISTORY,
            on_progress,
            timeout,
        )

    async def render(
        self,
        *,
        format: MetricsFormat | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> MetricsRenderResponse:
        """Write every metric as Prometheus reads it.

        Changes nothing.

        Args:
            format: The format. `text` when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            The numbers.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "metrics.render",
            request(format=format),
            _METRICS_RENDER,
            on_progress,
            timeout,
        )


class AsyncRestoreGroup:
    """The operations `restore.*`, to be awaited."""

    __slots__ = ("_owner",)

    def __init__(self, owner: AsyncOperations) -> None:
        self._owner = owner

    async def apply(
        self,
        *,
        at: datetime | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        into: str | os.PathLike[str] | None = None,
        paths: Sequence[str | os.PathLike[str]] | None = None,
        salvage: bool = False,
        snapshot_id: str = "",
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreApplyResponse:
        """Restore a snapshot, into a folder or in place, verified before anything is
        replaced.

        Deletes or replaces something.

        Args:
            at: The moment to go back to: of the stores that are followed the last
                commit that is not after it. The snapshot is then the newest one from
                which every one of them gets there; files are as they are in it.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            into: A folder, missing or empty, that receives the files. In place when
                missing.
            paths: What to restore, relative to the root. All when missing or empty.
            salvage: Restore what is undamaged, and what the keys at hand open, and
                name the rest, instead of failing.
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`. Or the path of an archive: one of uplifted-ops, or a `.tar`,
                `.tar.gz` or `.tar.zst` that tar made, such as
                `/backup/uplifted_20260101_020000.tar.gz`. May be left out with `at`.
            target: Read it from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a restore or an undo did.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "restore.apply",
            request(
                at=None if at is None else time_to_wire(at),
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                into=None if into is None else path_to_wire(into),
                paths=None if paths is None else list_to_wire(paths, path_to_wire),
                salvage=salvage,
                snapshot_id=snapshot_id,
                target=target,
            ),
            _RESTORE_APPLY,
            on_progress,
            timeout,
        )

    async def database(
        self,
        *,
        database: str,
        at: datetime | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        place: str | None = None,
        snapshot_id: str = "",
        store: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreDatabaseResponse:
        """Restore a database of a server into a new one beside it, and hold it against
        the snapshot.

        Adds something.

        Args:
            database: The name of the new database. There must be none of that name:
                none is ever replaced.
            at: The moment to go back to: the last commit that is not after it. The
                store has to be followed (`continuous.start`), and a server of the same
                version of PostgreSQL has to be installed on this machine. The snapshot
                is then the newest one from which it gets there.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            place: A place in the log of the server to go back to: an LSN
                (`0/3000060`: everything that was logged before it), or the name of a
                restore point (`pg_create_restore_point`: everything up to it). It is
                looked for behind the newest snapshot that is older than `at`, or than
                the newest moment there is. Needs what `at` needs.
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`. May be left out with `at` and with `place`.
            store: The store whose database it is. The only one of a server when
                missing.
            target: Read it from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was restored.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "restore.database",
            request(
                database=database,
                at=None if at is None else time_to_wire(at),
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                place=place,
                snapshot_id=snapshot_id,
                store=store,
                target=target,
            ),
            _RESTORE_DATABASE,
            on_progress,
            timeout,
        )

    async def discard(
        self,
        *,
        undo_ids: Sequence[str],
        dry_run: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreDiscardResponse:
        """Remove for good what restores replaced.

        Deletes or replaces something.

        Args:
            undo_ids: The `undo_id`s.
            dry_run: Say what would be removed, and remove nothing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was removed, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "restore.discard",
            request(undo_ids=list_to_wire(undo_ids), dry_run=dry_run),
            _RESTORE_DISCARD,
            on_progress,
            timeout,
        )

    async def plan(
        self,
        *,
        at: datetime | None = None,
        identity_file: str | os.PathLike[str] | None = None,
        into: str | os.PathLike[str] | None = None,
        paths: Sequence[str | os.PathLike[str]] | None = None,
        salvage: bool = False,
        snapshot_id: str = "",
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestorePlanResponse:
        """Say what a restore would do, and change nothing.

        Changes nothing.

        Args:
            at: The moment to go back to: of the stores that are followed the last
                commit that is not after it. The snapshot is then the newest one from
                which every one of them gets there; files are as they are in it.
            identity_file: The file with the secret half of a recipient, for
                encrypted snapshots. What the settings name when missing. Read where the
                request runs, and never recorded.
            into: A folder, missing or empty, that receives the files. In place when
                missing.
            paths: What to restore, relative to the root. All when missing or empty.
            salvage: Restore what is undamaged, and what the keys at hand open, and
                name the rest, instead of failing.
            snapshot_id: The snapshot: its identifier, the beginning of it, or
                `latest`. Or the path of an archive: one of uplifted-ops, or a `.tar`,
                `.tar.gz` or `.tar.zst` that tar made, such as
                `/backup/uplifted_20260101_020000.tar.gz`. May be left out with `at`.
            target: Read it from this target only.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What a restore will do.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "restore.plan",
            request(
                at=None if at is None else time_to_wire(at),
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                into=None if into is None else path_to_wire(into),
                paths=None if paths is None else list_to_wire(paths, path_to_wire),
                salvage=salvage,
                snapshot_id=snapshot_id,
                target=target,
            ),
            _RESTORE_PLAN,
            on_progress,
            timeout,
        )

    async def points(
        self,
        *,
        identity_file: str | os.PathLike[str] | None = None,
        store: str | None = None,
        target: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestorePointsResponse:
        """Say which seconds each store can go back to: bases, coverage, and gaps with
        their reasons.

        Changes nothing.

        Args:
            identity_file: The file with the secret half of a recipient, for
                encrypted repositories: without it the times of the bases are known only
                roughly. Read where the request runs, and never recorded.
            store: This store only. All when missing.
            target: In this target only. In all of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            The seconds that can be gone back to.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "restore.points",
            request(
                identity_file=None if identity_file is None else path_to_wire(identity_file),
                store=store,
                target=target,
            ),
            _RESTORE_POINTS,
            on_progress,
            timeout,
        )

    async def swap(
        self,
        *,
        database: str,
        drain: bool = False,
        drain_seconds: float = 30.0,
        dry_run: bool = False,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreSwapResponse:
        """Let a database that was restored beside the live one take its name; the live
        one is put aside.

        Deletes or replaces something.

        Args:
            database: The database that `restore.database` made, and found to be as
                the snapshot has it.
            drain: End the sessions that are open. Without it an open session is a
                reason to refuse.
            drain_seconds: How long ending them may take, in seconds (0 to 3600; 30
                when missing).
            dry_run: Say what would be done and what is in the way, and change
                nothing.
            store: The store. The only one of a server when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was swapped, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "restore.swap",
            request(
                database=database,
                drain=drain,
                drain_seconds=drain_seconds,
                dry_run=dry_run,
                store=store,
            ),
            _RESTORE_SWAP,
            on_progress,
            timeout,
        )

    async def swap_discard(
        self,
        *,
        drain: bool = False,
        drain_seconds: float = 30.0,
        dry_run: bool = False,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreSwapDiscardResponse:
        """Drop for good the database that a swap put aside.

        Deletes or replaces something.

        Args:
            drain: End the sessions that are open. Without it an open session is a
                reason to refuse.
            drain_seconds: How long ending them may take, in seconds (0 to 3600; 30
                when missing).
            dry_run: Say what would be done and what is in the way, and change
                nothing.
            store: The store. The only one of a server when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was swapped, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "restore.swap_discard",
            request(
                drain=drain,
                drain_seconds=drain_seconds,
                dry_run=dry_run,
                store=store,
            ),
            _RESTORE_SWAP_DISCARD,
            on_progress,
            timeout,
        )

    async def swap_undo(
        self,
        *,
        drain: bool = False,
        drain_seconds: float = 30.0,
        dry_run: bool = False,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreSwapUndoResponse:
        """Take a swap of databases back: what was put aside becomes the live one again.

        Deletes or replaces something.

        Args:
            drain: End the sessions that are open. Without it an open session is a
                reason to refuse.
            drain_seconds: How long ending them may take, in seconds (0 to 3600; 30
                when missing).
            dry_run: Say what would be done and what is in the way, and change
                nothing.
            store: The store. The only one of a server when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What was swapped, or would be.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "restore.swap_undo",
            request(
                drain=drain,
                drain_seconds=drain_seconds,
                dry_run=dry_run,
                store=store,
            ),
            _RESTORE_SWAP_UNDO,
            on_progress,
            timeout,
        )

    async def undo(
        self,
        *,
        undo_id: str,
        dry_run: bool = False,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreUndoResponse:
        """Take a restore back: what it replaced becomes the service again.

        Deletes or replaces something.

        Args:
            undo_id: The `undo_id` that `restore.apply` answered.
            dry_run: Say what would come back, and change nothing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What came back, or would.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "restore.undo",
            request(undo_id=undo_id, dry_run=dry_run),
            _RESTORE_UNDO,
            on_progress,
            timeout,
        )

    async def undo_list(
        self,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> RestoreUndoListResponse:
        """List what restores replaced and still keep.

        Changes nothing.

        Args:
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What can be taken back.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "restore.undo_list",
            request(),
            _RESTORE_UNDO_LIST,
            on_progress,
            timeout,
        )


class AsyncScheduleGroup:
    """The operations `schedule.*`, to be awaited."""

    __slots__ = ("_owner",)

    def __init__(self, owner: AsyncOperations) -> None:
        self._owner = owner

    async def list(
        self,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ScheduleListResponse:
        """List the jobs: when they run, how the last run went, who runs them.

        Changes nothing.

        Args:
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What runs by itself.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "schedule.list",
            request(),
            _SCHEDULE_LIST,
            on_progress,
            timeout,
        )

    async def run(
        self,
        *,
        job: str,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> ScheduleRunResponse:
        """Run a job now, and after its success those that follow it.

        Adds something.

        Args:
            job: The job's name.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            How the run went.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "schedule.run",
            request(job=job),
            _SCHEDULE_RUN,
            on_progress,
            timeout,
        )


class AsyncStoreGroup:
    """The operations `store.*`, to be awaited."""

    __slots__ = ("_owner",)

    def __init__(self, owner: AsyncOperations) -> None:
        self._owner = owner

    async def stats(
        self,
        *,
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> StoreStatsResponse:
        """Say how large the databases are and how they are set up.

        Changes nothing.

        Args:
            store: This database only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            Sizes and settings of databases.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "store.stats",
            request(store=store),
            _STORE_STATS,
            on_progress,
            timeout,
        )

    async def verify(
        self,
        *,
        depth: CheckDepth = "full",
        store: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> StoreVerifyResponse:
        """Check the integrity of the databases, on copies.

        Changes nothing.

        Args:
            depth: How much of it to check.
            store: This database only. All of the settings when missing.
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What the checks found.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._owner._call(
            "store.verify",
            request(depth=depth, store=store),
            _STORE_VERIFY,
            on_progress,
            timeout,
        )


class AsyncOperations:
    """The front door to every operation, to be awaited; `AsyncOps` is one."""

    __slots__ = ()

    async def _call(
        self,
        name: str,
        request: dict[str, Any],
        response: Response[T],
        on_progress: Callable[[Progress], object] | None,
        timeout: float | None,
    ) -> T:
        raise NotImplementedError

    @property
    def backup(self) -> AsyncBackupGroup:
        """The operations `backup.*`."""
        return AsyncBackupGroup(self)

    @property
    def config(self) -> AsyncConfigGroup:
        """The operations `config.*`."""
        return AsyncConfigGroup(self)

    @property
    def continuous(self) -> AsyncContinuousGroup:
        """The operations `continuous.*`."""
        return AsyncContinuousGroup(self)

    @property
    def generate(self) -> AsyncGenerateGroup:
        """The operations `generate.*`."""
        return AsyncGenerateGroup(self)

    @property
    def health(self) -> AsyncHealthGroup:
        """The operations `health.*`."""
        return AsyncHealthGroup(self)

    @property
    def journal(self) -> AsyncJournalGroup:
        """The operations `journal.*`."""
        return AsyncJournalGroup(self)

    @property
    def metrics(self) -> AsyncMetricsGroup:
        """The operations `metrics.*`."""
        return AsyncMetricsGroup(self)

    @property
    def restore(self) -> AsyncRestoreGroup:
        """The operations `restore.*`."""
        return AsyncRestoreGroup(self)

    @property
    def schedule(self) -> AsyncScheduleGroup:
        """The operations `schedule.*`."""
        return AsyncScheduleGroup(self)

    @property
    def store(self) -> AsyncStoreGroup:
        """The operations `store.*`."""
        return AsyncStoreGroup(self)

    async def status(
        self,
        *,
        on_progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> StatusResponse:
        """Say what runs here: process, service, build.

        Changes nothing.

        Args:
            on_progress: Called with each `Progress`. What it raises cancels the
                work.
            timeout: Seconds after which the work is cancelled, with
                `TimedOutError`.

        Returns:
            What runs here.

        Raises:
            OpsError: What could not be done, and the repair.
        """
        return await self._call(
            "status",
            request(),
            _STATUS,
            on_progress,
            timeout,
        )
