/**
 * Instruments, with the constructors of prom-client: a host moves over by changing one import.
 *
 * They count in the process's registry, which is there before any `Ops` and is what `ops.metrics.render()`,
 * `/metrics` and the sinks read. Threads (`worker_threads`) that define the same metric count in the same series.
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
import { collectAll, collectWith, forget } from "./collect.js";
import { natively, OpsError } from "./errors.js";
import { native } from "./native.js";
import type { FamilyDefinition, NativeFamily, NativeSeries } from "./native.js";

/** Values of labels, by name. One that is left out is empty. */
export type LabelValues<Label extends string> = Partial<Record<Label, string | number>>;

/** What every metric is made of. */
export interface MetricConfiguration<Label extends string> {
  /** Its name: `[a-zA-Z_:][a-zA-Z0-9_:]*`. The `_total` of a counter may be left out. */
  name: string;
  /** What the numbers mean, one line. */
  help: string;
  /** The names of its labels. */
  labelNames?: readonly Label[];
  /** The unit, such as `seconds`, in which the name ends. */
  unit?: string;
  /** How many sets of label values are kept apart before the rest shares one series: 2,000 when left out. */
  maxSeries?: number;
  /** The registries, as in prom-client: there is one, {@link register}. */
  registers?: readonly Registry[];
  /** Called before the metrics are read by JavaScript or over HTTP. */
  collect?: (this: any) => void | Promise<void>;
}

/** How a histogram is made. */
export interface HistogramConfiguration<Label extends string> extends MetricConfiguration<Label> {
  /** Upper bounds of its buckets, ascending: those of the Prometheus clients, in seconds, when left out. */
  buckets?: readonly number[];
}

/** The registry of this process, as prom-client's `register`. */
export class Registry {
  readonly #metrics = new Map<string, Metric<string>>();

  /** The `content-type` of {@link Registry.metrics}. */
  get contentType(): string {
    return native.renderMetrics(false).contentType;
  }

  /** Every metric of the process, in the text format of Prometheus. */
  async metrics(): Promise<string> {
    await collectAll();
    return native.renderMetrics(false).body;
  }

  /** The metric that this thread defined under a name. */
  getSingleMetric(name: string): Metric<string> | undefined {
    return this.#metrics.get(name);
  }

  /** Removes the series of a metric, and lets it be defined again. */
  removeSingleMetric(name: string): void {
    const metric = this.#metrics.get(name);
    if (metric === undefined) return;
    this.#metrics.delete(name);
    forget(metric);
    metric._clear();
  }

  /** Removes every metric that this thread defined. */
  clear(): void {
    for (const name of [...this.#metrics.keys()]) this.removeSingleMetric(name);
  }

  /** @internal */
  _add(name: string, metric: Metric<string>): void {
    if (this.#metrics.has(name)) {
      throw new OpsError("invalid_input", `metric "${name}" is registered twice`, {
        hint: "define a metric once and keep it, or ask register.getSingleMetric for it",
      });
    }
    this.#metrics.set(name, metric);
  }
}

/** The registry of this process. */
export const register = new Registry();

const CACHED_SERIES = 2_000;

/** What the kinds have in common. */
export abstract class Metric<Label extends string> {
  /** Its name. */
  readonly name: string;
  /** What the numbers mean. */
  readonly help: string;
  readonly #labels: readonly Label[];
  readonly #family: NativeFamily;
  readonly #series = new Map<string, NativeSeries>();

  /** @internal */
  protected constructor(kind: FamilyDefinition["kind"], config: MetricConfiguration<Label>, buckets?: readonly number[]) {
    const { name, help, labelNames = [], unit, maxSeries, registers, collect } = config;
    if (registers?.some((registry) => registry !== register)) {
      throw new OpsError("invalid_input", `metric "${name}" names a registry of its own`, {
        hint: "leave `registers` out: there is one registry for the process",
      });
    }
    this.name = name;
    this.help = help;
    this.#labels = [...labelNames];
    register._add(name, this as Metric<string>);
    try {
      this.#family = natively(
        () =>
          new native.NativeFamily({
            kind,
            name,
            help,
            labels: [...labelNames],
            ...(unit !== undefined && { unit }),
            ...(maxSeries !== undefined && { maxSeries }),
            ...(buckets !== undefined && { bounds: [...buckets] }),
          }),
      );
    } catch (error) {
      register.removeSingleMetric(name);
      throw error;
    }
    if (collect !== undefined) collectWith(this, () => collect.call(this));
    // Without labels it is there from the start, at 0.
    if (labelNames.length === 0) this._of({});
  }

  /** Removes the series of these label values. */
  remove(...labels: (string | number)[] | [LabelValues<Label>]): void {
    const values = this.#values(labels);
    this.#series.delete(keyOf(values));
    natively(() => this.#family.remove(values));
  }

  /** Sets everything back: series with labels are gone, one without is 0. */
  reset(): void {
    this._clear();
    if (this.#labels.length === 0) this._of({});
  }

  /** @internal */
  _clear(): void {
    this.#series.clear();
    // Undefined in a constructor that failed.
    this.#family?.clear();
  }

  /** @internal */
  _of(labels: LabelValues<Label>): NativeSeries {
    return this._at([labels]);
  }

  /** @internal */
  _at(labels: (string | number)[] | [LabelValues<Label>]): NativeSeries {
    const values = this.#values(labels);
    const key = keyOf(values);
    const known = this.#series.get(key);
    if (known !== undefined) return known;
    const series = natively(() => this.#family.with(values));
    if (this.#series.size < CACHED_SERIES) this.#series.set(key, series);
    return series;
  }

  #values(labels: (string | number)[] | [LabelValues<Label>]): string[] {
    const [first] = labels;
    if (typeof first === "object") {
      for (const name in first) {
        if (!this.#labels.includes(name)) {
          throw new OpsError("invalid_input", `metric "${this.name}" has no label "${name}"`, {
            hint: `its labels are: ${this.#labels.join(", ") || "none"}`,
          });
        }
      }
      return this.#labels.map((name) => String(first[name] ?? ""));
    }
    return (labels as (string | number)[]).map(String);
  }
}

function keyOf(values: string[]): string {
  // The length of each makes the key unambiguous, whatever the values hold.
  return values.length === 1 ? values[0]! : values.map((value) => `${value.length}:${value}`).join("");
}

/** Splits `(labels, value)` and `(value)`, as prom-client has them. */
function split<Label extends string>(
  first: LabelValues<Label> | number | undefined,
  second: number | undefined,
): [LabelValues<Label>, number | undefined] {
  return typeof first === "object" ? [first, second] : [{}, first];
}

function seconds(since: bigint): number {
  return Number(process.hrtime.bigint() - since) / 1e9;
}

/** A number that only grows. */
export class Counter<Label extends string = string> extends Metric<Label> {
  /** Registers it. */
  constructor(config: MetricConfiguration<Label>) {
    super("counter", config);
  }

  /** Adds 1, or a number of at least 0. */
  inc(value?: number): void;
  inc(labels: LabelValues<Label>, value?: number): void;
  inc(first?: LabelValues<Label> | number, second?: number): void {
    const [labels, value = 1] = split(first, second);
    natively(() => this._of(labels).add(value));
  }

  /** The series of these label values: keep it where the same ones come again. */
  labels(...labels: (string | number)[] | [LabelValues<Label>]): CounterSeries {
    const series = this._at(labels);
    return { inc: (value = 1) => natively(() => series.add(value)) };
  }
}

/** One series of a {@link Counter}. */
export interface CounterSeries {
  /** Adds 1, or a number of at least 0. */
  inc(value?: number): void;
}

/** A number that goes up and down. */
export class Gauge<Label extends string = string> extends Metric<Label> {
  /** Registers it. */
  constructor(config: MetricConfiguration<Label>) {
    super("gauge", config);
  }

  /** Sets it. `NaN` says "not known". */
  set(value: number): void;
  set(labels: LabelValues<Label>, value: number): void;
  set(first: LabelValues<Label> | number, second?: number): void {
    const [labels, value = 0] = split(first, second);
    natively(() => this._of(labels).set(value));
  }

  /** Adds 1, or a number. */
  inc(value?: number): void;
  inc(labels: LabelValues<Label>, value?: number): void;
  inc(first?: LabelValues<Label> | number, second?: number): void {
    const [labels, value = 1] = split(first, second);
    natively(() => this._of(labels).add(value));
  }

  /** Takes 1 away, or a number. */
  dec(value?: number): void;
  dec(labels: LabelValues<Label>, value?: number): void;
  dec(first?: LabelValues<Label> | number, second?: number): void {
    const [labels, value = 1] = split(first, second);
    natively(() => this._of(labels).add(-value));
  }

  /** Sets it to the time, in seconds since 1970. */
  setToCurrentTime(labels: LabelValues<Label> = {}): void {
    this.set(labels, Date.now() / 1000);
  }

  /** Starts a timer. What is returned sets the gauge to the seconds since, and returns them. */
  startTimer(labels: LabelValues<Label> = {}): (labels?: LabelValues<Label>) => number {
    const since = process.hrtime.bigint();
    return (more = {}) => {
      const value = seconds(since);
      this.set({ ...labels, ...more }, value);
      return value;
    };
  }

  /** The series of these label values. */
  labels(...labels: (string | number)[] | [LabelValues<Label>]): GaugeSeries {
    const series = this._at(labels);
    const set = (value: number): void => natively(() => series.set(value));
    return {
      set,
      inc: (value = 1) => natively(() => series.add(value)),
      dec: (value = 1) => natively(() => series.add(-value)),
      setToCurrentTime: () => set(Date.now() / 1000),
      startTimer: () => {
        const since = process.hrtime.bigint();
        return () => {
          const value = seconds(since);
          set(value);
          return value;
        };
      },
    };
  }
}

/** One series of a {@link Gauge}. */
export interface GaugeSeries {
  /** Sets it. */
  set(value: number): void;
  /** Adds 1, or a number. */
  inc(value?: number): void;
  /** Takes 1 away, or a number. */
  dec(value?: number): void;
  /** Sets it to the time, in seconds since 1970. */
  setToCurrentTime(): void;
  /** Starts a timer. What is returned sets the gauge to the seconds since, and returns them. */
  startTimer(): () => number;
}

/** How observations are distributed over buckets. */
export class Histogram<Label extends string = string> extends Metric<Label> {
  /** Registers it. */
  constructor(config: HistogramConfiguration<Label>) {
    super("histogram", config, config.buckets);
  }

  /** Counts a value in its bucket. What is not finite is left out, and counted apart. */
  observe(value: number): void;
  observe(labels: LabelValues<Label>, value: number): void;
  observe(first: LabelValues<Label> | number, second?: number): void {
    const [labels, value = Number.NaN] = split(first, second);
    natively(() => this._of(labels).add(value));
  }

  /** Makes the series of these label values, without an observation. */
  zero(labels: LabelValues<Label>): void {
    this._of(labels);
  }

  /** Starts a timer. What is returned observes the seconds since, and returns them. */
  startTimer(labels: LabelValues<Label> = {}): (labels?: LabelValues<Label>) => number {
    const since = process.hrtime.bigint();
    return (more = {}) => {
      const value = seconds(since);
      this.observe({ ...labels, ...more }, value);
      return value;
    };
  }

  /** The series of these label values. */
  labels(...labels: (string | number)[] | [LabelValues<Label>]): HistogramSeries {
    const series = this._at(labels);
    const observe = (value: number): void => natively(() => series.add(value));
    return {
      observe,
      startTimer: () => {
        const since = process.hrtime.bigint();
        return () => {
          const value = seconds(since);
          observe(value);
          return value;
        };
      },
    };
  }
}

/** One series of a {@link Histogram}. */
export interface HistogramSeries {
  /** Counts a value in its bucket. */
  observe(value: number): void;
  /** Starts a timer. What is returned observes the seconds since, and returns them. */
  startTimer(): () => number;
}

/** `count` upper bounds, `width` apart, from `start`. */
export function linearBuckets(start: number, width: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => start + at * width);
}

/** `count` upper bounds, each `factor` times the one before, from `start`. */
export function exponentialBuckets(start: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => start * factor ** at);
}
