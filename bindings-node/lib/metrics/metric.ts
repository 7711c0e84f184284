/** What the instruments have in common: a family, and its series by label values. */
import { natively, OpsError } from "../errors.js";
import { native } from "../native.js";
import type { FamilyDefinition, NativeFamily, NativeSeries } from "../native.js";
import { NOWHERE } from "./cells.js";
import type { Registry } from "./registry.js";
import type { MetricObject, Sample } from "./snapshot.js";
import { samples } from "./snapshot.js";

/** Values of labels, by name. One that is left out is empty. */
export type LabelValues<Label extends string> = Partial<Record<Label, string | number>>;

/** How several processes' numbers become one, as prom-client names it. */
export type Aggregator = "omit" | "sum" | "first" | "min" | "max" | "average";

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
  /** The registries it belongs to: the process's, `register`, when left out; none when empty. */
  registers?: readonly Registry[];
  /** What a gauge shows where several processes have it: their sum, unless this is `min` or `max`. A gauge's `mode` says more. */
  aggregator?: Aggregator;
  /** As prom-client has it: `inc` and `observe` then take `{ labels, value, exemplarLabels }`. */
  enableExemplars?: boolean;
  /**
   * Called before the metrics are read, by whomever. Those who read on another thread, as `metrics.listen` does, wait for it for 1 s at
   * most, and then show what was known last.
   */
  collect?: (this: any) => void | Promise<void>;
}

const MODES: Partial<Record<Aggregator, string>> = { min: "livemin", max: "livemax" };

/** What asks before the process's metrics are read. */
type Collecting = Pick<typeof import("../collect.js"), "collectWith" | "forget">;

/** What counts with an example that leads to it, such as `{ traceId }`: OpenMetrics shows the last of each bucket. */
export interface WithExemplar<Label extends string> {
  /** The labels of the series. */
  labels?: LabelValues<Label>;
  /** The number: 1 for a counter when left out. */
  value?: number;
  /** What leads to it; at most 128 characters together. */
  exemplarLabels?: Readonly<Record<string, string | number>>;
}

/** Label values over this length are looked up natively each time, so that no cache holds megabytes. */
const LONGEST = 256;
/** Lookups that are remembered for each series: `200` and `"200"` are two. */
const ALIASES = 4;

/** One series, and where it counts. It keeps the native handle, and so the cells, for as long as it can write. */
export abstract class Series {
  /** @internal */
  _cells: Float64Array = NOWHERE;
  /** @internal */
  _at = 0;
  /** @internal */
  _native: NativeSeries | undefined;

  /** @internal */
  constructor(
    /** @internal */
    readonly _metric: Metric<string, Series>,
    /** @internal */
    readonly _values: readonly string[],
  ) {}

  /** Learns where it counts from now on. @internal */
  abstract _bind(handle: NativeSeries): void;

  /** No longer in its family: it comes back with its next count. @internal */
  _drop(): void {
    this._cells = NOWHERE;
    this._native = undefined;
  }

  /** Counts, and keeps it as an example. @internal */
  _exemplify(value: number, labels: Readonly<Record<string, string | number>>): void {
    if (typeof value !== "number") throw refused(this._metric.name, this._metric.type, value);
    const pairs = Object.entries(labels).flatMap(([name, text]) => [name, String(text)]);
    natively(() => this._handle().exemplify(value, pairs));
  }

  /** The native handle, of a series that may have been dropped. @internal */
  _handle(): NativeSeries {
    if (this._native === undefined) this._metric._rebind(this);
    return this._native!;
  }
}

/** A metric of any kind. */
export abstract class Metric<Label extends string, Of extends Series = Series> {
  /** Its name. */
  readonly name: string;
  /** What the numbers mean. */
  readonly help: string;
  /** `counter`, `gauge`, `histogram` or `summary`. */
  readonly type: string;
  /** As it was given. */
  readonly aggregator: Aggregator;
  /** The names of its labels. */
  readonly labelNames: readonly Label[];
  /** Whether examples may be given. @internal */
  readonly _exemplars: boolean;
  /** The series of one without labels. @internal */
  _own: Of | undefined;
  readonly #definition: FamilyDefinition;
  #family: NativeFamily | undefined;
  #collect: (() => void | Promise<void>) | undefined;
  #watched: Collecting | undefined;
  /** Series by the values of their labels, a level for each label. */
  #tree = new Map<unknown, unknown>();
  #leaves = 0;
  readonly #known = new Map<number, Of>();

  /** @internal */
  protected constructor(
    type: string,
    kind: FamilyDefinition["kind"],
    config: MetricConfiguration<Label>,
    byDefault: Registry,
    bounds?: readonly number[],
    mode?: string,
  ) {
    if (typeof config !== "object" || config === null) {
      throw new OpsError("invalid_input", "a metric is made of an object", { hint: "give at least { name, help }" });
    }
    const { name, help, labelNames = [], unit, maxSeries, registers = [byDefault], aggregator = "sum", collect } = config;
    if (typeof name !== "string" || typeof help !== "string") {
      throw new OpsError("invalid_input", `metric ${JSON.stringify(name)} has no name or no help`, { hint: "give both, as text" });
    }
    if (!Array.isArray(registers) || registers.some((registry) => typeof registry?.registerMetric !== "function")) {
      throw new OpsError("invalid_input", `metric "${name}" names something that is no registry`, {
        hint: "leave `registers` out for the process's, or make one with new Registry()",
      });
    }
    this.name = name;
    this.help = help;
    this.type = type;
    this.aggregator = aggregator;
    this.labelNames = [...labelNames];
    this._exemplars = config.enableExemplars === true;
    const shown = mode ?? MODES[aggregator];
    this.#definition = {
      kind,
      name,
      help,
      labels: [...labelNames],
      shared: registers.some((registry) => registry._shared),
      ...(unit !== undefined && { unit }),
      ...(maxSeries !== undefined && { maxSeries }),
      ...(shown !== undefined && { mode: shown }),
      ...(bounds !== undefined && { bounds: [...bounds] }),
    };
    this.#collect = collect;
    const added: Registry[] = [];
    try {
      for (const registry of registers) {
        registry.registerMetric(this as unknown as Metric<string>);
        added.push(registry);
      }
      this._family();
    } catch (error) {
      added.forEach((registry) => registry.removeSingleMetric(name));
      throw error;
    }
  }

  /** Without labels the series is there from the start, at 0. For the end of constructors. @internal */
  protected _begin(): void {
    if (this.labelNames.length === 0) this._own = this._at([]);
  }

  /** Called before the metrics are read, where it is set. */
  get collect(): (() => void | Promise<void>) | undefined {
    return this.#collect;
  }

  set collect(collect: (() => void | Promise<void>) | undefined) {
    this.#collect = collect;
    this._watch(this.#watched);
  }

  /** Is read with the process's metrics from now on, or no longer. @internal */
  _watch(watched: Collecting | undefined): void {
    this.#watched?.forget(this);
    this.#watched = watched;
    if (this.#collect !== undefined) watched?.collectWith(this, () => this.#collect?.());
  }

  /** Whether the process's registry has it by its definition. @internal */
  get _shared(): boolean {
    return this.#definition.shared;
  }

  /** Removes the series of these label values. */
  remove(...labels: (string | number)[] | [LabelValues<Label>]): void {
    const values = this.#values(labels);
    if (!natively(() => this._family().remove(values))) return;
    this.#forget((series) => series._values.every((value, at) => value === values[at]));
  }

  /** Sets everything back: series with labels are gone, one without is 0. */
  reset(): void {
    this._family().clear();
    this.#forget(() => true);
    this._own?._handle();
  }

  /** What it stands at, after `collect`, in prom-client's shape. */
  async get(): Promise<MetricObject> {
    await this.#collect?.();
    const { name, help, type, aggregator } = this;
    return { name, help, type, aggregator, values: this._read() };
  }

  /** @internal */
  _read(): Sample[] {
    return samples(this.name, this.type, natively(() => this._family().read()));
  }

  /** @internal */
  _family(): NativeFamily {
    return (this.#family ??= natively(() => new native.NativeFamily(this.#definition)));
  }

  /** Makes a series. @internal */
  protected abstract _make(values: readonly string[]): Of;

  /** The series of these labels. @internal */
  _of(labels: LabelValues<Label>): Of {
    const names = this.labelNames;
    let node: unknown = this.#tree;
    let at = 0;
    // Most name the labels in the order of the definition, each time.
    for (const name in labels) {
      if (name !== names[at]) return this._at([labels]);
      node = (node as Map<unknown, unknown>).get(labels[name]);
      if (node === undefined) return this._at([labels]);
      at++;
    }
    if (at < names.length) return this._at([labels]);
    return at > 0 ? (node as Of) : (this._own ?? this._at([labels]));
  }

  /** The series of these values. @internal */
  _with(values: readonly (string | number)[]): Of {
    const count = values.length;
    if (count === this.labelNames.length && count > 0) {
      let node: unknown = this.#tree;
      for (let at = 0; at < count && node !== undefined; at++) node = (node as Map<unknown, unknown>).get(values[at]);
      if (node !== undefined) return node as Of;
    }
    return this._at(values as (string | number)[]);
  }

  /** The series of labels or values, by the long way. @internal */
  _at(labels: (string | number)[] | [LabelValues<Label>]): Of {
    const values = this.#values(labels);
    const handle = natively(() => this._family().with(values));
    let series = this.#known.get(handle.id);
    if (series === undefined) {
      series = this._make(values);
      series._bind(handle);
      this.#known.set(handle.id, series);
    }
    // What went over the cap is asked for again each time, and gets a series of its own once there is room.
    if (!handle.overflow) this.#remember(labels, values, series);
    return series;
  }

  /** Brings a series back that was dropped. @internal */
  _rebind(series: Of): void {
    const handle = natively(() => this._family().with([...series._values]));
    const known = this.#known.get(handle.id);
    if (known === undefined) this.#known.set(handle.id, series);
    series._bind(known?._native ?? handle);
  }

  #remember(labels: (string | number)[] | [LabelValues<Label>], values: string[], series: Of): void {
    const last = values.length - 1;
    if (last < 0 || values.some((value) => value.length > LONGEST)) return;
    if (this.#leaves >= ALIASES * (this.#definition.maxSeries ?? 2_000)) {
      this.#tree = new Map();
      this.#leaves = 0;
    }
    const [first] = labels;
    const given = (at: number): unknown => {
      const value: unknown = typeof first === "object" ? (first as Record<string, unknown>)[this.labelNames[at]!] : labels[at];
      // What is neither text nor a number may say something else tomorrow.
      return typeof value === "number" ? value : values[at];
    };
    let node = this.#tree;
    for (let at = 0; at < last; at++) {
      const key = given(at);
      let next = node.get(key) as Map<unknown, unknown> | undefined;
      if (next === undefined) node.set(key, (next = new Map()));
      node = next;
    }
    node.set(given(last), series);
    this.#leaves++;
  }

  #forget(which: (series: Of) => boolean): void {
    this.#tree = new Map();
    this.#leaves = 0;
    for (const [id, series] of this.#known) {
      if (!which(series)) continue;
      series._drop();
      this.#known.delete(id);
    }
  }

  #values(labels: (string | number)[] | [LabelValues<Label>]): string[] {
    const [first] = labels;
    if (typeof first === "object" && first !== null) {
      for (const name in first) {
        if (!this.labelNames.includes(name)) {
          throw new OpsError("invalid_input", `metric "${this.name}" has no label "${name}"`, {
            hint: `its labels are: ${this.labelNames.join(", ") || "none"}`,
          });
        }
      }
      return this.labelNames.map((name) => String(first[name] ?? ""));
    }
    return (labels as (string | number)[]).map(String);
  }
}

/** Throws what a number is refused with. @internal */
export function refused(metric: string, what: string, value: unknown): OpsError {
  return new OpsError("invalid_input", `${what} "${metric}" takes a number, not ${String(value)}`, {
    hint: "give a number; a counter takes one that is finite and at least 0",
  });
}

/** Seconds since a time of the clock that only goes forward. @internal */
export function secondsSince(since: bigint): number {
  return Number(process.hrtime.bigint() - since) / 1e9;
}
