import type { CallContext, PluginProgress } from "./contracts.js";
import { OpsError } from "./errors.js";
import { parse, stringify } from "./json.js";
import { native } from "./native.js";
import type { Answers, NativePlugin } from "./native.js";

/** The methods that a contract may ask for. */
const METHODS = native.pluginMethods();
/** Those that answer with an object whose own methods are called later. */
const OPENERS: ReadonlySet<string> = new Set(["upload", "fresh", "missing", "foreign", "stuck", "sink", "open", "holdOpen"]);

type Methods = Record<string, ((...args: unknown[]) => unknown) | undefined>;

/**
 * Wraps an object of the host, so that the native half can call its methods.
 *
 * @param title What it is, for errors: `target "offsite"`.
 */
export function wrap(title: string, object: unknown): NativePlugin {
  const host = new Host(title, object);
  return new native.NativePlugin(host.facts(title, object), host.answers, host.invoke);
}

/** One object of the host and what it opened, as the native half calls them. Nothing that they do escapes. */
class Host {
  readonly answers: Answers = new native.Answers();
  readonly #objects: Map<number, Methods>;
  readonly #running = new Map<number, AbortController>();
  #last = 0;

  constructor(title: string, object: unknown) {
    if ((typeof object !== "object" && typeof object !== "function") || object === null) {
      throw new OpsError("invalid_input", `${title} is ${shown(object)}, not an object`, {
        hint: "give an object with the methods of its contract",
      });
    }
    this.#objects = new Map([[0, object as Methods]]);
  }

  /** What the native half calls. Returns at once; the answer goes to `answers`. */
  readonly invoke = (
    word: string,
    call: number,
    object: number,
    method: string,
    args: string,
    at: number,
    bytes: Buffer | null,
  ): void => {
    if (word === "cancel") {
      this.#running.get(call)?.abort(new OpsError("cancelled", "nobody waits for this call any more"));
    } else if (word === "release") {
      this.#objects.delete(object);
    } else {
      void this.#call(call, object, method, args, at, bytes);
    }
  };

  async #call(
    call: number,
    object: number,
    method: string,
    args: string,
    at: number,
    bytes: Buffer | null,
  ): Promise<void> {
    const controller = new AbortController();
    this.#running.set(call, controller);
    try {
      const list = parse(args) as unknown[];
      if (bytes) list[at] = bytes;
      const context: CallContext = {
        signal: controller.signal,
        progress: (event: PluginProgress) => this.answers.progress(call, stringify(event)),
      };
      const target = this.#objects.get(object);
      const answer: unknown = await target?.[method]?.call(target, ...list, context);
      this.#answer(call, method, answer);
    } catch (thrown) {
      this.answers.failed(call, stringify(raised(thrown)));
    } finally {
      this.#running.delete(call);
    }
  }

  #answer(call: number, method: string, answer: unknown): void {
    if (answer instanceof Uint8Array) {
      // What threads share may change while it is copied: the copy is made here.
      const shared = answer.buffer instanceof SharedArrayBuffer;
      this.answers.bytes(call, shared ? new Uint8Array(answer) : answer);
    } else if (OPENERS.has(method) && typeof answer === "object" && answer !== null) {
      const id = ++this.#last;
      this.#objects.set(id, answer as Methods);
      if (this.answers.object(call, id, this.facts(method, answer))) return;
      // It came too late. An upload that nobody will finish must not lie around.
      this.#objects.delete(id);
      void abandon(answer as Methods);
    } else {
      this.answers.value(call, stringify(answer ?? null));
    }
  }

  /** What an object is and has, as JSON text. */
  facts(title: string, object: unknown): string {
    const has = object as Methods & { capability?: unknown };
    let { capability } = has;
    if (typeof capability === "function") capability = (capability as () => unknown).call(object);
    if (capability instanceof Promise) {
      capability.catch(() => {});
      throw new OpsError("invalid_input", `the capability of ${title} is a promise`, {
        hint: "make it a plain value or a plain method: it is read once, when the component is registered",
      });
    }
    return stringify({
      class: typeof object === "function" ? "Function" : (object?.constructor?.name ?? "Object"),
      methods: METHODS.filter((name) => typeof has[name] === "function"),
      capability,
    });
  }
}

async function abandon(upload: Methods): Promise<void> {
  try {
    await upload["abort"]?.({ signal: new AbortController().signal, progress: () => {} });
  } catch {
    // Its caller is gone: nobody is there to be told.
  }
}

/** What was thrown, in the words of the native half. Anything can be thrown, and some of it cannot even be shown. */
function raised(thrown: unknown): object {
  try {
    if (!(thrown instanceof Error)) return { class: typeof thrown, message: shown(thrown) };
    const { message, stack: trace, name, constructor } = thrown;
    const { errno, code, hint, retryable } = thrown as Partial<OpsError> & { errno?: unknown };
    const fields = { class: constructor?.name || name, message: String(message), trace };
    // By its name and not its class: another copy of this package throws another class.
    if (name === "OpsError") return { ...fields, kind: code, hint, retryable };
    return Number.isInteger(errno) ? { ...fields, errno } : fields;
  } catch {
    return { class: "Error", message: "something was thrown that cannot be shown" };
  }
}

function shown(value: unknown): string {
  try {
    return typeof value === "symbol" ? value.toString() : String(value);
  } catch {
    return `a value of type ${typeof value} that cannot be shown`;
  }
}
