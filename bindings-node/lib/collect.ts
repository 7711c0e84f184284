/**
 * What is to be called before the metrics are read: the `collect` functions of instruments of this thread. Apart from the
 * instruments, so that an `Ops` need not load them.
 */
const collectors = new Map<object, () => void | PromiseLike<void>>();

/** Adds what belongs to `owner`. */
export function collectWith(owner: object, collect: () => void | PromiseLike<void>): void {
  collectors.set(owner, collect);
}

/** Removes what belongs to `owner`. */
export function forget(owner: object): void {
  collectors.delete(owner);
}

/** Calls all of them. One that throws fails the reading: a stale number must not look like a fresh one. */
export async function collectAll(): Promise<void> {
  if (collectors.size > 0) await Promise.all([...collectors.values()].map(async (collect) => collect()));
}
