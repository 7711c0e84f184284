// Instruments with prom-client's constructors.
import assert from "node:assert/strict";
import test from "node:test";
import { OpsError } from "uplifted-ops";
import { Counter, exponentialBuckets, Gauge, Histogram, linearBuckets, register } from "uplifted-ops/metrics";
import { child, open } from "./support.mjs";

/** The samples of a page whose names begin with `prefix`. */
const samples = async (prefix) =>
  (await register.metrics()).split("\n").filter((line) => line.startsWith(prefix));

test("counters count, with and without labels", async () => {
  const plain = new Counter({ name: "t_plain_total", help: "Plain" });
  assert.deepEqual(await samples("t_plain"), ["t_plain_total 0"]);
  plain.inc();
  plain.inc(2.5);
  assert.deepEqual(await samples("t_plain"), ["t_plain_total 3.5"]);
  assert.throws(() => plain.inc(-1), (error) => error instanceof OpsError && error.code === "invalid_input");

  const labelled = new Counter({ name: "t_requests_total", help: "Requests", labelNames: ["method", "status"] });
  assert.deepEqual(await samples("t_requests"), []);
  labelled.inc({ method: "GET", status: 200 });
  labelled.inc({ status: "200", method: "GET" }, 2);
  labelled.labels("POST", 500).inc();
  labelled.labels({ method: "POST" }).inc(7);
  assert.deepEqual(await samples("t_requests"), [
    't_requests_total{method="GET",status="200"} 3',
    't_requests_total{method="POST",status=""} 7',
    't_requests_total{method="POST",status="500"} 1',
  ]);
  assert.throws(() => labelled.inc({ verb: "GET" }), /has no label "verb"/);
  assert.throws(() => labelled.labels("GET").inc(), /takes 2 label values, not 1/);
  labelled.remove("GET", "200");
  assert.equal((await samples("t_requests")).length, 2);
  labelled.reset();
  plain.reset();
  assert.deepEqual([await samples("t_requests"), await samples("t_plain")], [[], ["t_plain_total 0"]]);
  labelled.inc({ method: "GET", status: 200 });
  assert.deepEqual(await samples("t_requests"), ['t_requests_total{method="GET",status="200"} 1']);
});

test("gauges go up and down, and keep times", async () => {
  const gauge = new Gauge({ name: "t_temperature", help: "Temperature", labelNames: ["room"] });
  gauge.set({ room: "a" }, 20);
  gauge.inc({ room: "a" });
  gauge.dec({ room: "a" }, 3);
  assert.deepEqual(await samples("t_temperature"), ['t_temperature{room="a"} 18']);
  const series = gauge.labels("b");
  series.set(Number.NaN);
  assert.match((await samples("t_temperature"))[1], / NaN$/);
  series.setToCurrentTime();
  assert.ok(Math.abs(Number((await samples("t_temperature"))[1].split(" ")[1]) - Date.now() / 1000) < 10);
  const plain = new Gauge({ name: "t_seconds", help: "", collect() { this.inc(); } });
  const end = plain.startTimer();
  assert.ok(end() >= 0);
  plain.set(5);
  assert.deepEqual(await samples("t_seconds"), ["t_seconds 6"], "collect was called");
});

test("a gauge of which the last setting counts is like any other in one process", async () => {
  const gauge = new Gauge({ name: "t_recent", help: "Recent", labelNames: ["queue"], mode: "mostrecent" });
  gauge.labels("a").set(5);
  gauge.inc({ queue: "a" }, 2);
  gauge.dec({ queue: "a" });
  gauge.set({ queue: "b" }, Number.NaN);
  assert.deepEqual(await samples("t_recent"), ['t_recent{queue="a"} 6', 't_recent{queue="b"} NaN']);
  gauge.remove("a");
  gauge.labels("b").set(1);
  assert.deepEqual(await samples("t_recent"), ['t_recent{queue="b"} 1']);
  assert.throws(() => new Gauge({ name: "t_odd", help: "", mode: "latest" }), { code: "invalid_input" });
  new Gauge({ name: "t_odd", help: "", mode: "livemax" }).set(3);
});

test("histograms have buckets", async () => {
  const histogram = new Histogram({ name: "t_latency_seconds", help: "Latency", labelNames: ["route"], buckets: [0.1, 1] });
  histogram.observe({ route: "/" }, 0.05);
  histogram.labels("/").observe(0.5);
  histogram.observe({ route: "/" }, 5);
  assert.ok(histogram.startTimer({ route: "/" })() >= 0);
  histogram.zero({ route: "/new" });
  const page = await samples("t_latency_seconds");
  assert.ok(page.includes('t_latency_seconds_bucket{route="/",le="0.1"} 2'));
  assert.ok(page.includes('t_latency_seconds_bucket{route="/",le="+Inf"} 4'));
  assert.ok(page.includes('t_latency_seconds_count{route="/new"} 0'));
  assert.throws(() => new Histogram({ name: "t_wrong", help: "", buckets: [2, 1] }), { code: "invalid_input" });
  assert.deepEqual(linearBuckets(1, 2, 3), [1, 3, 5]);
  assert.deepEqual(exponentialBuckets(1, 10, 3), [1, 10, 100]);
});

test("a name is defined once", () => {
  const first = new Counter({ name: "t_once_total", help: "Once", registers: [register] });
  assert.throws(() => new Counter({ name: "t_once_total", help: "Once" }), /registered twice/);
  assert.equal(register.getSingleMetric("t_once_total"), first);
  register.removeSingleMetric("t_once_total");
  new Counter({ name: "t_once_total", help: "Once" }).inc();
  assert.throws(() => new Gauge({ name: "t_bad name", help: "" }), { code: "invalid_input" });
  assert.throws(() => new Gauge({ name: "t_own", help: "", registers: [{}] }), /no registry/);
});

test("what is counted before there is an Ops is rendered by it", async (t) => {
  const early = new Counter({ name: "t_early_total", help: "Early" });
  early.inc();
  const ops = await open(t);
  const { body, contentType } = await ops.metrics.render();
  assert.match(body, /^t_early_total 1$/m);
  assert.match(body, /^process_cpu_seconds_total /m);
  assert.equal(contentType, register.contentType);
});

test("many values of a label do not fill the memory", async () => {
  const { code, stderr } = await child(`
    import { Counter, register } from "uplifted-ops/metrics";
    const counter = new Counter({ name: "t_ids_total", help: "Ids", labelNames: ["id"] });
    for (let id = 0; id < 300_000; id++) counter.inc({ id });
    const lines = (await register.metrics()).split("\\n").filter((line) => line.startsWith("t_ids_total{"));
    if (lines.length !== 2001) throw new Error(String(lines.length));
  `);
  assert.equal(code, 0, stderr);
});
