/**
 * What the caller must do. Few on purpose: branch on these, show the rest to a person.
 *
 * | code | means |
 * | --- | --- |
 * | `invalid_input` | the request or a setting is wrong: change it |
 * | `not_found` | what was named does not exist |
 * | `refused` | doing it now would be unsafe: meet the condition in the hint first |
 * | `busy` | somebody else holds what is needed: try again later |
 * | `denied` | the operating system or a server said no: grant the permission |
 * | `no_space` | the disk or the target is full |
 * | `unavailable` | something outside did not answer, or a device failed |
 * | `timeout` | the deadline passed |
 * | `corrupt` | data is damaged: use another copy |
 * | `unsupported` | this build, or this component, cannot do that |
 * | `cancelled` | the caller cancelled; nothing was left half-done |
 * | `internal` | a defect of ours: report it |
 */
export type ErrorCode =
  | "invalid_input"
  | "not_found"
  | "refused"
  | "busy"
  | "denied"
  | "no_space"
  | "unavailable"
  | "timeout"
  | "corrupt"
  | "unsupported"
  | "cancelled"
  | "internal";

/** What an {@link OpsError} is made of. */
export interface OpsErrorOptions {
  /** The repair, one line. */
  hint?: string | undefined;
  /** Whether the same call can succeed later without anybody changing it. By the code when left out. */
  retryable?: boolean | undefined;
  /** The operation that failed. */
  operation?: string | undefined;
  /** Names and values that help to find the place. */
  context?: Readonly<Record<string, string>> | undefined;
  /** The underlying cause. */
  cause?: unknown;
}

const RETRYABLE: ReadonlySet<string> = new Set(["busy", "unavailable", "timeout"]);

/**
 * Every failure of this package.
 *
 * @example
 * ```ts
 * try {
 *   await ops.backup.create();
 * } catch (error) {
 *   if (error instanceof OpsError && error.retryable) await tryAgainLater(error.hint);
 *   else throw error;
 * }
 * ```
 */
export class OpsError extends Error {
  /** What the caller must do. */
  readonly code: ErrorCode;
  /** Whether the same call can succeed later without anybody changing it. */
  readonly retryable: boolean;
  /** The repair, one line. */
  readonly hint: string | undefined;
  /** The operation that failed, such as `backup.create`. */
  readonly operation: string | undefined;
  /** Names and values that help to find the place. */
  readonly context: Readonly<Record<string, string>>;

  /** Makes one: a plugin throws it to say what the caller must do. */
  constructor(code: ErrorCode, message: string, options: OpsErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? RETRYABLE.has(code);
    this.hint = options.hint;
    this.operation = options.operation;
    this.context = options.context ?? {};
  }

  /** As it is on the wire. */
  toJSON(): object {
    const { code: kind, message, retryable, hint, operation, context } = this;
    return { kind, message, hint, retryable, operation, context };
  }
}
// On the prototype, as the built-in errors have it: `error.stack` begins with it.
Object.defineProperty(OpsError.prototype, "name", { value: "OpsError", configurable: true, writable: true });

/** An error on the wire. */
interface ErrorBody {
  kind: ErrorCode;
  message: string;
  hint: string | null;
  retryable: boolean;
  operation: string | null;
  context?: Record<string, string>;
  causes?: string[];
}

/**
 * The error of a body's JSON text.
 * @internal
 */
export function fromBody(text: string, cause?: unknown): OpsError {
  const body = JSON.parse(text) as ErrorBody;
  const causes = (body.causes ?? []).reduceRight<Error | undefined>(
    (inner, message) => Object.assign(new Error(message, inner && { cause: inner }), { stack: message }),
    undefined,
  );
  return new OpsError(body.kind, body.message, {
    hint: body.hint ?? undefined,
    retryable: body.retryable,
    operation: body.operation ?? undefined,
    context: body.context,
    cause: cause ?? causes,
  });
}

/**
 * What the native half threw, as what people see.
 * @internal
 */
export function fromNative(thrown: unknown): unknown {
  if (thrown instanceof Error && thrown.message.startsWith('{"kind":')) return fromBody(thrown.message);
  return thrown;
}

/**
 * Calls the native half.
 * @internal
 */
export function natively<T>(call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw fromNative(thrown);
  }
}
