/**
 * The operations, what they are asked and what they answer.
 *
 * Generated from the table of operations by `make generate`: do not edit. `codec.ts` says how times, file names and
 * large integers look in JavaScript.
 *
 * @module
 */

import { list, nullable, operation, path, record, time } from "./codec.js";
import type { CallOptions } from "./calls.js";
import type {
  Integer,
  IntegerInput,
  Json,
  JsonObject,
  OperationCodec,
  Path,
  PathInput,
} from "./codec.js";
export { WireError } from "./codec.js";
export type { Integer, IntegerInput, Json, JsonObject, Path, PathInput } from "./codec.js";

/** What to look for. */
export interface BackupBisectRequest {
  /** What must hold. */
  check: BisectCheck;
  /**
   * The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
   * where the request runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /** For `query`: what to ask. It must return a row whose first column is neither null nor zero. */
  query?: string | null | undefined;
  /** The database to ask, by its name in the snapshots. The only one when missing. */
  store?: string | null | undefined;
  /** Look among the snapshots in this target only. */
  target?: string | null | undefined;
}

/** Where to collect. */
export interface BackupCollectRequest {
  /**
   * Go on although snapshots are missing that nobody removed: they are lost for good, and recorded as removed.
   *
   * @defaultValue `false`
   */
  acceptMissing?: boolean | undefined;
  /**
   * Say what would be done, and change nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
  /** This target only. All of the settings when missing. */
  target?: string | null | undefined;
}

/** What to copy, and where to. */
export interface BackupCopyRequest {
  /** The snapshot: its identifier, the beginning of it, or `latest`. */
  snapshotId: string;
  /** The target that it goes to. */
  to: string;
  /** The target that it comes from. The first that has a whole copy when missing. */
  from?: string | null | undefined;
  /**
   * The file with the secret half of a recipient, for a snapshot in a sealed repository: it is opened on its way, and
   * only what the other repository lacks is sent. Without it the packs that it needs are sent as they are, to a
   * repository of the same identity. What the settings name when missing. Read where the request runs, and never
   * recorded.
   */
  identityFile?: PathInput | null | undefined;
}

/** What to back up, and where to. */
export interface BackupCreateRequest {
  /**
   * Go on although a target has lost the repository that this host stored into, or has another one: use what is there,
   * and begin a repository where there is none. Without it such a target is refused, since what looks like that is a
   * disk that is not mounted.
   *
   * @defaultValue `false`
   */
  anew?: boolean | undefined;
  /** What to call it. */
  label?: string | null | undefined;
  /**
   * How it is stored. What `backup.layout` says when missing, and else `archive`; a job of the schedule asks for
   * `repository` then.
   */
  layout?: Layout | null | undefined;
  /**
   * Words to find it by, and that `backup.retention` may keep it by: at most 32 of at most 64 letters, digits and `. _
   * - : @ + = /` each.
   *
   * @defaultValue `[]`
   */
  tags?: readonly string[] | undefined;
  /** This target only. All of the settings when missing. */
  target?: string | null | undefined;
}

/** What to delete. */
export interface BackupDeleteRequest {
  /** The snapshot: its identifier, or the beginning of it. */
  snapshotId: string;
  /**
   * Say what would be deleted, and delete nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
  /**
   * Delete it even when it is the last good one. What is held stays all the same.
   *
   * @defaultValue `false`
   */
  force?: boolean | undefined;
  /** Delete it from this target only. From all when missing. */
  target?: string | null | undefined;
}

/** What to rehearse. */
export interface BackupDrillRequest {
  /**
   * The moment to go on to where stores are followed: the snapshot is then the newest from which it can be reached,
   * unless one is named. When missing, a random one of those that are covered behind the snapshot.
   */
  at?: Date | null | undefined;
  /** What to do beside restoring and checking integrity. When missing, all that the settings have. */
  checks?: readonly DrillCheck[] | null | undefined;
  /**
   * The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
   * where the request runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /**
   * A folder, missing or empty, that receives the restored copy and keeps it. When missing, the copy is made in scratch
   * and removed.
   */
  into?: PathInput | null | undefined;
  /** The snapshot: its identifier, the beginning of it, or `latest`, which is meant when missing. */
  snapshotId?: string | null | undefined;
  /** Restore the copy in this target. When missing, the one of the target that was not drilled for the longest time. */
  target?: string | null | undefined;
}

/** What to export, and where to. */
export interface BackupExportRequest {
  /** The snapshot: its identifier, the beginning of it, or `latest`. */
  snapshotId: string;
  /** The file to make, a standard `.tar.zst`. A file that exists is never replaced. */
  output: PathInput;
  /** The operator's identity, when the snapshot is encrypted. The export is not. */
  identityFile?: PathInput | null | undefined;
  /** Read it from this target only. */
  target?: string | null | undefined;
}

/** Which snapshot to hold, and why. */
export interface BackupHoldRequest {
  /** The snapshot: its identifier, the beginning of it, or `latest`. */
  snapshotId: string;
  /** Why nothing may delete it, for whoever wants to. */
  reason: string;
  /** Who holds it. The user and the machine when missing. */
  by?: string | null | undefined;
  /** Hold the copy in this target only. Every copy when missing. */
  target?: string | null | undefined;
}

/** What to import. */
export interface BackupImportRequest {
  /** The file: a `.tar.zst` of uplifted-ops, or a `.tar`, `.tar.gz` or `.tar.zst` that tar made. */
  path: PathInput;
  /** What to call it. The file's own label, or its name, when missing. */
  label?: string | null | undefined;
  /**
   * How it is stored. What `backup.layout` says when missing, and else `archive`. With `backup.export` before it, this
   * is how a snapshot changes from one layout to the other; it gets another identifier then.
   */
  layout?: Layout | null | undefined;
  /** Into this target only. All of the settings when missing. */
  target?: string | null | undefined;
}

/** What to restore the host's part of the keys with. */
export interface BackupKeysAdoptRequest {
  /**
   * The file with the secret half of a recipient, or a key that was unwrapped by hand. What the settings name when
   * missing. Read where the request runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /** Read the wrapped keys from this target only. */
  target?: string | null | undefined;
}

/** What to prove, and with what. */
export interface BackupKeysCheckRequest {
  /**
   * The file with the secret half of a recipient. What the settings name when missing. Read where the request runs, and
   * never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /** This target only. All of the settings when missing. */
  target?: string | null | undefined;
}

/** How a key comes to be. */
export interface BackupKeysInitRequest {
  /**
   * Make a key although a target holds keys that this host does not know: another host's, or one that was lost.
   *
   * @defaultValue `false`
   */
  anew?: boolean | undefined;
  /**
   * The file with the secret half of a recipient, to prove at once that it opens the new key. Read where the request
   * runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
}

/** Where to look. */
export interface BackupKeysListRequest {
  /** This target only. All of the settings when missing. */
  target?: string | null | undefined;
}

/** How to wrap the keys anew. */
export interface BackupKeysRewrapRequest {
  /**
   * Say what would be done, and change nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
  /**
   * The file with the secret half of a present recipient. What the settings name when missing. Read where the request
   * runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /** The variable with the passphrase that opens the present keys, as `env:NAME`. */
  passphrase?: string | null | undefined;
  /**
   * The file with the secret half of a new recipient, to prove that it opens what is stored before the old goes. Not
   * needed when `identity_file` is that of a new recipient as well.
   */
  proofFile?: PathInput | null | undefined;
  /**
   * Remove the old although nobody proved that the new can be opened.
   *
   * @defaultValue `false`
   */
  unproven?: boolean | undefined;
}

/** How the next key comes to be. */
export interface BackupKeysRotateRequest {
  /**
   * The file with the secret half of a recipient, to prove at once that it opens the new key. Read where the request
   * runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
}

/** Where to look. */
export interface BackupListRequest {
  /**
   * The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
   * where the request runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /** This target only. All of the settings when missing. */
  target?: string | null | undefined;
}

/** Which snapshot to release. */
export interface BackupReleaseRequest {
  /** The snapshot: its identifier, the beginning of it, or `latest`. */
  snapshotId: string;
  /** Release the copy in this target only. Every copy when missing. */
  target?: string | null | undefined;
}

/** Where to delete what the policy does not keep. */
export interface BackupRetainRequest {
  /**
   * Say what would be deleted and why, and delete nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
  /** This target only. All of the settings when missing. */
  target?: string | null | undefined;
}

/** How much to read. */
export interface BackupSampleRequest {
  /** Not more than about so many bytes; what is due and not read waits for the next run. No bound when missing. */
  maxBytes?: IntegerInput | null | undefined;
  /** Read from this target only. From all of the settings when missing. */
  target?: string | null | undefined;
}

/** Which snapshot. */
export interface BackupShowRequest {
  /** The snapshot: its identifier, the beginning of it, or `latest`. */
  snapshotId: string;
  /**
   * The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
   * where the request runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /** Read it from this target only. */
  target?: string | null | undefined;
}

/** What to verify, and how much of it. */
export interface BackupVerifyRequest {
  /** The snapshot: its identifier, the beginning of it, or `latest`. */
  snapshotId: string;
  /**
   * `quick` looks at the index and the sizes; `data` reads every byte; `full`, the default, does so and checks the
   * databases.
   *
   * @defaultValue `"full"`
   */
  depth?: VerifyDepth | undefined;
  /**
   * The file with the secret half of a recipient, to look into encrypted snapshots. What the settings name when
   * missing; without any, the stored bytes alone are compared, and the answer's `level` says so. Read where the request
   * runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /** Verify the copy in this target only. Every copy when missing. */
  target?: string | null | undefined;
}

/** Nothing to ask. */
export type ConfigCheckRequest = Record<string, never>;

/** How to write the file. */
export interface ConfigInitRequest {
  /**
   * Say what would be written, and write nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
  /**
   * Replace an `ops.toml` that exists, also one that is broken. It is kept beside the new one.
   *
   * @defaultValue `false`
   */
  force?: boolean | undefined;
}

/** Nothing to ask. */
export type ConfigShowRequest = Record<string, never>;

/** What to put together. */
export interface ContinuousCompactRequest {
  /**
   * Say what would be done, and change nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
  /** This store only. All when missing. */
  store?: string | null | undefined;
  /** In this target only. In all of the settings when missing. */
  target?: string | null | undefined;
}

/** Which stores. */
export interface ContinuousStartRequest {
  /** This store only. All when missing. */
  store?: string | null | undefined;
}

/** Which stores. */
export interface ContinuousStatusRequest {
  /** This store only. All when missing. */
  store?: string | null | undefined;
}

/** Which stores. */
export interface ContinuousStopRequest {
  /** This store only. All when missing. */
  store?: string | null | undefined;
}

/** Where the files go. */
export interface GenerateAlertsRequest {
  /**
   * Replace a file that somebody has changed, or made. It is kept beside the new one.
   *
   * @defaultValue `false`
   */
  force?: boolean | undefined;
  /** The folder to write into, absolute. Nothing is written when missing: the answer has the text. */
  write?: string | null | undefined;
}

/** Where the files go. */
export interface GenerateGrafanaRequest {
  /**
   * Replace a file that somebody has changed, or made. It is kept beside the new one.
   *
   * @defaultValue `false`
   */
  force?: boolean | undefined;
  /** The folder to write into, absolute. Nothing is written when missing: the answer has the text. */
  write?: string | null | undefined;
}

/** Where the files go, and what they lead to. */
export interface GeneratePrometheusRequest {
  /** Where an Alertmanager is, as `host:port`. None when missing. */
  alertmanager?: string | null | undefined;
  /**
   * Replace a file that somebody has changed, or made. It is kept beside the new one.
   *
   * @defaultValue `false`
   */
  force?: boolean | undefined;
  /** Where the service's metrics are, as `host:port`. What `metrics.listen` says when missing. */
  target?: string | null | undefined;
  /** The folder to write into, absolute. Nothing is written when missing: the answer has the text. */
  write?: string | null | undefined;
}

/** Which checks are meant. */
export interface HealthCheckRequest {
  /**
   * Only the checks whose failure makes the whole answer `fail`.
   *
   * @defaultValue `false`
   */
  critical?: boolean | undefined;
  /** Only the checks of this group. All when missing. */
  group?: string | null | undefined;
}

/** Of which checks, and how far back. */
export interface HealthHistoryRequest {
  /** At most this many changes of each check, the newest. 20 when missing. */
  changes?: IntegerInput | null | undefined;
  /** Only this check. All when missing. */
  check?: string | null | undefined;
  /** How many hours back. 168, a week, when missing. */
  hours?: number | null | undefined;
}

/** Which checks are meant. */
export interface HealthStateRequest {
  /**
   * Only the checks whose failure makes the whole answer `fail`.
   *
   * @defaultValue `false`
   */
  critical?: boolean | undefined;
  /** Only the checks of this group. All when missing. */
  group?: string | null | undefined;
}

/** Which records to read. */
export interface JournalReadRequest {
  /** At most this many, the newest. 100 when missing. */
  limit?: IntegerInput | null | undefined;
  /** Only this operation. */
  operation?: string | null | undefined;
  /** Only what was done at or after this time, RFC 3339. */
  since?: Date | null | undefined;
}

/** Which numbers, of which time. */
export interface MetricsHistoryRequest {
  /** What to make of the samples. Their values when missing. */
  function?: HistoryFunction | null | undefined;
  /**
   * Labels and what they must be, each as `name=value`; `*` in a value is any text.
   *
   * @defaultValue `[]`
   */
  labels?: readonly string[] | undefined;
  /** At most so many series, in the order of their names. 100 when missing. */
  limit?: number | null | undefined;
  /** The name as on the page of metrics, such as `uplifted_requests_total`; `*` in it is any text. All when missing. */
  metric?: string | null | undefined;
  /** How far back, in seconds. An hour when missing. */
  rangeSeconds?: number | null | undefined;
  /**
   * One value each so many seconds. Every sample as it was taken when missing, and for a function as often as samples
   * are taken.
   */
  stepSeconds?: number | null | undefined;
  /** The end of the time. Now when missing. */
  until?: Date | null | undefined;
  /** Over how much time before each value the function reckons, in seconds. Five minutes when missing. */
  windowSeconds?: number | null | undefined;
}

/** How to write the numbers. */
export interface MetricsRenderRequest {
  /** The format. `text` when missing. */
  format?: MetricsFormat | null | undefined;
}

/** What to restore, and where to. */
export interface RestoreApplyRequest {
  /**
   * The moment to go back to: of the stores that are followed the last commit that is not after it. The snapshot is
   * then the newest one from which every one of them gets there; files are as they are in it.
   */
  at?: Date | null | undefined;
  /**
   * The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
   * where the request runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /** A folder, missing or empty, that receives the files. In place when missing. */
  into?: PathInput | null | undefined;
  /** What to restore, relative to the root. All when missing or empty. */
  paths?: readonly PathInput[] | null | undefined;
  /**
   * Restore what is undamaged, and what the keys at hand open, and name the rest, instead of failing.
   *
   * @defaultValue `false`
   */
  salvage?: boolean | undefined;
  /**
   * The snapshot: its identifier, the beginning of it, or `latest`. Or the path of an archive: one of uplifted-ops, or
   * a `.tar`, `.tar.gz` or `.tar.zst` that tar made, such as `/backup/uplifted_20260101_020000.tar.gz`. May be left out
   * with `at`.
   *
   * @defaultValue `""`
   */
  snapshotId?: string | undefined;
  /** Read it from this target only. */
  target?: string | null | undefined;
}

/** Which database to restore, and what to call it. */
export interface RestoreDatabaseRequest {
  /** The name of the new database. There must be none of that name: none is ever replaced. */
  database: string;
  /**
   * The moment to go back to: the last commit that is not after it. The store has to be followed (`continuous.start`),
   * and a server of the same version of PostgreSQL has to be installed on this machine. The snapshot is then the newest
   * one from which it gets there.
   */
  at?: Date | null | undefined;
  /**
   * The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
   * where the request runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /**
   * A place in the log of the server to go back to: an LSN (`0/3000060`: everything that was logged before it), or the
   * name of a restore point (`pg_create_restore_point`: everything up to it). It is looked for behind the newest
   * snapshot that is older than `at`, or than the newest moment there is. Needs what `at` needs.
   */
  place?: string | null | undefined;
  /**
   * The snapshot: its identifier, the beginning of it, or `latest`. May be left out with `at` and with `place`.
   *
   * @defaultValue `""`
   */
  snapshotId?: string | undefined;
  /** The store whose database it is. The only one of a server when missing. */
  store?: string | null | undefined;
  /** Read it from this target only. */
  target?: string | null | undefined;
}

/** Which undo areas to give up. */
export interface RestoreDiscardRequest {
  /** The `undo_id`s. */
  undoIds: readonly string[];
  /**
   * Say what would be removed, and remove nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
}

/** What to restore, and where to. */
export interface RestorePlanRequest {
  /**
   * The moment to go back to: of the stores that are followed the last commit that is not after it. The snapshot is
   * then the newest one from which every one of them gets there; files are as they are in it.
   */
  at?: Date | null | undefined;
  /**
   * The file with the secret half of a recipient, for encrypted snapshots. What the settings name when missing. Read
   * where the request runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /** A folder, missing or empty, that receives the files. In place when missing. */
  into?: PathInput | null | undefined;
  /** What to restore, relative to the root. All when missing or empty. */
  paths?: readonly PathInput[] | null | undefined;
  /**
   * Restore what is undamaged, and what the keys at hand open, and name the rest, instead of failing.
   *
   * @defaultValue `false`
   */
  salvage?: boolean | undefined;
  /**
   * The snapshot: its identifier, the beginning of it, or `latest`. Or the path of an archive: one of uplifted-ops, or
   * a `.tar`, `.tar.gz` or `.tar.zst` that tar made, such as `/backup/uplifted_20260101_020000.tar.gz`. May be left out
   * with `at`.
   *
   * @defaultValue `""`
   */
  snapshotId?: string | undefined;
  /** Read it from this target only. */
  target?: string | null | undefined;
}

/** What seconds to ask for. */
export interface RestorePointsRequest {
  /**
   * The file with the secret half of a recipient, for encrypted repositories: without it the times of the bases are
   * known only roughly. Read where the request runs, and never recorded.
   */
  identityFile?: PathInput | null | undefined;
  /** This store only. All when missing. */
  store?: string | null | undefined;
  /** In this target only. In all of the settings when missing. */
  target?: string | null | undefined;
}

/** Which database becomes the live one. */
export interface RestoreSwapRequest {
  /** The database that `restore.database` made, and found to be as the snapshot has it. */
  database: string;
  /**
   * End the sessions that are open. Without it an open session is a reason to refuse.
   *
   * @defaultValue `false`
   */
  drain?: boolean | undefined;
  /**
   * How long ending them may take, in seconds (0 to 3600; 30 when missing).
   *
   * @defaultValue `30.0`
   */
  drainSeconds?: number | undefined;
  /**
   * Say what would be done and what is in the way, and change nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
  /** The store. The only one of a server when missing. */
  store?: string | null | undefined;
}

/** Which swap to take back, or whose old database to drop. */
export interface RestoreSwapDiscardRequest {
  /**
   * End the sessions that are open. Without it an open session is a reason to refuse.
   *
   * @defaultValue `false`
   */
  drain?: boolean | undefined;
  /**
   * How long ending them may take, in seconds (0 to 3600; 30 when missing).
   *
   * @defaultValue `30.0`
   */
  drainSeconds?: number | undefined;
  /**
   * Say what would be done and what is in the way, and change nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
  /** The store. The only one of a server when missing. */
  store?: string | null | undefined;
}

/** Which swap to take back, or whose old database to drop. */
export interface RestoreSwapUndoRequest {
  /**
   * End the sessions that are open. Without it an open session is a reason to refuse.
   *
   * @defaultValue `false`
   */
  drain?: boolean | undefined;
  /**
   * How long ending them may take, in seconds (0 to 3600; 30 when missing).
   *
   * @defaultValue `30.0`
   */
  drainSeconds?: number | undefined;
  /**
   * Say what would be done and what is in the way, and change nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
  /** The store. The only one of a server when missing. */
  store?: string | null | undefined;
}

/** What to take back. */
export interface RestoreUndoRequest {
  /** The `undo_id` that `restore.apply` answered. */
  undoId: string;
  /**
   * Say what would come back, and change nothing.
   *
   * @defaultValue `false`
   */
  dryRun?: boolean | undefined;
}

/** Nothing to ask. */
export type RestoreUndoListRequest = Record<string, never>;

/** Nothing to ask. */
export type ScheduleListRequest = Record<string, never>;

/** Which job. */
export interface ScheduleRunRequest {
  /** The job's name. */
  job: string;
}

/** Nothing to ask. */
export type StatusRequest = Record<string, never>;

/** Which database to look at. */
export interface StoreStatsRequest {
  /** This database only. All of the settings when missing. */
  store?: string | null | undefined;
}

/** What to check. */
export interface StoreVerifyRequest {
  /**
   * How much of it to check.
   *
   * @defaultValue `"full"`
   */
  depth?: CheckDepth | undefined;
  /** This database only. All of the settings when missing. */
  store?: string | null | undefined;
}

/** What must hold in a bisection. */
export type BisectCheck =
  /** The database is sound, every index held against its table. */
  | "integrity"
  /** The query holds. */
  | "query"
  /** The program `backup.drill.command` of the settings ends well in the restored folder. */
  | "command";

/** A snapshot of a bisection. */
export interface BisectedSnapshot {
  /** Its identifier. */
  snapshotId: string;
  /** When it was made. */
  time: Date;
}

/** What a snapshot answers. */
export type BisectVerdict =
  /** The check holds. */
  | "holds"
  /** It does not. */
  | "fails"
  /** The snapshot is damaged, or lacks the database: it says nothing. */
  | "unreadable";

/** What a snapshot answered. */
export interface BisectProbe {
  /** Its identifier. */
  snapshotId: string;
  /** When it was made. */
  time: Date;
  /** What it answered. */
  verdict: BisectVerdict;
  /** Why it fails, or why it could not be asked. */
  message: string | null;
  /** How long that took, in seconds. */
  durationSeconds: number;
}

/** What a bisection found. */
export interface BackupBisectResponse {
  /** The newest snapshot for which the check holds. Nothing when it holds for none. */
  good: BisectedSnapshot | null;
  /** The oldest snapshot after it for which the check fails. Nothing when the newest of all holds. */
  bad: BisectedSnapshot | null;
  /** What the search took for granted. */
  assumption: string;
  /** Whether the neighbours of `good` and `bad` agree with that. */
  neighboursAgree: boolean;
  /** The snapshot that contradicts it. */
  contradictedBy: BisectedSnapshot | null;
  /** What was asked, in that order. */
  probes: BisectProbe[];
  /** How many snapshots there are. */
  snapshots: Integer;
  /** How many were restored, in whole or in part. */
  restores: Integer;
  /** How long it took, in seconds. */
  durationSeconds: number;
}

/** Why nothing may be collected. */
export interface CollectRefusal {
  /** What is wrong. */
  message: string;
  /** The repair. */
  hint: string;
}

/** What an object of a repository is. */
export type CollectKind =
  /** Content. */
  | "pack"
  /** An index whose pack is gone. */
  | "index"
  /** A collect record. */
  | "record";

/** What is done with an object. */
export type CollectAction =
  /** It is deleted. */
  | "delete"
  /** It is recorded that nobody needs it: no run uses it from then on, and a later collection deletes it. */
  | "condemn"
  /** Its time has not come. */
  | "wait"
  /** It stays as long as something needs it. */
  | "keep";

/** What is decided about an object, and why. */
export interface CollectDecision {
  /** Its key. */
  key: string;
  /** What it is. */
  kind: CollectKind;
  /** Its size; of a pack with its index. */
  storedBytes: Integer;
  /** What is to be done. */
  action: CollectAction;
  /** Why. */
  reason: string;
}

/** An object that was deleted. */
export interface CollectedObject {
  /** Its key. */
  key: string;
  /** The bytes that became free. */
  storedBytes: Integer;
}

/** What the caller must do. Few on purpose: match on these, show the rest to a person. */
export type ErrorKind =
  /** The request or a setting is wrong: change it. */
  | "invalid_input"
  /** What was named does not exist: name something that does. */
  | "not_found"
  /** Doing it now would be unsafe: meet the condition in the hint first. */
  | "refused"
  /** Somebody else holds what is needed: try again later. */
  | "busy"
  /** The operating system or a server said no: grant the permission. */
  | "denied"
  /** The disk or the target is full: free space. */
  | "no_space"
  /** Something outside did not answer, or a device failed: bring it back, then try again. */
  | "unavailable"
  /** The deadline passed: try again, or allow more time. */
  | "timeout"
  /** Data is damaged: do not trust it, use another copy. */
  | "corrupt"
  /** This build, or this component, cannot do that. */
  | "unsupported"
  /** The caller cancelled. Nothing was left half-done. */
  | "cancelled"
  /** A defect of ours: report it. */
  | "internal";

/** An `Error` on the wire: the value of `error` in `{"error": {…}}`. */
export interface ErrorBody {
  /** What the caller must do. */
  kind: ErrorKind;
  /** What happened, for a person. */
  message: string;
  /** The repair, one line. */
  hint: string | null;
  /** Whether the same call can succeed later without anybody changing it. */
  retryable: boolean;
  /** The operation that failed. */
  operation: string | null;
  /** The messages of the underlying causes, nearest first. */
  causes: string[];
  /** Names and values that help to find the place. */
  context: Record<string, string>;
}

/** An object that could not be deleted. */
export interface CollectFailure {
  /** Its key. */
  key: string;
  /** Why. */
  error: ErrorBody;
}

/** What is decided about the repository in a target, and what was done. */
export interface TargetCollection {
  /** The target. */
  target: string;
  /** The repository: 32 hexadecimal digits. */
  repositoryId: string;
  /**
   * What time it is by the target's clock, which ages are judged by. In a dry run it is estimated, since asking a
   * target for its time takes writing to it.
   */
  targetTime: Date;
  /** How long a pack stays after it was condemned. */
  graceHours: number;
  /** How many snapshots there are. */
  snapshots: Integer;
  /** How many packs there are. */
  packs: Integer;
  /** How many of them no snapshot needs. */
  deadPacks: Integer;
  /** Bytes of all packs, indexes and records. */
  repositoryBytes: Integer;
  /** Bytes of the packs that no snapshot needs, with their indexes. */
  deadBytes: Integer;
  /** Why nothing may be done here. */
  refusals: CollectRefusal[];
  /** What is decided about each object that somebody could do without. */
  decisions: CollectDecision[];
  /** Snapshots that are gone, and that are recorded as removed because the caller says that they are lost. */
  acceptedMissing: string[];
  /** What is wrong and does not stand in the way. */
  problems: string[];
  /** Why what is due to be deleted is left for the next time. */
  deferred: string | null;
  /** How many packs were condemned. */
  condemned: Integer;
  /** What was deleted, in this order. */
  deleted: CollectedObject[];
  /** Bytes that became free. */
  freedBytes: Integer;
  /** What should have been deleted and was not. */
  failures: CollectFailure[];
}

/** A target that could not be asked. */
export interface FailedTarget {
  /** Its name. */
  target: string;
  /** Why. */
  error: ErrorBody;
}

/** What was planned for each target, and what became of it. */
export interface BackupCollectResponse {
  /** The targets that have a repository. */
  targets: TargetCollection[];
  /** The targets that have none: there is nothing to collect. */
  withoutRepository: string[];
  /** The targets that could not be asked, or where it ended early. */
  failed: FailedTarget[];
  /** Whether it was to be a plan alone. */
  dryRun: boolean;
}

/** What became of a copy. */
export interface BackupCopyResponse {
  /** The snapshot. */
  snapshotId: string;
  /** The target that it was read from. */
  from: string;
  /** The target that has it now. */
  to: string;
  /** Its key there. */
  key: string;
  /** Its bytes there; of a snapshot in a repository those that were added for it. */
  storedBytes: Integer;
  /** Whether it was copied; `false` when the target had it already, whole. */
  copied: boolean;
  /** How long it took, in seconds. */
  durationSeconds: number;
}

/** How a snapshot is stored. */
export type Layout =
  /** One standard `.tar.zst` for each snapshot. */
  | "archive"
  /** Packs that snapshots share: each adds only what changed. */
  | "repository";

/** Whether everything was read completely. */
export type Outcome =
  /** Everything. */
  | "complete"
  /** Not everything: see `skipped`. */
  | "partial";

/** Why something is not in the snapshot, or not completely. */
export type SkipReason =
  /** It was gone when its turn came. */
  | "vanished"
  /** It was not readable. */
  | "unreadable"
  /** It became longer while it was read; the snapshot has its beginning. */
  | "grew"
  /** It became shorter while it was read; the snapshot has what was there. */
  | "shrank"
  /** Its content or kind changed while it was read. */
  | "changed"
  /** A database whose copy failed its own integrity check; the copy is in the snapshot. */
  | "corrupt"
  /** A database that could not be copied consistently. */
  | "database"
  /** A socket: listed, since nothing of it can be stored. Does not make the snapshot partial. */
  | "socket"
  /** A device: listed, never stored. Does not make the snapshot partial. */
  | "device";

/** Something that is not in the snapshot, or not completely. */
export interface Skipped {
  /** The path, relative to the root. */
  path: Path;
  /** Why. */
  reason: SkipReason;
  /** The detail, for a person. */
  message: string;
}

/** What became of a backup in one target. */
export interface TargetResult {
  /** The target's name. */
  target: string;
  /** Where it is, for people. */
  location: string;
  /** Why the target does not have it; nothing when it has, read back. */
  error: ErrorBody | null;
}

/** What a check of integrity found. */
export interface IntegrityReport {
  /** Whether nothing was wrong. */
  ok: boolean;
  /** What was wrong, in the engine's words; at most 100 entries. */
  problems: string[];
}

/** A database in a snapshot. */
export interface StoreRecord {
  /** The store's name. */
  name: string;
  /** Its kind. */
  kind: string;
  /** The entry that holds it, relative to the root. */
  path: Path;
  /** Everything committed before this moment is in it. */
  takenAt: Date;
  /** What the check of the copy found. */
  check: IntegrityReport;
  /** Facts by the driver's names; under `rows` how many rows each table has, where the store counts them. */
  details: JsonObject;
}

/** How a pause went. */
export interface PauseReport {
  /** From when on nothing was written. */
  from: Date;
  /** When writing was let go on. */
  until: Date;
  /** Whether it lasted as long as it was wanted, and was not ended by its deadline. */
  held: boolean;
  /** What went wrong when writing was let go on: it may still be paused. */
  error: string | null;
}

/** Which moments a snapshot is of: its files, and against them its databases, each of which says when it was taken. */
export interface ConsistencyGroup {
  /** When the files began to be looked at. */
  filesFrom: Date;
  /** When the last of them was read. */
  filesUntil: Date;
  /** Whether the service was to be paused. */
  asked: boolean;
  /** How the pause went. Nothing when there was none. */
  pause: PauseReport | null;
  /** Whether all databases and files are of one moment, proven by a pause that held. */
  consistent: boolean;
  /** Why not, when it was asked. */
  message: string | null;
}

/** What became of a backup. */
export interface BackupCreateResponse {
  /** The snapshot's identifier: 12 hexadecimal digits. */
  snapshotId: string;
  /** Whether everything was read completely. */
  outcome: Outcome;
  /** What was not read, or not completely, or cannot be stored. */
  skipped: Skipped[];
  /** Regular files, hard links included. */
  files: Integer;
  /** Bytes of the files' content. */
  sizeBytes: Integer;
  /** Bytes of the archive, or what this run added to the repository. */
  storedBytes: Integer;
  /** How long it took, in seconds. */
  durationSeconds: number;
  /** The key of the archive, or of the snapshot's header, in every target. */
  key: string;
  /** What became of it in each target. */
  targets: TargetResult[];
  /** The databases in it. */
  stores: StoreRecord[];
  /** Which moments it is of. */
  group: ConsistencyGroup | null;
  /** The fingerprint of the key that it is encrypted to. Nothing when it is stored in clear. */
  encryptedTo: string | null;
}

/** One object to remove. */
export interface Deletion {
  /** The target that has it. */
  target: string;
  /** Its key there. */
  key: string;
  /**
   * The bytes that become free; of a snapshot in a repository those of its header, and the packs that nothing else
   * needs are collected later.
   */
  storedBytes: Integer;
  /** Why it is removed. */
  reason: string;
}

/** Who wants a snapshot kept, since when, and why. */
export interface Hold {
  /** Who. */
  by: string;
  /** Since when. */
  at: Date;
  /** Why. */
  reason: string;
}

/** What was deleted, or would be. */
export interface BackupDeleteResponse {
  /** The snapshot. */
  snapshotId: string;
  /** What is removed. */
  deletions: Deletion[];
  /** Why nothing may be removed unless it is forced. */
  refused: string | null;
  /** Who holds it. What is held is not removed by force either. */
  holds: Hold[];
  /** Whether it was carried out. */
  deleted: boolean;
}

/** What a drill does beside restoring and checking integrity. */
export type DrillCheck =
  /** Counts the rows of every table. */
  | "rows"
  /** Runs `backup.drill.migrate`. */
  | "migrate"
  /** Asks `backup.drill.queries`. */
  | "queries"
  /** Runs `backup.drill.command`. */
  | "command";

/** How much is known of a snapshot. */
export type ProofLevel =
  /** Every stored byte is what was stored. Nobody has looked inside. */
  | "sealed"
  /** It was restored, and its databases are sound. */
  | "proven";

/** The steps of a drill, in their order. */
export type DrillPhase =
  /** Finding the snapshot in its target. */
  | "find"
  /** Reading its index. */
  | "open"
  /** Restoring its files, until the disk has them. */
  | "restore"
  /** The integrity of every database. */
  | "integrity"
  /** The rows of every table, against those of the backup or of the drill before. */
  | "rows"
  /** Going on to a moment behind the snapshot, and the integrity of the databases there. */
  | "moment"
  /** The service's migrations on the restored copy. */
  | "migrate"
  /** Queries that must hold. */
  | "queries"
  /** The service's own look at the restored copy. */
  | "command";

/** A step of a drill. */
export interface DrillStep {
  /** Which step. */
  step: DrillPhase;
  /** Whether nothing was wrong. */
  ok: boolean;
  /** How long it took, in seconds. */
  durationSeconds: number;
}

/** Something wrong that a drill found. */
export interface DrillProblem {
  /** The step that found it. */
  step: DrillPhase;
  /** The file or database concerned, relative to the root, when it is one. */
  path: Path | null;
  /** What is wrong, for a person. */
  message: string;
}

/** A table of a restored database. */
export interface DrilledTable {
  /** Its name. */
  table: string;
  /** Its rows in the restored copy. */
  rows: Integer;
  /** Its rows when the backup was made; nothing where they were not counted. */
  rowsAtBackup: Integer | null;
}

/** A database that was restored. */
export interface DrilledDatabase {
  /** The store's name. */
  name: string;
  /** Its file, relative to the root. */
  path: Path;
  /** When its copy was taken. */
  takenAt: Date;
  /** Whether its integrity was checked and found whole. */
  sound: boolean;
  /** The tables whose rows were counted. */
  tables: DrilledTable[];
}

/** Where a store has come to. */
export interface ReachedStore {
  /** The store's name. */
  store: string;
  /** The moment of the last commit in it. */
  time: Date;
  /** Its place, in the driver's words. */
  position: string;
  /** Whether the checksum of the whole database is the one that was noted then; nothing where none was. */
  proven: boolean | null;
}

/** A moment behind a snapshot that its databases went on to. */
export interface DrilledMoment {
  /** The moment: the one that was asked for, or any that is covered. */
  at: Date;
  /**
   * How far each store that something was committed to came. A database whose checksum is not the one that was noted
   * then is a problem.
   */
  stores: ReachedStore[];
}

/** What a drill found. */
export interface BackupDrillResponse {
  /** The snapshot. */
  snapshotId: string;
  /** When it was made: what is proven is that the service can be as it was then. */
  snapshotTime: Date | null;
  /** The target whose copy was restored. */
  target: string;
  /** What the drill proves when it is `ok`. */
  level: ProofLevel;
  /** Whether the snapshot was restored and stood every test. */
  ok: boolean;
  /**
   * How long it took until the service's files were back, durable, and their databases proven sound, in seconds.
   * Stopping and starting the service comes on top.
   */
  recoverySeconds: number;
  /** What was done, in order. */
  steps: DrillStep[];
  /** What was wrong. */
  problems: DrillProblem[];
  /** What to know, and what is no reason to doubt the snapshot. */
  warnings: string[];
  /** The databases that were restored. */
  databases: DrilledDatabase[];
  /**
   * The moment behind the snapshot that the databases went on to. Nothing where no store is followed, or nothing was
   * stored since.
   */
  moment: DrilledMoment | null;
  /** Regular files that were restored. */
  restoredFiles: Integer;
  /** Bytes of the files' content, as the snapshot has it. */
  sizeBytes: Integer;
  /** The folder that keeps the restored copy. Nothing when it was removed. */
  into: Path | null;
  /** How long all of it took, in seconds. */
  durationSeconds: number;
}

/** What was exported. */
export interface BackupExportResponse {
  /** The snapshot. */
  snapshotId: string;
  /** The target that it was read from. */
  target: string;
  /** The file: a standard `.tar.zst`, in clear. */
  output: Path;
  /** Its size. */
  storedBytes: Integer;
  /** Regular files in it, hard links included. */
  files: Integer;
  /** Bytes of their content. */
  sizeBytes: Integer;
  /** How long it took, in seconds. */
  durationSeconds: number;
}

/** What is held. */
export interface BackupHoldResponse {
  /** The snapshot. */
  snapshotId: string;
  /** The hold. */
  hold: Hold;
  /** The targets whose copies are held. */
  targets: string[];
  /** The targets whose copies could not be held. */
  failed: FailedTarget[];
}

/** What was imported. */
export interface BackupImportResponse {
  /** The snapshot's identifier: 12 hexadecimal digits. */
  snapshotId: string;
  /** Whether everything was read completely. */
  outcome: Outcome;
  /** What was not read, or not completely, or cannot be stored. */
  skipped: Skipped[];
  /** Regular files, hard links included. */
  files: Integer;
  /** Bytes of the files' content. */
  sizeBytes: Integer;
  /** Bytes of the archive, or what this run added to the repository. */
  storedBytes: Integer;
  /** How long it took, in seconds. */
  durationSeconds: number;
  /** The key of the archive, or of the snapshot's header, in every target. */
  key: string;
  /** What became of it in each target. */
  targets: TargetResult[];
  /** The databases in it. */
  stores: StoreRecord[];
  /** Which moments it is of. */
  group: ConsistencyGroup | null;
  /** The fingerprint of the key that it is encrypted to. Nothing when it is stored in clear. */
  encryptedTo: string | null;
  /** The time of the snapshot: that of the imported one, or of the newest file in it. */
  time: Date;
  /** What of the file was left out, since no snapshot holds such things. */
  ignored: Path[];
}

/** What the host knows again. */
export interface BackupKeysAdoptResponse {
  /** The repository that the keys are of. */
  repositoryId: string;
  /** The key that backups are encrypted to from now on: the youngest. */
  fingerprint: string;
  /** The earlier ones, oldest first. */
  former: string[];
}

/** What was proven in a target. */
export interface CheckedTarget {
  /** The target. */
  target: string;
  /** The newest encrypted snapshot there. Nothing when there is none yet. */
  snapshotId: string | null;
  /** The key that it is encrypted to. */
  encryptedTo: string | null;
  /** Why it could not be opened; nothing when it was. */
  error: ErrorBody | null;
}

/** What an identity opens. */
export interface BackupKeysCheckResponse {
  /** Whether the newest encrypted snapshot of every target was opened. */
  ok: boolean;
  /** The keys that the identity opens, oldest first. */
  opens: string[];
  /** What was proven in each target. */
  targets: CheckedTarget[];
}

/** A wrapped key in a target. */
export interface StoredKey {
  /** The target that has it. */
  target: string;
  /** Its key there: `keys/<fingerprint>-<n>.age`. */
  key: string;
}

/** A key that was made. */
export interface BackupKeysInitResponse {
  /** The repository that the key is of: 32 hexadecimal digits. */
  repositoryId: string;
  /** The short name of the key. */
  fingerprint: string;
  /** Its public half; the secret one is in the wrapped keys alone. */
  publicKey: string;
  /** The wrapped keys. */
  stored: StoredKey[];
  /** Who can open it. Empty when it is whoever knows the passphrase. */
  recipients: string[];
  /** Whether an identity or the passphrase was seen to open it. Where not, `backup.keys_check` proves it. */
  proven: boolean;
}

/** What a key is to this host. */
export type KeyStatus =
  /** Backups are encrypted to it. */
  | "current"
  /** Earlier backups are. */
  | "former"
  /** It is another host's, or this one lost its own. */
  | "unknown";

/** A wrapped key, and what is known of it without opening it. */
export interface ListedKey {
  /** The target that has it. */
  target: string;
  /** Its key there: `keys/<fingerprint>-<n>.age`. */
  key: string;
  /** The short name of the key. */
  fingerprint: string;
  /** Whether this host encrypts to it, or did. */
  status: KeyStatus;
  /** How many recipients open it. Nothing when it is whoever knows a passphrase. */
  recipients: Integer | null;
  /** When it was stored, by the target's clock. */
  storedAt: Date;
}

/** A target or a wrapped key that could not be read. */
export interface FailedKey {
  /** The target. */
  target: string;
  /** The wrapped key, when it is one. */
  key: string | null;
  /** Why. */
  error: ErrorBody;
}

/** The keys. */
export interface BackupKeysListResponse {
  /** The repository that this host's key is of. Nothing when it has none. */
  repositoryId: string | null;
  /** The key that backups are encrypted to. Nothing when there is none. */
  current: string | null;
  /** The wrapped keys in the targets. */
  keys: ListedKey[];
  /** The targets that could not be asked, and wrapped keys that could not be read. */
  failed: FailedKey[];
}

/** A key that is wrapped anew in a target. */
export interface Rewrap {
  /** The target. */
  target: string;
  /** The short name of the key. */
  fingerprint: string;
  /** The new object. Nothing in a dry run. */
  stored: string | null;
  /** The objects that it replaces: they are removed. */
  replaces: string[];
}

/** What was wrapped anew, or would be. */
export interface BackupKeysRewrapResponse {
  /** The keys, once for each target. */
  rewraps: Rewrap[];
  /** Wrapped keys that stay as they are, since the identity does not open them. */
  untouched: StoredKey[];
  /** Who can open them now. Empty when it is whoever knows the passphrase. */
  recipients: string[];
  /** Whether an identity or the passphrase was seen to open the new ones. */
  proven: boolean;
  /** Whether it was carried out. */
  rewrapped: boolean;
  /** What it does not do: whoever could open the backups before, and kept a copy of a wrapped key, still can. */
  note: string;
}

/** A key that was made. */
export interface BackupKeysRotateResponse {
  /** The repository that the key is of: 32 hexadecimal digits. */
  repositoryId: string;
  /** The short name of the key. */
  fingerprint: string;
  /** Its public half; the secret one is in the wrapped keys alone. */
  publicKey: string;
  /** The wrapped keys. */
  stored: StoredKey[];
  /** Who can open it. Empty when it is whoever knows the passphrase. */
  recipients: string[];
  /** Whether an identity or the passphrase was seen to open it. Where not, `backup.keys_check` proves it. */
  proven: boolean;
}

/** Whether a verification looked into the snapshot. */
export type VerifyLevel =
  /**
   * A copy is encrypted and no identity was given: its stored bytes are those that the backup read back, and nobody
   * looked into them. `quick` compared their number, `data` and `full` every one.
   */
  | "sealed"
  /** It was looked into, as far as the depth says. */
  | "proven";

/** A snapshot, who holds it, and what the journal knows of it. */
export interface KnownSnapshot {
  /** The snapshot's identifier: 12 hexadecimal digits. */
  snapshotId: string;
  /** The target that has it. */
  target: string;
  /** Its key there. */
  key: string;
  /** When the backup began, by the clock of the machine that made it. */
  time: Date;
  /** When it was stored, by the target's clock. */
  storedAt: Date;
  /** How it is stored: `archive` or `repository`. */
  layout: string;
  /** Whether everything was read completely. */
  outcome: Outcome;
  /** What the caller called it. */
  label: string | null;
  /** The tags that the caller gave it, sorted. */
  tags: string[];
  /** The service's name. */
  service: string;
  /** The service's version, when it is known. */
  serviceVersion: string | null;
  /** The name of the machine it was made on. */
  host: string;
  /** Bytes of the files' content. */
  sizeBytes: Integer;
  /** Bytes of the archive; of a snapshot in a repository those that its backup added. */
  storedBytes: Integer;
  /** Regular files, hard links included. */
  files: Integer;
  /** How many things were skipped. */
  skipped: Integer;
  /** How many databases are in it. */
  stores: Integer;
  /** The fingerprint of the key that it is encrypted to. Nothing when it is stored in clear. */
  encryptedTo: string | null;
  /**
   * When this copy was last found whole: by a verification in full, by a drill, or because samples have read every byte
   * of its target. Nothing when it never was, when damage was found since, or when the journal is lost.
   */
  verifiedAt: Date | null;
  /** Whether it was looked into then. One that is encrypted is not, where no identity was given. */
  verifiedLevel: VerifyLevel | null;
  /** Who holds it, so that nothing deletes it. */
  holds: Hold[];
}

/** Something that looks like an archive and could not be read as one. */
export interface Unreadable {
  /** The target that has it. */
  target: string;
  /** Its key there. */
  key: string;
  /** Its size. */
  storedBytes: Integer;
  /** Why it could not be read. */
  error: ErrorBody;
}

/** The snapshots. */
export interface BackupListResponse {
  /** The snapshots, newest first; one that is in several targets is there once for each. */
  snapshots: KnownSnapshot[];
  /** What looks like an archive and could not be read as one. */
  unreadable: Unreadable[];
  /** The targets that could not be asked. */
  failed: FailedTarget[];
}

/** What was released. */
export interface BackupReleaseResponse {
  /** The snapshot. */
  snapshotId: string;
  /** How many holds were ended, over all targets. 0 when nobody held it. */
  released: Integer;
}

/**
 * Which snapshots are kept: each rule keeps some, and what none keeps is deleted, unless that would be unsafe. Days,
 * weeks, months and years are those of `service.timezone`; a rule that is 0 or empty keeps nothing.
 */
export interface RetentionSettings {
  /** The newest so many. */
  keepLast: number;
  /** The newest of each hour, for the last so many hours that have one. */
  hourly: number;
  /** The newest of each day, for the last so many days that have one. */
  daily: number;
  /** The newest of each week, Monday to Sunday, for the last so many weeks that have one. */
  weekly: number;
  /** The newest of each month, for the last so many months that have one. */
  monthly: number;
  /** The newest of each year, for the last so many years that have one. */
  yearly: number;
  /** All that are at most so many days older than the newest complete one. */
  withinDays: number;
  /** All that have one of these tags. */
  tags: string[];
  /** The newest so many of each label. */
  perLabel: number;
  /** The newest so many of each tag. */
  perTag: number;
  /**
   * How many verified snapshots each target keeps, whatever the rules say. While it has fewer, nothing is deleted
   * there. At least 1.
   */
  minVerified: number;
  /**
   * Whether the rules count the snapshots of each machine apart: `true` where several machines back up data of their
   * own under one service name, `false` where one goes on for another. Until it is set, nothing is deleted where
   * snapshots of several machines alternate.
   */
  perHost: boolean | null;
}

/** What becomes of a snapshot. */
export type RetentionAction =
  /** It stays. */
  | "keep"
  /** It is deleted. */
  | "delete";

/** What keeps a snapshot, or lets it go. */
export type RetentionRule =
  /** One of the last ones. */
  | "keep_last"
  /** The newest of an hour. */
  | "hourly"
  /** The newest of a day. */
  | "daily"
  /** The newest of a week. */
  | "weekly"
  /** The newest of a month. */
  | "monthly"
  /** The newest of a year. */
  | "yearly"
  /** Not much older than the newest. */
  | "within"
  /** It has a tag that is kept. */
  | "tag"
  /** One of the last ones of its label. */
  | "per_label"
  /** One of the last ones of a tag. */
  | "per_tag"
  /** Somebody holds it. */
  | "held"
  /** The newest complete one. */
  | "newest"
  /** One of the newest that are verified. */
  | "min_verified"
  /** It is of the future. */
  | "future"
  /** The target received it lately, though it claims to be old. */
  | "received_late"
  /** A verification found it damaged. */
  | "damaged"
  /** Several objects claim to be it. */
  | "ambiguous"
  /** Too few snapshots are verified. */
  | "too_few_verified"
  /** No newer one is verified. */
  | "no_newer_verified"
  /** Snapshots of several machines alternate. */
  | "several_hosts"
  /** No rule keeps it, and a newer verified one exists. The only reason to delete. */
  | "superseded";

/** One reason of a decision. */
export interface RetentionReason {
  /** Which rule it is. */
  rule: RetentionRule;
  /** The reason in words. */
  message: string;
}

/** What becomes of one snapshot in one target. */
export interface RetentionDecision {
  /** The snapshot's identifier. */
  snapshotId: string;
  /** Its key in the target. */
  key: string;
  /** How it is stored. */
  layout: string;
  /** When the backup began. */
  time: Date;
  /** The machine it was made on. */
  host: string;
  /** What the caller called it. */
  label: string | null;
  /** Its tags. */
  tags: string[];
  /** Whether everything was read completely. */
  outcome: Outcome;
  /** Bytes that it takes. */
  storedBytes: Integer;
  /** When this copy was last verified in full and found whole. */
  verifiedAt: Date | null;
  /** What becomes of it. */
  action: RetentionAction;
  /** All the reasons, those of the rules first. */
  reasons: RetentionReason[];
}

/** Why snapshots that no rule keeps are not deleted, and what can be done about it. */
export interface Withheld {
  /** Why. */
  message: string;
  /** What to do. */
  hint: string;
  /** How many snapshots it is about. */
  snapshots: Integer;
}

/** What is kept and what is deleted in one target. */
export interface RetentionTargetPlan {
  /** The target's name. */
  target: string;
  /** Every snapshot of the service, newest first. */
  decisions: RetentionDecision[];
  /** How many are kept. */
  kept: Integer;
  /** How many are deleted. */
  deletions: Integer;
  /** The bytes that become free; of a repository, once they are collected. */
  freedBytes: Integer;
  /** How many of those that are kept are complete and verified. */
  verified: Integer;
  /** Why snapshots that no rule keeps are not deleted. */
  withheld: Withheld[];
  /** What could not be read as a snapshot. It is left alone. */
  unreadable: Unreadable[];
}

/** A snapshot that was deleted. */
export interface DeletedSnapshot {
  /** The target that had it. */
  target: string;
  /** The snapshot. */
  snapshotId: string;
  /** Its key there. */
  key: string;
  /** The bytes that became free; of a repository, once they are collected. */
  storedBytes: Integer;
}

/** A snapshot that could not be deleted. */
export interface FailedDeletion {
  /** The target that has it. */
  target: string;
  /** The snapshot. */
  snapshotId: string;
  /** Its key there. */
  key: string;
  /** Why. */
  error: ErrorBody;
}

/** What was planned, and what became of it. */
export interface BackupRetainResponse {
  /** When it was made. */
  time: Date;
  /** The time zone that days, weeks, months and years are in. */
  timezone: string;
  /** The rules. */
  policy: RetentionSettings;
  /** Each target by itself: what another one has is no reason to delete anything. */
  targets: RetentionTargetPlan[];
  /** The targets that could not be asked. Nothing is deleted there. */
  failed: FailedTarget[];
  /** Whether it was to be a plan alone. */
  dryRun: boolean;
  /** What was deleted, in this order. */
  deleted: DeletedSnapshot[];
  /** What should have been deleted and was not. */
  failures: FailedDeletion[];
}

/** Something wrong with a snapshot in a target. */
export interface FoundProblem {
  /** The target whose copy it is. */
  target: string;
  /** The entry concerned, when it is one. */
  path: Path | null;
  /** What is wrong: a word of the archive's, or `corrupt_database`. */
  kind: string;
  /** The detail, for a person. */
  message: string;
}

/** What was read from a target. */
export interface SampledTarget {
  /** The target. */
  target: string;
  /** What became due after this moment was to be read. */
  since: Date;
  /** All that became due until this moment is read. The next run goes on here. */
  reached: Date;
  /** Objects in the target that hold backups. */
  objects: Integer;
  /** Their bytes. */
  storedBytes: Integer;
  /** Bytes that were read and held against their checksums. */
  readBytes: Integer;
  /** Bytes that are due and wait for the next run. */
  leftBytes: Integer;
  /** Since this moment everything that became due was read, and nothing was wrong. */
  cleanSince: Date;
  /**
   * The snapshots of which every stored byte was read and found whole since then, by samples or by the backups that
   * stored it.
   */
  whole: string[];
  /** Whether any of it is encrypted: of that the stored bytes alone were compared. */
  sealed: boolean;
}

/** What a sampled verification read and found. */
export interface BackupSampleResponse {
  /** Whether nothing was wrong with what was read. */
  ok: boolean;
  /** What was wrong. */
  problems: FoundProblem[];
  /** What was read, by target. */
  targets: SampledTarget[];
  /** The targets that could not be read. Their next run catches up. */
  failed: FailedTarget[];
  /** Every stored byte is read within so many days, as long as runs are at most a quarter of that apart. */
  withinDays: number;
  /** How long it took, in seconds. */
  durationSeconds: number;
}

/** A snapshot in a target. */
export interface Listed {
  /** The snapshot's identifier: 12 hexadecimal digits. */
  snapshotId: string;
  /** The target that has it. */
  target: string;
  /** Its key there. */
  key: string;
  /** When the backup began, by the clock of the machine that made it. */
  time: Date;
  /** When it was stored, by the target's clock. */
  storedAt: Date;
  /** How it is stored: `archive` or `repository`. */
  layout: string;
  /** Whether everything was read completely. */
  outcome: Outcome;
  /** What the caller called it. */
  label: string | null;
  /** The tags that the caller gave it, sorted. */
  tags: string[];
  /** The service's name. */
  service: string;
  /** The service's version, when it is known. */
  serviceVersion: string | null;
  /** The name of the machine it was made on. */
  host: string;
  /** Bytes of the files' content. */
  sizeBytes: Integer;
  /** Bytes of the archive; of a snapshot in a repository those that its backup added. */
  storedBytes: Integer;
  /** Regular files, hard links included. */
  files: Integer;
  /** How many things were skipped. */
  skipped: Integer;
  /** How many databases are in it. */
  stores: Integer;
  /** The fingerprint of the key that it is encrypted to. Nothing when it is stored in clear. */
  encryptedTo: string | null;
}

/** A path that was asked for. */
export interface Included {
  /** The path, relative to the root. `.` is all of it. */
  path: Path;
  /** Whether there was anything at the path. */
  present: boolean;
}

/** What a snapshot says about itself, without its entries. */
export interface Manifest {
  /** The version of the format, see `FORMAT`. */
  format: number;
  /** The snapshot's identifier: 12 hexadecimal digits. */
  snapshotId: string;
  /** The service's name. */
  service: string;
  /** The service's version, when it is known. */
  serviceVersion: string | null;
  /** The name of the machine it was made on. */
  host: string;
  /** The version of `uplifted-ops` that made it. */
  madeBy: string;
  /** What the caller called it. */
  label: string | null;
  /** When the backup began. */
  time: Date;
  /** Whether everything was read completely. */
  outcome: Outcome;
  /** What was asked for, relative to the root. */
  includes: Included[];
  /** The globs of what was left out. */
  excludes: string[];
  /** The databases in it. */
  stores: StoreRecord[];
  /** What was not read, or not completely, or cannot be stored. */
  skipped: Skipped[];
  /** Regular files, hard links included. */
  files: Integer;
  /** Entries of every kind. */
  entries: Integer;
  /** Bytes of the files' content. */
  sizeBytes: Integer;
  /** The fingerprint of the key that it is encrypted to. Nothing when it is stored in clear. */
  encryptedTo: string | null;
  /** Which moments the snapshot is of. Unknown in one that was made without saying. */
  group: ConsistencyGroup | null;
  /** The tags that the caller gave it, sorted. */
  tags: string[];
}

/** A snapshot with its manifest. */
export interface BackupShowResponse {
  /** As a list has it. */
  snapshot: Listed;
  /** The targets that have it. */
  targets: string[];
  /** What it says about itself. */
  manifest: Manifest;
}

/** How much of a snapshot to verify. */
export type VerifyDepth =
  /** The index, the names, the sizes: a moment. */
  | "quick"
  /** Every byte against its checksum. The databases hold the bytes that were backed up; they are not opened. */
  | "data"
  /** Every byte, and the integrity of every database. */
  | "full";

/** What a verification found. */
export interface BackupVerifyResponse {
  /** The snapshot. */
  snapshotId: string;
  /** How much was verified. */
  depth: VerifyDepth;
  /** Whether the snapshot was looked into. */
  level: VerifyLevel;
  /** The fingerprint of the key that it is encrypted to, which looking into it takes. Nothing for one in clear. */
  encryptedTo: string | null;
  /** Whether nothing was wrong anywhere. */
  ok: boolean;
  /** What was wrong. */
  problems: FoundProblem[];
  /** The targets whose copies were verified. */
  targets: string[];
  /** The databases that were restored into scratch and checked, by name, once for each target. */
  databases: string[];
  /** Bytes of the archives that were verified. */
  storedBytes: Integer;
  /** How long it took, in seconds. */
  durationSeconds: number;
}

/** How bad a finding is. */
export type Severity =
  /** Something will not work. */
  | "error"
  /** It works, and probably not as meant. */
  | "warning";

/** Something to correct. */
export interface Finding {
  /** How bad it is. */
  severity: Severity;
  /** The setting concerned. */
  key: string;
  /** What is wrong, as a sentence without a full stop. */
  message: string;
  /** The repair, one line. */
  hint: string | null;
  /** Where the setting comes from, as `Config::source_of` says it. */
  source: string;
}

/** What is wrong with the settings. */
export interface ConfigCheckResponse {
  /** Whether no finding is an error. */
  ok: boolean;
  /** The findings, errors first. */
  findings: Finding[];
}

/** Something that a backup leaves out. */
export interface LeftOut {
  /** Its name in the root. */
  name: string;
  /** Why. */
  why: string;
}

/** What was found in the folder and in the service's own settings. */
export interface InitFound {
  /** SQLite databases, relative to the root where they are inside it. */
  databases: string[];
  /** Top-level entries that a backup takes. */
  included: string[];
  /** Top-level entries that it leaves out, each with the reason. */
  leftOut: LeftOut[];
  /** Variables of the service that were understood. Their values are not repeated here. */
  variables: string[];
  /** What could not be looked at, or is worth knowing. */
  notes: string[];
}

/** What was written. */
export interface ConfigInitResponse {
  /** The file. */
  path: Path;
  /** Its whole text. */
  text: string;
  /** Whether it was written. */
  written: boolean;
  /** Where the file that it replaces is kept. */
  kept: string | null;
  /** What the text is based on. */
  found: InitFound;
}

/** One setting. */
export interface ShownSetting {
  /** Its key: `backup.level`, `store.main.path`; or the name of a variable that belongs to the host. */
  key: string;
  /** Its value. Secrets, and all values of the host's own, are `***`. */
  value: Json;
  /**
   * Where it comes from: `default`, `ops.toml:12`, `.env:3 (UPLIFTED__BACKUP__LEVEL)`, `environment
   * (UPLIFTED__BACKUP__LEVEL)`, `code`.
   */
  source: string;
}

/** Every setting. */
export interface ConfigShowResponse {
  /** The service's root folder. */
  root: Path;
  /** The file that was read, when there is one. */
  file: Path | null;
  /** The settings, sorted by key. Secrets are `***`. */
  settings: ShownSetting[];
}

/** A segment that goes. */
export interface RemovedSegment {
  /** Its key. */
  key: string;
  /** Why. */
  reason: string;
}

/** What was done with a store in a target, or would be. */
export interface CompactedStore {
  /** The store. */
  store: string;
  /** The target. */
  target: string;
  /** Segments that become part of a larger one. */
  merged: Integer;
  /** The larger ones. */
  into: Integer;
  /** Segments that go. */
  removed: RemovedSegment[];
}

/** What was put together and removed, or would be. */
export interface ContinuousCompactResponse {
  /** For each store and target. */
  stores: CompactedStore[];
  /** Whether it was carried out. */
  compacted: boolean;
}

/** What became of it. */
export interface ContinuousStartResponse {
  /** The stores that it is about. */
  stores: string[];
  /** Those that are followed now. */
  following: string[];
  /** What to know. */
  notes: string[];
}

/** How a target stands. */
export interface TargetStanding {
  /** The target's name. */
  target: string;
  /** Everything committed before this moment is stored there, and was read back. */
  storedUntil: Date | null;
  /** Segments that were stored there. */
  segmentsTotal: Integer;
  /** Their bytes. */
  bytesTotal: Integer;
  /** Segments that wait for it. */
  waitingSegments: Integer;
  /** Segments that it will never have: more waited for it than may. */
  lostSegments: Integer;
  /** Why segments could not be put together, or old ones removed. */
  tidyError: ErrorBody | null;
  /** What it said when it last failed; nothing once it goes on. */
  error: ErrorBody | null;
}

/** How the following of a store stands. */
export interface StoreStanding {
  /** The store's name. */
  store: string;
  /** Its kind. */
  kind: string;
  /** Whether a worker follows it at this moment. */
  following: boolean;
  /** When its worker last wrote this. */
  writtenAt: Date | null;
  /** The stream that is being written, 12 hexadecimal digits. */
  stream: string | null;
  /** When that stream began. */
  since: Date | null;
  /** Up to where it was read, in the driver's words. */
  position: string;
  /** Everything committed before this moment was read. */
  seenUntil: Date | null;
  /** Bytes of log that the database keeps. */
  logBytes: Integer;
  /** What keeps it from being followed. */
  waitsFor: string | null;
  /**
   * Since when a backup is needed as a base, because nothing before it can be added to: until there is one, that time
   * cannot be gone back to.
   */
  baseWantedSince: Date | null;
  /** Why. */
  baseWantedBecause: string | null;
  /** How often a new base was needed. */
  gapsTotal: Integer;
  /** What waits on this disk for some target. */
  spoolSegments: Integer;
  /** Its bytes. */
  spoolBytes: Integer;
  /** The targets, in the order of the settings. */
  targets: TargetStanding[];
  /** Why the last worker ended. */
  trouble: ErrorBody | null;
}

/** A store that is to be followed, or was. */
export interface ContinuousStore {
  /** The store's name. */
  name: string;
  /** Whether it is to be followed. */
  wanted: boolean;
  /** Whether a process does. */
  following: boolean;
  /** What would be lost if this machine were gone now, in seconds of commits. Nothing before anything was stored. */
  lagSeconds: number | null;
  /** How it stands. Nothing where it never was followed. */
  standing: StoreStanding | null;
}

/** How the following of the stores stands. */
export interface ContinuousStatusResponse {
  /** Whether every store that is to be followed is, and loses no more than it may. */
  ok: boolean;
  /** The stores that are to be followed, or were. */
  stores: ContinuousStore[];
  /** Whether the process that answers is the one that follows them. */
  leads: boolean;
  /** What keeps it from that. */
  trouble: ErrorBody | null;
}

/** What became of it. */
export interface ContinuousStopResponse {
  /** The stores that it is about. */
  stores: string[];
  /** Those that are followed now. */
  following: string[];
  /** What to know. */
  notes: string[];
}

/** What became of a file. */
export type GenerateOutcome =
  /** Nothing was written. */
  | "printed"
  /** It was not there, and is now. */
  | "created"
  /** It was written earlier, by us, and is replaced. */
  | "replaced"
  /** It is there already, byte for byte. */
  | "unchanged";

/** A file that was made. */
export interface GeneratedFile {
  /** Its name. */
  name: string;
  /** What became of it. */
  outcome: GenerateOutcome;
  /** Where it was written. Absent when it was not. */
  path: Path | null;
  /** Where the file is kept that it replaces, when somebody had changed that. */
  kept: Path | null;
  /** Its text, when it was not written. */
  content: string | null;
}

/** What was made. */
export interface GenerateAlertsResponse {
  /** The files. */
  files: GeneratedFile[];
  /** What to look after before they are used. */
  warnings: string[];
}

/** What was made. */
export interface GenerateGrafanaResponse {
  /** The files. */
  files: GeneratedFile[];
  /** What to look after before they are used. */
  warnings: string[];
}

/** What was made. */
export interface GeneratePrometheusResponse {
  /** The files. */
  files: GeneratedFile[];
  /** What to look after before they are used. */
  warnings: string[];
}

/** A verdict. The order is that of severity. */
export type CheckStatus =
  /** All is well. */
  | "pass"
  /** Somebody should look, the service works. */
  | "warn"
  /** The service does not do what it should. */
  | "fail";

/** What one check found. */
export interface CheckReport {
  /** The check's name. */
  name: string;
  /** Its verdict. */
  status: CheckStatus;
  /** What was found, and the repair when the status is not `pass`. Secrets are `***`. */
  message: string;
  /** The number behind the verdict, when there is one. */
  observed: number | null;
  /** Its unit: `bytes`, `seconds`, `ratio`, …. */
  unit: string | null;
  /** How long the check took. */
  durationSeconds: number;
  /** Whether its failure makes the whole answer `fail`. */
  critical: boolean;
  /** The first of its groups, besides `all`. */
  group: string | null;
  /** All of its groups, besides `all`. */
  groups: string[];
  /** The check whose failure explains this one's: the first cause among those that it depends on. */
  becauseOf: string | null;
}

/** What the checks found. */
export interface HealthCheckResponse {
  /**
   * The verdict over all: `fail` when a critical check failed, `warn` when another one failed or one warned. Without
   * any check it is `warn`: nothing was asked, so nothing is known.
   */
  status: CheckStatus;
  /** The checks, in the order of the settings. */
  checks: CheckReport[];
}

/** What is known of a check, or of several. The order is that of severity. */
export type HealthState =
  /** All is well. */
  | "pass"
  /** Somebody should look, the service works. */
  | "warn"
  /** It never answered, or its answer is too old to count. */
  | "unknown"
  /** The service does not do what it should. */
  | "fail";

/** A change of a check's state, or several that were counted together. */
export interface Change {
  /** When it was written: with several, after the last of them. */
  time: Date;
  /** The state before. */
  from: HealthState;
  /** The state since. */
  to: HealthState;
  /** What the check said. */
  message: string;
  /** How many changes these were: 1, or more of a check that flaps. */
  changes: Integer;
  /** How many of them were failures. */
  failures: Integer;
  /** When the first of them was. */
  first: Date;
  /** How many seconds each state lasted between `first` and `time`. */
  spent: Record<string, number>;
  /** Whether it is the first that an observer saw: what was before is not known. */
  begins: boolean;
}

/** What is remembered of a check, over a time. */
export interface CheckHistory {
  /** The check's name. */
  name: string;
  /** Its last state. */
  status: HealthState;
  /** Since when it has had that state, as far as is known. */
  since: Date;
  /** The share of the time in which it was seen that it did not fail, 0 to 1. Absent when it was not seen. */
  uptimeRatio: number | null;
  /** For how long it was seen, in seconds. */
  observedSeconds: number;
  /** For how long it failed or was unknown, in seconds. */
  downSeconds: number;
  /** For how long it warned, in seconds. */
  warnSeconds: number;
  /** How often its state changed. */
  changes: Integer;
  /** How often it began to fail. */
  failures: Integer;
  /** The last changes, the newest first. */
  lastChanges: Change[];
}

/** How the checks were. */
export interface HealthHistoryResponse {
  /** The beginning of the time that is told about. */
  since: Date;
  /** Its end: now. */
  until: Date;
  /** The checks, by name. Without any, nobody asked them in the background yet. */
  checks: CheckHistory[];
}

/** Where a service is in its life. Only ever goes on. */
export type Phase =
  /** What it needs to begin has not passed yet. */
  | "starting"
  /** It has begun. */
  | "ready"
  /** It is about to stop, and takes no more work. */
  | "draining"
  /** It has stopped. */
  | "stopped";

/** What is known of a check. */
export interface CheckView {
  /** The check's name. */
  name: string;
  /** What is known. */
  status: HealthState;
  /** What was found, and the repair when the status is not `pass`. Secrets are `***`. */
  message: string;
  /** The number behind the verdict, when there is one. */
  observed: number | null;
  /** Its unit: `bytes`, `seconds`, `ratio`, …. */
  unit: string | null;
  /** How long the check took. */
  durationSeconds: number | null;
  /** How old the answer is. */
  ageSeconds: number | null;
  /** When the answer came. */
  time: Date | null;
  /** Since when the answers have made this status, without one that made another. */
  since: Date | null;
  /** Whether its failure makes the whole answer `fail`. */
  critical: boolean;
  /** The first of its groups, besides `all`. */
  group: string | null;
  /** All of its groups, besides `all`. */
  groups: string[];
  /** The check that it depends on. */
  parent: string | null;
  /** The check whose failure explains this one's: the first cause among those that it depends on. */
  becauseOf: string | null;
}

/** What is known of the service, from answers that were there already. */
export interface HealthStateResponse {
  /** The verdict over these checks: `unknown` when a critical one never answered or its answer has expired. */
  status: HealthState;
  /** Where the service is in its life. */
  phase: Phase;
  /** Whether the checks are asked in the background in this process. What never is, stays unknown. */
  background: boolean;
  /** The age of the oldest of these answers, in seconds. Absent without any answer. */
  ageSeconds: number | null;
  /** What is down by itself, and not because of another check. */
  down: string[];
  /** The checks, in the order of the settings. */
  checks: CheckView[];
}

/** How an operation ended. */
export type RecordOutcome =
  /** It did what was asked. */
  | "done"
  /** It did what was asked, and the answer is a bad one: a partial backup, a failed check. */
  | "unhealthy"
  /** It did not. */
  | "failed";

/** What was done, by whom, and how it went. */
export interface JournalRecord {
  /** When the operation began, by the wall clock, which may jump: the journal's order is that of writing. */
  time: Date;
  /** The operation: `backup.create`. */
  operation: string;
  /** How it ended. */
  outcome: RecordOutcome;
  /** How long it took, in seconds. */
  durationSeconds: number;
  /** The process that asked for it. */
  pid: number;
  /** What was asked. */
  request: Json;
  /** What was answered. Null when it failed. */
  response: Json;
  /** Why it failed. */
  error: ErrorBody | null;
}

/** What was read. */
export interface JournalReadResponse {
  /** The records, in the order asked for. */
  records: JournalRecord[];
  /** Lines that were met and could not be read: torn by a crash, or damaged. */
  damagedLines: Integer;
  /** Segments that were met and could not be read, or not to their end, with the reason. */
  unreadableSegments: string[];
  /** Whether there is more than the limit, or than a page holds. */
  more: boolean;
}

/** What to make of samples. */
export type HistoryFunction =
  /** By how much a counter grew a second, through restarts. */
  | "rate"
  /** By how much a counter grew in the window. */
  | "increase"
  /** By how much a gauge changed in the window. */
  | "delta"
  /** The least value in the window. */
  | "min"
  /** The greatest value in the window. */
  | "max"
  /** The mean of the values in the window. */
  | "avg"
  /** By how much a gauge grows a second, by the line of least squares. */
  | "slope";

/** A value at a moment. */
export interface HistorySample {
  /** When. */
  time: Date;
  /** The value. Absent where there is none: the series had ended, or it is not a finite number. */
  value: number | null;
}

/** What a series was. */
export interface SeriesHistory {
  /** The name as on the page. */
  name: string;
  /** The labels. */
  labels: Record<string, string>;
  /** The least of these values. Absent when none is a number. */
  min: number | null;
  /** The greatest of these values. */
  max: number | null;
  /** The mean of these values. */
  avg: number | null;
  /** The newest of these values. Absent when the series has ended. */
  last: number | null;
  /** The values, oldest first. */
  samples: HistorySample[];
}

/** What the process keeps of the past. */
export interface HistoryKept {
  /** How far back it goes, in seconds. */
  spanSeconds: number;
  /** Series. */
  series: Integer;
  /** Samples. */
  samples: Integer;
  /** Bytes of memory. */
  sizeBytes: Integer;
  /** How often a series was not written down, because there were too many or they took too much memory. */
  refused: Integer;
}

/** What the numbers were. */
export interface MetricsHistoryResponse {
  /** The beginning of the time, which is not part of it. */
  since: Date;
  /** Its end, which is. */
  until: Date;
  /** The series, by name and labels. */
  series: SeriesHistory[];
  /** How many more there are than the limit lets through. */
  leftOut: Integer;
  /** What the process keeps in all. */
  kept: HistoryKept;
}

/** A text format. */
export type MetricsFormat =
  /** Prometheus text, version 0.0.4. */
  | "text"
  /** OpenMetrics text, version 1.0.0. */
  | "openmetrics";

/** The numbers. */
export interface MetricsRenderResponse {
  /** What to send as `Content-Type`. */
  contentType: string;
  /** The text. */
  body: string;
}

/** What is wrong. */
export type ProblemKind =
  /** The archive is shorter than it was. */
  | "truncated"
  /** Compressed data is damaged; the named file lies in it. */
  | "damaged_frame"
  /** A copy of the index is damaged. */
  | "damaged_index"
  /** The summary or the footer at the end is damaged. */
  | "damaged_trailer"
  /** The tar stream says something else about the entry than the index. */
  | "header_mismatch"
  /** The file's content is not what its checksum says. */
  | "content_mismatch"
  /** A name, or what a hard link names, that could lead outside the folder, or twice to the same place. */
  | "unsafe_name"
  /** A mode, size, time, attribute or map that no file has. */
  | "bad_entry"
  /** Offsets, lengths or counts that contradict each other. */
  | "inconsistent"
  /** More entries or bytes than allowed, or a compression that only an attack has. */
  | "limit_exceeded"
  /** A pack of the repository is missing, damaged, or not the one that it was. */
  | "damaged_pack"
  /** A part of the list of what is in the snapshot is lost. */
  | "damaged_tree"
  /** The snapshot before this one is gone, or another one than it was. */
  | "broken_chain"
  /** The file is a database that does not pass its own check, or that is missing. */
  | "damaged_database"
  /** The file is restored, but the filesystem or the permissions did not take an attribute of it. */
  | "attribute_not_restored";

/** Something wrong with a snapshot, or with one file of it. */
export interface Problem {
  /** The entry concerned, when it is one. */
  path: Path | null;
  /** What is wrong. */
  kind: ProblemKind;
  /** The detail, for a person. */
  message: string;
}

/** What was done to the service. */
export interface ServiceReport {
  /** Whether it was told to stop. */
  stopped: boolean;
  /** Whether it was started again. */
  started: boolean;
  /** What the health gate said, when it was asked. */
  healthy: boolean | null;
}

/** What a restore or an undo did. */
export interface RestoreApplyResponse {
  /** The snapshot. */
  snapshotId: string;
  /** Regular files that came in, or wait to come in. */
  restoredFiles: Integer;
  /** The folder that received them. */
  into: Path;
  /** What `restore.undo` takes to bring back what was replaced. Unset for a restore into a folder. */
  undoId: string | null;
  /** Whether the restore happens only when the service is started again. */
  restartRequired: boolean;
  /** What could not be restored, when salvaging. */
  lost: Problem[];
  /** What to know. */
  warnings: string[];
  /** What was done to the service. */
  service: ServiceReport;
  /** Where the stores have come to, in a restore to a moment. */
  reached: ReachedStore[];
}

/** What was restored. */
export interface RestoreDatabaseResponse {
  /** The snapshot that it comes from. */
  snapshotId: string;
  /** The store. */
  store: string;
  /** Its name. */
  database: string;
  /** The version of the server that it is on. */
  serverVersion: string;
  /** Whether everything is as the copy has it. */
  ok: boolean;
  /** Tables whose rows were counted. */
  tables: Integer;
  /** Their rows. */
  rows: Integer;
  /** Sequences that were looked at. */
  sequences: Integer;
  /** Tables, views, indexes, constraints, triggers and partitions that were looked for, with their owners. */
  objects: Integer;
  /** Large objects that there are. */
  largeObjects: Integer;
  /** The extensions that the copy asks for. */
  extensions: string[];
  /** What is not as the copy has it. */
  problems: string[];
  /** What to know of it. */
  notes: string[];
  /** The last commit in it, where it was brought to a moment. Nothing where none came after the snapshot. */
  reached: ReachedStore | null;
}

/** What a restore replaced, kept. */
export interface UndoArea {
  /** What `restore.undo` takes. */
  undoId: string;
  /** The snapshot that was restored. */
  snapshotId: string;
  /** When the restore, or the undo, was asked for. */
  time: Date;
  /** For the area of an undo: the restore that it undid. */
  undoes: string | null;
  /** The names that an undo trades, relative to the root. */
  paths: Path[];
  /** Regular files that it holds. */
  files: Integer;
  /** Bytes of their content. */
  sizeBytes: Integer;
}

/** What was removed, or would be. */
export interface RestoreDiscardResponse {
  /** What goes, and what is lost with it. */
  areas: UndoArea[];
  /** Bytes that become free. */
  freedBytes: Integer;
  /** Whether it was carried out. */
  discarded: boolean;
}

/** Where a restore goes. */
export type RestoreMode =
  /** Into a folder that is missing or empty. */
  | "into"
  /** Over the service. */
  | "in_place";

/** What becomes of one name. */
export type RestoreAction =
  /** It is missing and comes in. */
  | "create"
  /** What comes in takes its place; what was there goes to the undo area. */
  | "replace"
  /** It goes to the undo area: the snapshot asked for it when it did not exist. */
  | "remove"
  /** It is left alone. */
  | "keep";

/** What becomes of one name in the service's folder. */
export interface RestoreUnit {
  /** The name, relative to the root. */
  path: Path;
  /** What becomes of it. */
  action: RestoreAction;
  /** Why. */
  reason: string;
  /** Regular files that come in. */
  files: Integer;
  /** Bytes of their content. */
  sizeBytes: Integer;
  /** Bytes of what goes out. */
  liveBytes: Integer;
  /** What is carried over from the live folder into the new one, since the backup left it out. */
  carry: Path[];
  /** The mount, relative to the root, in which it is staged. Unset for the state folder. */
  mount: Path | null;
}

/** Room on one filesystem. */
export interface SpaceNeed {
  /** A folder on it. */
  folder: Path;
  /** Bytes that the restore writes to it. */
  neededBytes: Integer;
  /** Bytes that this user can still write to it. */
  freeBytes: Integer;
}

/** A process that has a database open. */
export interface Holder {
  /** The file, relative to the root. */
  path: Path;
  /** The process. 0 when the system hides which one. */
  pid: number;
  /** Its program, as the system names it. Empty when it is hidden. */
  program: string;
  /** Whether only its lock is visible, not the open file itself. */
  onlyLockSeen: boolean;
}

/** How a store gets there. */
export interface StoreAt {
  /** The store's name. */
  store: string;
  /** The target that its changes are read from. */
  target: string;
  /** The moment of the copy that it goes on from. */
  baseTakenAt: Date;
  /** How many segments are added to it. */
  segments: Integer;
  /** Their bytes. */
  storedBytes: Integer;
  /** The last commit that is not after the moment. Nothing when there was none since the copy. */
  reaches: Date | null;
}

/** How a restore gets to a moment. */
export interface AtPlan {
  /** The moment. */
  at: Date;
  /** The stores that go on from their copies. */
  stores: StoreAt[];
}

/** What a restore will do. */
export interface RestorePlanResponse {
  /** The snapshot. */
  snapshotId: string;
  /** Whether it goes into a folder of its own, or over the service. */
  mode: RestoreMode;
  /** The folder that receives it; the service's root in place. */
  into: Path;
  /** The paths that were asked for; all when empty. */
  paths: Path[];
  /** What becomes of each name, in place. Empty for a restore into a folder. */
  units: RestoreUnit[];
  /** Regular files that come in. */
  files: Integer;
  /** Room that is needed and there, for each filesystem. */
  space: SpaceNeed[];
  /** Live databases that are replaced or moved, relative to the root. */
  databases: Path[];
  /** Processes that have one of them open. */
  holders: Holder[];
  /** Whether the service can be stopped (`service.stop` is set). */
  canStop: boolean;
  /** Whether the service must be restarted for the restore to happen: it is asked from inside. */
  restartRequired: boolean;
  /** Why it cannot be applied as things are. Empty when it can. */
  blockers: string[];
  /** What to know before applying it. */
  warnings: string[];
  /** How it gets to the moment that was asked for. */
  at: AtPlan | null;
}

/** A snapshot that has the store. */
export interface Base {
  /** Everything committed before this moment is in it. */
  takenAt: Date;
  /** The snapshot. */
  snapshotId: string;
  /** The target that has it. */
  target: string;
  /**
   * Whether the time is only known roughly, as that of its beginning: its manifest is sealed, and no key is at hand.
   */
  approximate: boolean;
}

/** Seconds that can be gone back to. */
export interface Span {
  /** The first moment. */
  from: Date;
  /** The last one. */
  until: Date;
}

/** Seconds that cannot. */
export interface Gap {
  /** The last moment before it that can be gone back to. */
  from: Date;
  /** The first one behind it; nothing while it goes on. */
  until: Date | null;
  /** Why. */
  reason: string;
}

/** The seconds that a store can go back to. */
export interface StoreTimeline {
  /** The store's name. */
  store: string;
  /** The snapshots that have it, oldest first. */
  bases: Base[];
  /** What can be gone back to, oldest first. Spans do not touch. */
  coverage: Span[];
  /** What cannot, between the first base and the last thing that is known. */
  gaps: Gap[];
  /** Segments that are stored, all targets together. */
  segments: Integer;
  /** Their bytes. */
  storedBytes: Integer;
}

/** The seconds that can be gone back to. */
export interface RestorePointsResponse {
  /** The stores. */
  stores: StoreTimeline[];
  /** The targets that could not be asked. */
  failed: FailedTarget[];
}

/** Who is connected. Never what they ask. */
export interface SwapSession {
  /** The database. */
  database: string;
  /** What the program calls itself. Empty where we may not see it. */
  applicationName: string;
  /** The user. Empty for a process of the server's own. */
  user: string;
  /** Where it comes from: an address, or `socket`. Empty where we may not see it. */
  address: string;
  /** How many sessions there are of that kind. */
  sessions: Integer;
}

/** What was swapped, or would be. */
export interface RestoreSwapResponse {
  /** The store. */
  store: string;
  /** The name of the live database. */
  live: string;
  /** The database that takes that name; nothing where one is dropped. */
  comesIn: string | null;
  /** What the database is called afterwards that had the name; nothing where there was none. */
  goesOut: string | null;
  /** The database that is dropped. */
  dropped: string | null;
  /** Whether it was done. */
  done: boolean;
  /** Who was connected to one of them. These sessions are ended, or were. */
  sessions: SwapSession[];
  /** What is in the way, each with the repair. With any nothing is done. */
  obstacles: string[];
  /** What the database that comes in gets from the one that goes out: owner, rights, settings, comment. */
  carried: string[];
  /** What to know of it. */
  notes: string[];
}

/** What was swapped, or would be. */
export interface RestoreSwapDiscardResponse {
  /** The store. */
  store: string;
  /** The name of the live database. */
  live: string;
  /** The database that takes that name; nothing where one is dropped. */
  comesIn: string | null;
  /** What the database is called afterwards that had the name; nothing where there was none. */
  goesOut: string | null;
  /** The database that is dropped. */
  dropped: string | null;
  /** Whether it was done. */
  done: boolean;
  /** Who was connected to one of them. These sessions are ended, or were. */
  sessions: SwapSession[];
  /** What is in the way, each with the repair. With any nothing is done. */
  obstacles: string[];
  /** What the database that comes in gets from the one that goes out: owner, rights, settings, comment. */
  carried: string[];
  /** What to know of it. */
  notes: string[];
}

/** What was swapped, or would be. */
export interface RestoreSwapUndoResponse {
  /** The store. */
  store: string;
  /** The name of the live database. */
  live: string;
  /** The database that takes that name; nothing where one is dropped. */
  comesIn: string | null;
  /** What the database is called afterwards that had the name; nothing where there was none. */
  goesOut: string | null;
  /** The database that is dropped. */
  dropped: string | null;
  /** Whether it was done. */
  done: boolean;
  /** Who was connected to one of them. These sessions are ended, or were. */
  sessions: SwapSession[];
  /** What is in the way, each with the repair. With any nothing is done. */
  obstacles: string[];
  /** What the database that comes in gets from the one that goes out: owner, rights, settings, comment. */
  carried: string[];
  /** What to know of it. */
  notes: string[];
}

/** What an undo will do. */
export interface UndoPlan {
  /** What comes back. What is live under these names goes to an undo area of its own. */
  area: UndoArea;
  /** Live databases that are replaced or moved, relative to the root. */
  databases: Path[];
  /** Processes that have one of them open. */
  holders: Holder[];
  /** Whether the service can be stopped (`service.stop` is set). */
  canStop: boolean;
  /** Whether it happens only when the service is started again. */
  restartRequired: boolean;
}

/** What came back, or would. */
export interface RestoreUndoResponse {
  /** The snapshot. */
  snapshotId: string;
  /** Regular files that came in, or wait to come in. */
  restoredFiles: Integer;
  /** The folder that received them. */
  into: Path;
  /** What `restore.undo` takes to bring back what was replaced. Unset for a restore into a folder. */
  undoId: string | null;
  /** Whether the restore happens only when the service is started again. */
  restartRequired: boolean;
  /** What could not be restored, when salvaging. */
  lost: Problem[];
  /** What to know. */
  warnings: string[];
  /** What was done to the service. */
  service: ServiceReport;
  /** Where the stores have come to, in a restore to a moment. */
  reached: ReachedStore[];
  /** The plan. */
  plan: UndoPlan;
  /** Whether it was carried out, or is staged for the next start. */
  undone: boolean;
}

/** What can be taken back. */
export interface RestoreUndoListResponse {
  /** The undo areas, newest first. */
  areas: UndoArea[];
}

/** Why a job runs. */
export type Why =
  /** Its time has come. */
  | "scheduled"
  /** Its time came while nobody was there, or its last run was cut short. */
  | "catch_up"
  /** The job that it follows has succeeded. */
  | "after"
  /** Somebody asked for it. */
  | "by_hand";

/** A run that is going on. */
export interface RunningJob {
  /** Since when. */
  since: Date;
  /** Why. */
  why: Why;
  /** The process that runs it. */
  pid: number;
}

/** How a run ended. */
export type RunOutcome =
  /** The operation did what it should. */
  | "done"
  /** It did, and the answer is a bad one: a partial backup, a failed check. */
  | "unhealthy"
  /** It did not. */
  | "failed"
  /** It did not end before its deadline and was cancelled. */
  | "timed_out"
  /** The process that ran it ended, or somebody cancelled it. */
  | "interrupted"
  /** It was left out, because the last run had not ended. */
  | "skipped";

/** A run that ended. */
export interface LastRun {
  /** When it began. */
  startedAt: Date;
  /** How long it took, in seconds. Nothing when its process died. */
  durationSeconds: number | null;
  /** Why it ran. */
  why: Why;
  /** The time of the schedule that it was for. */
  scheduledFor: Date | null;
  /** How it ended. */
  outcome: RunOutcome;
  /** Why it did not end well. */
  error: ErrorBody | null;
  /** Why the address of `ping_url` could not be told. */
  pingError: string | null;
}

/** A job. */
export interface KnownJob {
  /** Its name. */
  name: string;
  /** The operation that it runs. */
  operation: string;
  /** When it runs, as a cron expression. */
  schedule: string | null;
  /** The time zone of the schedule. */
  timezone: string | null;
  /** When it runs, in words. */
  words: string;
  /** The job after whose success it runs. */
  after: string | null;
  /** Whether it runs by itself. */
  enabled: boolean;
  /** When it runs next by itself. A time that is over says that it is due. */
  nextRunAt: Date | null;
  /** The run that is going on. */
  running: RunningJob | null;
  /** The last run that ended. */
  lastRun: LastRun | null;
  /** When a run last ended well. */
  lastSuccessAt: Date | null;
  /** How late it is, in seconds. */
  overdueSeconds: number | null;
}

/** The process that runs the jobs. */
export interface Leader {
  /** Its process id. */
  pid: number;
  /** Since when it leads. */
  since: Date;
  /** Whether it is the one that answers. */
  isThisProcess: boolean;
}

/** What a process does about the jobs. */
export type Role =
  /** Nothing: it is no service, or there are no jobs that run by themselves. */
  | "off"
  /** It waits to lead. */
  | "follower"
  /** It runs them. */
  | "leader";

/** What runs by itself. */
export interface ScheduleListResponse {
  /** The jobs, those of `[backup]` first. */
  jobs: KnownJob[];
  /** The process that runs them. Nothing when none does. */
  leader: Leader | null;
  /** What the process that answers does about them. */
  role: Role;
  /** What keeps it from running them. */
  trouble: ErrorBody | null;
}

/** How a run of a job went. */
export interface RunReport {
  /** The job. */
  job: string;
  /** The operation that it ran. */
  operation: string;
  /** Why it ran. */
  why: Why;
  /** The time of the schedule that it ran for. */
  scheduledFor: Date | null;
  /** When it began. */
  startedAt: Date;
  /** How long it took, in seconds. Nothing when its process died. */
  durationSeconds: number | null;
  /** How it ended. */
  outcome: RunOutcome;
  /** What the operation answered. Null when it did not. */
  response: Json;
  /** Why it did not end well. */
  error: ErrorBody | null;
  /** Why the address of `ping_url` could not be told. */
  pingError: string | null;
}

/** How the run went. */
export interface ScheduleRunResponse {
  /** The job. */
  job: string;
  /** The operation that it ran. */
  operation: string;
  /** Why it ran. */
  why: Why;
  /** The time of the schedule that it ran for. */
  scheduledFor: Date | null;
  /** When it began. */
  startedAt: Date;
  /** How long it took, in seconds. Nothing when its process died. */
  durationSeconds: number | null;
  /** How it ended. */
  outcome: RunOutcome;
  /** What the operation answered. Null when it did not. */
  response: Json;
  /** Why it did not end well. */
  error: ErrorBody | null;
  /** Why the address of `ping_url` could not be told. */
  pingError: string | null;
  /** The runs of the jobs that follow it. */
  then: RunReport[];
}

/** Who is running. */
export type RunMode =
  /** Inside the service's own process: it cannot be replaced under its own feet. */
  | "embedded"
  /** On the command line, beside the service. */
  | "command_line";

/** The service that is looked after. */
export interface ServiceFacts {
  /** Its name: `service.name`, else that of the root folder. */
  name: string;
  /** Its version, where the settings tell. */
  version: string | null;
}

/** How the listener of a process stands. */
export type ListenerState =
  /** This process answers. */
  | "serving"
  /** Another process of this service does, and this one takes over within a second of its end. */
  | "standby"
  /** Somebody else has the address, or the system does not give it. It is tried again each second. */
  | "refused"
  /** It has stopped. */
  | "stopped";

/** Who answers on the address of `metrics.listen`, or on the socket of the command line. */
export interface ListenerView {
  /**
   * The address: the one of the settings, or, while this process listens on it, the one that it got. The path of a
   * socket.
   */
  address: string;
  /** How it stands. */
  state: ListenerState;
  /** The process that listens: this one, another of this service, or a stranger. Absent where it cannot be seen. */
  pid: number | null;
  /** What it means, and the repair when it is not well. */
  message: string;
}

/** What runs here. */
export interface StatusResponse {
  /** The time, by this machine's clock. */
  time: Date;
  /** The process that answers. */
  pid: number;
  /** How long that process has been running, in seconds. */
  uptimeSeconds: number;
  /** Whether it is the service itself or the command line beside it. */
  mode: RunMode;
  /** The service. */
  service: ServiceFacts;
  /** The version of uplifted-ops. */
  version: string;
  /** The version of the protocol between host and worker. */
  protocolVersion: number;
  /** The features that this build has. */
  features: string[];
  /** The service's root folder. */
  root: Path;
  /** The state folder. */
  state: Path;
  /** How many worker processes this process has now. */
  workers: Integer;
  /** Who answers on the address of `metrics.listen`. Absent without one. */
  listener: ListenerView | null;
  /**
   * Who answers the command line on `ops.sock` in the state folder. Absent where nobody is to (`http.socket = false`),
   * and where the command line itself answers.
   */
  socket: ListenerView | null;
}

/** Sizes and settings of one database. */
export interface StoreStatus {
  /** Its name. */
  name: string;
  /** Its kind. */
  kind: string;
  /** Whether it answered. */
  ok: boolean;
  /** Why it did not answer. */
  error: ErrorBody | null;
  /** Facts about the database, by the driver's names. */
  details: JsonObject;
  /** Bytes of its write-ahead log or journal. Nothing where the server does not let us see them. */
  logBytes: Integer | null;
  /** Bytes of the database, without its log. */
  sizeBytes: Integer | null;
}

/** Sizes and settings of databases. */
export interface StoreStatsResponse {
  /** The databases, in the order of the settings. */
  stores: StoreStatus[];
}

/** How much of a database to check. */
export type CheckDepth =
  /** Structure: every page is reachable and well-formed (SQLite's `quick_check`). */
  | "quick"
  /** Structure, and that every index agrees with its table (SQLite's `integrity_check`). */
  | "full";

/** What the check of one database found. */
export interface StoreVerdict {
  /** Its name. */
  name: string;
  /** Its kind. */
  kind: string;
  /** Whether nothing was wrong. */
  ok: boolean;
  /** What was wrong. */
  problems: string[];
  /** Why it could not be checked. */
  error: ErrorBody | null;
}

/** What the checks found. */
export interface StoreVerifyResponse {
  /** The databases, in the order of the settings. */
  stores: StoreVerdict[];
}

/** How far a piece of work has come. Counts only grow within a stage. */
export interface Progress {
  /** What is being done, as a person would say it: `copying database main`. */
  stage: string;
  /** Bytes done in this stage. */
  doneBytes: Integer;
  /** Files done in this stage. */
  doneFiles: Integer;
  /** Bytes that this stage will do, when known. */
  totalBytes: Integer | null;
  /** Files that this stage will do, when known. */
  totalFiles: Integer | null;
  /** While true the work is inside a step that must not be interrupted; a cancel waits. */
  uninterruptible: boolean;
}

const bisectedSnapshotCodec = record<BisectedSnapshot>("BisectedSnapshot", {
  snapshotId: { wire: "snapshot_id" },
  time: { wire: "time", codec: time },
});

const bisectProbeCodec = record<BisectProbe>("BisectProbe", {
  snapshotId: { wire: "snapshot_id" },
  time: { wire: "time", codec: time },
  verdict: { wire: "verdict" },
  message: { wire: "message" },
  durationSeconds: { wire: "duration_seconds" },
});

const backupBisectResponseCodec = record<BackupBisectResponse>("BackupBisectResponse", {
  good: { wire: "good", codec: nullable(bisectedSnapshotCodec) },
  bad: { wire: "bad", codec: nullable(bisectedSnapshotCodec) },
  assumption: { wire: "assumption" },
  neighboursAgree: { wire: "neighbours_agree" },
  contradictedBy: { wire: "contradicted_by", codec: nullable(bisectedSnapshotCodec) },
  probes: { wire: "probes", codec: list(bisectProbeCodec) },
  snapshots: { wire: "snapshots" },
  restores: { wire: "restores" },
  durationSeconds: { wire: "duration_seconds" },
});

const collectRefusalCodec = record<CollectRefusal>("CollectRefusal", {
  message: { wire: "message" },
  hint: { wire: "hint" },
});

const collectDecisionCodec = record<CollectDecision>("CollectDecision", {
  key: { wire: "key" },
  kind: { wire: "kind" },
  storedBytes: { wire: "stored_bytes" },
  action: { wire: "action" },
  reason: { wire: "reason" },
});

const collectedObjectCodec = record<CollectedObject>("CollectedObject", {
  key: { wire: "key" },
  storedBytes: { wire: "stored_bytes" },
});

const errorBodyCodec = record<ErrorBody>("ErrorBody", {
  kind: { wire: "kind" },
  message: { wire: "message" },
  hint: { wire: "hint" },
  retryable: { wire: "retryable" },
  operation: { wire: "operation" },
  causes: { wire: "causes", absent: () => [] },
  context: { wire: "context", absent: () => ({}) },
});

const collectFailureCodec = record<CollectFailure>("CollectFailure", {
  key: { wire: "key" },
  error: { wire: "error", codec: errorBodyCodec },
});

const targetCollectionCodec = record<TargetCollection>("TargetCollection", {
  target: { wire: "target" },
  repositoryId: { wire: "repository_id" },
  targetTime: { wire: "target_time", codec: time },
  graceHours: { wire: "grace_hours" },
  snapshots: { wire: "snapshots" },
  packs: { wire: "packs" },
  deadPacks: { wire: "dead_packs" },
  repositoryBytes: { wire: "repository_bytes" },
  deadBytes: { wire: "dead_bytes" },
  refusals: { wire: "refusals", codec: list(collectRefusalCodec) },
  decisions: { wire: "decisions", codec: list(collectDecisionCodec) },
  acceptedMissing: { wire: "accepted_missing" },
  problems: { wire: "problems" },
  deferred: { wire: "deferred" },
  condemned: { wire: "condemned" },
  deleted: { wire: "deleted", codec: list(collectedObjectCodec) },
  freedBytes: { wire: "freed_bytes" },
  failures: { wire: "failures", codec: list(collectFailureCodec) },
});

const failedTargetCodec = record<FailedTarget>("FailedTarget", {
  target: { wire: "target" },
  error: { wire: "error", codec: errorBodyCodec },
});

const backupCollectResponseCodec = record<BackupCollectResponse>("BackupCollectResponse", {
  targets: { wire: "targets", codec: list(targetCollectionCodec) },
  withoutRepository: { wire: "without_repository" },
  failed: { wire: "failed", codec: list(failedTargetCodec) },
  dryRun: { wire: "dry_run" },
});

const backupCopyResponseCodec = record<BackupCopyResponse>("BackupCopyResponse", {
  snapshotId: { wire: "snapshot_id" },
  from: { wire: "from" },
  to: { wire: "to" },
  key: { wire: "key" },
  storedBytes: { wire: "stored_bytes" },
  copied: { wire: "copied" },
  durationSeconds: { wire: "duration_seconds" },
});

const skippedCodec = record<Skipped>("Skipped", {
  path: { wire: "path", codec: path },
  reason: { wire: "reason" },
  message: { wire: "message" },
});

const targetResultCodec = record<TargetResult>("TargetResult", {
  target: { wire: "target" },
  location: { wire: "location" },
  error: { wire: "error", codec: nullable(errorBodyCodec) },
});

const integrityReportCodec = record<IntegrityReport>("IntegrityReport", {
  ok: { wire: "ok" },
  problems: { wire: "problems" },
});

const storeRecordCodec = record<StoreRecord>("StoreRecord", {
  name: { wire: "name" },
  kind: { wire: "kind" },
  path: { wire: "path", codec: path },
  takenAt: { wire: "taken_at", codec: time },
  check: { wire: "check", codec: integrityReportCodec },
  details: { wire: "details" },
});

const pauseReportCodec = record<PauseReport>("PauseReport", {
  from: { wire: "from", codec: time },
  until: { wire: "until", codec: time },
  held: { wire: "held" },
  error: { wire: "error" },
});

const consistencyGroupCodec = record<ConsistencyGroup>("ConsistencyGroup", {
  filesFrom: { wire: "files_from", codec: time },
  filesUntil: { wire: "files_until", codec: time },
  asked: { wire: "asked" },
  pause: { wire: "pause", codec: nullable(pauseReportCodec) },
  consistent: { wire: "consistent" },
  message: { wire: "message" },
});

const backupCreateResponseCodec = record<BackupCreateResponse>("BackupCreateResponse", {
  snapshotId: { wire: "snapshot_id" },
  outcome: { wire: "outcome" },
  skipped: { wire: "skipped", codec: list(skippedCodec) },
  files: { wire: "files" },
  sizeBytes: { wire: "size_bytes" },
  storedBytes: { wire: "stored_bytes" },
  durationSeconds: { wire: "duration_seconds" },
  key: { wire: "key" },
  targets: { wire: "targets", codec: list(targetResultCodec) },
  stores: { wire: "stores", codec: list(storeRecordCodec) },
  group: { wire: "group", codec: nullable(consistencyGroupCodec) },
  encryptedTo: { wire: "encrypted_to" },
});

const deletionCodec = record<Deletion>("Deletion", {
  target: { wire: "target" },
  key: { wire: "key" },
  storedBytes: { wire: "stored_bytes" },
  reason: { wire: "reason" },
});

const holdCodec = record<Hold>("Hold", {
  by: { wire: "by" },
  at: { wire: "at", codec: time },
  reason: { wire: "reason" },
});

const backupDeleteResponseCodec = record<BackupDeleteResponse>("BackupDeleteResponse", {
  snapshotId: { wire: "snapshot_id" },
  deletions: { wire: "deletions", codec: list(deletionCodec) },
  refused: { wire: "refused" },
  holds: { wire: "holds", codec: list(holdCodec) },
  deleted: { wire: "deleted" },
});

const drillStepCodec = record<DrillStep>("DrillStep", {
  step: { wire: "step" },
  ok: { wire: "ok" },
  durationSeconds: { wire: "duration_seconds" },
});

const drillProblemCodec = record<DrillProblem>("DrillProblem", {
  step: { wire: "step" },
  path: { wire: "path", codec: nullable(path) },
  message: { wire: "message" },
});

const drilledTableCodec = record<DrilledTable>("DrilledTable", {
  table: { wire: "table" },
  rows: { wire: "rows" },
  rowsAtBackup: { wire: "rows_at_backup" },
});

const drilledDatabaseCodec = record<DrilledDatabase>("DrilledDatabase", {
  name: { wire: "name" },
  path: { wire: "path", codec: path },
  takenAt: { wire: "taken_at", codec: time },
  sound: { wire: "sound" },
  tables: { wire: "tables", codec: list(drilledTableCodec) },
});

const reachedStoreCodec = record<ReachedStore>("ReachedStore", {
  store: { wire: "store" },
  time: { wire: "time", codec: time },
  position: { wire: "position" },
  proven: { wire: "proven" },
});

const drilledMomentCodec = record<DrilledMoment>("DrilledMoment", {
  at: { wire: "at", codec: time },
  stores: { wire: "stores", codec: list(reachedStoreCodec) },
});

const backupDrillResponseCodec = record<BackupDrillResponse>("BackupDrillResponse", {
  snapshotId: { wire: "snapshot_id" },
  snapshotTime: { wire: "snapshot_time", codec: nullable(time) },
  target: { wire: "target" },
  level: { wire: "level" },
  ok: { wire: "ok" },
  recoverySeconds: { wire: "recovery_seconds" },
  steps: { wire: "steps", codec: list(drillStepCodec) },
  problems: { wire: "problems", codec: list(drillProblemCodec) },
  warnings: { wire: "warnings" },
  databases: { wire: "databases", codec: list(drilledDatabaseCodec) },
  moment: { wire: "moment", codec: nullable(drilledMomentCodec) },
  restoredFiles: { wire: "restored_files" },
  sizeBytes: { wire: "size_bytes" },
  into: { wire: "into", codec: nullable(path) },
  durationSeconds: { wire: "duration_seconds" },
});

const backupExportResponseCodec = record<BackupExportResponse>("BackupExportResponse", {
  snapshotId: { wire: "snapshot_id" },
  target: { wire: "target" },
  output: { wire: "output", codec: path },
  storedBytes: { wire: "stored_bytes" },
  files: { wire: "files" },
  sizeBytes: { wire: "size_bytes" },
  durationSeconds: { wire: "duration_seconds" },
});

const backupHoldResponseCodec = record<BackupHoldResponse>("BackupHoldResponse", {
  snapshotId: { wire: "snapshot_id" },
  hold: { wire: "hold", codec: holdCodec },
  targets: { wire: "targets" },
  failed: { wire: "failed", codec: list(failedTargetCodec) },
});

const backupImportResponseCodec = record<BackupImportResponse>("BackupImportResponse", {
  snapshotId: { wire: "snapshot_id" },
  outcome: { wire: "outcome" },
  skipped: { wire: "skipped", codec: list(skippedCodec) },
  files: { wire: "files" },
  sizeBytes: { wire: "size_bytes" },
  storedBytes: { wire: "stored_bytes" },
  durationSeconds: { wire: "duration_seconds" },
  key: { wire: "key" },
  targets: { wire: "targets", codec: list(targetResultCodec) },
  stores: { wire: "stores", codec: list(storeRecordCodec) },
  group: { wire: "group", codec: nullable(consistencyGroupCodec) },
  encryptedTo: { wire: "encrypted_to" },
  time: { wire: "time", codec: time },
  ignored: { wire: "ignored", codec: list(path) },
});

const backupKeysAdoptResponseCodec = record<BackupKeysAdoptResponse>("BackupKeysAdoptResponse", {
  repositoryId: { wire: "repository_id" },
  fingerprint: { wire: "fingerprint" },
  former: { wire: "former" },
});

const checkedTargetCodec = record<CheckedTarget>("CheckedTarget", {
  target: { wire: "target" },
  snapshotId: { wire: "snapshot_id" },
  encryptedTo: { wire: "encrypted_to" },
  error: { wire: "error", codec: nullable(errorBodyCodec) },
});

const backupKeysCheckResponseCodec = record<BackupKeysCheckResponse>("BackupKeysCheckResponse", {
  ok: { wire: "ok" },
  opens: { wire: "opens" },
  targets: { wire: "targets", codec: list(checkedTargetCodec) },
});

const storedKeyCodec = record<StoredKey>("StoredKey", {
  target: { wire: "target" },
  key: { wire: "key" },
});

const backupKeysInitResponseCodec = record<BackupKeysInitResponse>("BackupKeysInitResponse", {
  repositoryId: { wire: "repository_id" },
  fingerprint: { wire: "fingerprint" },
  publicKey: { wire: "public_key" },
  stored: { wire: "stored", codec: list(storedKeyCodec) },
  recipients: { wire: "recipients" },
  proven: { wire: "proven" },
});

const listedKeyCodec = record<ListedKey>("ListedKey", {
  target: { wire: "target" },
  key: { wire: "key" },
  fingerprint: { wire: "fingerprint" },
  status: { wire: "status" },
  recipients: { wire: "recipients" },
  storedAt: { wire: "stored_at", codec: time },
});

const failedKeyCodec = record<FailedKey>("FailedKey", {
  target: { wire: "target" },
  key: { wire: "key" },
  error: { wire: "error", codec: errorBodyCodec },
});

const backupKeysListResponseCodec = record<BackupKeysListResponse>("BackupKeysListResponse", {
  repositoryId: { wire: "repository_id" },
  current: { wire: "current" },
  keys: { wire: "keys", codec: list(listedKeyCodec) },
  failed: { wire: "failed", codec: list(failedKeyCodec) },
});

const rewrapCodec = record<Rewrap>("Rewrap", {
  target: { wire: "target" },
  fingerprint: { wire: "fingerprint" },
  stored: { wire: "stored" },
  replaces: { wire: "replaces" },
});

const backupKeysRewrapResponseCodec = record<BackupKeysRewrapResponse>("BackupKeysRewrapResponse", {
  rewraps: { wire: "rewraps", codec: list(rewrapCodec) },
  untouched: { wire: "untouched", codec: list(storedKeyCodec) },
  recipients: { wire: "recipients" },
  proven: { wire: "proven" },
  rewrapped: { wire: "rewrapped" },
  note: { wire: "note" },
});

const backupKeysRotateResponseCodec = record<BackupKeysRotateResponse>("BackupKeysRotateResponse", {
  repositoryId: { wire: "repository_id" },
  fingerprint: { wire: "fingerprint" },
  publicKey: { wire: "public_key" },
  stored: { wire: "stored", codec: list(storedKeyCodec) },
  recipients: { wire: "recipients" },
  proven: { wire: "proven" },
});

const knownSnapshotCodec = record<KnownSnapshot>("KnownSnapshot", {
  snapshotId: { wire: "snapshot_id" },
  target: { wire: "target" },
  key: { wire: "key" },
  time: { wire: "time", codec: time },
  storedAt: { wire: "stored_at", codec: time },
  layout: { wire: "layout" },
  outcome: { wire: "outcome" },
  label: { wire: "label" },
  tags: { wire: "tags" },
  service: { wire: "service" },
  serviceVersion: { wire: "service_version" },
  host: { wire: "host" },
  sizeBytes: { wire: "size_bytes" },
  storedBytes: { wire: "stored_bytes" },
  files: { wire: "files" },
  skipped: { wire: "skipped" },
  stores: { wire: "stores" },
  encryptedTo: { wire: "encrypted_to" },
  verifiedAt: { wire: "verified_at", codec: nullable(time) },
  verifiedLevel: { wire: "verified_level" },
  holds: { wire: "holds", codec: list(holdCodec) },
});

const unreadableCodec = record<Unreadable>("Unreadable", {
  target: { wire: "target" },
  key: { wire: "key" },
  storedBytes: { wire: "stored_bytes" },
  error: { wire: "error", codec: errorBodyCodec },
});

const backupListResponseCodec = record<BackupListResponse>("BackupListResponse", {
  snapshots: { wire: "snapshots", codec: list(knownSnapshotCodec) },
  unreadable: { wire: "unreadable", codec: list(unreadableCodec) },
  failed: { wire: "failed", codec: list(failedTargetCodec) },
});

const backupReleaseResponseCodec = record<BackupReleaseResponse>("BackupReleaseResponse", {
  snapshotId: { wire: "snapshot_id" },
  released: { wire: "released" },
});

const retentionSettingsCodec = record<RetentionSettings>("RetentionSettings", {
  keepLast: { wire: "keep_last" },
  hourly: { wire: "hourly" },
  daily: { wire: "daily" },
  weekly: { wire: "weekly" },
  monthly: { wire: "monthly" },
  yearly: { wire: "yearly" },
  withinDays: { wire: "within_days" },
  tags: { wire: "tags" },
  perLabel: { wire: "per_label" },
  perTag: { wire: "per_tag" },
  minVerified: { wire: "min_verified" },
  perHost: { wire: "per_host" },
});

const retentionReasonCodec = record<RetentionReason>("RetentionReason", {
  rule: { wire: "rule" },
  message: { wire: "message" },
});

const retentionDecisionCodec = record<RetentionDecision>("RetentionDecision", {
  snapshotId: { wire: "snapshot_id" },
  key: { wire: "key" },
  layout: { wire: "layout" },
  time: { wire: "time", codec: time },
  host: { wire: "host" },
  label: { wire: "label" },
  tags: { wire: "tags" },
  outcome: { wire: "outcome" },
  storedBytes: { wire: "stored_bytes" },
  verifiedAt: { wire: "verified_at", codec: nullable(time) },
  action: { wire: "action" },
  reasons: { wire: "reasons", codec: list(retentionReasonCodec) },
});

const withheldCodec = record<Withheld>("Withheld", {
  message: { wire: "message" },
  hint: { wire: "hint" },
  snapshots: { wire: "snapshots" },
});

const retentionTargetPlanCodec = record<RetentionTargetPlan>("RetentionTargetPlan", {
  target: { wire: "target" },
  decisions: { wire: "decisions", codec: list(retentionDecisionCodec) },
  kept: { wire: "kept" },
  deletions: { wire: "deletions" },
  freedBytes: { wire: "freed_bytes" },
  verified: { wire: "verified" },
  withheld: { wire: "withheld", codec: list(withheldCodec) },
  unreadable: { wire: "unreadable", codec: list(unreadableCodec) },
});

const deletedSnapshotCodec = record<DeletedSnapshot>("DeletedSnapshot", {
  target: { wire: "target" },
  snapshotId: { wire: "snapshot_id" },
  key: { wire: "key" },
  storedBytes: { wire: "stored_bytes" },
});

const failedDeletionCodec = record<FailedDeletion>("FailedDeletion", {
  target: { wire: "target" },
  snapshotId: { wire: "snapshot_id" },
  key: { wire: "key" },
  error: { wire: "error", codec: errorBodyCodec },
});

const backupRetainResponseCodec = record<BackupRetainResponse>("BackupRetainResponse", {
  time: { wire: "time", codec: time },
  timezone: { wire: "timezone" },
  policy: { wire: "policy", codec: retentionSettingsCodec },
  targets: { wire: "targets", codec: list(retentionTargetPlanCodec) },
  failed: { wire: "failed", codec: list(failedTargetCodec) },
  dryRun: { wire: "dry_run" },
  deleted: { wire: "deleted", codec: list(deletedSnapshotCodec) },
  failures: { wire: "failures", codec: list(failedDeletionCodec) },
});

const foundProblemCodec = record<FoundProblem>("FoundProblem", {
  target: { wire: "target" },
  path: { wire: "path", codec: nullable(path) },
  kind: { wire: "kind" },
  message: { wire: "message" },
});

const sampledTargetCodec = record<SampledTarget>("SampledTarget", {
  target: { wire: "target" },
  since: { wire: "since", codec: time },
  reached: { wire: "reached", codec: time },
  objects: { wire: "objects" },
  storedBytes: { wire: "stored_bytes" },
  readBytes: { wire: "read_bytes" },
  leftBytes: { wire: "left_bytes" },
  cleanSince: { wire: "clean_since", codec: time },
  whole: { wire: "whole" },
  sealed: { wire: "sealed" },
});

const backupSampleResponseCodec = record<BackupSampleResponse>("BackupSampleResponse", {
  ok: { wire: "ok" },
  problems: { wire: "problems", codec: list(foundProblemCodec) },
  targets: { wire: "targets", codec: list(sampledTargetCodec) },
  failed: { wire: "failed", codec: list(failedTargetCodec) },
  withinDays: { wire: "within_days" },
  durationSeconds: { wire: "duration_seconds" },
});

const listedCodec = record<Listed>("Listed", {
  snapshotId: { wire: "snapshot_id" },
  target: { wire: "target" },
  key: { wire: "key" },
  time: { wire: "time", codec: time },
  storedAt: { wire: "stored_at", codec: time },
  layout: { wire: "layout" },
  outcome: { wire: "outcome" },
  label: { wire: "label" },
  tags: { wire: "tags" },
  service: { wire: "service" },
  serviceVersion: { wire: "service_version" },
  host: { wire: "host" },
  sizeBytes: { wire: "size_bytes" },
  storedBytes: { wire: "stored_bytes" },
  files: { wire: "files" },
  skipped: { wire: "skipped" },
  stores: { wire: "stores" },
  encryptedTo: { wire: "encrypted_to" },
});

const includedCodec = record<Included>("Included", {
  path: { wire: "path", codec: path },
  present: { wire: "present" },
});

const manifestCodec = record<Manifest>("Manifest", {
  format: { wire: "format" },
  snapshotId: { wire: "snapshot_id" },
  service: { wire: "service" },
  serviceVersion: { wire: "service_version" },
  host: { wire: "host" },
  madeBy: { wire: "made_by" },
  label: { wire: "label" },
  time: { wire: "time", codec: time },
  outcome: { wire: "outcome" },
  includes: { wire: "includes", codec: list(includedCodec) },
  excludes: { wire: "excludes" },
  stores: { wire: "stores", codec: list(storeRecordCodec) },
  skipped: { wire: "skipped", codec: list(skippedCodec) },
  files: { wire: "files" },
  entries: { wire: "entries" },
  sizeBytes: { wire: "size_bytes" },
  encryptedTo: { wire: "encrypted_to", absent: () => null },
  group: { wire: "group", codec: nullable(consistencyGroupCodec), absent: () => null },
  tags: { wire: "tags", absent: () => [] },
});

const backupShowResponseCodec = record<BackupShowResponse>("BackupShowResponse", {
  snapshot: { wire: "snapshot", codec: listedCodec },
  targets: { wire: "targets" },
  manifest: { wire: "manifest", codec: manifestCodec },
});

const backupVerifyResponseCodec = record<BackupVerifyResponse>("BackupVerifyResponse", {
  snapshotId: { wire: "snapshot_id" },
  depth: { wire: "depth" },
  level: { wire: "level" },
  encryptedTo: { wire: "encrypted_to" },
  ok: { wire: "ok" },
  problems: { wire: "problems", codec: list(foundProblemCodec) },
  targets: { wire: "targets" },
  databases: { wire: "databases" },
  storedBytes: { wire: "stored_bytes" },
  durationSeconds: { wire: "duration_seconds" },
});

const findingCodec = record<Finding>("Finding", {
  severity: { wire: "severity" },
  key: { wire: "key" },
  message: { wire: "message" },
  hint: { wire: "hint" },
  source: { wire: "source" },
});

const configCheckResponseCodec = record<ConfigCheckResponse>("ConfigCheckResponse", {
  ok: { wire: "ok" },
  findings: { wire: "findings", codec: list(findingCodec) },
});

const leftOutCodec = record<LeftOut>("LeftOut", {
  name: { wire: "name" },
  why: { wire: "why" },
});

const initFoundCodec = record<InitFound>("InitFound", {
  databases: { wire: "databases" },
  included: { wire: "included" },
  leftOut: { wire: "left_out", codec: list(leftOutCodec) },
  variables: { wire: "variables" },
  notes: { wire: "notes" },
});

const configInitResponseCodec = record<ConfigInitResponse>("ConfigInitResponse", {
  path: { wire: "path", codec: path },
  text: { wire: "text" },
  written: { wire: "written" },
  kept: { wire: "kept" },
  found: { wire: "found", codec: initFoundCodec },
});

const shownSettingCodec = record<ShownSetting>("ShownSetting", {
  key: { wire: "key" },
  value: { wire: "value" },
  source: { wire: "source" },
});

const configShowResponseCodec = record<ConfigShowResponse>("ConfigShowResponse", {
  root: { wire: "root", codec: path },
  file: { wire: "file", codec: nullable(path) },
  settings: { wire: "settings", codec: list(shownSettingCodec) },
});

const removedSegmentCodec = record<RemovedSegment>("RemovedSegment", {
  key: { wire: "key" },
  reason: { wire: "reason" },
});

const compactedStoreCodec = record<CompactedStore>("CompactedStore", {
  store: { wire: "store" },
  target: { wire: "target" },
  merged: { wire: "merged" },
  into: { wire: "into" },
  removed: { wire: "removed", codec: list(removedSegmentCodec) },
});

const continuousCompactResponseCodec = record<ContinuousCompactResponse>("ContinuousCompactResponse", {
  stores: { wire: "stores", codec: list(compactedStoreCodec) },
  compacted: { wire: "compacted" },
});

const continuousStartResponseCodec = record<ContinuousStartResponse>("ContinuousStartResponse", {
  stores: { wire: "stores" },
  following: { wire: "following" },
  notes: { wire: "notes" },
});

const targetStandingCodec = record<TargetStanding>("TargetStanding", {
  target: { wire: "target" },
  storedUntil: { wire: "stored_until", codec: nullable(time) },
  segmentsTotal: { wire: "segments_total" },
  bytesTotal: { wire: "bytes_total" },
  waitingSegments: { wire: "waiting_segments" },
  lostSegments: { wire: "lost_segments" },
  tidyError: { wire: "tidy_error", codec: nullable(errorBodyCodec) },
  error: { wire: "error", codec: nullable(errorBodyCodec) },
});

const storeStandingCodec = record<StoreStanding>("StoreStanding", {
  store: { wire: "store" },
  kind: { wire: "kind" },
  following: { wire: "following" },
  writtenAt: { wire: "written_at", codec: nullable(time) },
  stream: { wire: "stream" },
  since: { wire: "since", codec: nullable(time) },
  position: { wire: "position" },
  seenUntil: { wire: "seen_until", codec: nullable(time) },
  logBytes: { wire: "log_bytes" },
  waitsFor: { wire: "waits_for" },
  baseWantedSince: { wire: "base_wanted_since", codec: nullable(time) },
  baseWantedBecause: { wire: "base_wanted_because" },
  gapsTotal: { wire: "gaps_total" },
  spoolSegments: { wire: "spool_segments" },
  spoolBytes: { wire: "spool_bytes" },
  targets: { wire: "targets", codec: list(targetStandingCodec) },
  trouble: { wire: "trouble", codec: nullable(errorBodyCodec) },
});

const continuousStoreCodec = record<ContinuousStore>("ContinuousStore", {
  name: { wire: "name" },
  wanted: { wire: "wanted" },
  following: { wire: "following" },
  lagSeconds: { wire: "lag_seconds" },
  standing: { wire: "standing", codec: nullable(storeStandingCodec) },
});

const continuousStatusResponseCodec = record<ContinuousStatusResponse>("ContinuousStatusResponse", {
  ok: { wire: "ok" },
  stores: { wire: "stores", codec: list(continuousStoreCodec) },
  leads: { wire: "leads" },
  trouble: { wire: "trouble", codec: nullable(errorBodyCodec) },
});

const continuousStopResponseCodec = record<ContinuousStopResponse>("ContinuousStopResponse", {
  stores: { wire: "stores" },
  following: { wire: "following" },
  notes: { wire: "notes" },
});

const generatedFileCodec = record<GeneratedFile>("GeneratedFile", {
  name: { wire: "name" },
  outcome: { wire: "outcome" },
  path: { wire: "path", codec: nullable(path) },
  kept: { wire: "kept", codec: nullable(path) },
  content: { wire: "content" },
});

const generateAlertsResponseCodec = record<GenerateAlertsResponse>("GenerateAlertsResponse", {
  files: { wire: "files", codec: list(generatedFileCodec) },
  warnings: { wire: "warnings" },
});

const generateGrafanaResponseCodec = record<GenerateGrafanaResponse>("GenerateGrafanaResponse", {
  files: { wire: "files", codec: list(generatedFileCodec) },
  warnings: { wire: "warnings" },
});

const generatePrometheusResponseCodec = record<GeneratePrometheusResponse>("GeneratePrometheusResponse", {
  files: { wire: "files", codec: list(generatedFileCodec) },
  warnings: { wire: "warnings" },
});

const checkReportCodec = record<CheckReport>("CheckReport", {
  name: { wire: "name" },
  status: { wire: "status" },
  message: { wire: "message" },
  observed: { wire: "observed" },
  unit: { wire: "unit" },
  durationSeconds: { wire: "duration_seconds" },
  critical: { wire: "critical" },
  group: { wire: "group" },
  groups: { wire: "groups" },
  becauseOf: { wire: "because_of" },
});

const healthCheckResponseCodec = record<HealthCheckResponse>("HealthCheckResponse", {
  status: { wire: "status" },
  checks: { wire: "checks", codec: list(checkReportCodec) },
});

const changeCodec = record<Change>("Change", {
  time: { wire: "time", codec: time },
  from: { wire: "from" },
  to: { wire: "to" },
  message: { wire: "message" },
  changes: { wire: "changes" },
  failures: { wire: "failures" },
  first: { wire: "first", codec: time },
  spent: { wire: "spent" },
  begins: { wire: "begins" },
});

const checkHistoryCodec = record<CheckHistory>("CheckHistory", {
  name: { wire: "name" },
  status: { wire: "status" },
  since: { wire: "since", codec: time },
  uptimeRatio: { wire: "uptime_ratio" },
  observedSeconds: { wire: "observed_seconds" },
  downSeconds: { wire: "down_seconds" },
  warnSeconds: { wire: "warn_seconds" },
  changes: { wire: "changes" },
  failures: { wire: "failures" },
  lastChanges: { wire: "last_changes", codec: list(changeCodec) },
});

const healthHistoryResponseCodec = record<HealthHistoryResponse>("HealthHistoryResponse", {
  since: { wire: "since", codec: time },
  until: { wire: "until", codec: time },
  checks: { wire: "checks", codec: list(checkHistoryCodec) },
});

const checkViewCodec = record<CheckView>("CheckView", {
  name: { wire: "name" },
  status: { wire: "status" },
  message: { wire: "message" },
  observed: { wire: "observed" },
  unit: { wire: "unit" },
  durationSeconds: { wire: "duration_seconds" },
  ageSeconds: { wire: "age_seconds" },
  time: { wire: "time", codec: nullable(time) },
  since: { wire: "since", codec: nullable(time) },
  critical: { wire: "critical" },
  group: { wire: "group" },
  groups: { wire: "groups" },
  parent: { wire: "parent" },
  becauseOf: { wire: "because_of" },
});

const healthStateResponseCodec = record<HealthStateResponse>("HealthStateResponse", {
  status: { wire: "status" },
  phase: { wire: "phase" },
  background: { wire: "background" },
  ageSeconds: { wire: "age_seconds" },
  down: { wire: "down" },
  checks: { wire: "checks", codec: list(checkViewCodec) },
});

const journalRecordCodec = record<JournalRecord>("JournalRecord", {
  time: { wire: "time", codec: time },
  operation: { wire: "operation" },
  outcome: { wire: "outcome" },
  durationSeconds: { wire: "duration_seconds" },
  pid: { wire: "pid" },
  request: { wire: "request" },
  response: { wire: "response" },
  error: { wire: "error", codec: nullable(errorBodyCodec) },
});

const journalReadResponseCodec = record<JournalReadResponse>("JournalReadResponse", {
  records: { wire: "records", codec: list(journalRecordCodec) },
  damagedLines: { wire: "damaged_lines" },
  unreadableSegments: { wire: "unreadable_segments" },
  more: { wire: "more" },
});

const historySampleCodec = record<HistorySample>("HistorySample", {
  time: { wire: "time", codec: time },
  value: { wire: "value" },
});

const seriesHistoryCodec = record<SeriesHistory>("SeriesHistory", {
  name: { wire: "name" },
  labels: { wire: "labels" },
  min: { wire: "min" },
  max: { wire: "max" },
  avg: { wire: "avg" },
  last: { wire: "last" },
  samples: { wire: "samples", codec: list(historySampleCodec) },
});

const historyKeptCodec = record<HistoryKept>("HistoryKept", {
  spanSeconds: { wire: "span_seconds" },
  series: { wire: "series" },
  samples: { wire: "samples" },
  sizeBytes: { wire: "size_bytes" },
  refused: { wire: "refused" },
});

const metricsHistoryResponseCodec = record<MetricsHistoryResponse>("MetricsHistoryResponse", {
  since: { wire: "since", codec: time },
  until: { wire: "until", codec: time },
  series: { wire: "series", codec: list(seriesHistoryCodec) },
  leftOut: { wire: "left_out" },
  kept: { wire: "kept", codec: historyKeptCodec },
});

const metricsRenderResponseCodec = record<MetricsRenderResponse>("MetricsRenderResponse", {
  contentType: { wire: "content_type" },
  body: { wire: "body" },
});

const problemCodec = record<Problem>("Problem", {
  path: { wire: "path", codec: nullable(path) },
  kind: { wire: "kind" },
  message: { wire: "message" },
});

const serviceReportCodec = record<ServiceReport>("ServiceReport", {
  stopped: { wire: "stopped" },
  started: { wire: "started" },
  healthy: { wire: "healthy" },
});

const restoreApplyResponseCodec = record<RestoreApplyResponse>("RestoreApplyResponse", {
  snapshotId: { wire: "snapshot_id" },
  restoredFiles: { wire: "restored_files" },
  into: { wire: "into", codec: path },
  undoId: { wire: "undo_id" },
  restartRequired: { wire: "restart_required" },
  lost: { wire: "lost", codec: list(problemCodec) },
  warnings: { wire: "warnings" },
  service: { wire: "service", codec: serviceReportCodec },
  reached: { wire: "reached", codec: list(reachedStoreCodec) },
});

const restoreDatabaseResponseCodec = record<RestoreDatabaseResponse>("RestoreDatabaseResponse", {
  snapshotId: { wire: "snapshot_id" },
  store: { wire: "store" },
  database: { wire: "database" },
  serverVersion: { wire: "server_version" },
  ok: { wire: "ok" },
  tables: { wire: "tables" },
  rows: { wire: "rows" },
  sequences: { wire: "sequences" },
  objects: { wire: "objects" },
  largeObjects: { wire: "large_objects" },
  extensions: { wire: "extensions" },
  problems: { wire: "problems" },
  notes: { wire: "notes" },
  reached: { wire: "reached", codec: nullable(reachedStoreCodec) },
});

const undoAreaCodec = record<UndoArea>("UndoArea", {
  undoId: { wire: "undo_id" },
  snapshotId: { wire: "snapshot_id" },
  time: { wire: "time", codec: time },
  undoes: { wire: "undoes" },
  paths: { wire: "paths", codec: list(path) },
  files: { wire: "files" },
  sizeBytes: { wire: "size_bytes" },
});

const restoreDiscardResponseCodec = record<RestoreDiscardResponse>("RestoreDiscardResponse", {
  areas: { wire: "areas", codec: list(undoAreaCodec) },
  freedBytes: { wire: "freed_bytes" },
  discarded: { wire: "discarded" },
});

const restoreUnitCodec = record<RestoreUnit>("RestoreUnit", {
  path: { wire: "path", codec: path },
  action: { wire: "action" },
  reason: { wire: "reason" },
  files: { wire: "files" },
  sizeBytes: { wire: "size_bytes" },
  liveBytes: { wire: "live_bytes" },
  carry: { wire: "carry", codec: list(path) },
  mount: { wire: "mount", codec: nullable(path) },
});

const spaceNeedCodec = record<SpaceNeed>("SpaceNeed", {
  folder: { wire: "folder", codec: path },
  neededBytes: { wire: "needed_bytes" },
  freeBytes: { wire: "free_bytes" },
});

const holderCodec = record<Holder>("Holder", {
  path: { wire: "path", codec: path },
  pid: { wire: "pid" },
  program: { wire: "program" },
  onlyLockSeen: { wire: "only_lock_seen" },
});

const storeAtCodec = record<StoreAt>("StoreAt", {
  store: { wire: "store" },
  target: { wire: "target" },
  baseTakenAt: { wire: "base_taken_at", codec: time },
  segments: { wire: "segments" },
  storedBytes: { wire: "stored_bytes" },
  reaches: { wire: "reaches", codec: nullable(time) },
});

const atPlanCodec = record<AtPlan>("AtPlan", {
  at: { wire: "at", codec: time },
  stores: { wire: "stores", codec: list(storeAtCodec) },
});

const restorePlanResponseCodec = record<RestorePlanResponse>("RestorePlanResponse", {
  snapshotId: { wire: "snapshot_id" },
  mode: { wire: "mode" },
  into: { wire: "into", codec: path },
  paths: { wire: "paths", codec: list(path) },
  units: { wire: "units", codec: list(restoreUnitCodec) },
  files: { wire: "files" },
  space: { wire: "space", codec: list(spaceNeedCodec) },
  databases: { wire: "databases", codec: list(path) },
  holders: { wire: "holders", codec: list(holderCodec) },
  canStop: { wire: "can_stop" },
  restartRequired: { wire: "restart_required" },
  blockers: { wire: "blockers" },
  warnings: { wire: "warnings" },
  at: { wire: "at", codec: nullable(atPlanCodec) },
});

const baseCodec = record<Base>("Base", {
  takenAt: { wire: "taken_at", codec: time },
  snapshotId: { wire: "snapshot_id" },
  target: { wire: "target" },
  approximate: { wire: "approximate" },
});

const spanCodec = record<Span>("Span", {
  from: { wire: "from", codec: time },
  until: { wire: "until", codec: time },
});

const gapCodec = record<Gap>("Gap", {
  from: { wire: "from", codec: time },
  until: { wire: "until", codec: nullable(time) },
  reason: { wire: "reason" },
});

const storeTimelineCodec = record<StoreTimeline>("StoreTimeline", {
  store: { wire: "store" },
  bases: { wire: "bases", codec: list(baseCodec) },
  coverage: { wire: "coverage", codec: list(spanCodec) },
  gaps: { wire: "gaps", codec: list(gapCodec) },
  segments: { wire: "segments" },
  storedBytes: { wire: "stored_bytes" },
});

const restorePointsResponseCodec = record<RestorePointsResponse>("RestorePointsResponse", {
  stores: { wire: "stores", codec: list(storeTimelineCodec) },
  failed: { wire: "failed", codec: list(failedTargetCodec) },
});

const swapSessionCodec = record<SwapSession>("SwapSession", {
  database: { wire: "database" },
  applicationName: { wire: "application_name" },
  user: { wire: "user" },
  address: { wire: "address" },
  sessions: { wire: "sessions" },
});

const restoreSwapResponseCodec = record<RestoreSwapResponse>("RestoreSwapResponse", {
  store: { wire: "store" },
  live: { wire: "live" },
  comesIn: { wire: "comes_in" },
  goesOut: { wire: "goes_out" },
  dropped: { wire: "dropped" },
  done: { wire: "done" },
  sessions: { wire: "sessions", codec: list(swapSessionCodec) },
  obstacles: { wire: "obstacles" },
  carried: { wire: "carried" },
  notes: { wire: "notes" },
});

const restoreSwapDiscardResponseCodec = record<RestoreSwapDiscardResponse>("RestoreSwapDiscardResponse", {
  store: { wire: "store" },
  live: { wire: "live" },
  comesIn: { wire: "comes_in" },
  goesOut: { wire: "goes_out" },
  dropped: { wire: "dropped" },
  done: { wire: "done" },
  sessions: { wire: "sessions", codec: list(swapSessionCodec) },
  obstacles: { wire: "obstacles" },
  carried: { wire: "carried" },
  notes: { wire: "notes" },
});

const restoreSwapUndoResponseCodec = record<RestoreSwapUndoResponse>("RestoreSwapUndoResponse", {
  store: { wire: "store" },
  live: { wire: "live" },
  comesIn: { wire: "comes_in" },
  goesOut: { wire: "goes_out" },
  dropped: { wire: "dropped" },
  done: { wire: "done" },
  sessions: { wire: "sessions", codec: list(swapSessionCodec) },
  obstacles: { wire: "obstacles" },
  carried: { wire: "carried" },
  notes: { wire: "notes" },
});

const undoPlanCodec = record<UndoPlan>("UndoPlan", {
  area: { wire: "area", codec: undoAreaCodec },
  databases: { wire: "databases", codec: list(path) },
  holders: { wire: "holders", codec: list(holderCodec) },
  canStop: { wire: "can_stop" },
  restartRequired: { wire: "restart_required" },
});

const restoreUndoResponseCodec = record<RestoreUndoResponse>("RestoreUndoResponse", {
  snapshotId: { wire: "snapshot_id" },
  restoredFiles: { wire: "restored_files" },
  into: { wire: "into", codec: path },
  undoId: { wire: "undo_id" },
  restartRequired: { wire: "restart_required" },
  lost: { wire: "lost", codec: list(problemCodec) },
  warnings: { wire: "warnings" },
  service: { wire: "service", codec: serviceReportCodec },
  reached: { wire: "reached", codec: list(reachedStoreCodec) },
  plan: { wire: "plan", codec: undoPlanCodec },
  undone: { wire: "undone" },
});

const restoreUndoListResponseCodec = record<RestoreUndoListResponse>("RestoreUndoListResponse", {
  areas: { wire: "areas", codec: list(undoAreaCodec) },
});

const runningJobCodec = record<RunningJob>("RunningJob", {
  since: { wire: "since", codec: time },
  why: { wire: "why" },
  pid: { wire: "pid" },
});

const lastRunCodec = record<LastRun>("LastRun", {
  startedAt: { wire: "started_at", codec: time },
  durationSeconds: { wire: "duration_seconds" },
  why: { wire: "why" },
  scheduledFor: { wire: "scheduled_for", codec: nullable(time) },
  outcome: { wire: "outcome" },
  error: { wire: "error", codec: nullable(errorBodyCodec) },
  pingError: { wire: "ping_error" },
});

const knownJobCodec = record<KnownJob>("KnownJob", {
  name: { wire: "name" },
  operation: { wire: "operation" },
  schedule: { wire: "schedule" },
  timezone: { wire: "timezone" },
  words: { wire: "words" },
  after: { wire: "after" },
  enabled: { wire: "enabled" },
  nextRunAt: { wire: "next_run_at", codec: nullable(time) },
  running: { wire: "running", codec: nullable(runningJobCodec) },
  lastRun: { wire: "last_run", codec: nullable(lastRunCodec) },
  lastSuccessAt: { wire: "last_success_at", codec: nullable(time) },
  overdueSeconds: { wire: "overdue_seconds" },
});

const leaderCodec = record<Leader>("Leader", {
  pid: { wire: "pid" },
  since: { wire: "since", codec: time },
  isThisProcess: { wire: "is_this_process" },
});

const scheduleListResponseCodec = record<ScheduleListResponse>("ScheduleListResponse", {
  jobs: { wire: "jobs", codec: list(knownJobCodec) },
  leader: { wire: "leader", codec: nullable(leaderCodec) },
  role: { wire: "role" },
  trouble: { wire: "trouble", codec: nullable(errorBodyCodec) },
});

const runReportCodec = record<RunReport>("RunReport", {
  job: { wire: "job" },
  operation: { wire: "operation" },
  why: { wire: "why" },
  scheduledFor: { wire: "scheduled_for", codec: nullable(time) },
  startedAt: { wire: "started_at", codec: time },
  durationSeconds: { wire: "duration_seconds" },
  outcome: { wire: "outcome" },
  response: { wire: "response" },
  error: { wire: "error", codec: nullable(errorBodyCodec) },
  pingError: { wire: "ping_error" },
});

const scheduleRunResponseCodec = record<ScheduleRunResponse>("ScheduleRunResponse", {
  job: { wire: "job" },
  operation: { wire: "operation" },
  why: { wire: "why" },
  scheduledFor: { wire: "scheduled_for", codec: nullable(time) },
  startedAt: { wire: "started_at", codec: time },
  durationSeconds: { wire: "duration_seconds" },
  outcome: { wire: "outcome" },
  response: { wire: "response" },
  error: { wire: "error", codec: nullable(errorBodyCodec) },
  pingError: { wire: "ping_error" },
  then: { wire: "then", codec: list(runReportCodec) },
});

const serviceFactsCodec = record<ServiceFacts>("ServiceFacts", {
  name: { wire: "name" },
  version: { wire: "version" },
});

const listenerViewCodec = record<ListenerView>("ListenerView", {
  address: { wire: "address" },
  state: { wire: "state" },
  pid: { wire: "pid" },
  message: { wire: "message" },
});

const statusResponseCodec = record<StatusResponse>("StatusResponse", {
  time: { wire: "time", codec: time },
  pid: { wire: "pid" },
  uptimeSeconds: { wire: "uptime_seconds" },
  mode: { wire: "mode" },
  service: { wire: "service", codec: serviceFactsCodec },
  version: { wire: "version" },
  protocolVersion: { wire: "protocol_version" },
  features: { wire: "features" },
  root: { wire: "root", codec: path },
  state: { wire: "state", codec: path },
  workers: { wire: "workers" },
  listener: { wire: "listener", codec: nullable(listenerViewCodec) },
  socket: { wire: "socket", codec: nullable(listenerViewCodec) },
});

const storeStatusCodec = record<StoreStatus>("StoreStatus", {
  name: { wire: "name" },
  kind: { wire: "kind" },
  ok: { wire: "ok" },
  error: { wire: "error", codec: nullable(errorBodyCodec) },
  details: { wire: "details", absent: () => ({}) },
  logBytes: { wire: "log_bytes", absent: () => null },
  sizeBytes: { wire: "size_bytes", absent: () => null },
});

const storeStatsResponseCodec = record<StoreStatsResponse>("StoreStatsResponse", {
  stores: { wire: "stores", codec: list(storeStatusCodec) },
});

const storeVerdictCodec = record<StoreVerdict>("StoreVerdict", {
  name: { wire: "name" },
  kind: { wire: "kind" },
  ok: { wire: "ok" },
  problems: { wire: "problems" },
  error: { wire: "error", codec: nullable(errorBodyCodec) },
});

const storeVerifyResponseCodec = record<StoreVerifyResponse>("StoreVerifyResponse", {
  stores: { wire: "stores", codec: list(storeVerdictCodec) },
});

/** How a report of progress crosses. */
export const progressCodec = record<Progress>("Progress", {
  stage: { wire: "stage" },
  doneBytes: { wire: "done_bytes" },
  doneFiles: { wire: "done_files" },
  totalBytes: { wire: "total_bytes", absent: () => null },
  totalFiles: { wire: "total_files", absent: () => null },
  uninterruptible: { wire: "uninterruptible", absent: () => false },
});

const backupBisectRequestCodec = record<BackupBisectRequest>("BackupBisectRequest", {
  check: { wire: "check" },
  identityFile: { wire: "identity_file", codec: nullable(path) },
  query: { wire: "query" },
  store: { wire: "store" },
  target: { wire: "target" },
});

const backupCollectRequestCodec = record<BackupCollectRequest>("BackupCollectRequest", {
  acceptMissing: { wire: "accept_missing" },
  dryRun: { wire: "dry_run" },
  target: { wire: "target" },
});

const backupCopyRequestCodec = record<BackupCopyRequest>("BackupCopyRequest", {
  snapshotId: { wire: "snapshot_id" },
  to: { wire: "to" },
  from: { wire: "from" },
  identityFile: { wire: "identity_file", codec: nullable(path) },
});

const backupCreateRequestCodec = record<BackupCreateRequest>("BackupCreateRequest", {
  anew: { wire: "anew" },
  label: { wire: "label" },
  layout: { wire: "layout" },
  tags: { wire: "tags" },
  target: { wire: "target" },
});

const backupDeleteRequestCodec = record<BackupDeleteRequest>("BackupDeleteRequest", {
  snapshotId: { wire: "snapshot_id" },
  dryRun: { wire: "dry_run" },
  force: { wire: "force" },
  target: { wire: "target" },
});

const backupDrillRequestCodec = record<BackupDrillRequest>("BackupDrillRequest", {
  at: { wire: "at", codec: nullable(time) },
  checks: { wire: "checks" },
  identityFile: { wire: "identity_file", codec: nullable(path) },
  into: { wire: "into", codec: nullable(path) },
  snapshotId: { wire: "snapshot_id" },
  target: { wire: "target" },
});

const backupExportRequestCodec = record<BackupExportRequest>("BackupExportRequest", {
  snapshotId: { wire: "snapshot_id" },
  output: { wire: "output", codec: path },
  identityFile: { wire: "identity_file", codec: nullable(path) },
  target: { wire: "target" },
});

const backupHoldRequestCodec = record<BackupHoldRequest>("BackupHoldRequest", {
  snapshotId: { wire: "snapshot_id" },
  reason: { wire: "reason" },
  by: { wire: "by" },
  target: { wire: "target" },
});

const backupImportRequestCodec = record<BackupImportRequest>("BackupImportRequest", {
  path: { wire: "path", codec: path },
  label: { wire: "label" },
  layout: { wire: "layout" },
  target: { wire: "target" },
});

const backupKeysAdoptRequestCodec = record<BackupKeysAdoptRequest>("BackupKeysAdoptRequest", {
  identityFile: { wire: "identity_file", codec: nullable(path) },
  target: { wire: "target" },
});

const backupKeysCheckRequestCodec = record<BackupKeysCheckRequest>("BackupKeysCheckRequest", {
  identityFile: { wire: "identity_file", codec: nullable(path) },
  target: { wire: "target" },
});

const backupKeysInitRequestCodec = record<BackupKeysInitRequest>("BackupKeysInitRequest", {
  anew: { wire: "anew" },
  identityFile: { wire: "identity_file", codec: nullable(path) },
});

const backupKeysListRequestCodec = record<BackupKeysListRequest>("BackupKeysListRequest", {
  target: { wire: "target" },
});

const backupKeysRewrapRequestCodec = record<BackupKeysRewrapRequest>("BackupKeysRewrapRequest", {
  dryRun: { wire: "dry_run" },
  identityFile: { wire: "identity_file", codec: nullable(path) },
  passphrase: { wire: "passphrase" },
  proofFile: { wire: "proof_file", codec: nullable(path) },
  unproven: { wire: "unproven" },
});

const backupKeysRotateRequestCodec = record<BackupKeysRotateRequest>("BackupKeysRotateRequest", {
  identityFile: { wire: "identity_file", codec: nullable(path) },
});

const backupListRequestCodec = record<BackupListRequest>("BackupListRequest", {
  identityFile: { wire: "identity_file", codec: nullable(path) },
  target: { wire: "target" },
});

const backupReleaseRequestCodec = record<BackupReleaseRequest>("BackupReleaseRequest", {
  snapshotId: { wire: "snapshot_id" },
  target: { wire: "target" },
});

const backupRetainRequestCodec = record<BackupRetainRequest>("BackupRetainRequest", {
  dryRun: { wire: "dry_run" },
  target: { wire: "target" },
});

const backupSampleRequestCodec = record<BackupSampleRequest>("BackupSampleRequest", {
  maxBytes: { wire: "max_bytes" },
  target: { wire: "target" },
});

const backupShowRequestCodec = record<BackupShowRequest>("BackupShowRequest", {
  snapshotId: { wire: "snapshot_id" },
  identityFile: { wire: "identity_file", codec: nullable(path) },
  target: { wire: "target" },
});

const backupVerifyRequestCodec = record<BackupVerifyRequest>("BackupVerifyRequest", {
  snapshotId: { wire: "snapshot_id" },
  depth: { wire: "depth" },
  identityFile: { wire: "identity_file", codec: nullable(path) },
  target: { wire: "target" },
});

const configCheckRequestCodec = record<ConfigCheckRequest>("ConfigCheckRequest", {});

const configInitRequestCodec = record<ConfigInitRequest>("ConfigInitRequest", {
  dryRun: { wire: "dry_run" },
  force: { wire: "force" },
});

const configShowRequestCodec = record<ConfigShowRequest>("ConfigShowRequest", {});

const continuousCompactRequestCodec = record<ContinuousCompactRequest>("ContinuousCompactRequest", {
  dryRun: { wire: "dry_run" },
  store: { wire: "store" },
  target: { wire: "target" },
});

const continuousStartRequestCodec = record<ContinuousStartRequest>("ContinuousStartRequest", {
  store: { wire: "store" },
});

const continuousStatusRequestCodec = record<ContinuousStatusRequest>("ContinuousStatusRequest", {
  store: { wire: "store" },
});

const continuousStopRequestCodec = record<ContinuousStopRequest>("ContinuousStopRequest", {
  store: { wire: "store" },
});

const generateAlertsRequestCodec = record<GenerateAlertsRequest>("GenerateAlertsRequest", {
  force: { wire: "force" },
  write: { wire: "write" },
});

const generateGrafanaRequestCodec = record<GenerateGrafanaRequest>("GenerateGrafanaRequest", {
  force: { wire: "force" },
  write: { wire: "write" },
});

const generatePrometheusRequestCodec = record<GeneratePrometheusRequest>("GeneratePrometheusRequest", {
  alertmanager: { wire: "alertmanager" },
  force: { wire: "force" },
  target: { wire: "target" },
  write: { wire: "write" },
});

const healthCheckRequestCodec = record<HealthCheckRequest>("HealthCheckRequest", {
  critical: { wire: "critical" },
  group: { wire: "group" },
});

const healthHistoryRequestCodec = record<HealthHistoryRequest>("HealthHistoryRequest", {
  changes: { wire: "changes" },
  check: { wire: "check" },
  hours: { wire: "hours" },
});

const healthStateRequestCodec = record<HealthStateRequest>("HealthStateRequest", {
  critical: { wire: "critical" },
  group: { wire: "group" },
});

const journalReadRequestCodec = record<JournalReadRequest>("JournalReadRequest", {
  limit: { wire: "limit" },
  operation: { wire: "operation" },
  since: { wire: "since", codec: nullable(time) },
});

const metricsHistoryRequestCodec = record<MetricsHistoryRequest>("MetricsHistoryRequest", {
  function: { wire: "function" },
  labels: { wire: "labels" },
  limit: { wire: "limit" },
  metric: { wire: "metric" },
  rangeSeconds: { wire: "range_seconds" },
  stepSeconds: { wire: "step_seconds" },
  until: { wire: "until", codec: nullable(time) },
  windowSeconds: { wire: "window_seconds" },
});

const metricsRenderRequestCodec = record<MetricsRenderRequest>("MetricsRenderRequest", {
  format: { wire: "format" },
});

const restoreApplyRequestCodec = record<RestoreApplyRequest>("RestoreApplyRequest", {
  at: { wire: "at", codec: nullable(time) },
  identityFile: { wire: "identity_file", codec: nullable(path) },
  into: { wire: "into", codec: nullable(path) },
  paths: { wire: "paths", codec: nullable(list(path)) },
  salvage: { wire: "salvage" },
  snapshotId: { wire: "snapshot_id" },
  target: { wire: "target" },
});

const restoreDatabaseRequestCodec = record<RestoreDatabaseRequest>("RestoreDatabaseRequest", {
  database: { wire: "database" },
  at: { wire: "at", codec: nullable(time) },
  identityFile: { wire: "identity_file", codec: nullable(path) },
  place: { wire: "place" },
  snapshotId: { wire: "snapshot_id" },
  store: { wire: "store" },
  target: { wire: "target" },
});

const restoreDiscardRequestCodec = record<RestoreDiscardRequest>("RestoreDiscardRequest", {
  undoIds: { wire: "undo_ids" },
  dryRun: { wire: "dry_run" },
});

const restorePlanRequestCodec = record<RestorePlanRequest>("RestorePlanRequest", {
  at: { wire: "at", codec: nullable(time) },
  identityFile: { wire: "identity_file", codec: nullable(path) },
  into: { wire: "into", codec: nullable(path) },
  paths: { wire: "paths", codec: nullable(list(path)) },
  salvage: { wire: "salvage" },
  snapshotId: { wire: "snapshot_id" },
  target: { wire: "target" },
});

const restorePointsRequestCodec = record<RestorePointsRequest>("RestorePointsRequest", {
  identityFile: { wire: "identity_file", codec: nullable(path) },
  store: { wire: "store" },
  target: { wire: "target" },
});

const restoreSwapRequestCodec = record<RestoreSwapRequest>("RestoreSwapRequest", {
  database: { wire: "database" },
  drain: { wire: "drain" },
  drainSeconds: { wire: "drain_seconds" },
  dryRun: { wire: "dry_run" },
  store: { wire: "store" },
});

const restoreSwapDiscardRequestCodec = record<RestoreSwapDiscardRequest>("RestoreSwapDiscardRequest", {
  drain: { wire: "drain" },
  drainSeconds: { wire: "drain_seconds" },
  dryRun: { wire: "dry_run" },
  store: { wire: "store" },
});

const restoreSwapUndoRequestCodec = record<RestoreSwapUndoRequest>("RestoreSwapUndoRequest", {
  drain: { wire: "drain" },
  drainSeconds: { wire: "drain_seconds" },
  dryRun: { wire: "dry_run" },
  store: { wire: "store" },
});

const restoreUndoRequestCodec = record<RestoreUndoRequest>("RestoreUndoRequest", {
  undoId: { wire: "undo_id" },
  dryRun: { wire: "dry_run" },
});

const restoreUndoListRequestCodec = record<RestoreUndoListRequest>("RestoreUndoListRequest", {});

const scheduleListRequestCodec = record<ScheduleListRequest>("ScheduleListRequest", {});

const scheduleRunRequestCodec = record<ScheduleRunRequest>("ScheduleRunRequest", {
  job: { wire: "job" },
});

const statusRequestCodec = record<StatusRequest>("StatusRequest", {});

const storeStatsRequestCodec = record<StoreStatsRequest>("StoreStatsRequest", {
  store: { wire: "store" },
});

const storeVerifyRequestCodec = record<StoreVerifyRequest>("StoreVerifyRequest", {
  depth: { wire: "depth" },
  store: { wire: "store" },
});

const backupBisectOperation = operation("backup.bisect", backupBisectRequestCodec, backupBisectResponseCodec);
const backupCollectOperation = operation("backup.collect", backupCollectRequestCodec, backupCollectResponseCodec);
const backupCopyOperation = operation("backup.copy", backupCopyRequestCodec, backupCopyResponseCodec);
const backupCreateOperation = operation("backup.create", backupCreateRequestCodec, backupCreateResponseCodec);
const backupDeleteOperation = operation("backup.delete", backupDeleteRequestCodec, backupDeleteResponseCodec);
const backupDrillOperation = operation("backup.drill", backupDrillRequestCodec, backupDrillResponseCodec);
const backupExportOperation = operation("backup.export", backupExportRequestCodec, backupExportResponseCodec);
const backupHoldOperation = operation("backup.hold", backupHoldRequestCodec, backupHoldResponseCodec);
const backupImportOperation = operation("backup.import", backupImportRequestCodec, backupImportResponseCodec);
const backupKeysAdoptOperation = operation("backup.keys_adopt", backupKeysAdoptRequestCodec, backupKeysAdoptResponseCodec);
const backupKeysCheckOperation = operation("backup.keys_check", backupKeysCheckRequestCodec, backupKeysCheckResponseCodec);
const backupKeysInitOperation = operation("backup.keys_init", backupKeysInitRequestCodec, backupKeysInitResponseCodec);
const backupKeysListOperation = operation("backup.keys_list", backupKeysListRequestCodec, backupKeysListResponseCodec);
const backupKeysRewrapOperation = operation("backup.keys_rewrap", backupKeysRewrapRequestCodec, backupKeysRewrapResponseCodec);
const backupKeysRotateOperation = operation("backup.keys_rotate", backupKeysRotateRequestCodec, backupKeysRotateResponseCodec);
const backupListOperation = operation("backup.list", backupListRequestCodec, backupListResponseCodec);
const backupReleaseOperation = operation("backup.release", backupReleaseRequestCodec, backupReleaseResponseCodec);
const backupRetainOperation = operation("backup.retain", backupRetainRequestCodec, backupRetainResponseCodec);
const backupSampleOperation = operation("backup.sample", backupSampleRequestCodec, backupSampleResponseCodec);
const backupShowOperation = operation("backup.show", backupShowRequestCodec, backupShowResponseCodec);
const backupVerifyOperation = operation("backup.verify", backupVerifyRequestCodec, backupVerifyResponseCodec);
const configCheckOperation = operation("config.check", configCheckRequestCodec, configCheckResponseCodec);
const configInitOperation = operation("config.init", configInitRequestCodec, configInitResponseCodec);
const configShowOperation = operation("config.show", configShowRequestCodec, configShowResponseCodec);
const continuousCompactOperation = operation("continuous.compact", continuousCompactRequestCodec, continuousCompactResponseCodec);
const continuousStartOperation = operation("continuous.start", continuousStartRequestCodec, continuousStartResponseCodec);
const continuousStatusOperation = operation("continuous.status", continuousStatusRequestCodec, continuousStatusResponseCodec);
const continuousStopOperation = operation("continuous.stop", continuousStopRequestCodec, continuousStopResponseCodec);
const generateAlertsOperation = operation("generate.alerts", generateAlertsRequestCodec, generateAlertsResponseCodec);
const generateGrafanaOperation = operation("generate.grafana", generateGrafanaRequestCodec, generateGrafanaResponseCodec);
const generatePrometheusOperation = operation("generate.prometheus", generatePrometheusRequestCodec, generatePrometheusResponseCodec);
const healthCheckOperation = operation("health.check", healthCheckRequestCodec, healthCheckResponseCodec);
const healthHistoryOperation = operation("health.history", healthHistoryRequestCodec, healthHistoryResponseCodec);
const healthStateOperation = operation("health.state", healthStateRequestCodec, healthStateResponseCodec);
const journalReadOperation = operation("journal.read", journalReadRequestCodec, journalReadResponseCodec);
const metricsHistoryOperation = operation("metrics.history", metricsHistoryRequestCodec, metricsHistoryResponseCodec);
const metricsRenderOperation = operation("metrics.render", metricsRenderRequestCodec, metricsRenderResponseCodec);
const restoreApplyOperation = operation("restore.apply", restoreApplyRequestCodec, restoreApplyResponseCodec);
const restoreDatabaseOperation = operation("restore.database", restoreDatabaseRequestCodec, restoreDatabaseResponseCodec);
const restoreDiscardOperation = operation("restore.discard", restoreDiscardRequestCodec, restoreDiscardResponseCodec);
const restorePlanOperation = operation("restore.plan", restorePlanRequestCodec, restorePlanResponseCodec);
const restorePointsOperation = operation("restore.points", restorePointsRequestCodec, restorePointsResponseCodec);
const restoreSwapOperation = operation("restore.swap", restoreSwapRequestCodec, restoreSwapResponseCodec);
const restoreSwapDiscardOperation = operation("restore.swap_discard", restoreSwapDiscardRequestCodec, restoreSwapDiscardResponseCodec);
const restoreSwapUndoOperation = operation("restore.swap_undo", restoreSwapUndoRequestCodec, restoreSwapUndoResponseCodec);
const restoreUndoOperation = operation("restore.undo", restoreUndoRequestCodec, restoreUndoResponseCodec);
const restoreUndoListOperation = operation("restore.undo_list", restoreUndoListRequestCodec, restoreUndoListResponseCodec);
const scheduleListOperation = operation("schedule.list", scheduleListRequestCodec, scheduleListResponseCodec);
const scheduleRunOperation = operation("schedule.run", scheduleRunRequestCodec, scheduleRunResponseCodec);
const statusOperation = operation("status", statusRequestCodec, statusResponseCodec);
const storeStatsOperation = operation("store.stats", storeStatsRequestCodec, storeStatsResponseCodec);
const storeVerifyOperation = operation("store.verify", storeVerifyRequestCodec, storeVerifyResponseCodec);

/** How each operation crosses, by its name: for whoever speaks the wire, over HTTP or with the command line. */
export const operations = {
  "backup.bisect": backupBisectOperation,
  "backup.collect": backupCollectOperation,
  "backup.copy": backupCopyOperation,
  "backup.create": backupCreateOperation,
  "backup.delete": backupDeleteOperation,
  "backup.drill": backupDrillOperation,
  "backup.export": backupExportOperation,
  "backup.hold": backupHoldOperation,
  "backup.import": backupImportOperation,
  "backup.keys_adopt": backupKeysAdoptOperation,
  "backup.keys_check": backupKeysCheckOperation,
  "backup.keys_init": backupKeysInitOperation,
  "backup.keys_list": backupKeysListOperation,
  "backup.keys_rewrap": backupKeysRewrapOperation,
  "backup.keys_rotate": backupKeysRotateOperation,
  "backup.list": backupListOperation,
  "backup.release": backupReleaseOperation,
  "backup.retain": backupRetainOperation,
  "backup.sample": backupSampleOperation,
  "backup.show": backupShowOperation,
  "backup.verify": backupVerifyOperation,
  "config.check": configCheckOperation,
  "config.init": configInitOperation,
  "config.show": configShowOperation,
  "continuous.compact": continuousCompactOperation,
  "continuous.start": continuousStartOperation,
  "continuous.status": continuousStatusOperation,
  "continuous.stop": continuousStopOperation,
  "generate.alerts": generateAlertsOperation,
  "generate.grafana": generateGrafanaOperation,
  "generate.prometheus": generatePrometheusOperation,
  "health.check": healthCheckOperation,
  "health.history": healthHistoryOperation,
  "health.state": healthStateOperation,
  "journal.read": journalReadOperation,
  "metrics.history": metricsHistoryOperation,
  "metrics.render": metricsRenderOperation,
  "restore.apply": restoreApplyOperation,
  "restore.database": restoreDatabaseOperation,
  "restore.discard": restoreDiscardOperation,
  "restore.plan": restorePlanOperation,
  "restore.points": restorePointsOperation,
  "restore.swap": restoreSwapOperation,
  "restore.swap_discard": restoreSwapDiscardOperation,
  "restore.swap_undo": restoreSwapUndoOperation,
  "restore.undo": restoreUndoOperation,
  "restore.undo_list": restoreUndoListOperation,
  "schedule.list": scheduleListOperation,
  "schedule.run": scheduleRunOperation,
  "status": statusOperation,
  "store.stats": storeStatsOperation,
  "store.verify": storeVerifyOperation,
} as const;

/** The operations `backup.*`. */
export class BackupGroup {
  readonly #owner: Operations;

  /**
   * Made by its owner.
   *
   * @internal
   */
  constructor(owner: Operations) {
    this.#owner = owner;
  }

  /**
   * Find the last snapshot for which a check still holds. Changes nothing.
   *
   * @param request - What to look for.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  bisect(request: BackupBisectRequest, options?: CallOptions): Promise<BackupBisectResponse> {
    return this.#owner._call("backup.bisect", request, options, backupBisectOperation);
  }

  /**
   * Free what no snapshot of a repository needs, while backups go on. Deletes or replaces something.
   *
   * @param request - Where to collect.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  collect(request: BackupCollectRequest = {}, options?: CallOptions): Promise<BackupCollectResponse> {
    return this.#owner._call("backup.collect", request, options, backupCollectOperation);
  }

  /**
   * Copy a snapshot to another target: verified, sent, and read back there. Adds something.
   *
   * @param request - What to copy, and where to.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  copy(request: BackupCopyRequest, options?: CallOptions): Promise<BackupCopyResponse> {
    return this.#owner._call("backup.copy", request, options, backupCopyOperation);
  }

  /**
   * Back the service up while it runs: databases consistent, read back, then visible. Adds something.
   *
   * @param request - What to back up, and where to.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  create(request: BackupCreateRequest = {}, options?: CallOptions): Promise<BackupCreateResponse> {
    return this.#owner._call("backup.create", request, options, backupCreateOperation);
  }

  /**
   * Delete a snapshot, unless it is the last good one. Deletes or replaces something.
   *
   * @param request - What to delete.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  delete(request: BackupDeleteRequest, options?: CallOptions): Promise<BackupDeleteResponse> {
    return this.#owner._call("backup.delete", request, options, backupDeleteOperation);
  }

  /**
   * Rehearse a restore: restore into scratch, test the copy, say how long recovery takes. Changes nothing.
   *
   * @param request - What to rehearse.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  drill(request: BackupDrillRequest = {}, options?: CallOptions): Promise<BackupDrillResponse> {
    return this.#owner._call("backup.drill", request, options, backupDrillOperation);
  }

  /**
   * Write a snapshot as a standard .tar.zst, read back before it appears. Adds something.
   *
   * @param request - What to export, and where to.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  export(request: BackupExportRequest, options?: CallOptions): Promise<BackupExportResponse> {
    return this.#owner._call("backup.export", request, options, backupExportOperation);
  }

  /**
   * Hold a snapshot: nothing deletes it before it is released. Adds something.
   *
   * @param request - Which snapshot to hold, and why.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  hold(request: BackupHoldRequest, options?: CallOptions): Promise<BackupHoldResponse> {
    return this.#owner._call("backup.hold", request, options, backupHoldOperation);
  }

  /**
   * Make a snapshot of an archive in a file, databases recognised and checked. Adds something.
   *
   * @param request - What to import.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  import(request: BackupImportRequest, options?: CallOptions): Promise<BackupImportResponse> {
    return this.#owner._call("backup.import", request, options, backupImportOperation);
  }

  /**
   * Restore what this host keeps of the keys, when it was lost or the host is new. Adds something.
   *
   * @param request - What to restore the host's part of the keys with.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  keysAdopt(request: BackupKeysAdoptRequest = {}, options?: CallOptions): Promise<BackupKeysAdoptResponse> {
    return this.#owner._call("backup.keys_adopt", request, options, backupKeysAdoptOperation);
  }

  /**
   * Prove that an identity opens the newest snapshot. Changes nothing.
   *
   * @param request - What to prove, and with what.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  keysCheck(request: BackupKeysCheckRequest = {}, options?: CallOptions): Promise<BackupKeysCheckResponse> {
    return this.#owner._call("backup.keys_check", request, options, backupKeysCheckOperation);
  }

  /**
   * Make the key that backups are encrypted to, and keep only its public half here. Adds something.
   *
   * @param request - How a key comes to be.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  keysInit(request: BackupKeysInitRequest = {}, options?: CallOptions): Promise<BackupKeysInitResponse> {
    return this.#owner._call("backup.keys_init", request, options, backupKeysInitOperation);
  }

  /**
   * List the keys of encrypted backups, and where they are kept. Changes nothing.
   *
   * @param request - Where to look.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  keysList(request: BackupKeysListRequest = {}, options?: CallOptions): Promise<BackupKeysListResponse> {
    return this.#owner._call("backup.keys_list", request, options, backupKeysListOperation);
  }

  /**
   * Wrap the keys to the recipients that the settings name now. Deletes or replaces something.
   *
   * @param request - How to wrap the keys anew.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  keysRewrap(request: BackupKeysRewrapRequest = {}, options?: CallOptions): Promise<BackupKeysRewrapResponse> {
    return this.#owner._call("backup.keys_rewrap", request, options, backupKeysRewrapOperation);
  }

  /**
   * Start a new key for new backups; the old ones keep theirs. Adds something.
   *
   * @param request - How the next key comes to be.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  keysRotate(request: BackupKeysRotateRequest = {}, options?: CallOptions): Promise<BackupKeysRotateResponse> {
    return this.#owner._call("backup.keys_rotate", request, options, backupKeysRotateOperation);
  }

  /**
   * List the snapshots, newest first. Changes nothing.
   *
   * @param request - Where to look.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  list(request: BackupListRequest = {}, options?: CallOptions): Promise<BackupListResponse> {
    return this.#owner._call("backup.list", request, options, backupListOperation);
  }

  /**
   * End every hold of a snapshot. Deletes or replaces something.
   *
   * @param request - Which snapshot to release.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  release(request: BackupReleaseRequest, options?: CallOptions): Promise<BackupReleaseResponse> {
    return this.#owner._call("backup.release", request, options, backupReleaseOperation);
  }

  /**
   * Delete the snapshots that backup.retention does not keep, never the last good ones. Deletes or replaces something.
   *
   * @param request - Where to delete what the policy does not keep.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  retain(request: BackupRetainRequest = {}, options?: CallOptions): Promise<BackupRetainResponse> {
    return this.#owner._call("backup.retain", request, options, backupRetainOperation);
  }

  /**
   * Read what is due of all backups, so that every stored byte is read within days. Changes nothing.
   *
   * @param request - How much to read.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  sample(request: BackupSampleRequest = {}, options?: CallOptions): Promise<BackupSampleResponse> {
    return this.#owner._call("backup.sample", request, options, backupSampleOperation);
  }

  /**
   * Show what a snapshot says about itself. Changes nothing.
   *
   * @param request - Which snapshot.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  show(request: BackupShowRequest, options?: CallOptions): Promise<BackupShowResponse> {
    return this.#owner._call("backup.show", request, options, backupShowOperation);
  }

  /**
   * Prove that a snapshot can be restored. Changes nothing.
   *
   * @param request - What to verify, and how much of it.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  verify(request: BackupVerifyRequest, options?: CallOptions): Promise<BackupVerifyResponse> {
    return this.#owner._call("backup.verify", request, options, backupVerifyOperation);
  }
}

/** The operations `config.*`. */
export class ConfigGroup {
  readonly #owner: Operations;

  /**
   * Made by its owner.
   *
   * @internal
   */
  constructor(owner: Operations) {
    this.#owner = owner;
  }

  /**
   * Say what is wrong, or probably wrong, with the settings. Changes nothing.
   *
   * @param request - Nothing to ask.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  check(request: ConfigCheckRequest = {}, options?: CallOptions): Promise<ConfigCheckResponse> {
    return this.#owner._call("config.check", request, options, configCheckOperation);
  }

  /**
   * Look at the service's folder and write an ops.toml for it. Adds something.
   *
   * @param request - How to write the file.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  init(request: ConfigInitRequest = {}, options?: CallOptions): Promise<ConfigInitResponse> {
    return this.#owner._call("config.init", request, options, configInitOperation);
  }

  /**
   * Show every setting, and where its value comes from. Changes nothing.
   *
   * @param request - Nothing to ask.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  show(request: ConfigShowRequest = {}, options?: CallOptions): Promise<ConfigShowResponse> {
    return this.#owner._call("config.show", request, options, configShowOperation);
  }
}

/** The operations `continuous.*`. */
export class ContinuousGroup {
  readonly #owner: Operations;

  /**
   * Made by its owner.
   *
   * @internal
   */
  constructor(owner: Operations) {
    this.#owner = owner;
  }

  /**
   * Put small segments together and remove what is too old, as the process that follows does now and then. Deletes or
   * replaces something.
   *
   * @param request - What to put together.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  compact(request: ContinuousCompactRequest = {}, options?: CallOptions): Promise<ContinuousCompactResponse> {
    return this.#owner._call("continuous.compact", request, options, continuousCompactOperation);
  }

  /**
   * Follow stores from now on, also after a restart, whatever the settings say. Adds something.
   *
   * @param request - Which stores.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  start(request: ContinuousStartRequest = {}, options?: CallOptions): Promise<ContinuousStartResponse> {
    return this.#owner._call("continuous.start", request, options, continuousStartOperation);
  }

  /**
   * Say which stores are followed, how far behind what is stored is, and what is missing. Changes nothing.
   *
   * @param request - Which stores.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  status(request: ContinuousStatusRequest = {}, options?: CallOptions): Promise<ContinuousStatusResponse> {
    return this.#owner._call("continuous.status", request, options, continuousStatusOperation);
  }

  /**
   * Follow stores no longer: what was committed until now is stored, and what is stored stays. Adds something.
   *
   * @param request - Which stores.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  stop(request: ContinuousStopRequest = {}, options?: CallOptions): Promise<ContinuousStopResponse> {
    return this.#owner._call("continuous.stop", request, options, continuousStopOperation);
  }
}

/** The operations `generate.*`. */
export class GenerateGroup {
  readonly #owner: Operations;

  /**
   * Made by its owner.
   *
   * @internal
   */
  constructor(owner: Operations) {
    this.#owner = owner;
  }

  /**
   * Write the alert rules of this service for Prometheus, with the tests of them. Adds something.
   *
   * @param request - Where the files go.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  alerts(request: GenerateAlertsRequest = {}, options?: CallOptions): Promise<GenerateAlertsResponse> {
    return this.#owner._call("generate.alerts", request, options, generateAlertsOperation);
  }

  /**
   * Write the dashboard of this service for Grafana. Adds something.
   *
   * @param request - Where the files go.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  grafana(request: GenerateGrafanaRequest = {}, options?: CallOptions): Promise<GenerateGrafanaResponse> {
    return this.#owner._call("generate.grafana", request, options, generateGrafanaOperation);
  }

  /**
   * Write a configuration with which Prometheus scrapes this service and loads its alerts. Adds something.
   *
   * @param request - Where the files go, and what they lead to.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  prometheus(request: GeneratePrometheusRequest = {}, options?: CallOptions): Promise<GeneratePrometheusResponse> {
    return this.#owner._call("generate.prometheus", request, options, generatePrometheusOperation);
  }
}

/** The operations `health.*`. */
export class HealthGroup {
  readonly #owner: Operations;

  /**
   * Made by its owner.
   *
   * @internal
   */
  constructor(owner: Operations) {
    this.#owner = owner;
  }

  /**
   * Run the health checks and add up their verdicts. Changes nothing.
   *
   * @param request - Which checks are meant.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  check(request: HealthCheckRequest = {}, options?: CallOptions): Promise<HealthCheckResponse> {
    return this.#owner._call("health.check", request, options, healthCheckOperation);
  }

  /**
   * Tell how the checks were: uptime, failures, the last changes. Changes nothing.
   *
   * @param request - Of which checks, and how far back.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  history(request: HealthHistoryRequest = {}, options?: CallOptions): Promise<HealthHistoryResponse> {
    return this.#owner._call("health.history", request, options, healthHistoryOperation);
  }

  /**
   * Tell what the checks that run in the background last found, without asking any. Changes nothing.
   *
   * @param request - Which checks are meant.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  state(request: HealthStateRequest = {}, options?: CallOptions): Promise<HealthStateResponse> {
    return this.#owner._call("health.state", request, options, healthStateOperation);
  }
}

/** The operations `journal.*`. */
export class JournalGroup {
  readonly #owner: Operations;

  /**
   * Made by its owner.
   *
   * @internal
   */
  constructor(owner: Operations) {
    this.#owner = owner;
  }

  /**
   * Read what was done, newest first. Changes nothing.
   *
   * @param request - Which records to read.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  read(request: JournalReadRequest = {}, options?: CallOptions): Promise<JournalReadResponse> {
    return this.#owner._call("journal.read", request, options, journalReadOperation);
  }
}

/** The operations `metrics.*`. */
export class MetricsGroup {
  readonly #owner: Operations;

  /**
   * Made by its owner.
   *
   * @internal
   */
  constructor(owner: Operations) {
    this.#owner = owner;
  }

  /**
   * Tell what the metrics of this process were lately, or what they add up to. Changes nothing.
   *
   * @param request - Which numbers, of which time.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  history(request: MetricsHistoryRequest = {}, options?: CallOptions): Promise<MetricsHistoryResponse> {
    return this.#owner._call("metrics.history", request, options, metricsHistoryOperation);
  }

  /**
   * Write every metric as Prometheus reads it. Changes nothing.
   *
   * @param request - How to write the numbers.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  render(request: MetricsRenderRequest = {}, options?: CallOptions): Promise<MetricsRenderResponse> {
    return this.#owner._call("metrics.render", request, options, metricsRenderOperation);
  }
}

/** The operations `restore.*`. */
export class RestoreGroup {
  readonly #owner: Operations;

  /**
   * Made by its owner.
   *
   * @internal
   */
  constructor(owner: Operations) {
    this.#owner = owner;
  }

  /**
   * Restore a snapshot, into a folder or in place, verified before anything is replaced. Deletes or replaces something.
   *
   * @param request - What to restore, and where to.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  apply(request: RestoreApplyRequest = {}, options?: CallOptions): Promise<RestoreApplyResponse> {
    return this.#owner._call("restore.apply", request, options, restoreApplyOperation);
  }

  /**
   * Restore a database of a server into a new one beside it, and hold it against the snapshot. Adds something.
   *
   * @param request - Which database to restore, and what to call it.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  database(request: RestoreDatabaseRequest, options?: CallOptions): Promise<RestoreDatabaseResponse> {
    return this.#owner._call("restore.database", request, options, restoreDatabaseOperation);
  }

  /**
   * Remove for good what restores replaced. Deletes or replaces something.
   *
   * @param request - Which undo areas to give up.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  discard(request: RestoreDiscardRequest, options?: CallOptions): Promise<RestoreDiscardResponse> {
    return this.#owner._call("restore.discard", request, options, restoreDiscardOperation);
  }

  /**
   * Say what a restore would do, and change nothing. Changes nothing.
   *
   * @param request - What to restore, and where to.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  plan(request: RestorePlanRequest = {}, options?: CallOptions): Promise<RestorePlanResponse> {
    return this.#owner._call("restore.plan", request, options, restorePlanOperation);
  }

  /**
   * Say which seconds each store can go back to: bases, coverage, and gaps with their reasons. Changes nothing.
   *
   * @param request - What seconds to ask for.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  points(request: RestorePointsRequest = {}, options?: CallOptions): Promise<RestorePointsResponse> {
    return this.#owner._call("restore.points", request, options, restorePointsOperation);
  }

  /**
   * Let a database that was restored beside the live one take its name; the live one is put aside. Deletes or replaces
   * something.
   *
   * @param request - Which database becomes the live one.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  swap(request: RestoreSwapRequest, options?: CallOptions): Promise<RestoreSwapResponse> {
    return this.#owner._call("restore.swap", request, options, restoreSwapOperation);
  }

  /**
   * Drop for good the database that a swap put aside. Deletes or replaces something.
   *
   * @param request - Which swap to take back, or whose old database to drop.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  swapDiscard(request: RestoreSwapDiscardRequest = {}, options?: CallOptions): Promise<RestoreSwapDiscardResponse> {
    return this.#owner._call("restore.swap_discard", request, options, restoreSwapDiscardOperation);
  }

  /**
   * Take a swap of databases back: what was put aside becomes the live one again. Deletes or replaces something.
   *
   * @param request - Which swap to take back, or whose old database to drop.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  swapUndo(request: RestoreSwapUndoRequest = {}, options?: CallOptions): Promise<RestoreSwapUndoResponse> {
    return this.#owner._call("restore.swap_undo", request, options, restoreSwapUndoOperation);
  }

  /**
   * Take a restore back: what it replaced becomes the service again. Deletes or replaces something.
   *
   * @param request - What to take back.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  undo(request: RestoreUndoRequest, options?: CallOptions): Promise<RestoreUndoResponse> {
    return this.#owner._call("restore.undo", request, options, restoreUndoOperation);
  }

  /**
   * List what restores replaced and still keep. Changes nothing.
   *
   * @param request - Nothing to ask.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  undoList(request: RestoreUndoListRequest = {}, options?: CallOptions): Promise<RestoreUndoListResponse> {
    return this.#owner._call("restore.undo_list", request, options, restoreUndoListOperation);
  }
}

/** The operations `schedule.*`. */
export class ScheduleGroup {
  readonly #owner: Operations;

  /**
   * Made by its owner.
   *
   * @internal
   */
  constructor(owner: Operations) {
    this.#owner = owner;
  }

  /**
   * List the jobs: when they run, how the last run went, who runs them. Changes nothing.
   *
   * @param request - Nothing to ask.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  list(request: ScheduleListRequest = {}, options?: CallOptions): Promise<ScheduleListResponse> {
    return this.#owner._call("schedule.list", request, options, scheduleListOperation);
  }

  /**
   * Run a job now, and after its success those that follow it. Adds something.
   *
   * @param request - Which job.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  run(request: ScheduleRunRequest, options?: CallOptions): Promise<ScheduleRunResponse> {
    return this.#owner._call("schedule.run", request, options, scheduleRunOperation);
  }
}

/** The operations `store.*`. */
export class StoreGroup {
  readonly #owner: Operations;

  /**
   * Made by its owner.
   *
   * @internal
   */
  constructor(owner: Operations) {
    this.#owner = owner;
  }

  /**
   * Say how large the databases are and how they are set up. Changes nothing.
   *
   * @param request - Which database to look at.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  stats(request: StoreStatsRequest = {}, options?: CallOptions): Promise<StoreStatsResponse> {
    return this.#owner._call("store.stats", request, options, storeStatsOperation);
  }

  /**
   * Check the integrity of the databases, on copies. Changes nothing.
   *
   * @param request - What to check.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  verify(request: StoreVerifyRequest = {}, options?: CallOptions): Promise<StoreVerifyResponse> {
    return this.#owner._call("store.verify", request, options, storeVerifyOperation);
  }
}

/** The front door to every operation; `Ops` is one. */
export abstract class Operations {
  /**
   * The operations `backup.*`: `bisect`, `collect`, `copy`, `create`, `delete`, `drill`, `export`, `hold`, `import`,
   * `keysAdopt`, `keysCheck`, `keysInit`, `keysList`, `keysRewrap`, `keysRotate`, `list`, `release`, `retain`,
   * `sample`, `show`, `verify`.
   */
  readonly backup: BackupGroup = new BackupGroup(this);
  /** The operations `config.*`: `check`, `init`, `show`. */
  readonly config: ConfigGroup = new ConfigGroup(this);
  /** The operations `continuous.*`: `compact`, `start`, `status`, `stop`. */
  readonly continuous: ContinuousGroup = new ContinuousGroup(this);
  /** The operations `generate.*`: `alerts`, `grafana`, `prometheus`. */
  readonly generate: GenerateGroup = new GenerateGroup(this);
  /** The operations `health.*`: `check`, `history`, `state`. */
  readonly health: HealthGroup = new HealthGroup(this);
  /** The operations `journal.*`: `read`. */
  readonly journal: JournalGroup = new JournalGroup(this);
  /** The operations `metrics.*`: `history`, `render`. */
  readonly metrics: MetricsGroup = new MetricsGroup(this);
  /**
   * The operations `restore.*`: `apply`, `database`, `discard`, `plan`, `points`, `swap`, `swapDiscard`, `swapUndo`,
   * `undo`, `undoList`.
   */
  readonly restore: RestoreGroup = new RestoreGroup(this);
  /** The operations `schedule.*`: `list`, `run`. */
  readonly schedule: ScheduleGroup = new ScheduleGroup(this);
  /** The operations `store.*`: `stats`, `verify`. */
  readonly store: StoreGroup = new StoreGroup(this);

  /**
   * Runs an operation.
   *
   * @internal
   */
  abstract _call<Request, Response>(
    name: string,
    request: Request,
    options: CallOptions | undefined,
    codec: OperationCodec<Request, Response>,
  ): Promise<Response>;

  /**
   * Say what runs here: process, service, build. Changes nothing.
   *
   * @param request - Nothing to ask.
   * @param options - How to stop it, and who is told of its progress.
   * @throws OpsError - What could not be done, and the repair.
   */
  status(request: StatusRequest = {}, options?: CallOptions): Promise<StatusResponse> {
    return this._call("status", request, options, statusOperation);
  }
}
