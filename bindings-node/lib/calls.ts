import type { Json } from "./codec.js";
import { fromBody, OpsError } from "./errors.js";
import { progressCodec } from "./generated.js";
import type { Progress } from "./generated.js";
import { parse } from "./json.js";
import type { Deliver, NativeOps } from "./native.js";

/** What may be said beside a request. */
export interface CallOptions {
  /**
   * Stops the work. The promise is rejected, once nothing runs any more, with an `OpsError` of code `cancelled` whose
   * `cause` is `signal.reason`. What was done before the signal came through is done: its answer is given.
   */
  signal?: AbortSignal | undefined;
  /** Called with every sign of progress. What it throws cancels the work, and the promise is rejected with it. */
  onProgress?: ((progress: Progress) => void) | undefined;
}

/** An answer as it crossed. */
export interface Answer {
  /** JSON text. */
  text: string;
  /** False for what the command line ends with exit status 1 for: a failed check, a partial backup. */
  healthy: boolean;
}

interface Call {
  resolve(answer: Answer): void;
  reject(reason: unknown): void;
  options: CallOptions;
  /** What `onProgress` threw. */
  thrown?: { value: unknown };
  operation: string;
  stop: () => void;
}

/**
 * Keeps the process alive while calls run, and not a moment longer. The native half answers through a function that
 * does not: it is there for as long as its `Ops`.
 */
class KeepAlive {
  #running = 0;
  #timer: NodeJS.Timeout | undefined;

  begin(): void {
    if (this.#running++ > 0) return;
    // The longest that a timer takes, about 25 days; it does nothing.
    this.#timer ??= setInterval(() => {}, 2 ** 31 - 1);
    this.#timer.ref();
  }

  end(): void {
    if (--this.#running === 0) this.#timer?.unref();
  }
}

const keepAlive = new KeepAlive();

/** The calls of one `Ops` that have not been answered. Knows nothing of the `Ops`, so that this can be collected. */
export class Calls {
  readonly #running = new Map<number, Call>();
  #last = 0;

  /** What the native half answers to. */
  readonly deliver: Deliver = (id, word, text) => {
    const call = this.#running.get(id);
    if (call === undefined) return;
    if (word === "progress") return this.#progress(call, text);
    this.#running.delete(id);
    keepAlive.end();
    const { signal } = call.options;
    signal?.removeEventListener("abort", call.stop);
    if (call.thrown) return call.reject(call.thrown.value);
    if (word !== "error") return call.resolve({ text, healthy: word === "ok" });
    const error = fromBody(text);
    call.reject(signal?.aborted && error.code === "cancelled" ? fromBody(text, signal.reason) : error);
  };

  /** Makes a call: `start` begins it under its number. */
  start(
    native: NativeOps,
    operation: string,
    options: CallOptions,
    start: (id: number) => void,
  ): Promise<Answer> {
    const { signal } = options;
    if (signal?.aborted) {
      return Promise.reject(
        new OpsError("cancelled", `cancelled by the caller before ${operation} began`, {
          operation,
          cause: signal.reason as unknown,
        }),
      );
    }
    return new Promise((resolve, reject) => {
      const id = ++this.#last;
      const stop = (): void => native.cancel(id);
      this.#running.set(id, { resolve, reject, options, operation, stop });
      keepAlive.begin();
      signal?.addEventListener("abort", stop, { once: true });
      start(id);
    });
  }

  #progress(call: Call, text: string): void {
    if (call.thrown) return;
    try {
      for (const event of parse(text) as Json[]) {
        call.options.onProgress?.(progressCodec.decode(event, "progress"));
      }
    } catch (value) {
      // Thrown from here it would end the process.
      call.thrown = { value };
      call.stop();
    }
  }
}
