import type { NativeSeries } from "../native.js";
import { chunkOf, NOWHERE, placeOf } from "./cells.js";
import type { LabelValues, MetricConfiguration, WithExemplar } from "./metric.js";
import { Metric, refused, secondsSince, Series } from "./metric.js";
import type { Registry } from "./registry.js";
import { register } from "./registry.js";

/** Upper bounds, in seconds, that suit the latency of a service: those of the Prometheus clients. */
const DEFAULT_BUCKETS: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** So many buckets are searched without a loop. */
const LEAST = 16;

/** One series of a {@link Histogram}. */
export class HistogramSeries extends Series {
  #sums: Float64Array = NOWHERE;
  #sum = 0;
  readonly #bounds: Float64Array;

  /** @internal */
  constructor(metric: Metric<string, Series>, values: readonly string[], bounds: Float64Array) {
    super(metric, values);
    this.#bounds = bounds;
  }

  /** Counts a value in its bucket; one that lies on a bound belongs below it. What is not finite is left out, and counted apart. */
  observe(value: number): void {
    const bounds = this.#bounds;
    let bucket = 0;
    for (let step = (bounds.length + 1) >>> 1; step > 8; step >>>= 1) {
      if (bounds[bucket + step - 1]! < value) bucket += step;
    }
    // The last four steps, which most have alone: a loop of them takes twice as long as all the rest.
    if (bounds[bucket + 7]! < value) bucket += 8;
    if (bounds[bucket + 3]! < value) bucket += 4;
    if (bounds[bucket + 1]! < value) bucket += 2;
    if (bounds[bucket]! < value) bucket += 1;
    const at = this._at + bucket;
    const cells = this._cells;
    const had = cells[at];
    const sums = this.#sums;
    const sum = sums[this.#sum];
    // Of what is not finite, the difference to itself is NaN.
    if (had === undefined || sum === undefined || typeof value !== "number" || value - value !== 0) {
      return this.#slowly(value);
    }
    cells[at] = had + 1;
    sums[this.#sum] = sum + value;
  }

  /** Starts a timer. What is returned observes the seconds since, and returns them. */
  startTimer(): () => number {
    const since = process.hrtime.bigint();
    return () => {
      const value = secondsSince(since);
      this.observe(value);
      return value;
    };
  }

  #slowly(value: number): void {
    if (typeof value !== "number") throw refused(this._metric.name, "histogram", value);
    const handle = this._handle();
    if (Number.isFinite(value)) this.observe(value);
    else handle.refuse();
  }

  /** @internal */
  override _bind(handle: NativeSeries): void {
    this._native = handle;
    this._at = placeOf(handle.first);
    this._cells = chunkOf(handle.first);
    this.#sum = placeOf(handle.second);
    this.#sums = chunkOf(handle.second);
  }
}

/** Bounds in a length that halves evenly, one less than a power of two: what is filled in lies above every value. */
function evened(bounds: readonly number[]): Float64Array {
  const finite = bounds.filter(Number.isFinite);
  const length = Math.max(LEAST, 2 ** Math.ceil(Math.log2(finite.length + 1)));
  const even = new Float64Array(length - 1).fill(Number.POSITIVE_INFINITY);
  even.set(finite);
  return even;
}

/** How a histogram is made. */
export interface HistogramConfiguration<Label extends string> extends MetricConfiguration<Label> {
  /** Upper bounds of its buckets, ascending: those of the Prometheus clients, in seconds, when left out. */
  buckets?: readonly number[];
}

/** What histograms and summaries have in common. */
export abstract class Observed<Label extends string> extends Metric<Label, HistogramSeries> {
  readonly #bounds: Float64Array;

  /** @internal */
  protected constructor(type: string, config: MetricConfiguration<Label>, bounds: readonly number[], byDefault: Registry) {
    super(type, "histogram", config, byDefault, bounds);
    this.#bounds = evened(bounds);
    this._begin();
  }

  /** Counts a value. With the values of all labels as text behind it, in their order: the quickest way where they differ. */
  observe(value: number): void;
  observe(labels: LabelValues<Label> | null | undefined, value: number): void;
  observe(value: number, ...values: string[]): void;
  observe(withExemplar: WithExemplar<Label>): void;
  observe(first: LabelValues<Label> | WithExemplar<Label> | number | null | undefined, second?: number | string, ...rest: string[]): void {
    if (typeof first === "number") {
      if (second === undefined) (this._own ?? this._of({})).observe(first);
      else this._with([second, ...rest]).observe(first);
    } else if (this._exemplars && first) this.#exemplify(first as WithExemplar<Label>);
    else this._of((first ?? {}) as LabelValues<Label>).observe(second as number);
  }

  #exemplify({ labels, value, exemplarLabels }: WithExemplar<Label>): void {
    const series = this._of(labels ?? {});
    if (exemplarLabels === undefined) series.observe(value!);
    else series._exemplify(value!, exemplarLabels);
  }

  /** Makes the series of these label values, without an observation. */
  zero(labels: LabelValues<Label>): void {
    this._of(labels);
  }

  /** Starts a timer. What is returned observes the seconds since, and returns them. */
  startTimer(labels?: LabelValues<Label>): (labels?: LabelValues<Label>) => number {
    const since = process.hrtime.bigint();
    return (more) => {
      const value = secondsSince(since);
      this._of({ ...labels, ...more } as LabelValues<Label>).observe(value);
      return value;
    };
  }

  /** The series of these label values. */
  labels(...labels: (string | number)[] | [LabelValues<Label>]): HistogramSeries {
    const [first] = labels;
    return typeof first === "object" ? this._of(first) : this._with(labels as (string | number)[]);
  }

  /** @internal */
  protected override _make(values: readonly string[]): HistogramSeries {
    return new HistogramSeries(this as unknown as Metric<string>, values, this.#bounds);
  }
}

/** How observations are distributed over buckets. */
export class Histogram<Label extends string = string> extends Observed<Label> {
  /** Registers it. */
  constructor(config: HistogramConfiguration<Label>) {
    super("histogram", config, config?.buckets ?? DEFAULT_BUCKETS, register);
  }
}

/** How a summary is made. */
export interface SummaryConfiguration<Label extends string> extends MetricConfiguration<Label> {
  /** As prom-client has it. Quantiles are not computed: those of several processes cannot be added up. */
  percentiles?: readonly number[];
  /** As prom-client has it; not used. */
  maxAgeSeconds?: number;
  /** As prom-client has it; not used. */
  ageBuckets?: number;
  /** As prom-client has it; not used. */
  compressCount?: number;
}

/** The number and the sum of observations: on the page, a histogram without buckets. */
export class Summary<Label extends string = string> extends Observed<Label> {
  /** Registers it. */
  constructor(config: SummaryConfiguration<Label>) {
    super("summary", config, [], register);
  }
}

/** `count` upper bounds, `width` apart, from `start`. */
export function linearBuckets(start: number, width: number, count: number): number[] {
  checkCount(count, "linear");
  return Array.from({ length: count }, (_, at) => start + at * width);
}

/** `count` upper bounds, each `factor` times the one before, from `start`. */
export function exponentialBuckets(start: number, factor: number, count: number): number[] {
  if (!(start > 0)) throw refused("exponentialBuckets", "the start of", start);
  if (!(factor > 1)) throw refused("exponentialBuckets", "the factor of", factor);
  checkCount(count, "exponential");
  return Array.from({ length: count }, (_, at) => start * factor ** at);
}

function checkCount(count: number, what: string): void {
  if (!(count >= 1)) throw refused(`${what}Buckets`, "the count of", count);
}
