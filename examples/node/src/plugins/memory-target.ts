// A backup target in memory: the whole contract in one file.
//
//     const ops = await Ops.create({ root: "/opt/uplifted", targets: { memory: new MemoryTarget() } });
//
// It stands for an object store: put the calls of yours in place of the map, and make the methods async. Backups that end
// with the process are of use in tests.
import { OpsError } from "uplifted-ops";
import type { BackupTarget, TargetObject, Upload } from "uplifted-ops";

interface Kept {
  bytes: Uint8Array;
  modifiedAt: Date;
}

/** Objects in a map. */
export class MemoryTarget implements BackupTarget {
  readonly capability = { kind: "memory", location: "memory", putIfAbsent: true, readBeforeFinish: true };
  readonly #objects = new Map<string, Kept>();

  /** Stores a small object at once. */
  put(key: string, bytes: Uint8Array, ifAbsent: boolean): boolean {
    if (ifAbsent && this.#objects.has(key)) return false;
    this.#objects.set(key, { bytes, modifiedAt: new Date() });
    return true;
  }

  /** Starts an object of any size: nobody sees it before it is finished. */
  upload(key: string): Upload {
    const blocks: Uint8Array[] = [];
    return {
      write: (bytes) => void blocks.push(bytes),
      readBack: (start, end) => Buffer.concat(blocks).subarray(start, end),
      finish: () => {
        if (!this.put(key, Buffer.concat(blocks), true)) {
          throw new OpsError("refused", `"${key}" exists already`, { hint: "choose another key" });
        }
      },
      abort: () => void blocks.splice(0),
    };
  }

  /** Bytes of an object. */
  get(key: string, start: number, end: number): Uint8Array | null {
    return this.#objects.get(key)?.bytes.subarray(start, end) ?? null;
  }

  /** The next objects. Keys are ASCII: the order of JavaScript's strings is that of their bytes. */
  list(prefix: string, after: string | null): TargetObject[] {
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix) && (after === null || key > after));
    return keys.sort().slice(0, 1000).flatMap((key) => this.stat(key) ?? []);
  }

  /** Size and time of an object. */
  stat(key: string): TargetObject | null {
    const kept = this.#objects.get(key);
    return kept ? { key, sizeBytes: kept.bytes.length, modifiedAt: kept.modifiedAt } : null;
  }

  /** Removes an object. */
  delete(key: string): void {
    this.#objects.delete(key);
  }
}
