/**
 * Operations built into your service.
 *
 * @packageDocumentation
 */
export { Ops } from "./ops.js";
export type { OpsOptions } from "./ops.js";
export { OpsError } from "./errors.js";
export type { ErrorCode, OpsErrorOptions } from "./errors.js";
export type { CallOptions } from "./calls.js";
export type * from "./contracts.js";
export type { Handler, HandlerOptions } from "./http.js";
export * from "./generated.js";
