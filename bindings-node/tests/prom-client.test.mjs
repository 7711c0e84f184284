// What programs of prom-client do, after a change of import. The packages prom-client (10 to 15) and @prometheus-io/client (0.16) carry no
// tests of theirs that could be run here, as those of `prometheus_client` are for Python.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import test from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import client, {
  collectDefaultMetrics,
  contentType,
  Counter,
  exponentialBuckets,
  Gauge,
  Histogram,
  linearBuckets,
  openMetricsContentType,
  prometheusContentType,
  register,
  Registry,
  Summary,
} from "uplifted-ops/prom-client";
import { child } from "./support.mjs";

const fresh = (configuration) => ({ help: "Help", registers: [new Registry()], ...configuration });
const values = async (metric) => (await metric.get()).values;

test("it is imported as prom-client is", () => {
  const required = createRequire(import.meta.url)("uplifted-ops/prom-client");
  for (const library of [client, required]) {
    assert.equal(library.register, register);
    for (const name of ["Counter", "Gauge", "Histogram", "Summary", "Registry", "collectDefaultMetrics", "linearBuckets"]) {
      assert.equal(typeof library[name], "function", name);
    }
  }
  assert.equal(contentType, "text/plain; version=0.0.4; charset=utf-8");
  assert.equal(prometheusContentType, Registry.PROMETHEUS_CONTENT_TYPE);
  assert.equal(openMetricsContentType, Registry.OPENMETRICS_CONTENT_TYPE);
});

test("counters", async () => {
  const counter = new Counter(fresh({ name: "p_counter_total", labelNames: ["method", "endpoint"] }));
  assert.deepEqual(await values(counter), []);
  counter.inc({ method: "GET", endpoint: "/test" });
  counter.inc({ endpoint: "/test", method: "GET" }, 2);
  counter.inc({ method: "GET" });
  counter.labels("POST", "/test").inc();
  counter.labels({ method: "POST", endpoint: "/test" }).inc(10);
  counter.inc({ method: "PUT", endpoint: "/" }, 0);
  const { name, help, type, aggregator, values: all } = await counter.get();
  assert.deepEqual([name, help, type, aggregator], ["p_counter_total", "Help", "counter", "sum"]);
  assert.deepEqual(
    all.toSorted((a, b) => a.value - b.value).map(({ value, labels }) => [value, { ...labels }]),
    [
      [0, { endpoint: "/", method: "PUT" }],
      [1, { method: "GET" }],
      [3, { endpoint: "/test", method: "GET" }],
      [11, { endpoint: "/test", method: "POST" }],
    ],
  );
  for (const wrong of [-1, NaN, Infinity, "5"]) assert.throws(() => counter.inc({ method: "GET" }, wrong), Error);
  assert.throws(() => counter.inc({ method: "GET", unknown: "x" }), /unknown/);
  assert.throws(() => counter.labels("GET"), Error);
  counter.remove("POST", "/test");
  counter.remove({ method: "GET", endpoint: "/test" });
  assert.equal((await values(counter)).length, 2);
  counter.reset();
  assert.deepEqual(await values(counter), []);
  const plain = new Counter(fresh({ name: "p_plain_total" }));
  plain.inc();
  plain.inc(null, 3);
  plain.inc(undefined, 2);
  plain.inc({}, 4);
  assert.deepEqual((await values(plain)).map(({ value }) => value), [10]);
  plain.reset();
  assert.deepEqual((await values(plain)).map(({ value }) => value), [0]);
});

test("gauges", async () => {
  const gauge = new Gauge(fresh({ name: "p_gauge", labelNames: ["code"] }));
  gauge.set({ code: 200 }, 10);
  gauge.inc({ code: 200 });
  gauge.dec({ code: "200" }, 5.5);
  assert.equal((await values(gauge))[0].value, 5.5);
  gauge.setToCurrentTime({ code: 200 });
  assert.ok(Math.abs((await values(gauge))[0].value - Date.now() / 1000) < 10);
  const end = gauge.startTimer({ code: 200 });
  await turn();
  const took = end();
  assert.ok(took > 0 && (await values(gauge))[0].value === took);
  gauge.labels("200").startTimer()();
  gauge.labels("200").setToCurrentTime();
  gauge.startTimer()({ code: 300 });
  assert.equal((await values(gauge)).length, 2);
  assert.throws(() => gauge.set({ code: 200 }, "asd"), Error);
  gauge.set({ code: 200 }, NaN);
  assert.ok((await values(gauge)).some(({ value }) => Number.isNaN(value)));
});

test("histograms and summaries", async () => {
  const histogram = new Histogram(fresh({ name: "p_seconds", labelNames: ["method"], buckets: [0.1, 0.5, 1] }));
  histogram.zero({ method: "GET" });
  histogram.observe({ method: "GET" }, 0.1);
  histogram.labels("GET").observe(0.11);
  histogram.labels({ method: "GET" }).observe(50);
  const all = await values(histogram);
  const at = (name, le) => all.find(({ metricName, labels }) => metricName === name && labels.le === le)?.value;
  assert.deepEqual([at("p_seconds_bucket", 0.1), at("p_seconds_bucket", 0.5), at("p_seconds_bucket", "+Inf")], [1, 2, 3]);
  assert.deepEqual([at("p_seconds_count"), at("p_seconds_sum")], [3, 50.21]);
  for (const timer of [histogram.startTimer({ method: "GET" }), histogram.labels("GET").startTimer()]) assert.ok(timer() >= 0);
  histogram.startTimer()({ method: "PUT" });
  assert.equal((await values(histogram)).filter(({ metricName }) => metricName === "p_seconds_count").length, 2);
  histogram.remove("GET");
  histogram.reset();
  assert.deepEqual(await values(histogram), []);
  assert.throws(() => new Histogram(fresh({ name: "p_le", labelNames: ["le"] })), Error);
  const summary = new Summary(fresh({ name: "p_bytes", percentiles: [0.5] }));
  summary.observe(10);
  summary.observe(20);
  assert.deepEqual((await values(summary)).map(({ metricName, value }) => [metricName, value]), [
    ["p_bytes_sum", 30],
    ["p_bytes_count", 2],
  ]);
  for (const count of [1, 2, 7, 8, 15, 16, 31, 100]) {
    const bounds = linearBuckets(0, 1, count);
    const wide = new Histogram(fresh({ name: `p_wide_${count}`, buckets: bounds }));
    for (let value = -1; value <= count; value += 0.5) wide.observe(value);
    for (const { labels, value, metricName } of await values(wide)) {
      if (!metricName.endsWith("_bucket")) continue;
      const below = labels.le === "+Inf" ? 2 * count + 3 : 2 * labels.le + 3;
      assert.equal(value, below, `${count} ${labels.le}`);
    }
  }
});

test("buckets", () => {
  assert.deepEqual(linearBuckets(0, 50, 3), [0, 50, 100]);
  assert.deepEqual(exponentialBuckets(1, 2, 5), [1, 2, 4, 8, 16]);
  assert.throws(() => linearBuckets(1, 1, 0), Error);
  assert.throws(() => exponentialBuckets(0, 2, 3), Error);
  assert.throws(() => exponentialBuckets(1, 1, 3), Error);
  assert.throws(() => exponentialBuckets(1, 2, 0), Error);
});

test("bounds that are not ascending are refused, and leave no name", async () => {
  for (const buckets of [[1, 1], [2, 1], [1, 2, 2, 3], [NaN], [-Infinity, 1], [Infinity, 1]]) {
    const registers = [new Registry()];
    assert.throws(
      () => new Histogram({ name: "p_bounds", help: "Bounds", registers, buckets }),
      (error) => /the bounds of histogram "p_bounds"/.test(error.message) && /ascending/.test(error.hint),
      `${buckets}`,
    );
    const fine = new Histogram({ name: "p_bounds", help: "Bounds", registers, buckets: [1, 2, Infinity] });
    fine.observe(1);
    assert.match(await registers[0].metrics(), /^p_bounds_bucket\{le="1.0"\} 1$/m);
  }
});

test("exemplars", async () => {
  const registry = new Registry(Registry.OPENMETRICS_CONTENT_TYPE);
  const given = { registers: [registry], help: "Help", enableExemplars: true };
  const counter = new Counter({ ...given, name: "p_traced_total", labelNames: ["a"] });
  counter.inc({ labels: { a: "x" }, value: 2.5, exemplarLabels: { traceId: "abc" } });
  counter.inc({ labels: { a: "x" }, exemplarLabels: { traceId: "def" } });
  counter.inc({ labels: { a: "y" } });
  counter.labels("x").inc();
  const histogram = new Histogram({ ...given, name: "p_traced_seconds", buckets: [1, 2] });
  histogram.observe({ value: 1.5, exemplarLabels: { traceId: 7 } });
  histogram.observe({ value: 0.5 });
  histogram.observe(9);
  const page = await registry.metrics();
  assert.match(page, /^p_traced_total\{a="x"\} 4\.5 # \{traceId="def"\} 1(?:\.0)? \d+/m);
  assert.match(page, /^p_traced_total\{a="y"\} 1(?:\.0)?$/m);
  assert.match(page, /^p_traced_seconds_bucket\{le="2.0"\} 2 # \{traceId="7"\} 1\.5 \d+/m);
  assert.match(page, /^p_traced_seconds_count 3$/m);
  assert.throws(() => counter.inc({ labels: { a: "x" }, value: -1, exemplarLabels: { traceId: "x" } }), Error);
  assert.throws(() => histogram.observe({ exemplarLabels: { traceId: "x" } }), Error);
});

test("registries", async () => {
  const [one, two] = [new Registry(), new Registry(Registry.OPENMETRICS_CONTENT_TYPE)];
  const counter = new Counter({ name: "p_both_total", help: "Both", registers: [one, two], labelNames: ["a"] });
  new Gauge({ name: "p_one", help: "One\nline", registers: [one], collect() { this.set(7); } });
  counter.inc({ a: 'x"\\\n' });
  assert.equal(
    await one.metrics(),
    "# HELP p_both_total Both\n# TYPE p_both_total counter\np_both_total{a=\"x\\\"\\\\\\n\"} 1\n" +
      "# HELP p_one One\\nline\n# TYPE p_one gauge\np_one 7\n",
  );
  assert.match(await two.metrics(), /^# HELP p_both Both\n# TYPE p_both counter\np_both_total\{.*\} 1\n# EOF\n$/s);
  assert.ok(!(await register.metrics()).includes("p_both"));
  assert.equal(one.getSingleMetric("p_both_total"), counter);
  assert.match(await one.getSingleMetricAsString("p_one"), /^p_one 7$/m);
  assert.ok(!(await one.getSingleMetricAsString("p_one")).includes("p_both"));
  assert.throws(() => new Counter({ name: "p_both_total", help: "Twice", registers: [one] }), /registered twice/);
  assert.equal(one.getMetricsAsArray().length, 2);
  one.setDefaultLabels({ env: "test", a: "default" });
  const page = await one.metrics();
  assert.match(page, /^p_one\{env="test",a="default"\} 7$/m);
  assert.match(page, /^p_both_total\{a="x.*",env="test"\} 1$/m);
  const json = await one.getMetricsAsJSON();
  assert.deepEqual(json.map(({ name, values }) => [name, values[0].labels.env]), [["p_both_total", "test"], ["p_one", "test"]]);
  one.resetMetrics();
  assert.deepEqual((await counter.get()).values, []);
  one.removeSingleMetric("p_both_total");
  assert.equal(one.getSingleMetric("p_both_total"), undefined);
  new Counter({ name: "p_both_total", help: "Again", registers: [one] });
  one.clear();
  assert.equal(await one.metrics(), "");
  const other = new Registry();
  new Gauge({ name: "p_other", help: "Other", registers: [other] }).set(1);
  new Gauge({ name: "p_third", help: "Third", registers: [one] }).set(2);
  assert.equal((await Registry.merge([one, other]).metrics()).split("\n").length, 7);
  assert.throws(() => Registry.merge([one, two]), Error);
  assert.throws(() => new Registry("text/html"), Error);
  assert.throws(() => one.setContentType("x"), Error);
});

test("metrics outside of any registry, and moved into the process's", async () => {
  const gauge = new Gauge({ name: "p_moved", help: "Moved", registers: [], collect() { this.inc(); } });
  gauge.set(3);
  assert.ok(!(await register.metrics()).includes("p_moved"));
  register.registerMetric(gauge);
  register.registerMetric(gauge);
  assert.match(await register.metrics(), /^p_moved 4$/m);
  register.removeSingleMetric("p_moved");
  assert.ok(!(await register.metrics()).includes("p_moved"));
  // Its name is free, for a metric of another kind as well.
  new Counter({ name: "p_moved", help: "Another" }).inc();
  assert.match(await register.metrics(), /^p_moved_total 1$/m);
  register.removeSingleMetric("p_moved");
});

test("collect is called, also when it was set later and is asynchronous", async () => {
  const registry = new Registry();
  const gauge = new Gauge({ name: "p_late", help: "Late", registers: [registry] });
  gauge.collect = async () => {
    await turn();
    gauge.set(5);
  };
  assert.match(await registry.metrics(), /^p_late 5$/m);
  gauge.collect = () => {
    throw new Error("on purpose");
  };
  await assert.rejects(registry.metrics(), /on purpose/);
});

const NAMES = [
  "process_cpu_user_seconds_total",
  "process_cpu_system_seconds_total",
  "process_cpu_seconds_total",
  "process_start_time_seconds",
  "process_resident_memory_bytes",
  "process_virtual_memory_bytes",
  "process_heap_bytes",
  "process_open_fds",
  "process_max_fds",
  "nodejs_eventloop_lag_seconds",
  "nodejs_eventloop_lag_min_seconds",
  "nodejs_eventloop_lag_max_seconds",
  "nodejs_eventloop_lag_mean_seconds",
  "nodejs_eventloop_lag_stddev_seconds",
  "nodejs_eventloop_lag_p50_seconds",
  "nodejs_eventloop_lag_p90_seconds",
  "nodejs_eventloop_lag_p99_seconds",
  "nodejs_active_resources",
  "nodejs_active_resources_total",
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_heap_size_total_bytes",
  "nodejs_heap_size_used_bytes",
  "nodejs_external_memory_bytes",
  "nodejs_heap_space_size_total_bytes",
  "nodejs_heap_space_size_used_bytes",
  "nodejs_heap_space_size_available_bytes",
  "nodejs_version_info",
  "nodejs_gc_duration_seconds_count",
];

test("the default metrics have prom-client's names", async () => {
  const { code, stdout, stderr } = await child(
    `
    import { collectDefaultMetrics, register, Registry } from "uplifted-ops/prom-client";
    import { setTimeout as sleep } from "node:timers/promises";
    collectDefaultMetrics({ eventLoopMonitoringPrecision: 5 });
    const own = new Registry();
    collectDefaultMetrics({ register: own, prefix: "shop_", labels: { app: "x" } });
    gc();
    const busy = Date.now();
    while (Date.now() < busy + 60);
    await sleep(60);
    await register.metrics();
    await sleep(10);
    console.log(JSON.stringify([await register.metrics(), await own.metrics()]));
    process.exit();
  `,
    { flags: ["--expose-gc"] },
  );
  assert.equal(code, 0, stderr);
  const [page, own] = JSON.parse(stdout);
  const number = (text, name) => Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(text)?.[1] ?? NaN);
  for (const name of NAMES) {
    assert.ok(!Number.isNaN(number(page, name)), name);
    assert.ok(!Number.isNaN(number(own, `shop_${name}`)), `shop_${name}`);
  }
  assert.match(own, /^shop_nodejs_heap_size_used_bytes\{app="x"\} \d+$/m);
  assert.match(page, /^nodejs_version_info\{version="v\d+\.\d+\.\d+",major="\d+",minor="\d+",patch="\d+"\} 1$/m);
  assert.match(page, /^nodejs_gc_duration_seconds_count\{kind="major"\} \d+$/m);
  assert.doesNotMatch(page, /^uplifted_ops_collector_failures_total\{.*\} [^0]/m);
  for (const name of ["cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "open_fds", "max_fds"]) {
    const [ours, theirs] = [number(page, `process_${name}`), number(own, `shop_process_${name}`)];
    assert.ok(theirs > 0 && Math.abs(ours - theirs) <= 0.5 * ours, `${name}: ${ours} ${theirs}`);
  }
  assert.throws(() => collectDefaultMetrics("x"), Error);
});
