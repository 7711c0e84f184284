// A health check in one file: is what waits in a folder taken out of it in time?
//
//     const outbox = new SpoolCheck("/opt/uplifted/outbox", 300);
//     const ops = await Ops.create({ root: "/opt/uplifted", checks: { outbox } });
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { CheckOutcome, HealthCheck } from "uplifted-ops";

/**
 * Warns when the oldest file in a folder waits for longer than it may, and fails when for ten times that. A folder that is
 * not there cannot be asked: the error is the answer.
 */
export class SpoolCheck implements HealthCheck {
  readonly #folder: string;
  readonly #maxAgeSeconds: number;

  constructor(folder: string, maxAgeSeconds: number) {
    this.#folder = folder;
    this.#maxAgeSeconds = maxAgeSeconds;
  }

  /** Asks. */
  async check(): Promise<CheckOutcome> {
    const names = await readdir(this.#folder);
    const written = await Promise.all(names.map(async (name) => (await stat(join(this.#folder, name))).mtimeMs));
    const now = Date.now();
    const age = Math.max(0, now - Math.min(now, ...written)) / 1000;
    const found = { observed: age, unit: "seconds" };
    if (age <= this.#maxAgeSeconds) return { status: "pass", message: "nothing waits for too long", ...found };
    const status = age <= 10 * this.#maxAgeSeconds ? "warn" : "fail";
    return { status, message: `see why nobody empties ${this.#folder}`, ...found };
  }
}
