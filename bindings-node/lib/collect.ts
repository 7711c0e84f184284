/**
 * What is to be called before the metrics are read: the `collect` functions of instruments of this thread. Apart from the
 * instruments, so that an `Ops` need not load them.
 */
import { native } from "./native.js";
import type { NativeCollecting } from "./native.js";

const collectors = new Map<object, () => void | PromiseLike<void>>();
let asking: NativeCollecting | undefined;

/** Adds what belongs to `owner`. Whoever reads the metrics of the process has it called from now on, on this thread. */
export function collectWith(owner: object, collect: () => void | PromiseLike<void>): void {
  collectors.set(owner, collect);
  asking ??= new native.NativeCollecting(answer);
}

/** Removes what belongs to `owner`. */
export function forget(owner: object): void {
  collectors.delete(owner);
}

/** Calls all of them. One that throws fails the reading: a stale number must not look like a fresh one. */
export async function collectAll(): Promise<void> {
  if (collectors.size === 0) return;
  await run();
  asking?.collected();
}

async function run(): Promise<void> {
  await Promise.all([...collectors.values()].map(async (collect) => collect()));
}

/** Answers the native half. Nothing is thrown: nobody would catch it. */
function answer(call: number): void {
  run().then(
    () => asking?.answer(call),
    (thrown: unknown) => asking?.answer(call, thrown instanceof Error ? String(thrown.message) : "no error, but something else"),
  );
}
