// What the package costs: its import, a worker's start, a call. Each beside what Node costs without it.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(join(process.cwd(), "x.cjs"));
const entry = require.resolve("uplifted-ops");
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const timed = async (times, work) => {
  const taken = [];
  for (let time = 0; time < times; time++) {
    const begin = performance.now();
    await work();
    taken.push(performance.now() - begin);
  }
  return median(taken);
};
const node = (...args) => spawnSync(process.execPath, args, { encoding: "utf8" }).stdout;
const report = (what, value, unit) => console.log(`${what.padEnd(44)} ${value.toFixed(2).padStart(8)} ${unit}`);

const importing = `const t = performance.now(); IMPORT; console.log(performance.now() - t)`;
const cjs = importing.replace("IMPORT", `require(${JSON.stringify(entry)})`);
const mjs = importing.replace("IMPORT", `await import(${JSON.stringify(pathToFileURL(entry.replace(/\.js$/, ".mjs")).href)})`);
report("node's own start", await timed(15, () => node("-e", "0")), "ms");
report("require", median(Array.from({ length: 15 }, () => Number(node("-e", cjs)))), "ms");
report("import", median(Array.from({ length: 15 }, () => Number(node("--input-type=module", "-e", mjs)))), "ms");

const root = mkdtempSync(join(tmpdir(), "uplifted-ops-measure-"));
mkdirSync(join(root, "data"));
writeFileSync(join(root, "data", "a"), "a");
const settings = { backup: { include: ["data"] }, target: [{ name: "local", kind: "fs", path: "b" }] };
const { Ops } = require("uplifted-ops");
report("Ops.create and close", await timed(9, async () => (await Ops.create({ root, settings })).close()), "ms");
report(
  "first call in a worker, its start included",
  await timed(9, async () => {
    const ops = await Ops.create({ root, settings });
    await ops.backup.list();
    await ops.close();
  }),
  "ms",
);
const ops = await Ops.create({ root, settings });
await ops.backup.list();
report("call in a warm worker (backup.list)", await timed(200, () => ops.backup.list()), "ms");
const many = async (calls, each) => {
  for (let done = 0; done < calls / 10; done++) await each();
  const begin = performance.now();
  for (let done = 0; done < calls; done++) await each();
  return ((performance.now() - begin) * 1000) / calls;
};
report("smallest call in this process (config.check)", await many(2000, () => ops.call("config.check")), "µs");
report("call that is refused (a wrong field)", await many(10_000, () => ops.call("metrics.render", { format: "x" }).catch(() => {})), "µs");
const { Counter } = require("uplifted-ops/metrics");
const counter = new Counter({ name: "measured_total", help: "", labelNames: ["a"] });
const series = counter.labels("x");
report("counter.inc() of a series", await many(1_000_000, () => series.inc()), "µs");
report("counter.inc({ label })", await many(1_000_000, () => counter.inc({ a: "x" })), "µs");
await ops.close();
rmSync(root, { recursive: true });
