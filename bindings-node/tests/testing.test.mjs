// The public suites: what keeps a contract passes, and what breaks it is told which clause it broke.
import assert from "node:assert/strict";
import { copyFileSync, existsSync, readFileSync, statSync, appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { OpsError } from "uplifted-ops";
import { checkHealthCheck, checkSink, checkStore, checkTarget, targetOutcomes } from "uplifted-ops/testing";
import { MemoryTarget, folder } from "./support.mjs";

test("a target that keeps the contract passes", async () => {
  await checkTarget(() => new MemoryTarget());
  const outcomes = await targetOutcomes(() => new MemoryTarget());
  assert.ok(outcomes.length > 15);
  assert.ok(outcomes.every(({ failure }) => failure === null));
});

test("a target that breaks it is told how", async () => {
  class Shows extends MemoryTarget {
    upload(key) {
      this.put(key, Buffer.alloc(0), false);
      return super.upload(key);
    }
  }
  const error = await checkTarget(() => new Shows()).catch((error) => error);
  assert.equal(error.code, "ERR_ASSERTION");
  assert.match(error.message, /of \d+ cases failed/);
  assert.match(error.message, /nothing is visible under its key before finish returns/);
});

test("a scene that fails is no verdict", async () => {
  await assert.rejects(checkTarget(() => { throw new Error("no server"); }), (error) => error instanceof OpsError && /no server/.test(error.message));
  await assert.rejects(checkStore({}), /open/);
});

test("checks", async () => {
  const fresh = () => ({ check: () => ({ status: "pass", message: "fine" }) });
  const stuck = () => ({ check: (context) => new Promise((_, reject) => context.signal.addEventListener("abort", () => reject(context.signal.reason))) });
  await checkHealthCheck(fresh, { stuck });
  const watched = join(folder(), "watched");
  writeFileSync(watched, "");
  const writes = () => ({ check: () => (appendFileSync(watched, "x"), { status: "pass", message: "" }) });
  await assert.rejects(checkHealthCheck(writes, { watched: () => [watched] }), /it changes nothing/);
});

test("sinks", async () => {
  const scene = () => {
    let failing = false;
    let exports = 0;
    const received = new Map();
    return {
      sink: () => ({
        export({ families }) {
          if (failing) throw new OpsError("unavailable", "the place is down");
          exports++;
          for (const { name, series } of families) {
            for (const { labels, value } of series) {
              const number = value.number ?? value.distribution.counts.reduce((sum, count) => sum + count, 0);
              received.set(JSON.stringify([name, labels.map(([, value]) => value)]), number);
            }
          }
        },
      }),
      received: (name, labels) => received.get(JSON.stringify([name, labels])) ?? null,
      exports: () => exports,
      setFailing: (now) => void (failing = now),
    };
  };
  await checkSink(scene);
});

test("stores", async () => {
  // A database that is one file of rows, each a line; written at once, so that a copy is consistent.
  const file = (folder) => join(folder, "rows.db");
  const rowsOf = (path) => {
    const text = statSync(path).isFile() ? readFileSync(path, "latin1") : "a folder";
    if (!/^(row\n)*$/.test(text)) throw new OpsError("unsupported", `${path} holds something else than rows`, { hint: "name another file" });
    return text.length / 4;
  };
  class RowStore {
    constructor(folder) {
      this.file = file(folder);
      this.capability = { kind: "rows", file: this.file };
    }
    #look() {
      if (!existsSync(this.file)) throw new OpsError("not_found", `${this.file} does not exist`, { hint: "name the file of the database" });
      return rowsOf(this.file);
    }
    stats() {
      this.#look();
      return { sizeBytes: statSync(this.file).size };
    }
    verify() {
      this.#look();
      return { ok: true, problems: [] };
    }
    snapshotTo(dir) {
      this.#look();
      copyFileSync(this.file, file(dir));
      return { files: ["rows.db"] };
    }
    checkCopy(dir) {
      try {
        rowsOf(file(dir));
        return { ok: true };
      } catch (error) {
        return { ok: false, problems: [error.message] };
      }
    }
    maintain(tasks) {
      this.#look();
      return tasks.map((task) => ({ task, done: false, message: "rows need no upkeep" }));
    }
    restoreFrom(dir) {
      const { ok, problems } = this.checkCopy(dir);
      if (!ok) throw new OpsError("corrupt", problems[0], { hint: "restore another copy" });
      copyFileSync(file(dir), this.file);
    }
  }
  await checkStore({
    open: (folder) => new RowStore(folder),
    commit: (folder, rows) => appendFileSync(file(folder), "row\n".repeat(rows)),
    rows: (folder) => rowsOf(file(folder)),
  });
});
