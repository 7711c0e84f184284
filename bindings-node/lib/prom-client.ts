/**
 * `uplifted-ops/metrics` under the names that only prom-client has, and as its default export: programs change the import and
 * nothing else. What differs on purpose is listed in the README.
 *
 * @packageDocumentation
 */
import * as metrics from "./metrics.js";
import { register, Registry } from "./metrics.js";

export * from "./metrics.js";

/** The process's registry. */
export const globalRegistry: Registry = register;
/** The `content-type` of {@link globalRegistry} as it begins. */
export const contentType: string = register.contentType;
/** The `content-type` of the text format of Prometheus. */
export const prometheusContentType = Registry.PROMETHEUS_CONTENT_TYPE;
/** The `content-type` of OpenMetrics. */
export const openMetricsContentType = Registry.OPENMETRICS_CONTENT_TYPE;

/** All of it, as `import client from "prom-client"` has it. */
const client = { ...metrics, globalRegistry, contentType, prometheusContentType, openMetricsContentType };
export default client;
