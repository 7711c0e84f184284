import type { NativeSeries } from "../native.js";
import { chunkOf, placeOf } from "./cells.js";
import type { LabelValues, MetricConfiguration, WithExemplar } from "./metric.js";
import { Metric, refused, Series } from "./metric.js";
import { register } from "./registry.js";

/** One series of a {@link Counter}. */
export class CounterSeries extends Series {
  /** Adds 1, or a number of at least 0. */
  inc(value?: number): void {
    const had = this._cells[this._at];
    if (value === undefined && had !== undefined) this._cells[this._at] = had + 1;
    else this._add(value ?? 1);
  }

  /** @internal */
  _add(by: number): void {
    // Number.isFinite: false for whatever is no number.
    if (!Number.isFinite(by) || by < 0) throw refused(this._metric.name, "counter", by);
    if (this._native === undefined) this._handle();
    this._cells[this._at]! += by;
  }

  /** @internal */
  override _bind(handle: NativeSeries): void {
    this._native = handle;
    this._at = placeOf(handle.first);
    this._cells = chunkOf(handle.first);
  }
}

/** How a counter is made. */
export type CounterConfiguration<Label extends string> = MetricConfiguration<Label>;

/** A number that only grows. */
export class Counter<Label extends string = string> extends Metric<Label, CounterSeries> {
  /** Registers it. */
  constructor(config: CounterConfiguration<Label>) {
    super("counter", "counter", config, register);
    this._begin();
  }

  /**
   * Adds 1, or a number of at least 0, to the series of the labels. With the values of all labels as text, in their order,
   * adds 1: the quickest way where they differ from call to call.
   */
  inc(value?: number): void;
  inc(labels: LabelValues<Label> | null | undefined, value?: number): void;
  inc(...values: string[]): void;
  inc(withExemplar: WithExemplar<Label>): void;
  inc(first?: LabelValues<Label> | WithExemplar<Label> | number | string | null, second?: number | string, ...rest: string[]): void {
    const own = this._own;
    if (first === undefined && second === undefined && own !== undefined) {
      const had = own._cells[own._at];
      if (had !== undefined) {
        own._cells[own._at] = had + 1;
        return;
      }
    }
    if (typeof first === "object" && first !== null) {
      if (this._exemplars) this.#exemplify(first as WithExemplar<Label>);
      else this._of(first as LabelValues<Label>).inc(second as number | undefined);
    } else if (typeof first !== "string") (own ?? this._of({})).inc(first ?? (second as number | undefined));
    else this._with(second === undefined ? [first] : [first, second, ...rest]).inc();
  }

  /** The series of these label values: keep it where the same ones come again. */
  labels(...labels: (string | number)[] | [LabelValues<Label>]): CounterSeries {
    const [first] = labels;
    return typeof first === "object" ? this._of(first) : this._with(labels as (string | number)[]);
  }

  #exemplify({ labels, value = 1, exemplarLabels }: WithExemplar<Label>): void {
    const series = this._of(labels ?? {});
    if (exemplarLabels === undefined) series.inc(value);
    else series._exemplify(value, exemplarLabels);
  }

  /** @internal */
  protected override _make(values: readonly string[]): CounterSeries {
    return new CounterSeries(this as unknown as Metric<string>, values);
  }
}
