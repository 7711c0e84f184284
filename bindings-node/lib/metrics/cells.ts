/**
 * The memory in which this thread counts. Chunks lie over `SharedArrayBuffer`s, which never move, and the native half reads
 * them: counting is an addition, and no call.
 */
import { native } from "../native.js";
import type { NativeCells } from "../native.js";

/** The cells of this environment. Its clean-up hook keeps what was counted when the environment ends. */
export const cells: NativeCells = new native.NativeCells();

const CHUNK = cells.chunk;
const chunks = new Map<number, Float64Array>();

/** Where a series counts that is no longer there, or not yet: reading any of its elements gives `undefined`. */
export const NOWHERE = new Float64Array(new SharedArrayBuffer(0));

/** The chunk in which the cell `id` lies. */
export function chunkOf(id: number): Float64Array {
  const number = Math.floor(id / CHUNK);
  let chunk = chunks.get(number);
  if (chunk === undefined) {
    chunk = new Float64Array(new SharedArrayBuffer(CHUNK * Float64Array.BYTES_PER_ELEMENT));
    cells.attach(number, chunk);
    chunks.set(number, chunk);
  }
  return chunk;
}

/** The place of the cell `id` in its chunk. */
export function placeOf(id: number): number {
  return id % CHUNK;
}
