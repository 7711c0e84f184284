// What a host does on a good day, and how it is told of a bad one.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { Ops, OpsError } from "uplifted-ops";
import { open, service, settings } from "./support.mjs";

test("a constructor says what makes an Ops", () => {
  assert.throws(() => new Ops({ root: "/" }), (error) => error instanceof OpsError && error.hint.includes("Ops.create"));
});

test("a backup is made, listed, verified, and comes back", async (t) => {
  const ops = await open(t);
  const stages = [];
  const made = await ops.backup.create({ label: "nightly" }, { onProgress: (progress) => stages.push(progress) });
  assert.equal(made.outcome, "complete");
  assert.ok(stages.some((progress) => progress.stage === "storing files"), "progress came");
  assert.equal(typeof stages[0].doneBytes, "number");

  const { snapshots } = await ops.backup.list();
  assert.equal(snapshots.length, 1);
  assert.equal(snapshots[0].snapshotId, made.snapshotId);
  assert.equal(snapshots[0].label, "nightly");
  assert.ok(snapshots[0].time instanceof Date);
  assert.ok(Math.abs(snapshots[0].time.getTime() - Date.now()) < 60_000);

  assert.equal((await ops.backup.verify({ snapshotId: "latest" })).ok, true);
  const restored = await ops.restore.apply({ snapshotId: "latest", into: join(ops.root, "copy") });
  assert.equal(restored.restoredFiles, 1);
});

test("times and integers go both ways", async (t) => {
  const ops = await open(t);
  await ops.backup.create();
  const before = new Date(Date.now() + 60_000);
  assert.equal((await ops.journal.read({ since: before })).records.length, 0);
  const { records } = await ops.journal.read({ since: new Date(0), limit: 10n });
  assert.equal(records.length, 1);
  assert.ok(records[0].time instanceof Date);
});

test("an integer past 2^53 - 1 crosses whole", async (t) => {
  const big = 9_007_199_254_740_993n;
  const seen = [];
  const ops = await open(t, {
    stores: {
      big: {
        capability: { kind: "big", file: null },
        stats: () => ({ sizeBytes: big, details: { rows: 2n ** 63n - 1n, text: "9007199254740993", list: [1, big] } }),
        verify: () => ({ ok: true }),
        snapshotTo: () => ({ files: [] }),
        checkCopy: () => ({ ok: true }),
        restoreFrom: () => {},
      },
    },
  });
  const { stores } = await ops.store.stats();
  assert.equal(stores[0].sizeBytes, big);
  assert.deepEqual(stores[0].details, { rows: 2n ** 63n - 1n, text: "9007199254740993", list: [1, big] });
  // And into the core: it names the number that it was given.
  await assert.rejects(ops.journal.read({ limit: 2n ** 64n }), { code: "invalid_input" });
  seen.push(await ops.journal.read({ limit: 2n ** 53n + 1n }));
  assert.deepEqual(seen[0].records, []);
});

test("what is not well is a value, and what could not be done an error", async (t) => {
  const ops = await open(t, { checks: { api: () => ({ status: "fail", message: "nobody answers" }) } });
  const report = await ops.health.check();
  assert.equal(report.status, "fail");
  assert.equal(report.checks.find((check) => check.name === "api").message, "nobody answers");

  const error = await ops.backup.show({ snapshotId: "beef" }).catch((error) => error);
  assert.ok(error instanceof OpsError && error instanceof Error);
  assert.equal(error.name, "OpsError");
  assert.equal(error.code, "not_found");
  assert.equal(error.retryable, false);
  assert.equal(error.operation, "backup.show");
  assert.equal(typeof error.hint, "string");
  assert.match(error.stack, /^OpsError: /);
  assert.deepEqual(JSON.parse(JSON.stringify(error)).kind, "not_found");

  await assert.rejects(ops.call("backup.creat"), (error) => error.code === "not_found" && /backup\.create/.test(error.hint));
  await assert.rejects(ops.call("backup.create", { labl: 1 }), { code: "invalid_input" });
});

test("settings come from a file, and mistakes in it name their line", async (t) => {
  const root = service();
  const file = join(root, "ops.toml");
  writeFileSync(file, '[service]\nname = "shop"\n[[target]]\nname = "local"\nkind = "fs"\npath = "b"\n');
  const ops = await Ops.fromConfig(file, { root });
  t.after(() => ops.close());
  assert.equal((await ops.status()).service.name, "shop");
  writeFileSync(file, "[backup]\nlevl = 3\n");
  const error = await Ops.fromConfig(file, { root }).catch((error) => error);
  assert.ok(error instanceof OpsError);
  assert.equal(error.code, "invalid_input");
  assert.match(error.message, /levl/);
});

test("closing is final, awaited, and may be done twice", async () => {
  const ops = await Ops.create({ root: service(), settings });
  await ops.backup.list();
  assert.equal((await ops.status()).workers, 1);
  await Promise.all([ops.close(), ops.close()]);
  await assert.rejects(ops.backup.list(), { code: "refused", operation: "backup.list" });
  const disposed = await Ops.create({ root: service(), settings });
  await disposed[Symbol.asyncDispose]();
  await assert.rejects(disposed.status(), { code: "refused" });
});

test("closing cancels what runs", async () => {
  const ops = await Ops.create({ root: service(), settings, checks: { slow: { check: () => new Promise(() => {}) } } });
  const running = ops.health.check();
  const expected = assert.rejects(running, { code: "cancelled" });
  await ops.close();
  await expected;
});

test("CommonJS and ES modules are one package", async () => {
  const require = createRequire(import.meta.url);
  for (const path of ["uplifted-ops", "uplifted-ops/metrics", "uplifted-ops/prom-client", "uplifted-ops/testing", "uplifted-ops/http"]) {
    const [cjs, esm] = [require(path), await import(path)];
    const names = Object.keys(cjs).filter((name) => name !== "__esModule");
    assert.ok(names.length > 0, path);
    for (const name of names) assert.equal(esm[name], cjs[name], `${path}: ${name}`);
  }
});

test("JSON is read and written without loss", async () => {
  const require = createRequire(import.meta.url);
  const { dirname } = await import("node:path");
  const { parse, stringify } = require(join(dirname(require.resolve("uplifted-ops")), "json.js"));
  const texts = [
    '{"a":9007199254740993,"__proto__":{"b":-18446744073709551615},"c":[1,2.5e3,"x\\"9007199254740993",null,true,{}],"d":[]}',
    ' [ 12345678901234567890 , { "a" : 1 } ] ',
    "9007199254740992",
  ];
  const [first, second, third] = texts.map(parse);
  assert.equal(first.a, 9007199254740993n);
  assert.equal(Object.getOwnPropertyDescriptor(first, "__proto__").value.b, -18446744073709551615n);
  assert.deepEqual(first.c, [1, 2500, 'x"9007199254740993', null, true, {}]);
  assert.deepEqual(second, [12345678901234567890n, { a: 1 }]);
  assert.equal(third, 9007199254740992n);
  assert.equal(parse("1.2345678901234567890"), 1.2345678901234568);
  // Longer than what a regular expression with a stack could read.
  const long = `1234567890123456 \\"\n`.repeat(500_000);
  assert.equal(parse(JSON.stringify({ long })).long, long);
  assert.equal(
    stringify({ a: 1n, b: undefined, c: [undefined, 2n ** 64n], d: new Date(0), e: "\u2028", f: NaN }),
    '{"a":1,"c":[null,18446744073709551616],"d":"1970-01-01T00:00:00.000Z","e":"\u2028","f":null}',
  );
  for (const broken of ['{"a":1234567890123456', "[1234567890123456 1]x", '{1234567890123456}']) {
    assert.throws(() => parse(broken), SyntaxError, broken);
  }
});
