/**
 * Instruments, with the constructors of prom-client: a host moves over by changing one import.
 *
 * They count in the process's registry, which is there before any `Ops` and is what `ops.metrics.render()`,
 * `/metrics` and the sinks read. Threads (`worker_threads`) that define the same metric count in the same series. Counting
 * is an addition in this thread's memory, which the native half reads.
 *
 * @example
 * ```ts
 * import { Counter } from "uplifted-ops/metrics";
 * const requests = new Counter({ name: "shop_requests_total", help: "Requests answered", labelNames: ["status"] });
 * requests.inc({ status: "200" });
 * ```
 *
 * @packageDocumentation
 */
export { Counter, CounterSeries } from "./metrics/counter.js";
export type { CounterConfiguration } from "./metrics/counter.js";
export { collectDefaultMetrics } from "./metrics/defaults.js";
export type { DefaultMetricsCollectorConfiguration } from "./metrics/defaults.js";
export { Gauge, GaugeSeries } from "./metrics/gauge.js";
export type { GaugeConfiguration, GaugeMode } from "./metrics/gauge.js";
export { exponentialBuckets, Histogram, HistogramSeries, linearBuckets, Summary } from "./metrics/histogram.js";
export type { HistogramConfiguration, SummaryConfiguration } from "./metrics/histogram.js";
export { Metric, Series } from "./metrics/metric.js";
export type { Aggregator, LabelValues, MetricConfiguration, WithExemplar } from "./metrics/metric.js";
export { register, Registry } from "./metrics/registry.js";
export type { RegistryContentType } from "./metrics/registry.js";
export type { MetricObject, Sample } from "./metrics/snapshot.js";
