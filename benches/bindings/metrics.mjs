// What counting costs in Node: prints nanoseconds of each job as one JSON object.
//
//   metrics.mjs CONTENDER
//
// Run by `uplifted-bench metrics`, one process for each contender and round (what the compiler learns of one must not slow
// another), in a folder that has the package and its peers installed.
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const contender = process.argv[2];
const require = createRequire(join(process.cwd(), "x.js"));
const ours = contender.startsWith("uplifted-ops");
const library = require(ours ? "uplifted-ops/prom-client" : contender);
// An `Ops` makes this process one of several: from there on what is counted is copied to a file that others read.
const root = contender === "uplifted-ops, multi-process" && mkdtempSync(join(tmpdir(), "uplifted-bench-"));
const sharing = root && await require("uplifted-ops").Ops.create({ root });

const counters = Array.from({ length: 8 }, (_, n) => new library.Counter({ name: `bench_${n}_total`, help: "One of eight" }));
const labelNames = ["method", "path", "status"];
const labelled = new library.Counter({ name: "bench_requests_total", help: "Requests", labelNames });
const histogram = new library.Histogram({ name: "bench_seconds", help: "Took" });
const sets = Array.from({ length: 64 }, (_, n) => ({
  method: ["GET", "POST", "PUT", "DELETE"][n % 4],
  path: `/api/v1/items/${n}`,
  status: ["200", "404", "500"][n % 3],
}));
// Made once what has none was timed: in prom-client it is of another shape, which slows both. Theirs keep examples in a registry of
// this format alone.
let traced;
const tracing = () => (traced ??= new library.Histogram({
  name: "bench_traced_seconds",
  help: "Took",
  enableExemplars: true,
  registers: [new library.Registry(library.Registry.OPENMETRICS_CONTENT_TYPE)],
}));
const exemplarLabels = { traceId: "4bf92f3577b34da6a3ce929d0e0e4736" };
const child = labelled.labels("GET", "/api/v1/items/0", "200");

const jobs = {
  "inc of eight counters by turns": [20_000_000, (count) => {
    for (let n = 0; n < count; n++) counters[n & 7].inc();
  }],
  "cached child, inc": [5_000_000, (count) => {
    for (let n = 0; n < count; n++) child.inc();
  }],
  "three labels and inc": [1_000_000, (count) => {
    for (let n = 0; n < count; n++) {
      const { method, path, status } = sets[n & 63];
      labelled.inc({ method, path, status });
    }
  }],
  observe: [5_000_000, (count) => {
    for (let n = 0; n < count; n++) histogram.observe((n & 1023) / 80);
  }],
  "observe with an example": [100_000, (count) => {
    const traced = tracing();
    for (let n = 0; n < count; n++) traced.observe({ value: (n & 1023) / 80, exemplarLabels });
  }],
  "observe, where examples are kept": [2_000_000, (count) => {
    const traced = tracing();
    for (let n = 0; n < count; n++) traced.observe({ value: (n & 1023) / 80 });
  }],
};
if (ours) {
  // Theirs take nothing but an object there.
  jobs["observe, where examples are kept, by the number alone"] = [5_000_000, (count) => {
    const traced = tracing();
    for (let n = 0; n < count; n++) traced.observe((n & 1023) / 80);
  }];
  jobs["three labels and inc, one call"] = [1_000_000, (count) => {
    for (let n = 0; n < count; n++) {
      const { method, path, status } = sets[n & 63];
      labelled.inc(method, path, status);
    }
  }];
}

const found = {};
for (const [job, [count, run]] of Object.entries(jobs)) {
  run(count / 10);
  const times = [];
  // The least of many short runs: what else the machine does hits some of them, and not all.
  const part = count / 20;
  for (let round = 0; round < 100; round++) {
    const began = process.hrtime.bigint();
    run(part);
    times.push(Number(process.hrtime.bigint() - began) / part);
  }
  found[job] = Math.min(...times);
}

const SERIES = 100_000;
const registry = new library.Registry();
const many = new library.Counter({ name: "bench_many_total", help: "Many", labelNames, registers: [registry], maxSeries: 2 * SERIES });
for (let n = 0; n < SERIES; n++) {
  many.inc({ method: sets[n % 4].method, path: `/api/v1/items/${n}`, status: sets[n % 3].status }, n * 7);
}
const text = await registry.metrics();
if (text.split("\nbench_many_total{").length !== SERIES + 1) throw new Error(text.slice(0, 1_000));
const pages = [];
for (let round = 0; round < 5; round++) {
  const began = process.hrtime.bigint();
  await registry.metrics();
  pages.push(Number(process.hrtime.bigint() - began));
}
found[`page of ${SERIES.toLocaleString("en")} series`] = Math.min(...pages);
if (sharing) {
  await sharing.close();
  rmSync(root, { recursive: true });
}
console.log(JSON.stringify(found));
