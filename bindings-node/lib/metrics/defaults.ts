/** What Node says about itself, by prom-client's names. */
import { readdirSync, readFileSync } from "node:fs";
import type { PerformanceEntry } from "node:perf_hooks";
import { constants, monitorEventLoopDelay, PerformanceObserver } from "node:perf_hooks";
import { getHeapSpaceStatistics } from "node:v8";
import { OpsError } from "../errors.js";
import { Counter } from "./counter.js";
import { Gauge } from "./gauge.js";
import { Histogram } from "./histogram.js";
import type { MetricConfiguration } from "./metric.js";
import type { Registry } from "./registry.js";
import { register } from "./registry.js";

/** What {@link collectDefaultMetrics} takes. */
export interface DefaultMetricsCollectorConfiguration {
  /** The registry: {@link register} when left out. */
  register?: Registry;
  /** Put before each name. */
  prefix?: string;
  /** Labels of each series. */
  labels?: Readonly<Record<string, string | number>>;
  /** Bounds of the durations of garbage collections, in seconds. */
  gcDurationBuckets?: readonly number[];
  /** How often the event loop is looked at, in milliseconds: 10 when left out. */
  eventLoopMonitoringPrecision?: number;
}

/** Defines metrics for one call of {@link collectDefaultMetrics}. */
class Definer {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly registry: Registry;
  /** Whether the process's registry has the `process_*` of the native half under the same names. */
  readonly natively: boolean;
  readonly #prefix: string;

  constructor({ register: registry = register, prefix = "", labels = {} }: DefaultMetricsCollectorConfiguration) {
    this.registry = registry;
    this.labels = labels;
    this.natively = registry === register && prefix === "";
    this.#prefix = prefix;
  }

  configuration(name: string, help: string, collect?: () => void, labelNames: string[] = []): MetricConfiguration<string> {
    return {
      name: this.#prefix + name,
      help,
      registers: [this.registry],
      labelNames: [...labelNames, ...Object.keys(this.labels)],
      ...(collect !== undefined && { collect }),
    };
  }

  /** A gauge that is asked when the page is read. */
  asked(name: string, help: string, value: () => number | undefined): void {
    const gauge: Gauge = new Gauge(
      this.configuration(name, help, () => {
        const now = value();
        if (now !== undefined) gauge.set(this.labels, now);
      }),
    );
  }

  gauge(name: string, help: string, labelNames?: string[], collect?: () => void): Gauge {
    return new Gauge(this.configuration(name, help, collect, labelNames));
  }

  /** A gauge of how many there are of each type, and one of all of them. */
  byType(name: string, help: string, types: () => string[]): void {
    const gauge = this.gauge(name, `${help}, by type.`, ["type"], () => {
      gauge.reset();
      for (const type of types()) gauge.inc({ type, ...this.labels });
    });
    this.asked(`${name}_total`, `${help}.`, () => types().length);
  }
}

/** What `look` finds in `/proc/self`, which only Linux has: elsewhere the number is not there. */
function proc(look: (folder: string) => number | undefined): number | undefined {
  try {
    return look("/proc/self");
  } catch {
    return undefined;
  }
}

/** A field of `/proc/self/status`, in bytes. */
function status(field: string): number | undefined {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m");
  return proc((folder) => Number(line.exec(readFileSync(`${folder}/status`, "utf8"))?.[1] ?? Number.NaN) * 1024);
}

function processMetrics(define: Definer): void {
  let last = { user: 0, system: 0 };
  const cpu = (name: string, help: string): Counter => new Counter(define.configuration(name, help));
  const user = cpu("process_cpu_user_seconds_total", "Total user CPU time spent in seconds.");
  const system = cpu("process_cpu_system_seconds_total", "Total system CPU time spent in seconds.");
  const total = define.natively ? undefined : cpu("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
  // One of them brings all of them up to date.
  user.collect = () => {
    const now = process.cpuUsage();
    const [more, extra] = [(now.user - last.user) / 1e6, (now.system - last.system) / 1e6];
    last = now;
    user.inc(define.labels, more);
    system.inc(define.labels, extra);
    total?.inc(define.labels, more + extra);
  };
  define.asked("process_heap_bytes", "Process heap size in bytes.", () => status("VmData"));
  if (define.natively) return;
  const started = Math.round(Date.now() / 1000 - process.uptime());
  define.asked("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", () => started);
  define.asked("process_resident_memory_bytes", "Resident memory size in bytes.", () => process.memoryUsage.rss());
  define.asked("process_virtual_memory_bytes", "Virtual memory size in bytes.", () => status("VmSize"));
  define.asked("process_open_fds", "Number of open file descriptors.", () =>
    // One of them is the folder that is being read.
    proc((folder) => readdirSync(`${folder}/fd`).length - 1),
  );
  define.asked("process_max_fds", "Maximum number of open file descriptors.", () =>
    proc((folder) => Number(/^Max open files +(\d+)/m.exec(readFileSync(`${folder}/limits`, "utf8"))?.[1] ?? Number.NaN)),
  );
}

function eventLoop(define: Definer, resolution: number): void {
  const delay = monitorEventLoopDelay({ resolution });
  delay.enable();
  const last: (() => void)[] = [];
  const of = (part: string, help: string, nanoseconds: () => number): void => {
    const gauge = define.gauge(`nodejs_eventloop_lag_${part}seconds`, help);
    last.push(() => gauge.set(define.labels, nanoseconds() / 1e9));
  };
  const lag: Gauge = define.gauge("nodejs_eventloop_lag_seconds", "Lag of event loop in seconds.", [], () => {
    const since = process.hrtime.bigint();
    setImmediate(() => lag.set(define.labels, Number(process.hrtime.bigint() - since) / 1e9));
    for (const update of last) update();
    delay.reset();
  });
  lag.set(define.labels, 0);
  of("min_", "The minimum recorded event loop delay.", () => delay.min);
  of("max_", "The maximum recorded event loop delay.", () => delay.max);
  of("mean_", "The mean of the recorded event loop delays.", () => delay.mean);
  of("stddev_", "The standard deviation of the recorded event loop delays.", () => delay.stddev);
  for (const percentile of [50, 90, 99]) {
    of(`p${percentile}_`, `The ${percentile}th percentile of the recorded event loop delays.`, () => delay.percentile(percentile));
  }
}

function heap(define: Definer): void {
  const memory = (name: string, help: string, part: (usage: NodeJS.MemoryUsage) => number): void =>
    define.asked(name, help, () => part(process.memoryUsage()));
  memory("nodejs_heap_size_total_bytes", "Process heap size from Node.js in bytes.", (usage) => usage.heapTotal);
  memory("nodejs_heap_size_used_bytes", "Process heap size used from Node.js in bytes.", (usage) => usage.heapUsed);
  memory("nodejs_external_memory_bytes", "Node.js external memory size in bytes.", (usage) => usage.external);
  const space = (part: string): Gauge =>
    define.gauge(`nodejs_heap_space_size_${part}_bytes`, `Process heap space size ${part} from Node.js in bytes.`, ["space"]);
  const [total, used, available] = [space("total"), space("used"), space("available")];
  total.collect = () => {
    for (const of of getHeapSpaceStatistics()) {
      const labels = { space: of.space_name.replace(/_space$/, ""), ...define.labels };
      total.set(labels, of.space_size);
      used.set(labels, of.space_used_size);
      available.set(labels, of.space_available_size);
    }
  };
}

const COLLECTIONS: ReadonlyMap<number, string> = new Map([
  [constants.NODE_PERFORMANCE_GC_MAJOR, "major"],
  [constants.NODE_PERFORMANCE_GC_MINOR, "minor"],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, "incremental"],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, "weakcb"],
]);

function garbage(define: Definer, buckets: readonly number[]): void {
  const help = "Garbage collection duration by kind, one of major, minor, incremental or weakcb.";
  const took = new Histogram({ ...define.configuration("nodejs_gc_duration_seconds", help, undefined, ["kind"]), buckets });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { detail, duration } = entry as PerformanceEntry & { detail?: { kind?: number } };
      took.observe({ kind: COLLECTIONS.get(detail?.kind ?? -1) ?? "", ...define.labels }, duration / 1000);
    }
  }).observe({ entryTypes: ["gc"] });
}

/** What Node does not document and prom-client shows. */
type Undocumented = Partial<Record<"_getActiveHandles" | "_getActiveRequests", () => object[]>>;

function active(define: Definer): void {
  const names = (of: "_getActiveHandles" | "_getActiveRequests") => () =>
    ((process as Undocumented)[of]?.() ?? []).map((one) => one.constructor?.name ?? "Object");
  define.byType("nodejs_active_resources", "Number of active resources that keep the event loop alive", () =>
    process.getActiveResourcesInfo(),
  );
  define.byType("nodejs_active_handles", "Number of active libuv handles", names("_getActiveHandles"));
  define.byType("nodejs_active_requests", "Number of active libuv requests", names("_getActiveRequests"));
}

function version(define: Definer): void {
  const [major, minor, patch] = process.version.slice(1).split(".") as [string, string, string];
  const gauge = define.gauge("nodejs_version_info", "Node.js version info.", ["version", "major", "minor", "patch"], () =>
    gauge.set({ version: process.version, major, minor, patch, ...define.labels }, 1),
  );
}

/**
 * Defines what prom-client shows of Node: `nodejs_*` and `process_*`. In the process's registry most of `process_*` is there from
 * the start, and is left to the native half. The event loop is watched from this call on.
 */
export function collectDefaultMetrics(configuration?: DefaultMetricsCollectorConfiguration | null): void {
  if (configuration !== undefined && configuration !== null && typeof configuration !== "object") {
    throw new OpsError("invalid_input", "collectDefaultMetrics takes an object", { hint: "give { register, prefix, labels }" });
  }
  const config = configuration ?? {};
  const define = new Definer(config);
  processMetrics(define);
  eventLoop(define, config.eventLoopMonitoringPrecision ?? 10);
  heap(define);
  garbage(define, config.gcDurationBuckets ?? [0.001, 0.01, 0.1, 1, 2, 5]);
  active(define);
  version(define);
}
/** The names of what is defined, as prom-client groups them. */
collectDefaultMetrics.metricsList = [
  "processCpuTotal",
  "processStartTime",
  "osMemoryHeap",
  "processOpenFileDescriptors",
  "processMaxFileDescriptors",
  "eventLoopLag",
  "processResources",
  "processHandles",
  "processRequests",
  "heapSizeAndUsed",
  "heapSpacesSizeAndUsed",
  "version",
  "gc",
];
