// The four contracts, as JavaScript implements them. The clauses are those of the Rust traits; each has a case in
// `uplifted-ops/testing`. Every method may be plain or async, and gets a `CallContext` after its own arguments. A method
// that throws has failed: throw an `OpsError` to say what the caller must do.

import type { CheckDepth } from "./generated.js";

/** What a plugin is told beside the arguments of a method. */
export interface CallContext {
  /** Aborted when the caller no longer wants an answer, and when the deadline has passed: stop, and leave nothing half-done. */
  readonly signal: AbortSignal;
  /** Says how far the work is. A sign of life: the deadline begins anew. */
  progress(event: PluginProgress): void;
}

/** How far a plugin's work has come. */
export interface PluginProgress {
  /** What is being done, as a person would say it. */
  stage: string;
  /** Bytes done in this stage. */
  doneBytes?: number;
  /** Bytes that this stage will do, when known. */
  totalBytes?: number;
}

type Awaitable<T> = T | PromiseLike<T>;

/** Upkeep of a database. */
export type MaintenanceTask = "optimize" | "release_free_pages";

/**
 * A database under our care.
 *
 * - a missing, encrypted or foreign database is refused by name, and nothing is created in its place;
 * - the live database is never checkpointed, vacuumed or otherwise rewritten but by `maintain` and `restoreFrom`;
 * - `signal` is honoured within a second, and nothing is left in `dir`.
 */
export interface Store {
  /** What this store can do. Read once, when it is registered. */
  readonly capability: StoreCapability | (() => StoreCapability);
  /** Sizes of the live database. Cheap: reads no user data. */
  stats(context: CallContext): Awaitable<StoreStats>;
  /** Checks the database's own integrity, on a consistent copy. Damage is a report, not an error. */
  verify(depth: CheckDepth, context: CallContext): Awaitable<Integrity>;
  /**
   * Puts a consistent, self-contained copy into the empty folder `dir` while the service writes. The copy holds
   * everything that was committed before the call.
   */
  snapshotTo(dir: string, context: CallContext): Awaitable<StoreSnapshot>;
  /** Checks a copy made by `snapshotTo`, or restored from a backup, in `dir`. */
  checkCopy(dir: string, depth: CheckDepth, context: CallContext): Awaitable<Integrity>;
  /**
   * Counts the rows of each table of a copy, when `rows` is set, and asks it `queries` in the database's own language.
   * Left out, drills do neither.
   */
  inspectCopy?(dir: string, rows: boolean, queries: string[], context: CallContext): Awaitable<CopyFacts>;
  /** Replaces the database by the copy in `dir`, which stays. Refused while another process has the database open. */
  restoreFrom(dir: string, context: CallContext): Awaitable<void>;
  /** Carries out upkeep. Left out, every task is skipped. */
  maintain?(tasks: MaintenanceTask[], context: CallContext): Awaitable<MaintenanceOutcome[]>;
}

/** What a store can do. */
export interface StoreCapability {
  /** The kind, such as `sqlite`. */
  kind: string;
  /**
   * The live database file, absolute; `null` for a database that is no file of this machine, of which a backup has nothing: it is
   * partial, and names it.
   */
  file: string | null;
  /** The files beside it that are part of the live database and never copied by themselves, absolute. */
  sideFiles?: string[];
  /** The upkeep it knows. */
  maintenance?: MaintenanceTask[];
}

/** A consistent copy in a folder. */
export interface StoreSnapshot {
  /** The copy's files, relative to the folder. The first is the database itself. */
  files: string[];
  /** Their size together. Looked up when left out. */
  sizeBytes?: number | bigint;
  /** Everything committed before this moment is in the copy. The beginning of the call when left out. */
  takenAt?: Date | string;
  /** Facts about the database, by your own names. */
  details?: Record<string, unknown>;
}

/** Sizes of a live database. */
export interface StoreStats {
  /** Bytes of the database, without its log. */
  sizeBytes: number | bigint;
  /** Bytes of its write-ahead log or journal. */
  logBytes?: number | bigint;
  /** Facts about the database, by your own names. */
  details?: Record<string, unknown>;
}

/** What a check of integrity found. */
export interface Integrity {
  /** Whether nothing was wrong. */
  ok: boolean;
  /** What was wrong, in the engine's words. */
  problems?: string[];
}

/** What a copy of a database answers. */
export interface CopyFacts {
  /** How many rows each table has. */
  rows?: { table: string; rows: number | bigint }[];
  /** One answer for each query, in order: whether it holds, and why, without the service's data. */
  answers?: { holds: boolean; message: string }[];
}

/** What became of one task of upkeep. */
export interface MaintenanceOutcome {
  /** The task. */
  task: MaintenanceTask;
  /** Whether it was carried out. */
  done: boolean;
  /** What changed, or why it was skipped. */
  message: string;
}

/**
 * A place where backups go. Keys are `/`-separated names of `A-Z a-z 0-9 . _ -`; a block has at most 8 MiB.
 *
 * - nothing is visible under its key before `put` returns or `finish` returns, and what is visible is whole and
 *   durable;
 * - an upload that is aborted, or whose process is killed, leaves nothing visible;
 * - a missing key is `null` from `get` and from `stat`; deleting it succeeds;
 * - `list` is sorted by key in byte order, and complete when paged with `after`.
 */
export interface BackupTarget {
  /** What this target can do. Read once, when it is registered; the least when left out. */
  readonly capability?: TargetCapability | (() => TargetCapability);
  /**
   * Stores a small object at once. With `ifAbsent` an object that exists is left alone and `false` is returned; of
   * several callers at the same time exactly one gets `true`.
   */
  put(key: string, bytes: Uint8Array, ifAbsent: boolean, context: CallContext): Awaitable<boolean | void>;
  /** Starts an object of any size. `expectedBytes` is a hint. */
  upload(key: string, expectedBytes: number | null, context: CallContext): Awaitable<Upload>;
  /** Reads the bytes from `start` up to `end`: exactly those, fewer only where the object ends; `null` when there is none. */
  get(key: string, start: number, end: number, context: CallContext): Awaitable<Uint8Array | null>;
  /** The objects whose key starts with `prefix` and is greater than `after`, at most 1,000. */
  list(prefix: string, after: string | null, context: CallContext): Awaitable<TargetObject[]>;
  /** Size and time of an object, `null` when there is none. */
  stat(key: string, context: CallContext): Awaitable<TargetObject | null>;
  /** Removes an object for good. */
  delete(key: string, context: CallContext): Awaitable<void>;
  /** Bytes that can still be stored. Left out, or `null`: unknown. */
  freeBytes?(context: CallContext): Awaitable<number | bigint | null>;
}

/** An object being written. */
export interface Upload {
  /** Appends a block. After an error only `abort` is called. */
  write(bytes: Uint8Array, context: CallContext): Awaitable<void>;
  /** Makes what was written durable and reads it back from where it is stored, before it is visible. */
  readBack?(start: number, end: number, context: CallContext): Awaitable<Uint8Array>;
  /** Makes the object visible, durably. Replaces nothing: an object that exists is an `OpsError` of code `refused`. */
  finish(context: CallContext): Awaitable<void>;
  /** Removes what was written. */
  abort(context: CallContext): Awaitable<void>;
}

/** What a target can do. */
export interface TargetCapability {
  /** The kind, such as `fs`. */
  kind?: string;
  /** Where it is, for people: a folder or a URL without secrets. */
  location?: string;
  /** The folder, absolute, for targets that are one on this machine. */
  folder?: string | null;
  /** Whether `put` with `ifAbsent` is atomic between machines. */
  putIfAbsent?: boolean;
  /** Whether an upload can be read back before it becomes visible. */
  readBeforeFinish?: boolean;
}

/** A stored object. */
export interface TargetObject {
  /** Its key. */
  key: string;
  /** Its size. */
  sizeBytes: number | bigint;
  /** When it was last written, by the target's clock. */
  modifiedAt: Date | string;
}

/**
 * One question about the service. It changes nothing, may be called again at once, and gives up when `signal` is
 * aborted. A throw means that the question could not be asked, and counts as a failure.
 */
export interface HealthCheck {
  /** Asks. */
  check(context: CallContext): Awaitable<CheckOutcome>;
}

/** The answer of a check. */
export interface CheckOutcome {
  /** The verdict. */
  status: "pass" | "warn" | "fail";
  /** What was found, as a sentence without a full stop; the repair when the status is not `pass`. */
  message: string;
  /** The number behind it, when there is one. */
  observed?: number | null;
  /** Its unit: `bytes`, `seconds`, `ratio`, …. */
  unit?: string | null;
}

/**
 * Where numbers go, in batches. It is given each snapshot once; an error loses nothing, since the next snapshot holds the
 * same counters; it gives up when `signal` is aborted.
 */
export interface MetricsSink {
  /** Takes a snapshot of every series. */
  export(snapshot: MetricsSnapshot, context: CallContext): Awaitable<void>;
}

/** Every series at one moment. */
export interface MetricsSnapshot {
  /** The families, sorted by name. */
  families: MetricsFamily[];
}

/** One name, and its series. */
export interface MetricsFamily {
  /** The name; of a counter, without `_total`. */
  name: string;
  /** What kind of numbers these are. */
  kind: "counter" | "gauge" | "histogram";
  /** What the numbers mean. */
  help: string;
  /** The unit, in which the name ends. */
  unit: string | null;
  /** The series, sorted by label values. */
  series: MetricsSeries[];
}

/** A family at one set of label values. */
export interface MetricsSeries {
  /** Names and values, in the order that the family declares. */
  labels: [name: string, value: string][];
  /** The number, or the buckets of a histogram. Numbers that JSON does not have are `NaN`, `+Inf` and `-Inf` as text. */
  value:
    | { number: number | "NaN" | "+Inf" | "-Inf" }
    | { distribution: { bounds: number[]; counts: (number | bigint)[]; sum: number | "NaN" | "+Inf" | "-Inf" } };
}

/** Pauses the service's writes for the moment in which a backup copies its databases. */
export interface PauseHook {
  /** Returns when nothing is being written any more, neither to a database nor to a file of the backup. */
  before(context: CallContext): Awaitable<void>;
  /**
   * Lets writing go on. Called whatever became of `before`, also while it still hangs, and then once more: it must do no harm
   * where nothing is paused.
   */
  after(context: CallContext): Awaitable<void>;
}
