// The plugins keep their contracts: a line for each.
import assert from "node:assert/strict";
import { mkdtempSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import { Ops } from "uplifted-ops";
import { checkHealthCheck, checkTarget } from "uplifted-ops/testing";
import { Catalog } from "../src/catalog.js";
import { MemoryTarget } from "../src/plugins/memory-target.js";
import { SpoolCheck } from "../src/plugins/spool-check.js";

const SERVICE = join(import.meta.dirname, "../../../service");

function folder(t: { after(fn: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), "uplifted-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

test("the target keeps the contract", () => checkTarget(() => new MemoryTarget()));

test("the checks keep the contract", async (t) => {
  const spool = folder(t);
  await checkHealthCheck(() => new SpoolCheck(spool, 60), { watched: () => [spool] });
  await checkHealthCheck(() => new Catalog(SERVICE), { watched: () => [SERVICE] });
});

for (const [age, status] of [[0, "pass"], [100, "warn"], [1000, "fail"]] as const) {
  test(`what waits for ${age} seconds is a ${status}`, async (t) => {
    const root = folder(t);
    mkdirSync(join(root, "outbox"));
    writeFileSync(join(root, "outbox/letter"), "hello");
    const then = Date.now() / 1000 - age;
    utimesSync(join(root, "outbox/letter"), then, then);
    const ops = await Ops.create({ root, checks: { outbox: new SpoolCheck(join(root, "outbox"), 60) } });
    t.after(() => ops.close());
    const outcome = (await ops.health.check()).checks.find((check) => check.name === "outbox");
    assert.deepEqual([outcome?.status, outcome?.unit], [status, "seconds"]);
    assert.ok(Math.abs(outcome!.observed! - age) < 30, `${outcome?.observed}`);
  });
}

test("a check that cannot ask fails", async (t) => {
  const root = folder(t);
  const ops = await Ops.create({ root, checks: { outbox: new SpoolCheck(join(root, "nowhere"), 60) } });
  t.after(() => ops.close());
  const outcome = (await ops.health.check()).checks.find((check) => check.name === "outbox");
  assert.equal(outcome?.status, "fail");
  assert.match(outcome.message, /nowhere/);
});

test("a backup goes to the target and comes back", async (t) => {
  const base = folder(t);
  const root = join(base, "service");
  mkdirSync(join(root, "data"), { recursive: true });
  const database = new Database(join(root, "data/uplifted.db"));
  database.exec("CREATE TABLE fact (text); INSERT INTO fact VALUES ('kept')");
  database.close();
  const settings = {
    store: [{ name: "main", kind: "sqlite", path: "data/uplifted.db" }],
    backup: { include: ["data"] },
  };
  const ops = await Ops.create({ root, settings, targets: { memory: new MemoryTarget() } });
  t.after(() => ops.close());
  const backup = await ops.backup.create({ label: "to memory" });
  assert.equal(backup.outcome, "complete");
  const verified = await ops.backup.verify({ snapshotId: backup.snapshotId, depth: "full" });
  assert.deepEqual(verified.problems, []);
  await ops.restore.apply({ snapshotId: backup.snapshotId, into: join(base, "again") });
  const again = new Database(join(base, "again/data/uplifted.db"));
  assert.equal(again.prepare("SELECT text FROM fact").pluck().get(), "kept");
  again.close();
});

test("a broken plugin is named", async (t) => {
  const root = folder(t);
  mkdirSync(join(root, "plugins/a"), { recursive: true });
  writeFileSync(join(root, "plugins/a/plugin.json"), "{");
  await assert.rejects(new Catalog(root).status(true), /plugins\/a\/plugin\.json/);
  assert.equal(readFileSync(join(root, "plugins/a/plugin.json"), "utf8"), "{");
});
