// In Electron's main process. No registry has Electron itself as the content of a package that is new enough (its npm package
// downloads it when it is installed), so this is a Node under Electron's rules: the program is the application unless
// ELECTRON_RUN_AS_NODE is set, memory of others is refused, and `process` says that it is Electron.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { before } from "node:test";
import { fileURLToPath } from "node:url";
import { folder, fresh, program, service, settings } from "./support.mjs";

const LINUX = process.platform === "linux";
const made = folder();
const refusing = join(made, "refusing.node");
const electron = join(made, "electron");

before(() => {
  if (!LINUX) return;
  const source = fileURLToPath(new URL("electron.c", import.meta.url));
  const compiled = spawnSync("cc", ["-shared", "-fPIC", "-Wall", "-Werror", "-o", refusing, source, "-ldl"], { encoding: "utf8" });
  assert.equal(compiled.status, 0, `${compiled.error ?? ""}${compiled.stderr}`);
  const rules = join(made, "rules.cjs");
  writeFileSync(
    rules,
    `process.execPath = ${JSON.stringify(electron)};
    Object.defineProperty(process.versions, "electron", { value: "42.0.0", enumerable: true });
    if (!process.env.ELECTRON_RUN_AS_NODE) process.type = "browser";`,
  );
  // A second application, which is what a worker becomes without the variable, would open a window and never speak to its host.
  const node = `exec "${process.execPath}" --require "${rules}" "$@"`;
  writeFileSync(
    electron,
    `#!/bin/sh
export LD_PRELOAD="${refusing}"
[ -z "$ELECTRON_RUN_AS_NODE" ] || ${node}
[ -z "$APPLICATION_RUNS" ] || { echo "a second application was opened" >&2; exit 9; }
export APPLICATION_RUNS=1
${node}
`,
  );
  chmodSync(electron, 0o755);
});

/** Runs an application, a CommonJS module, to its end. */
async function application(code) {
  const main = join(fresh, `main-${Math.random().toString(36).slice(2)}.cjs`);
  writeFileSync(main, `"use strict";\n(async () => {${code}})();`);
  return program(electron, [main], { env: { ELECTRON_RUN_AS_NODE: "", NODE_OPTIONS: "" } });
}

test("the rules are in force", { skip: !LINUX }, async () => {
  const ended = await application(`
    console.log(require(${JSON.stringify(refusing)}).status, process.type, process.versions.electron);
    const again = require("node:child_process").spawnSync(process.execPath, ["-e", "0"], { encoding: "utf8" });
    console.log(again.status, again.stderr.trim());
    const env = { ...process.env, ELECTRON_RUN_AS_NODE: "1" };
    console.log(require("node:child_process").spawnSync(process.execPath, ["-p", "process.type"], { env, encoding: "utf8" }).stdout.trim());
  `);
  assert.equal(ended.stdout, "22 browser 42.0.0\n9 a second application was opened\nundefined\n", ended.stderr);
});

test("operations run in the worker, and blocks of bytes cross both ways", { skip: !LINUX }, async () => {
  const ended = await application(`
    const { Ops } = require("uplifted-ops");
    const { Counter, register } = require("uplifted-ops/metrics");
    const { MemoryTarget } = await import("./tests/support.mjs");
    const root = ${JSON.stringify(service())}, settings = ${JSON.stringify(settings)};
    const memory = new MemoryTarget();
    const ops = await Ops.create({ root, settings: { ...settings, target: [] }, targets: { memory } });
    console.log((await ops.backup.create()).outcome, memory.objects.size > 0);
    const [{ snapshotId }] = (await ops.backup.list()).snapshots;
    console.log((await ops.backup.verify({ snapshotId, depth: "full" })).ok);
    const restored = await ops.restore.apply({ snapshotId, into: root + "/again" });
    console.log(restored.restoredFiles, require("node:fs").readFileSync(root + "/again/data/hello.txt", "utf8"));
    new Counter({ name: "windows_total", help: "Windows" }).inc();
    console.log(/windows_total 1/.test(await register.metrics()));
    const server = require("node:http").createServer(ops.handler()).listen(${JSON.stringify(join(made, "socket"))});
    await require("node:events").once(server, "listening");
    const request = require("node:http").get({ socketPath: ${JSON.stringify(join(made, "socket"))}, path: "/status" });
    const [response] = await require("node:events").once(request, "response");
    console.log(response.statusCode, JSON.parse((await response.toArray()).join("")).service);
    server.close();
    await ops.close();
  `);
  assert.equal(ended.stdout, "complete true\ntrue\n1 hello\ntrue\n200 shop\n", ended.stderr);
  // Nor does it ask for such memory and fall back: neither host nor worker.
  assert.deepEqual([ended.code, ended.stderr], [0, ""]);
});
