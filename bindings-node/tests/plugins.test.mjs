// Components written in JavaScript: what they do in an operation, and everything that can go wrong with them.
import assert from "node:assert/strict";
import { copyFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Ops, OpsError } from "uplifted-ops";
import { child, MemoryTarget, open, service, settings, until } from "./support.mjs";

/** A database that is one file of lines. */
class LineStore {
  constructor(file) {
    this.file = file;
    this.capability = { kind: "lines", file, sideFiles: [`${file}.lock`] };
  }

  stats() {
    return { sizeBytes: statSync(this.file).size, details: { lines: 3 } };
  }

  verify() {
    return { ok: true };
  }

  async snapshotTo(dir, { progress, signal }) {
    assert.ok(signal instanceof AbortSignal);
    progress({ stage: "copying lines", doneBytes: 1 });
    copyFileSync(this.file, join(dir, "lines.db"));
    return { files: ["lines.db"], takenAt: new Date() };
  }

  checkCopy(dir) {
    const ok = readFileSync(join(dir, "lines.db"), "utf8").endsWith("end\n");
    return ok ? { ok } : { ok, problems: ["the last line is missing"] };
  }

  restoreFrom(dir) {
    copyFileSync(join(dir, "lines.db"), this.file);
  }
}

test("a store in JavaScript is backed up to a target in JavaScript, through the worker", async (t) => {
  const root = service();
  const file = join(root, "data", "lines.db");
  writeFileSync(file, "one\ntwo\nend\n");
  const memory = new MemoryTarget();
  const stages = [];
  const ops = await open(t, {
    root,
    settings: { service: { name: "shop" }, backup: { include: ["data"] } },
    stores: { lines: new LineStore(file) },
    targets: { memory },
  });
  const made = await ops.backup.create({}, { onProgress: (progress) => stages.push(progress.stage) });
  assert.equal(made.outcome, "complete");
  assert.equal(made.stores[0].kind, "lines");
  assert.ok(stages.includes("copying lines"), "the plugin's own progress came");
  assert.ok([...memory.objects.keys()].some((key) => key.endsWith(".tar.zst")));
  assert.equal((await ops.backup.verify({ snapshotId: "latest" })).ok, true);
  assert.equal((await ops.store.stats()).stores[0].sizeBytes, 12);

  const into = join(root, "copy");
  await ops.restore.apply({ snapshotId: "latest", into });
  assert.equal(readFileSync(join(into, "data", "lines.db"), "utf8"), "one\ntwo\nend\n");

  // Damage is found, in the store's own words.
  writeFileSync(file, "one\n");
  const damaged = await ops.backup.create();
  assert.match(JSON.stringify(damaged.stores), /the last line is missing/);
});

test("a sink gets the numbers, and a check may be a function", async (t) => {
  const ops = await open(t, {
    checks: { fine: async () => ({ status: "pass", message: "fine", observed: 3, unit: "seconds" }) },
    sinks: { nowhere: { export: () => {} } },
  });
  const fine = (await ops.health.check()).checks.find((check) => check.name === "fine");
  assert.deepEqual([fine.status, fine.observed, fine.unit], ["pass", 3, "seconds"]);
});

test("what an object lacks is named when it is registered", async () => {
  const create = (options) => Ops.create({ root: service(), settings, ...options });
  class Half {
    put() {}
    async get() {}
  }
  const error = await create({ targets: { half: new Half() } }).catch((error) => error);
  assert.ok(error instanceof OpsError);
  assert.equal(error.code, "invalid_input");
  assert.match(error.message, /target "half" \(class Half\) has no methods upload, list, stat, delete/);
  assert.match(error.hint, /list\(prefix, after\)/);
  await assert.rejects(create({ stores: { x: null } }), /store "x" is null, not an object/);
  await assert.rejects(create({ checks: { x: {} } }), /has no method check/);
  const promised = Object.assign(new MemoryTarget(), { capability: async () => ({}) });
  await assert.rejects(create({ targets: { promised } }), /is a promise/);
});

const bad = {
  "throws an error": [() => { throw new TypeError("boom"); }, { match: /TypeError: boom/ }],
  "rejects": [async () => { throw new RangeError("late boom"); }, { match: /RangeError: late boom/ }],
  "throws text": [() => { throw "just text"; }, { match: /just text/ }],
  "throws nothing": [() => { throw undefined; }, { match: /undefined/ }],
  "throws what cannot be shown": [() => { throw Object.create(null); }, { match: /cannot be shown/ }],
  "throws a trap": [
    () => { throw Object.defineProperty(new Error("x"), "message", { get() { throw new Error("trap"); } }); },
    { match: /cannot be shown/ },
  ],
  "says what the caller must do": [
    () => { throw new OpsError("no_space", "the shelf is full", { hint: "buy another shelf" }); },
    { match: /the shelf is full/ },
  ],
  "returns nothing": [() => undefined, { match: /check/ }],
  "returns a number": [() => 42, { match: /check/ }],
  "returns text": [() => "pass", { match: /check/ }],
  "returns a word that is none": [() => ({ status: "fine", message: "x" }), { match: /fine|status/ }],
  "returns what JSON has not": [() => { const a = {}; a.a = a; return a; }, { match: /circular/i }],
  "returns bytes": [() => Buffer.from("pass"), { match: /check/ }],
  "returns a thenable that throws": [() => ({ then() { throw new Error("no then"); } }), { match: /no then/ }],
};
for (const [what, [check, { match }]] of Object.entries(bad)) {
  test(`a check that ${what} fails, and nothing else does`, async (t) => {
    const ops = await open(t, { checks: { bad: check, good: () => ({ status: "pass", message: "fine" }) } });
    const report = await ops.health.check();
    const found = Object.fromEntries(report.checks.map((check) => [check.name, check]));
    assert.equal(found.bad.status, "fail");
    assert.match(found.bad.message, match);
    assert.equal(found.good.status, "pass");
  });
}

test("a target that hangs is given up after its deadline, told to stop, and its late answer is nobody's", async (t) => {
  const slow = new MemoryTarget();
  let stopped = 0;
  let answerLate;
  slow.list = (prefix, after, { signal }) => {
    signal.addEventListener("abort", () => stopped++);
    return new Promise((resolve, reject) => (answerLate = { resolve, reject }));
  };
  const ops = await open(t, { targets: { slow }, settings: { ...settings, target: [] }, callbackDeadlineSeconds: 0.2 });
  const { failed } = await ops.backup.list();
  assert.equal(failed[0].error.kind, "timeout");
  assert.match(failed[0].error.message, /target "slow"\.list did not answer within 0\.2 s/);
  await until(() => stopped === 1, "the signal");
  answerLate.reject(new Error("nobody listens"));
  await sleep(20);
  slow.list = MemoryTarget.prototype.list;
  assert.deepEqual((await ops.backup.list()).snapshots, []);
});

test("an upload that is opened too late is aborted", async (t) => {
  const late = new MemoryTarget();
  let open_;
  let aborted = false;
  late.upload = () => new Promise((resolve) => (open_ = resolve));
  const ops = await open(t, { targets: { late }, settings: { ...settings, target: [] }, callbackDeadlineSeconds: 0.2 });
  const failed = await ops.backup.create().catch((error) => error);
  assert.ok(failed instanceof OpsError || failed.outcome !== "complete");
  open_({ write() {}, finish() {}, abort: () => void (aborted = true) });
  await until(() => aborted, "the abort");
});

test("a component may call the Ops that it belongs to", async (t) => {
  let ops;
  const checks = { inner: async () => ({ status: "pass", message: (await ops.backup.list()).snapshots.length + " snapshots" }) };
  ops = await open(t, { checks });
  const report = await ops.health.check();
  assert.equal(report.checks.find((check) => check.name === "inner").message, "0 snapshots");
});

test("a target that calls its Ops in the middle of a backup does not stop it", async (t) => {
  let ops;
  const memory = new MemoryTarget();
  memory.put = async function (...args) {
    await ops.status();
    await ops.store.stats();
    return MemoryTarget.prototype.put.apply(this, args);
  };
  ops = await open(t, { targets: { memory }, settings: { ...settings, target: [] } });
  assert.equal((await ops.backup.create()).outcome, "complete");
});

test("an abort in the middle reaches the component, and the cause is the caller's reason", async (t) => {
  const memory = new MemoryTarget();
  const controller = new AbortController();
  const reason = new Error("the user left");
  let told = false;
  memory.upload = (key, expected, { signal }) => {
    setImmediate(() => controller.abort(reason));
    return new Promise((_, reject) => signal.addEventListener("abort", () => ((told = true), reject(signal.reason))));
  };
  const ops = await open(t, { targets: { memory }, settings: { ...settings, target: [] } });
  const error = await ops.backup.create({}, { signal: controller.signal }).catch((error) => error);
  assert.ok(error instanceof OpsError);
  assert.equal(error.code, "cancelled");
  assert.equal(error.cause, reason);
  assert.ok(told);
  assert.deepEqual([...memory.objects.keys()].filter((key) => !key.startsWith("locks/")), []);
  // Before it began, nothing begins.
  await assert.rejects(ops.backup.create({}, { signal: AbortSignal.abort(reason) }), { code: "cancelled", cause: reason });
});

test("what onProgress throws ends the work and is what the caller gets", async (t) => {
  const ops = await open(t);
  const mine = new Error("mine");
  await assert.rejects(ops.backup.create({}, { onProgress: () => { throw mine; } }), (error) => error === mine);
  assert.equal((await ops.backup.create()).outcome, "complete");
});

test("a component that blocks the event loop delays, and hurts nothing", async (t) => {
  const memory = new MemoryTarget();
  memory.put = function (...args) {
    const end = Date.now() + 300;
    while (Date.now() < end);
    return MemoryTarget.prototype.put.apply(this, args);
  };
  const ops = await open(t, { targets: { memory }, settings: { ...settings, target: [] } });
  assert.equal((await ops.backup.create()).outcome, "complete");
});

test("a block is a copy, and shared memory may be returned", async (t) => {
  const memory = new MemoryTarget();
  const { write } = { write: [] };
  memory.upload = function (key) {
    const upload = MemoryTarget.prototype.upload.call(this, key);
    return { ...upload, write: (bytes) => { assert.ok(Buffer.isBuffer(bytes)); write.push(bytes); upload.write(Buffer.from(bytes)); bytes.fill(0); } };
  };
  memory.get = function (...args) {
    const bytes = MemoryTarget.prototype.get.apply(this, args);
    return bytes && Buffer.from(new SharedArrayBuffer(bytes.length)).fill(bytes);
  };
  const ops = await open(t, { targets: { memory }, settings: { ...settings, target: [] } });
  assert.equal((await ops.backup.create()).outcome, "complete");
  assert.equal((await ops.backup.verify({ snapshotId: "latest" })).ok, true);
});

test("nothing that a component throws, at whatever time, ends the process", async () => {
  const { code, stdout, stderr } = await child(`
    import { Ops } from "uplifted-ops";
    import { service } from "./tests/support.mjs";
    import { MemoryTarget } from "./tests/support.mjs";
    const target = new MemoryTarget();
    target.list = async () => { await new Promise((r) => setTimeout(r, 400)); throw new Error("after the end"); };
    const ops = await Ops.create({
      root: service(), targets: { target }, settings: { service: { name: "shop" } }, callbackDeadlineSeconds: 0.1,
      checks: { bad: () => { throw new Error("sync"); }, worse: () => Promise.reject(new Error("async")) },
    });
    await ops.health.check();
    const { failed } = await ops.backup.list();
    console.log(failed[0].error.kind);
    await new Promise((r) => setTimeout(r, 600));
    console.log("alive");
  `);
  assert.deepEqual([code, stdout], [0, "timeout\nalive\n"], stderr);
});

test("the service is paused while its databases are copied", async (t) => {
  const calls = [];
  const hook = (refuses) => ({
    before() {
      calls.push("before");
      if (refuses) throw new Error("not now");
    },
    async after() {
      calls.push("after");
    },
  });
  const ops = await open(t, { root: service(), settings, pauses: { writer: hook(false) } });
  const made = await ops.backup.create();
  assert.equal(made.group.consistent, true);
  assert.equal(made.group.pause.held, true);
  assert.deepEqual(calls.splice(0), ["before", "after"]);

  const other = await open(t, { root: service(), settings, pauses: { writer: hook(true) } });
  const { outcome, group } = await other.backup.create();
  assert.deepEqual([outcome, group.consistent, calls], ["complete", false, ["before", "after"]]);
  assert.match(group.message, /not now/);
});
