// Counting in memory of this thread's own, which the native half reads: what happens to it when threads, series and garbage come
// and go.
import assert from "node:assert/strict";
import { once } from "node:events";
import test from "node:test";
import { Worker } from "node:worker_threads";
import { Counter, Gauge, Histogram, register } from "uplifted-ops/metrics";
import { child } from "./support.mjs";

/** The numbers on the page, by sample. */
const page = async () =>
  Object.fromEntries(
    (await register.metrics())
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1).replace("Inf", "Infinity"))]),
  );

/** Code in a thread of its own. It may post messages, and hears "end". */
const thread = (code, workerData) =>
  new Worker(
    `const { parentPort, workerData } = require("node:worker_threads");
     const { Counter, Gauge, Histogram, register } = require("uplifted-ops/metrics");
     ${code}`,
    { eval: true, workerData },
  );

test("what threads count is there however they end", async () => {
  const counter = new Counter({ name: "c_ends_total", help: "Ends", labelNames: ["how"] });
  const took = new Histogram({ name: "c_ends_seconds", help: "Ends", buckets: [1, 2] });
  const define = `
    const counter = new Counter({ name: "c_ends_total", help: "Ends", labelNames: ["how"] });
    const took = new Histogram({ name: "c_ends_seconds", help: "Ends", buckets: [1, 2] });
    const count = (how) => { for (let n = 0; n < 1000; n++) { counter.inc({ how }); took.observe(n % 3); } };`;
  counter.inc({ how: "returns" });
  await once(thread(`${define} count("returns");`), "exit");
  await once(thread(`${define} count("exits"); process.exit(0);`), "exit");
  const fails = thread(`${define} count("throws"); throw new Error("on purpose");`);
  await once(fails, "error");
  // Counts beside us, in a memory that both see: terminated in the middle, it is one off at most.
  const beside = new Int32Array(new SharedArrayBuffer(4));
  const endless = thread(
    `${define} const own = counter.labels("terminated"); parentPort.postMessage("counts");
     for (;;) { own.inc(); workerData[0]++; }`,
    beside,
  );
  await once(endless, "message");
  let seen = 0;
  while (seen < 10_000) {
    const now = (await page())['c_ends_total{how="terminated"}'];
    assert.ok(now >= seen, "never less");
    seen = now;
  }
  await endless.terminate();
  const numbers = await page();
  const [terminated, counted] = [numbers['c_ends_total{how="terminated"}'], beside[0]];
  assert.ok(terminated - counted === 0 || terminated - counted === 1, `${terminated} ${counted}`);
  assert.equal(numbers['c_ends_total{how="returns"}'], 1001);
  assert.equal(numbers['c_ends_total{how="exits"}'], 1000);
  assert.equal(numbers['c_ends_total{how="throws"}'], 1000);
  assert.equal(numbers["c_ends_seconds_count"], 3000);
  assert.equal(numbers["c_ends_seconds_sum"], 3 * (333 + 333 * 2));
});

test("of a gauge that threads share, what was set last wins and nothing added is lost", async () => {
  const gauge = new Gauge({ name: "c_shared", help: "Shared", labelNames: ["n"] });
  const own = gauge.labels("1");
  own.set(5);
  const other = thread(
    `const gauge = new Gauge({ name: "c_shared", help: "Shared", labelNames: ["n"] });
     parentPort.on("message", ([method, ...rest]) => {
       if (method === "end") parentPort.close();
       else gauge.labels("1")[method](...rest);
       parentPort.postMessage("done");
     });
     parentPort.postMessage("ready");`,
  );
  await once(other, "message");
  const there = async (...call) => {
    const done = once(other, "message");
    other.postMessage(call);
    await done;
  };
  const stands = async (value) => assert.equal((await page())['c_shared{n="1"}'], value);
  await there("inc", 2);
  await stands(7);
  own.inc(1);
  await stands(8);
  await there("set", 3);
  await stands(3);
  own.set(11);
  await stands(11);
  own.dec();
  await there("dec", 4);
  await stands(6);
  const ended = once(other, "exit");
  other.postMessage(["end"]);
  await ended;
  await stands(6);
  own.set(Number.NaN);
  await stands(Number.NaN);
  own.set(Infinity);
  await stands(Infinity);
});

test("a gauge keeps its value when the thread in which it was set ends", async () => {
  await once(thread(`new Gauge({ name: "c_kept", help: "Kept" }).set(42);`), "exit");
  const gauge = new Gauge({ name: "c_kept", help: "Kept" });
  assert.equal((await page())["c_kept"], 42);
  gauge.inc();
  assert.equal((await page())["c_kept"], 43);
});

test("a handle that was removed or reset comes back with its next count", async () => {
  const counter = new Counter({ name: "c_back_total", help: "Back", labelNames: ["n"] });
  const gauge = new Gauge({ name: "c_back_now", help: "Back", labelNames: ["n"] });
  const took = new Histogram({ name: "c_back_seconds", help: "Back", labelNames: ["n"], buckets: [1] });
  const [counts, value, times] = [counter.labels("1"), gauge.labels("1"), took.labels("1")];
  const use = () => (counts.inc(), counts.inc(2), value.inc(4), value.set(9), times.observe(0.5));
  use();
  for (const metric of [counter, gauge, took]) metric.remove("1");
  assert.deepEqual(Object.keys(await page()).filter((name) => name.startsWith("c_back")), []);
  use();
  let now = await page();
  assert.deepEqual([now['c_back_total{n="1"}'], now['c_back_now{n="1"}'], now['c_back_seconds_count{n="1"}']], [3, 9, 1]);
  for (const metric of [counter, gauge, took]) metric.reset();
  // The family gives out a new series first, and the old handle finds it.
  counter.inc({ n: 1 });
  gauge.set({ n: 1 }, 1);
  took.observe({ n: 1 }, 7);
  use();
  now = await page();
  assert.deepEqual([now['c_back_total{n="1"}'], now['c_back_now{n="1"}'], now['c_back_seconds_count{n="1"}']], [4, 9, 2]);
});

test("cells of what was collected as garbage begin at zero", async () => {
  const { code, stderr } = await child(
    `
    import { setImmediate as turn } from "node:timers/promises";
    import { Counter, Gauge, Histogram, register } from "uplifted-ops/metrics";
    const counter = new Counter({ name: "c_total", help: "C", labelNames: ["n"] });
    const gauge = new Gauge({ name: "g", help: "G", labelNames: ["n"] });
    const took = new Histogram({ name: "h", help: "H", labelNames: ["n"], buckets: [1, 2, 3] });
    const held = counter.labels("held");
    held.inc(7);
    let memory;
    for (let round = 0; round < 60; round++) {
      for (let n = 0; n < 200; n++) {
        const name = round + "-" + n;
        counter.inc({ n: name });
        gauge.inc({ n: name }, 2.5);
        took.observe({ n: name }, n % 4);
      }
      const lines = (await register.metrics()).split("\\n").filter((line) => /^(c_total|g|h_count)\\{/.test(line));
      const wrong = lines.filter((line) => !/held"\\} 7$| 1$|^g.* 2.5$/.test(line));
      if (wrong.length > 0 || lines.length !== 600 + (round === 0 ? 1 : 0)) throw new Error(round + wrong.join() + lines.length);
      for (const metric of [counter, gauge, took]) metric.reset();
      gc();
      await turn();
      if (round === 10) memory = process.memoryUsage().arrayBuffers;
    }
    // What comes and goes uses the same memory again.
    if (process.memoryUsage().arrayBuffers > memory * 1.5) throw new Error("memory grows");
    held.inc();
    if (!(await register.metrics()).includes('c_total{n="held"} 1\\n')) throw new Error("held");
  `,
    { flags: ["--expose-gc"] },
  );
  assert.equal(code, 0, stderr);
});

test("threads come and go while a page is read", async () => {
  const { code, stderr } = await child(`
    import { once } from "node:events";
    import { Worker } from "node:worker_threads";
    import { Counter, Gauge, register } from "uplifted-ops/metrics";
    const counter = new Counter({ name: "c_total", help: "C" });
    const code = \`
      const { Counter, Gauge } = require("uplifted-ops/metrics");
      const counter = new Counter({ name: "c_total", help: "C" });
      for (let n = 0; n < 1000; n++) counter.inc();
      const own = new Counter({ name: "c_by_thread_total", help: "C", labelNames: ["id"] });
      own.inc({ id: require("node:worker_threads").threadId });\`;
    let running = 20;
    const run = async () => {
      while (running-- > 0) await once(new Worker(code, { eval: true }), "exit");
    };
    let last = 0;
    const read = async () => {
      while (running > 0) {
        const now = Number(/^c_total (\\d+)$/m.exec(await register.metrics())[1]);
        if (now < last) throw new Error(now + " after " + last);
        last = now;
        await new Promise(setImmediate);
      }
    };
    await Promise.all([run(), run(), run(), read()]);
    const page = await register.metrics();
    if (!/^c_total 20000$/m.test(page)) throw new Error(page);
    if (page.split("\\n").filter((line) => /^c_by_thread_total.* 1$/.test(line)).length !== 20) throw new Error(page);
  `);
  assert.equal(code, 0, stderr);
});

test("numbers and labels that are wrong change nothing", async () => {
  const counter = new Counter({ name: "c_wrong_total", help: "Wrong" });
  const gauge = new Gauge({ name: "c_wrong_now", help: "Wrong" });
  const took = new Histogram({ name: "c_wrong_seconds", help: "Wrong", buckets: [1], labelNames: ["n"] });
  for (const value of [-1, NaN, Infinity, -Infinity, "2", null, {}]) {
    if (value !== null) assert.throws(() => counter.inc(undefined, value), { code: "invalid_input" }, String(value));
    if (typeof value === "number") assert.throws(() => counter.inc(value), { code: "invalid_input" }, String(value));
    if (typeof value !== "number") assert.throws(() => took.observe({ n: 1 }, value), { code: "invalid_input" });
  }
  for (const value of ["1", undefined, 1n]) assert.throws(() => gauge.set(value), { code: "invalid_input" });
  for (const value of [NaN, Infinity, -Infinity]) took.observe(value, "1");
  took.observe(1, "1");
  const now = await page();
  assert.deepEqual([now["c_wrong_total"], now["c_wrong_now"], now['c_wrong_seconds_bucket{n="1",le="1.0"}']], [0, 0, 1]);
  assert.equal(now['uplifted_ops_metrics_refused_observations_total{family="c_wrong_seconds"}'], 3);
  assert.throws(() => took.observe(1, "1", "2"), /takes 1 label values, not 2/);
});

test("labels may be anything", async () => {
  const counter = new Counter({ name: "c_labels_total", help: "Labels", labelNames: ["a", "b"] });
  const surrogate = "\ud800";
  for (const value of [surrogate, "\ufffd", "a\"b\\\n", "", 7, "7", null, undefined, true, 1n, "x".repeat(1 << 20)]) {
    counter.inc({ a: value, b: "1" });
    counter.inc({ b: "1", a: value });
  }
  const lines = (await register.metrics()).split("\n").filter((line) => line.startsWith("c_labels_total{"));
  const counts = Object.fromEntries(lines.map((line) => [/a="(.*)",b=/.exec(line)[1], Number(line.split(" ").at(-1))]));
  const long = "x".repeat(1024);
  assert.deepEqual(counts, { "\ufffd": 4, 'a\\"b\\\\\\n': 2, "": 6, 7: 4, true: 2, 1: 2, [long]: 2 });
  // What is remembered says the same as what is looked up.
  counter.inc(surrogate, "1");
  counter.inc("x".repeat(1 << 20), "1");
  assert.equal((await page())[`c_labels_total{a="${long}",b="1"}`], 3);
  // An object is asked each time.
  let name = "first";
  const changing = { toString: () => name };
  counter.inc({ a: changing, b: "2" });
  name = "second";
  counter.inc({ a: changing, b: "2" });
  assert.equal((await page())['c_labels_total{a="second",b="2"}'], 1);
});

test("counting in a signal handler, a finaliser and while garbage is collected, beside a thread that counts and readers", async () => {
  const { code, stderr } = await child(
    `
    import { once } from "node:events";
    import { setImmediate as turn } from "node:timers/promises";
    import { PerformanceObserver } from "node:perf_hooks";
    import { Worker } from "node:worker_threads";
    import { Counter, Histogram, register } from "uplifted-ops/metrics";
    const counter = new Counter({ name: "c_total", help: "C", labelNames: ["from"] });
    const took = new Histogram({ name: "c_seconds", help: "C", buckets: [1, 2] });

    let rings = 0;
    process.on("SIGUSR2", () => {
      rings++;
      counter.inc({ from: "signal" });
      counter.labels("signal-" + (rings % 3)).inc();
      took.observe(0.5);
    });
    let pauses = 0;
    new PerformanceObserver((list) => {
      for (const _ of list.getEntries()) pauses++, counter.inc({ from: "gc" });
    }).observe({ entryTypes: ["gc"] });
    let ends = 0;
    const gone = new FinalizationRegistry((n) => {
      ends++;
      counter.inc({ from: "finaliser" });
      counter.labels("finaliser-" + n).inc();
      took.observe(1.5);
    });
    for (let n = 0; n < 1000; n++) gone.register({}, n % 10);

    const worker = new Worker(
      'const { Counter } = require("uplifted-ops/metrics");' +
      'const counter = new Counter({ name: "c_total", help: "C", labelNames: ["from"] });' +
      'for (let n = 0; n < 100000; n++) counter.labels("thread-" + (n % 50)).inc();',
      { eval: true },
    );
    const ended = once(worker, "exit");
    for (let round = 0; ends < 1000 || rings < 50; round++) {
      if (round > 20000) throw new Error(ends + " finalisers, " + rings + " signals");
      process.kill(process.pid, "SIGUSR2");
      gc();
      await turn();
      if (round % 10 === 0) await register.metrics();
    }
    await ended;
    // No signal is under way any more.
    for (let last = -1; last !== rings; await turn()) last = rings;
    process.removeAllListeners("SIGUSR2");
    const sums = {};
    for (const { labels, value } of (await counter.get()).values) {
      const from = labels.from.split("-")[0] + (labels.from.includes("-") ? "-n" : "");
      sums[from] = (sums[from] ?? 0) + value;
    }
    const page = await register.metrics();
    const threads = [...page.matchAll(/^c_total\\{from="thread-.*\\} (.*)$/gm)].reduce((sum, [, value]) => sum + Number(value), 0);
    const observed = (await took.get()).values.find(({ metricName }) => metricName === "c_seconds_count").value;
    const found = [sums.signal, sums["signal-n"], sums.finaliser, sums["finaliser-n"], sums.gc, threads, observed];
    const wanted = [rings, rings, 1000, 1000, pauses, 100000, rings + 1000];
    if (String(found) !== String(wanted) || pauses === 0) throw new Error(found + " instead of " + wanted);
    process.exit(0);
  `,
    { flags: ["--expose-gc"] },
  );
  assert.equal(code, 0, stderr);
});
