import { collectAll, collectWith, forget } from "../collect.js";
import { natively, OpsError } from "../errors.js";
import { native } from "../native.js";
import type { NativeRegistry } from "../native.js";
import type { Metric } from "./metric.js";
import type { MetricObject } from "./snapshot.js";

const TEXT = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/** A `content-type` that a registry can have. */
export type RegistryContentType = typeof TEXT | typeof OPENMETRICS;

/**
 * Metrics that are read together. Those of {@link register} are the process's: `/metrics`, `ops.metrics.render()` and the sinks
 * show them, and threads that define the same metric count in the same series. Others are read by {@link Registry.metrics}.
 */
export class Registry {
  /** The text format of Prometheus. */
  static readonly PROMETHEUS_CONTENT_TYPE = TEXT;
  /** OpenMetrics. */
  static readonly OPENMETRICS_CONTENT_TYPE = OPENMETRICS;

  /** @internal */
  readonly _shared: boolean;
  readonly #metrics = new Map<string, Metric<string>>();
  readonly #native: NativeRegistry;
  #labels: Readonly<Record<string, unknown>> = {};
  #contentType: RegistryContentType = TEXT;

  /** Makes an empty one. */
  constructor(contentType?: RegistryContentType);
  /** @internal */
  constructor(contentType: RegistryContentType, shared: boolean);
  constructor(contentType: RegistryContentType = TEXT, shared = false) {
    this._shared = shared;
    this.#native = new native.NativeRegistry(shared);
    this.setContentType(contentType);
  }

  /** The `content-type` of {@link Registry.metrics}. */
  get contentType(): RegistryContentType {
    return this.#contentType;
  }

  /** Chooses between the text format of Prometheus and OpenMetrics. */
  setContentType(contentType: RegistryContentType): void {
    if (contentType !== TEXT && contentType !== OPENMETRICS) {
      throw new OpsError("invalid_input", `content type ${contentType} is unsupported`, {
        hint: "take Registry.PROMETHEUS_CONTENT_TYPE or Registry.OPENMETRICS_CONTENT_TYPE",
      });
    }
    this.#contentType = contentType;
  }

  /** Adds labels to every series of {@link Registry.metrics} that has none of these names. */
  setDefaultLabels(labels: object): void {
    this.#labels = { ...labels };
  }

  /** Every metric, in the format of {@link Registry.contentType}. Of {@link register}, every metric of the process. */
  async metrics(): Promise<string> {
    await this.#collect();
    return this.#render(this.#native);
  }

  /** Every metric that was defined here, in prom-client's shape. */
  async getMetricsAsJSON(): Promise<MetricObject[]> {
    const metrics = await Promise.all(this.getMetricsAsArray().map((metric) => metric.get()));
    for (const sample of metrics.flatMap(({ values }) => values)) {
      sample.labels = { ...(this.#labels as Record<string, string>), ...sample.labels };
    }
    return metrics;
  }

  /** Every metric that was defined here. */
  getMetricsAsArray(): Metric<string>[] {
    return [...this.#metrics.values()];
  }

  /** The metric that was defined here under a name. */
  getSingleMetric(name: string): Metric<string> | undefined {
    return this.#metrics.get(name);
  }

  /** A single metric, in the format of {@link Registry.contentType}. */
  async getSingleMetricAsString(name: string): Promise<string> {
    const metric = this.#metrics.get(name);
    if (metric === undefined) {
      throw new OpsError("not_found", `metric "${name}" is not defined here`, { hint: "define it, or look at the name" });
    }
    await metric.collect?.();
    const alone = new native.NativeRegistry(false);
    natively(() => alone.adopt(metric._family()));
    return this.#render(alone);
  }

  /** Adds a metric, which may be in several registries. */
  registerMetric(metric: Metric<string>): void {
    const held = this.#metrics.get(metric.name);
    if (held === metric) return;
    if (held !== undefined) {
      throw new OpsError("invalid_input", `metric "${metric.name}" is registered twice`, {
        hint: "define a metric once and keep it, or ask the registry's getSingleMetric for it",
      });
    }
    // The process's registry has it from its definition, unless that named other registries.
    if (!(this._shared && metric._shared)) natively(() => this.#native.adopt(metric._family()));
    else metric._family();
    this.#metrics.set(metric.name, metric);
    if (this._shared) metric._watch({ collectWith, forget });
  }

  /** Removes a metric, and lets its name be defined again. */
  removeSingleMetric(name: string): void {
    const metric = this.#metrics.get(name);
    if (metric === undefined) return;
    this.#metrics.delete(name);
    if (this._shared) metric._watch(undefined);
    if (this._shared && metric._shared) metric._family().release();
    else this.#native.remove(metric._family());
  }

  /** Sets every metric that was defined here back. */
  resetMetrics(): void {
    for (const metric of this.#metrics.values()) metric.reset();
  }

  /** Removes every metric that was defined here, and the default labels. */
  clear(): void {
    for (const name of [...this.#metrics.keys()]) this.removeSingleMetric(name);
    this.#labels = {};
  }

  /** One registry with the metrics of several. */
  static merge(registries: readonly Registry[]): Registry {
    const contentType = registries[0]?.contentType ?? TEXT;
    if (registries.some((registry) => registry.contentType !== contentType)) {
      throw new OpsError("invalid_input", "registries of different content types cannot be merged", {
        hint: "set the same content type on all of them",
      });
    }
    const merged = new Registry(contentType);
    for (const metric of registries.flatMap((registry) => registry.getMetricsAsArray())) merged.registerMetric(metric);
    return merged;
  }

  async #collect(): Promise<void> {
    if (this._shared) return collectAll();
    await Promise.all(this.getMetricsAsArray().map((metric) => metric.collect?.()));
  }

  #render(registry: NativeRegistry): string {
    const labels = Object.entries(this.#labels).flatMap(([name, value]) => [name, String(value)]);
    return registry.render(this.#contentType === OPENMETRICS, labels);
  }
}

/** The registry of this process. */
export const register = new Registry(TEXT, true);
