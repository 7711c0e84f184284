/**
 * The public suites: what every implementation of a contract must do, as cases that can be run.
 *
 * @example
 * ```ts
 * import { checkTarget } from "uplifted-ops/testing";
 * import test from "node:test";
 * test("my target keeps the contract", () => checkTarget(() => new MyTarget()));
 * ```
 *
 * @packageDocumentation
 */
import { AssertionError } from "node:assert";
import type { BackupTarget, HealthCheck, MetricsSink, Store } from "./contracts.js";
import { fromNative, natively } from "./errors.js";
import { wrap } from "./host.js";
import { native } from "./native.js";

/** What became of one case. */
export interface CaseOutcome {
  /** The case's name. */
  name: string;
  /** The clause of the contract that it checks. */
  clause: string;
  /** What was wrong, `null` when nothing was. */
  failure: string | null;
}

/** How a suite is run. */
export interface SuiteOptions {
  /** How long a method may take: 10 s when left out, ten times that for work on a whole database. */
  deadlineSeconds?: number;
}

type Awaitable<T> = T | PromiseLike<T>;

/** What the suite of checks may be told beside a way to make one. */
export interface CheckScene {
  /** Makes a check whose question gets no answer, such as that of a server that accepts and is silent. */
  stuck?(): Awaitable<HealthCheck | HealthCheck["check"]>;
  /** Files and folders that the check looks at, and must leave as they are. */
  watched?(): Awaitable<string[]>;
}

/** A sink under test, and how to see what reached the place behind it. */
export interface SinkScene {
  /** The sink. */
  sink(): Awaitable<MetricsSink>;
  /**
   * What the place behind it holds of a series: the last value of a counter or gauge, the count of a histogram; `null`
   * when it never came.
   */
  received(name: string, labels: string[]): Awaitable<number | null>;
  /** How many exports arrived. */
  exports?(): Awaitable<number | null>;
  /** Makes the place behind the sink fail, or work again. */
  setFailing?(failing: boolean): Awaitable<void>;
}

/** A way to make databases, and to look into them. "Rows" are whatever the scene counts. */
export interface StoreScene {
  /** The store over the database in that folder, which may be missing. */
  open(folder: string): Awaitable<Store>;
  /** Commits that many further rows, making the database if need be, and leaves no connection open. */
  commit(folder: string, rows: number): Awaitable<void>;
  /** The rows of the database in that folder. */
  rows(folder: string): Awaitable<number>;
  /** The rows of a copy in that folder, where that is asked in another way. */
  rowsIn?(folder: string): Awaitable<number>;
  /** Spoils the copy in that folder, so that a quick check must notice. */
  damage?(folder: string): Awaitable<void>;
  /** Opens the database in another process. */
  holdOpen?(folder: string): Awaitable<{ release(): Awaitable<void> }>;
}

/**
 * Checks a target. `fresh` makes an empty one for each case.
 *
 * @throws `AssertionError` with every failure.
 */
export async function checkTarget(fresh: () => Awaitable<BackupTarget>, options?: SuiteOptions): Promise<void> {
  assertAll(await targetOutcomes(fresh, options));
}

/** What becomes of each case of {@link checkTarget}, for those who report cases one by one. */
export function targetOutcomes(fresh: () => Awaitable<BackupTarget>, options?: SuiteOptions): Promise<CaseOutcome[]> {
  return run("target", { fresh }, options);
}

/**
 * Checks a health check. `fresh` makes one that answers, with whatever verdict.
 *
 * @throws `AssertionError` with every failure.
 */
export async function checkHealthCheck(
  fresh: () => Awaitable<HealthCheck | HealthCheck["check"]>,
  options?: SuiteOptions & CheckScene,
): Promise<void> {
  assertAll(await healthCheckOutcomes(fresh, options));
}

/** What becomes of each case of {@link checkHealthCheck}. */
export function healthCheckOutcomes(
  fresh: () => Awaitable<HealthCheck | HealthCheck["check"]>,
  options: SuiteOptions & CheckScene = {},
): Promise<CaseOutcome[]> {
  const { stuck, watched } = options;
  const object = (make: () => Awaitable<HealthCheck | HealthCheck["check"]>) => async (): Promise<HealthCheck> => {
    const made = await make();
    return typeof made === "function" ? { check: made } : made;
  };
  return run(
    "check",
    { fresh: object(fresh), ...(stuck && { stuck: object(() => stuck()) }), ...(watched && { watched: () => watched() }) },
    options,
  );
}

/**
 * Checks a sink. `fresh` makes one for each case, with its surroundings.
 *
 * @throws `AssertionError` with every failure.
 */
export async function checkSink(fresh: () => Awaitable<SinkScene>, options?: SuiteOptions): Promise<void> {
  assertAll(await sinkOutcomes(fresh, options));
}

/** What becomes of each case of {@link checkSink}. */
export function sinkOutcomes(fresh: () => Awaitable<SinkScene>, options?: SuiteOptions): Promise<CaseOutcome[]> {
  return run("sink", { fresh }, options);
}

/**
 * Checks a store. Folders are made, compared and removed by the suite.
 *
 * @throws `AssertionError` with every failure.
 */
export async function checkStore(scene: StoreScene, options?: SuiteOptions): Promise<void> {
  assertAll(await storeOutcomes(scene, options));
}

/** What becomes of each case of {@link checkStore}. */
export function storeOutcomes(scene: StoreScene, options?: SuiteOptions): Promise<CaseOutcome[]> {
  return run("store", scene, options);
}

async function run(contract: string, scene: object, options: SuiteOptions = {}): Promise<CaseOutcome[]> {
  const wrapped = wrap(`the scene of the ${contract} suite`, scene);
  try {
    const text = await natively(() => native.runSuite(contract, wrapped, options.deadlineSeconds ?? 10));
    return JSON.parse(text) as CaseOutcome[];
  } catch (thrown) {
    throw fromNative(thrown);
  }
}

function assertAll(outcomes: CaseOutcome[]): void {
  const failures = outcomes.filter((outcome) => outcome.failure !== null);
  if (failures.length === 0) return;
  const lines = failures.map(({ name, clause, failure }) => `${name}: ${failure} (the contract says: ${clause})`);
  throw new AssertionError({
    message: `${failures.length} of ${outcomes.length} cases failed\n${lines.join("\n")}`,
    actual: failures,
    expected: [],
    operator: "checkContract",
    stackStartFn: assertAll,
  });
}
