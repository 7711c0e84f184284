// What the package does to the process that it lives in: every hazard of an event loop, each with a hard end.
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "node:test";
import { Worker } from "node:worker_threads";
import { createRequire } from "node:module";
import { Ops, OpsError } from "uplifted-ops";
import { MemoryTarget, child, folder, fresh, open, program, service, settings, until, workers } from "./support.mjs";

const OPEN = `
  import { Ops } from "uplifted-ops";
  import { MemoryTarget, service, settings } from "./tests/support.mjs";
`;

test("the process ends by itself, also with an open Ops and a warm worker", async () => {
  const ended = await child(`${OPEN}
    const ops = await Ops.create({ root: service(), settings, checks: { a: () => ({ status: "pass", message: "" }) } });
    await ops.backup.list();
    console.log((await ops.status()).workers);
  `);
  assert.deepEqual([ended.code, ended.signal, ended.stdout], [0, null, "1\n"], ended.stderr);
});

test("a call that runs keeps the process, without anything else doing so", async () => {
  const ended = await child(`${OPEN}
    const ops = await Ops.create({ root: service(), settings });
    ops.backup.create().then((made) => console.log(made.outcome));
  `);
  assert.deepEqual([ended.code, ended.stdout], [0, "complete\n"], ended.stderr);
});

test("exit with work running is clean, and leaves no worker", async () => {
  const ended = await child(`${OPEN}
    const target = new MemoryTarget();
    const ops = await Ops.create({ root: service(), settings: { ...settings, target: [] }, targets: { target } });
    const { workers } = await import("./tests/support.mjs");
    target.upload = () => { console.log(workers().join()); setImmediate(() => process.exit(3)); return new Promise(() => {}); };
    ops.backup.create();
  `);
  assert.deepEqual([ended.code, ended.signal], [3, null], ended.stderr);
  const [worker] = ended.stdout.trim().split(",").map(Number);
  await until(() => !alive(worker), "the worker's end");
});

test("an uncaught error ends the process as ever", async () => {
  const ended = await child(`${OPEN}
    const ops = await Ops.create({ root: service(), settings });
    ops.backup.create();
    throw new Error("mine");
  `);
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, /Error: mine/);
});

for (const signal of ["SIGINT", "SIGTERM"]) {
  test(`${signal} ends the process in the middle of a backup`, async () => {
    const ended = await child(
      `${OPEN}
      const target = new MemoryTarget();
      const ops = await Ops.create({ root: service(), settings: { ...settings, target: [] }, targets: { target } });
      target.upload = () => { console.log("ready"); return new Promise(() => {}); };
      await ops.backup.create();
    `,
      { signal },
    );
    assert.equal(ended.signal, signal);
  });
}

test("two Ops live side by side", async (t) => {
  const [one, two] = [await open(t), await open(t)];
  const [first, second] = await Promise.all([one.backup.create(), two.backup.create()]);
  assert.notEqual(first.snapshotId, second.snapshotId);
  await one.close();
  assert.equal((await two.backup.list()).snapshots.length, 1);
});

test("a worker that is killed is an error that may be tried again, and nothing is lost", async (t) => {
  const ops = await open(t, { checks: {} });
  const [killed] = await until(async () => (await ops.backup.list(), workers()), "a worker");
  process.kill(killed, "SIGKILL");
  await until(() => !alive(killed), "its end");
  assert.equal((await ops.backup.create()).outcome, "complete", "an idle one is replaced");

  const slow = new MemoryTarget();
  let caught;
  slow.upload = () => {
    // The heavy lane's worker is waiting for us: it is the newest.
    for (const pid of workers()) if (pid !== process.pid) process.kill(pid, "SIGKILL");
    return new Promise(() => {});
  };
  const second = await open(t, { targets: { slow }, settings: { ...settings, target: [] } });
  await second.backup.create().catch((error) => (caught = error));
  assert.ok(caught instanceof OpsError);
  assert.equal(caught.retryable, true);
  assert.match(caught.message, /killed/);
});

test("worker_threads: several at once, each with its own Ops, ended in every way", async () => {
  const code = `
    const { parentPort, workerData } = require("node:worker_threads");
    const { Ops } = require("uplifted-ops");
    const { Counter } = require("uplifted-ops/metrics");
    const counter = new Counter({ name: "threads_total", help: "Threads" });
    (async () => {
      const { MemoryTarget, service, settings } = await import(workerData.support);
      const target = new MemoryTarget();
      const ops = await Ops.create({ root: service(), settings: { ...settings, target: [] }, targets: { target } });
      counter.inc();
      if (workerData.how === "hang") target.upload = () => { parentPort.postMessage("hangs"); return new Promise(() => {}); };
      const made = await ops.backup.create();
      parentPort.postMessage(made.outcome);
      if (workerData.how === "close") await ops.close();
      if (workerData.how === "exit") process.exit(0);
    })();
  `;
  const support = new URL("./support.mjs", import.meta.url).href;
  const file = join(fresh, "thread.cjs");
  writeFileSync(file, code);
  const start = (how) => new Worker(file, { workerData: { how, support } });
  const ways = ["close", "leave", "exit", "close", "leave"];
  await Promise.all(
    ways.map(async (how) => {
      const worker = start(how);
      // Both from the start: what a thread says last and its end may come in one turn of the loop.
      const [[said], [code]] = await Promise.all([once(worker, "message"), once(worker, "exit")]);
      assert.deepEqual([said, code], ["complete", 0]);
    }),
  );
  // Terminated while a component of it is being called.
  const hanging = start("hang");
  await once(hanging, "message");
  await hanging.terminate();
  await until(() => workers().length === 0, "the end of all workers");
  const { register } = await import("uplifted-ops/metrics");
  assert.match(await register.metrics(), /threads_total 6\n/);
});

test("child_process.fork and cluster: each child has its own", async () => {
  const file = join(fresh, "forked.mjs");
  writeFileSync(
    file,
    `${OPEN}
    const ops = await Ops.create({ root: service(), settings });
    process.send((await ops.backup.create()).outcome);
    process.disconnect();
  `,
  );
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const forked = fork(file, { env });
  const [[said], [code]] = await Promise.all([once(forked, "message"), once(forked, "exit")]);
  assert.deepEqual([said, code], ["complete", 0]);
});

test("the host's debugger, hooks and coverage do not reach the worker", async () => {
  const hook = join(folder(), "hook.cjs");
  writeFileSync(hook, `console.log("hooked " + (process.argv[2] ?? "host"));`);
  const ended = await child(
    `${OPEN}
    const ops = await Ops.create({ root: service(), settings });
    console.log((await ops.backup.create()).outcome);
  `,
    { env: { NODE_OPTIONS: `--require ${hook} --inspect=127.0.0.1:0` } },
  );
  assert.deepEqual([ended.code, ended.stdout], [0, "hooked host\ncomplete\n"], ended.stderr);
});

test("a bundle without the worker's file says which setting helps", async () => {
  const installed = dirname(createRequire(import.meta.url).resolve("uplifted-ops/package.json"));
  const bundle = folder();
  mkdirSync(join(bundle, "app"));
  cpSync(join(installed, "dist"), join(bundle, "app", "dist"), { recursive: true });
  rmSync(join(bundle, "app", "dist", "worker.js"));
  const native = `uplifted-ops.${process.platform}-${process.arch}-gnu.node`;
  symlinkSync(join(installed, native), join(bundle, "app", native));
  const bundled = createRequire(join(bundle, "app", "x.cjs"))("./dist/index.js");
  const error = await bundled.Ops.create({ root: service(), settings }).catch((error) => error);
  assert.equal(error.code, "not_found");
  assert.match(error.hint, /worker\.command/);
  const worker = { command: [process.execPath, join(installed, "dist", "worker.js")] };
  const ops = await bundled.Ops.create({ root: service(), settings: { ...settings, worker } });
  assert.equal((await ops.backup.create()).outcome, "complete");
  await ops.close();
});

test("a package without its native half says what is missing", async () => {
  const installed = dirname(createRequire(import.meta.url).resolve("uplifted-ops/package.json"));
  const bare = folder();
  cpSync(join(installed, "dist"), join(bare, "dist"), { recursive: true });
  const require = createRequire(join(bare, "x.cjs"));
  assert.throws(() => require("./dist/index.js"), /uplifted-ops-linux-.*npm install/s);
  // And with npm's platform package it has one.
  const name = `uplifted-ops-${process.platform}-${process.arch}-gnu`;
  const platform = join(bare, "node_modules", name);
  mkdirSync(platform, { recursive: true });
  const file = `uplifted-ops.${process.platform}-${process.arch}-gnu.node`;
  symlinkSync(join(installed, file), join(platform, file));
  writeFileSync(join(platform, "package.json"), JSON.stringify({ name, main: file }));
  assert.equal(typeof require("./dist/index.js").Ops.create, "function");
});

test("installed as pnpm does, behind links, the worker is found", async () => {
  const installed = dirname(createRequire(import.meta.url).resolve("uplifted-ops/package.json"));
  const project = folder();
  const store = join(project, "node_modules", ".pnpm", "uplifted-ops@0.1.0", "node_modules");
  mkdirSync(store, { recursive: true });
  cpSync(installed, join(store, "uplifted-ops"), { recursive: true });
  symlinkSync(join(store, "uplifted-ops"), join(project, "node_modules", "uplifted-ops"));
  const root = service();
  const app = join(project, "app.mjs");
  writeFileSync(
    app,
    `import { Ops } from "uplifted-ops";
    const ops = await Ops.create({ root: ${JSON.stringify(root)}, settings: ${JSON.stringify(settings)} });
    console.log((await ops.backup.create()).outcome);`,
  );
  const ended = await program(process.execPath, [app], { cwd: root });
  assert.deepEqual([ended.code, ended.stdout], [0, "complete\n"], ended.stderr);
});

test("the command line runs in Node, with its exit status", async () => {
  const root = service();
  const bin = join(fresh, "node_modules", ".bin", "uplifted-ops");
  const call = (...args) => program(bin, ["--root", root, ...args]);
  assert.deepEqual((await call("nonsense")).code, 2);
  const failed = await call("call", "backup.list");
  assert.equal(failed.code, 2);
  assert.equal(JSON.parse(failed.stdout).error.kind, "invalid_input");
  assert.equal((await call("init")).code, 0);
  const made = await call("call", "backup.create");
  assert.equal(made.code, 0, made.stderr + made.stdout);
  assert.equal(JSON.parse(made.stdout).outcome, "complete");
  const verified = await call("call", "backup.verify", '{"snapshot_id":"latest"}');
  assert.equal(JSON.parse(verified.stdout).ok, true);
});

test("the worker's file, started by hand, says so", async () => {
  const installed = dirname(createRequire(import.meta.url).resolve("uplifted-ops/package.json"));
  const ended = await program(process.execPath, [join(installed, "dist", "worker.js")]);
  assert.equal(ended.code, 70);
  assert.match(ended.stderr, /started by hand/);
});

function alive(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z";
  } catch {
    return false;
  }
}

// The operations are there in a build with debug assertions, which is what `make test-node` packs.
test("a panic in the core is an error of its call", { skip: process.env.UPLIFTED_OPS_NODE_PROFILE !== "debug" }, async (t) => {
  const ops = await open(t);
  for (const [name, where] of [["testing.panic", "in the host"], ["testing.panic_in_worker", "in a worker"]]) {
    await assert.rejects(ops.call(name), (error) => {
      assert.ok(error instanceof OpsError);
      assert.equal(error.code, "internal");
      assert.match(error.message, new RegExp(`on purpose, ${where}`));
      return true;
    });
  }
  assert.equal((await ops.backup.create()).outcome, "complete");
});
