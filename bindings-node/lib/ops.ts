import { Calls } from "./calls.js";
import type { Answer, CallOptions } from "./calls.js";
import type { BackupTarget, CallContext, CheckOutcome, HealthCheck, MetricsSink, PauseHook, Store } from "./contracts.js";
import type { OperationCodec } from "./codec.js";
import { collectAll } from "./collect.js";
import { fromNative, natively, OpsError } from "./errors.js";
import { Operations } from "./generated.js";
import { makeHandler } from "./http.js";
import type { Handler, HandlerOptions } from "./http.js";
import { wrap } from "./host.js";
import { parse, stringify } from "./json.js";
import { native, workerFile } from "./native.js";
import type { NativeOps } from "./native.js";

/** What an `Ops` is made of: settings, which are data, and components, which are live objects. */
export interface OpsOptions {
  /** The service's root folder. The working directory, or what the settings say, when left out. */
  root?: string;
  /** The settings file. `ops.toml` in the root when left out. */
  config?: string;
  /**
   * Settings that win over the environment, `.env` and the file, in the names of `ops.toml`:
   * `{ backup: { level: 5 } }`.
   */
  settings?: Record<string, unknown>;
  /** Databases, by name. */
  stores?: Record<string, Store>;
  /** Places where backups go, by name. */
  targets?: Record<string, BackupTarget>;
  /** Health checks, by name: an object, or the question itself. */
  checks?: Record<string, HealthCheck | ((context: CallContext) => CheckOutcome | PromiseLike<CheckOutcome>)>;
  /** Where numbers go, by name. */
  sinks?: Record<string, MetricsSink>;
  /** What pauses the service's writes for the moment in which a backup copies its databases, by name. */
  pauses?: Record<string, PauseHook>;
  /** How long a component written in JavaScript may be silent: 60 s when left out, ten times that on a whole database. */
  callbackDeadlineSeconds?: number;
}

/**
 * Operations built into a service.
 *
 * It has threads and, for the work on the service's files, processes of its own: the event loop is free. An open one
 * does not keep the process; a call that runs does.
 *
 * @example
 * ```ts
 * await using ops = await Ops.create({ root: "/opt/uplifted" });
 * const snapshot = await ops.backup.create({ label: "nightly" });
 * console.log(snapshot.snapshotId, snapshot.outcome);
 * ```
 */
export class Ops extends Operations {
  readonly #native: NativeOps;
  readonly #calls: Calls;
  #closing: Promise<void> | undefined;
  #heart: NodeJS.Timeout | undefined;
  #sigterm: (() => void) | undefined;

  private constructor(native: NativeOps, calls: Calls) {
    super();
    // JavaScript knows no private constructors.
    if (!(calls instanceof Calls)) {
      throw new OpsError("invalid_input", "an Ops is not made by its constructor", { hint: "await Ops.create({ … })" });
    }
    this.#native = native;
    this.#calls = calls;
  }

  /**
   * Opens one: reads the settings, and finishes a restore that was interrupted. Do so before the service opens its
   * database. Nothing that belongs to the service is opened here.
   *
   * @throws {@link OpsError} that says what is wrong with the settings or with a component, and the repair.
   */
  static async create(options: OpsOptions = {}): Promise<Ops> {
    const { root, config, settings, callbackDeadlineSeconds } = options;
    const calls = new Calls();
    const builder = natively(
      () =>
        new native.Builder(
          stringify({ root, config, settings, callbackDeadlineSeconds, worker: workerFile() }),
        ),
    );
    const register = (contract: "store" | "target" | "check" | "sink" | "pause", components: object = {}): void => {
      for (const [name, object] of Object.entries(components)) {
        const plugin = wrap(`${contract} "${name}"`, contract === "check" ? asCheck(object) : object);
        natively(() => builder.plugin(contract, name, plugin));
      }
    };
    register("store", options.stores);
    register("target", options.targets);
    register("check", options.checks);
    register("sink", options.sinks);
    register("pause", options.pauses);
    let opened: NativeOps;
    try {
      opened = await builder.open(calls.deliver);
    } catch (thrown) {
      throw fromNative(thrown);
    }
    const ops = new Ops(opened, calls);
    if (opened.listens) ops.#heart = beat(ops, opened.beatMilliseconds, (it) => it.#native.beat());
    return ops;
  }

  /** Opens one with the settings of a file. */
  static fromConfig(path: string, options: Omit<OpsOptions, "config"> = {}): Promise<Ops> {
    return Ops.create({ ...options, config: path });
  }

  /** The service's root folder, absolute. */
  get root(): string {
    return this.#native.root;
  }

  /**
   * Runs an operation by its name, with a request and a response in wire names (`snapshot_id`, times as text), as the
   * command line's `call` has them. The typed methods, such as `ops.backup.create()`, are made of this.
   */
  async call(name: string, request: Readonly<Record<string, unknown>> = {}, options: CallOptions = {}): Promise<unknown> {
    return parse((await this.#answer(name, request, options)).text);
  }

  /**
   * Answers `/status`, `/health`, `/livez`, `/readyz`, `/startupz`, `/metrics` and `/api/v1/…`: for `node:http`, Express, and what else
   * takes its requests and responses. Fastify has `fastifyOps` in `uplifted-ops/http`.
   *
   * @throws {@link OpsError} when a token of the section `[http]` cannot be read.
   */
  handler(options: HandlerOptions = {}): Handler {
    return makeHandler(this.#native, this.#calls, options);
  }

  /**
   * Says that the service is about to stop, and returns when `seconds` have passed (`health.drain_seconds` when left out):
   * `/readyz` is 503 from the first moment on, and everything else goes on. First thing on SIGTERM.
   */
  async drain(seconds?: number): Promise<void> {
    const milliseconds = this.#native.drain();
    await new Promise((resolve) => setTimeout(resolve, seconds === undefined ? milliseconds : seconds * 1_000));
  }

  /**
   * From now on SIGTERM is a {@link Ops.drain} first. Listeners of yours are called as ever, at once: those that stop the
   * service had better `await ops.drain()` themselves. Without any, the process ends by the signal once `seconds` have
   * passed, or at a second signal.
   */
  drainOnSigterm(seconds?: number): void {
    if (this.#sigterm) return;
    const listener = (): void => {
      const again = (): void => {
        process.off("SIGTERM", listener).off("SIGTERM", again);
        process.kill(process.pid, "SIGTERM");
      };
      process.off("SIGTERM", listener);
      this.#sigterm = undefined;
      const others = process.listenerCount("SIGTERM") > 0;
      const draining = this.drain(seconds);
      if (others) return;
      process.on("SIGTERM", again);
      this.#sigterm = again;
      draining.then(again, again);
    };
    this.#sigterm = listener;
    // Before the others: they may take long, or end the process.
    process.prependListener("SIGTERM", listener);
  }

  /**
   * Cancels what runs, ends the workers, and returns when none is left. What is called afterwards is rejected. Without
   * it the same happens when the process ends.
   */
  close(): Promise<void> {
    clearInterval(this.#heart);
    if (this.#sigterm) process.off("SIGTERM", this.#sigterm);
    const end = (): Promise<Answer> =>
      this.#calls.start(this.#native, "close", {}, (id) => this.#native.close(id));
    return (this.#closing ??= end().then(() => {}));
  }

  /** {@link Ops.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal */
  override async _call<Request, Response>(
    name: string,
    request: Request,
    options: CallOptions | undefined,
    codec: OperationCodec<Request, Response>,
  ): Promise<Response> {
    const { text } = await this.#answer(name, codec.encode(request), options ?? {});
    return codec.decode(parse(text));
  }

  async #answer(name: string, request: unknown, options: CallOptions): Promise<Answer> {
    if (this.#closing) {
      const hint = "create another one; close it when the service ends, and not before";
      throw new OpsError("refused", "this Ops is closed", { hint, operation: name });
    }
    if (name === "metrics.render") await collectAll();
    const text = stringify(request);
    return this.#calls.start(this.#native, name, options, (id) =>
      this.#native.call(id, name, text, options.onProgress !== undefined),
    );
  }
}

/** Beats as often as is wanted while the event loop turns, and somebody has `ops`. Keeps neither it nor the process. */
function beat(ops: Ops, milliseconds: number, once: (ops: Ops) => void): NodeJS.Timeout {
  const held = new WeakRef(ops);
  const timer = setInterval(() => {
    const it = held.deref();
    if (it) once(it);
    else clearInterval(timer);
  }, milliseconds);
  timer.unref();
  once(ops);
  return timer;
}

/** A question alone is a check. */
function asCheck(check: unknown): unknown {
  return typeof check === "function" ? { check } : check;
}
