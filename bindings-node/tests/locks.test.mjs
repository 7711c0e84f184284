// A host that holds a write transaction never loses its lock to an operation. POSIX locks belong to the process: when any code
// in it closes any descriptor of the database, every lock that the process holds on it is gone.
import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import Database from "libsql";
import { Ops, OpsError } from "uplifted-ops";
import { folder, fresh, program, service, settings } from "./support.mjs";

/** What each operation of the table is asked, in the order of the file that every language's tests share. */
function requests(snapshot, beside) {
  const text = readFileSync(join(process.env.UPLIFTED_OPS_REPOSITORY, "tests/conformance/requests.json"), "utf8");
  const fill = { "<snapshot>": snapshot, "<beside>": beside };
  return JSON.parse(text.replace(/<snapshot>|<beside>/g, (name) => fill[name])).requests;
}

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
      settings: {
        ...settings,
        backup: { ...settings.backup, retention: { keep_last: 9, min_verified: 1 } },
        store: [{ name: "shop", kind: "sqlite", path: "data/shop.db" }],
      },
    });
    t.after(() => ops.close());
    const { snapshotId } = await ops.backup.create();

    db.exec("BEGIN IMMEDIATE; INSERT INTO orders VALUES (3)");
    const asked = requests(snapshotId, folder());
    const schema = await program(join(fresh, "node_modules", ".bin", "uplifted-ops"), ["schema"]);
    const { operations = JSON.parse(schema.stdout) } = JSON.parse(schema.stdout);
    const names = Array.isArray(operations) ? operations.map(({ name }) => name) : Object.keys(operations);
    assert.deepEqual(names.sort(), Object.keys(asked).sort(), "tests/conformance/requests.json has a line for each");
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
