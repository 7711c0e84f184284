import { natively } from "../errors.js";
import type { NativeSeries } from "../native.js";
import { cells, chunkOf, NOWHERE, placeOf } from "./cells.js";
import type { LabelValues, MetricConfiguration } from "./metric.js";
import { Metric, refused, secondsSince, Series } from "./metric.js";
import { register } from "./registry.js";

/**
 * One series of a {@link Gauge}.
 *
 * What is set last must win, so it is at home in one thread, whose cells hold it and, behind it, a flag. When another thread
 * comes, the native half raises the flag, and both go on through calls.
 */
export class GaugeSeries extends Series {
  /** Sets it. `NaN` says "not known". */
  set(value: number): void {
    if (typeof value !== "number") throw refused(this._metric.name, "gauge", value);
    if (this._cells[this._at + 1] === 0) this._cells[this._at] = value;
    else if (this._away()) this._native!.set(value);
    else this._cells[this._at] = value;
  }

  /** Adds 1, or a number. */
  inc(value = 1): void {
    if (typeof value !== "number") throw refused(this._metric.name, "gauge", value);
    if (this._cells[this._at + 1] === 0) this._cells[this._at]! += value;
    else if (this._away()) this._native!.add(value);
    else this._cells[this._at]! += value;
  }

  /** Takes 1 away, or a number. */
  dec(value = 1): void {
    this.inc(-value);
  }

  /** Sets it to the time, in seconds since 1970. */
  setToCurrentTime(): void {
    this.set(Date.now() / 1000);
  }

  /** Starts a timer. What is returned sets the gauge to the seconds since, and returns them. */
  startTimer(): () => number {
    const since = process.hrtime.bigint();
    return () => {
      const value = secondsSince(since);
      this.set(value);
      return value;
    };
  }

  /** Whether it is counted by calls; comes back when it was dropped, and leaves when the flag is up. @internal */
  _away(): boolean {
    const handle = this._handle();
    if (this._cells === NOWHERE) return true;
    if (this._cells[this._at + 1] === 0) return false;
    this._cells = NOWHERE;
    natively(() => handle.leave());
    return true;
  }

  /** @internal */
  override _bind(handle: NativeSeries): void {
    this._native = handle;
    this._at = placeOf(handle.first);
    const chunk = chunkOf(handle.first);
    this._cells = natively(() => handle.settle(cells)) ? chunk : NOWHERE;
  }
}

/** What a gauge shows where several processes have it, of those that live or of all that there have been. */
export type GaugeMode = `${"live" | ""}${"sum" | "max" | "min" | "mostrecent"}`;

/** How a gauge is made. */
export interface GaugeConfiguration<Label extends string> extends MetricConfiguration<Label> {
  /**
   * What it shows where several processes have it: `livesum` when left out. One that is `mostrecent` notes when it is set, in a call
   * that takes half a microsecond.
   */
  mode?: GaugeMode;
}

/** A number that goes up and down. */
export class Gauge<Label extends string = string> extends Metric<Label, GaugeSeries> {
  /** Registers it. */
  constructor(config: GaugeConfiguration<Label>) {
    super("gauge", "gauge", config, register, undefined, config?.mode);
    this._begin();
  }

  /** Sets it. `NaN` says "not known". */
  set(value: number): void;
  set(labels: LabelValues<Label>, value: number): void;
  set(first: LabelValues<Label> | number, second?: number): void {
    if (typeof first === "object" && first !== null) this._of(first).set(second!);
    else this.#alone().set(first);
  }

  /** Adds 1, or a number. */
  inc(value?: number): void;
  inc(labels: LabelValues<Label>, value?: number): void;
  inc(first?: LabelValues<Label> | number, second?: number): void {
    if (typeof first === "object" && first !== null) this._of(first).inc(second);
    else this.#alone().inc(first);
  }

  /** Takes 1 away, or a number. */
  dec(value?: number): void;
  dec(labels: LabelValues<Label>, value?: number): void;
  dec(first?: LabelValues<Label> | number, second?: number): void {
    if (typeof first === "object" && first !== null) this._of(first).dec(second);
    else this.#alone().dec(first);
  }

  /** Sets it to the time, in seconds since 1970. */
  setToCurrentTime(labels?: LabelValues<Label>): void {
    this._of(labels ?? {}).setToCurrentTime();
  }

  /** Starts a timer. What is returned sets the gauge to the seconds since, and returns them. */
  startTimer(labels?: LabelValues<Label>): (labels?: LabelValues<Label>) => number {
    const since = process.hrtime.bigint();
    return (more) => {
      const value = secondsSince(since);
      this._of({ ...labels, ...more } as LabelValues<Label>).set(value);
      return value;
    };
  }

  /** The series of these label values. */
  labels(...labels: (string | number)[] | [LabelValues<Label>]): GaugeSeries {
    const [first] = labels;
    return typeof first === "object" ? this._of(first) : this._with(labels as (string | number)[]);
  }

  /** @internal */
  protected override _make(values: readonly string[]): GaugeSeries {
    return new GaugeSeries(this as unknown as Metric<string>, values);
  }

  #alone(): GaugeSeries {
    return this._own ?? this._of({});
  }
}
