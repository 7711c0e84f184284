// A host that holds a write transaction never loses its lock to an operation. POSIX locks belong to the process: when any code
// in it closes any descriptor of the database, every lock that the process holds on it is gone.
import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import Database from "libsql";
import { Ops, OpsError } from "uplifted-ops";
import { program, fresh, service, settings } from "./support.mjs";

/** What each operation of the table is asked. A new one is missing here, and the test says so. */
const requests = (root, latest) => ({
  "backup.create": {},
  "backup.list": {},
  "backup.show": { snapshot_id: latest },
  "backup.verify": { snapshot_id: latest },
  "config.check": {},
  "config.init": { dry_run: true },
  "config.show": {},
  "health.check": {},
  "journal.read": {},
  "metrics.render": {},
  "restore.plan": { snapshot_id: latest },
  "restore.apply": { snapshot_id: latest, into: join(root, "copy") },
  "restore.undo_list": {},
  "restore.undo": {},
  "restore.discard": { undo_ids: ["beef"] },
  "store.stats": {},
  "store.verify": {},
  status: {},
  "backup.bisect": { check: "integrity" },
  "backup.copy": { snapshot_id: latest, to: "nowhere" },
  "backup.drill": {},
  "backup.export": { snapshot_id: latest, output: join(root, "service.tar.zst") },
  "backup.import": { path: join(root, "nothing.tar.zst") },
  "backup.keys_adopt": {},
  "backup.keys_check": {},
  "backup.keys_init": {},
  "backup.keys_list": {},
  "backup.keys_rewrap": {},
  "backup.keys_rotate": {},
  "backup.sample": {},
  "schedule.list": {},
  "schedule.run": { job: "none" },
  "backup.delete": { snapshot_id: latest, force: true },
});

/** Whether another process can begin a write transaction. */
async function secondProcessGetsTheLock(file) {
  const code = `
    const Database = require("libsql");
    const db = new Database(${JSON.stringify(file)}, { timeout: 0 });
    try { db.exec("BEGIN IMMEDIATE"); console.log("got it"); } catch (error) { console.log(error.code); }
  `;
  const { stdout, stderr } = await program(process.execPath, ["-e", code], { cwd: fresh });
  assert.match(stdout, /got it|SQLITE_BUSY/, stderr);
  return stdout.includes("got it");
}

for (const mode of ["wal", "delete"]) {
  test(`the host keeps its lock through every operation, journal mode ${mode}`, async (t) => {
    const root = service();
    const file = join(root, "data", "shop.db");
    const db = new Database(file);
    t.after(() => db.close());
    db.pragma(`journal_mode = ${mode}`);
    db.exec("CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1), (2)");
    const ops = await Ops.create({
      root,
      settings: { ...settings, store: [{ name: "shop", kind: "sqlite", path: "data/shop.db" }] },
    });
    t.after(() => ops.close());
    const { snapshotId } = await ops.backup.create();

    db.exec("BEGIN IMMEDIATE; INSERT INTO orders VALUES (3)");
    const asked = requests(root, snapshotId);
    const schema = await program(join(fresh, "node_modules", ".bin", "uplifted-ops"), ["schema"]);
    const { operations = JSON.parse(schema.stdout) } = JSON.parse(schema.stdout);
    const names = Array.isArray(operations) ? operations.map(({ name }) => name) : Object.keys(operations);
    assert.deepEqual(names.sort(), Object.keys(asked).sort());
    for (const [name, request] of Object.entries(asked)) {
      await ops.call(name, request).catch((error) => assert.ok(error instanceof OpsError, `${name}: ${error}`));
      assert.equal(await secondProcessGetsTheLock(file), false, `${name} took the lock away`);
    }
    db.exec("COMMIT");
    await ops.close();
    assert.equal(db.prepare("SELECT count(*) AS n FROM orders").get().n, 3);
    assert.equal(db.pragma("integrity_check", { simple: true }).integrity_check, "ok");

    // What all this looks for would be seen: one open and close of the file in this process is enough.
    db.exec("BEGIN IMMEDIATE; INSERT INTO orders VALUES (4)");
    if (mode === "delete") {
      closeSync(openSync(file, "r"));
      assert.equal(await secondProcessGetsTheLock(file), true);
    }
    db.exec("ROLLBACK");
  });
}
