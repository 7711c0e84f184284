import { existsSync } from "node:fs";
import { join } from "node:path";

/** An open `Ops`, of the native half. */
export interface NativeOps {
  readonly root: string;
  readonly listens: boolean;
  readonly beatMilliseconds: number;
  beat(): void;
  /** Gives the milliseconds that the service goes on for. */
  drain(): number;
  /** What ended at once is returned, as the word and the text that would be delivered. */
  call(call: number, name: string, request: string, withProgress: boolean): [word: Word, text: string] | null;
  cancel(call: number): void;
  close(call: number): void;
}

/** What comes back from the native half. */
export type Word = "ok" | "unhealthy" | "error" | "progress";

/** How it comes back: the call, what it is, and JSON text. */
export type Deliver = (call: number, word: Word, text: string) => void;

/** An object of JavaScript, wrapped. */
export interface NativePlugin {
  readonly __plugin?: never;
}

/** Where the answers of an object come in. */
export interface Answers {
  value(call: number, json: string): void;
  bytes(call: number, bytes: Uint8Array): void;
  object(call: number, object: number, facts: string): boolean;
  failed(call: number, raised: string): void;
  progress(call: number, event: string): void;
}

/** How the native half calls the methods of an object. */
export type Invoke = (
  word: string,
  call: number,
  object: number,
  method: string,
  args: string,
  at: number,
  bytes: Buffer | null,
) => void;

/** Collects settings and live objects, and opens an `Ops`. */
export interface Builder {
  plugin(contract: "store" | "target" | "check" | "sink" | "pause", name: string, plugin: NativePlugin): void;
  open(deliver: Deliver): Promise<NativeOps>;
}

/** What asks the `collect` functions of this thread when the metrics are read elsewhere. */
export interface NativeCollecting {
  answer(call: number, trouble?: string): void;
  collected(): void;
}

/** Memory in which JavaScript counts. */
export interface NativeCells {
  /** Cells of a chunk. */
  readonly chunk: number;
  attach(number: number, chunk: Float64Array): void;
}

/** One series of a metric, and the numbers of its cells. */
export interface NativeSeries {
  readonly id: number;
  readonly first: number;
  readonly second: number;
  readonly overflow: boolean;
  settle(cells: NativeCells): boolean;
  leave(): void;
  add(value: number): void;
  set(value: number): void;
  refuse(): void;
  exemplify(value: number, labels: string[]): void;
}

/** The series of one name. */
export interface NativeFamily {
  with(values: string[]): NativeSeries;
  remove(values: string[]): boolean;
  clear(): void;
  read(): string;
  release(): void;
}

/** Families that are read together. */
export interface NativeRegistry {
  adopt(family: NativeFamily): void;
  remove(family: NativeFamily): boolean;
  render(openMetrics: boolean, labels: string[]): string;
}

/** What a family is. */
export interface FamilyDefinition {
  kind: "counter" | "gauge" | "histogram";
  name: string;
  help: string;
  unit?: string;
  labels: string[];
  bounds?: number[];
  maxSeries?: number;
  mode?: string;
  shared: boolean;
}

/** A request as Node read it. */
export interface NativeRequest {
  method: string;
  target: string;
  mount: string;
  headers: string[];
  peer: string | undefined;
}

/** Answers requests. */
export interface NativeResponder {
  respond(call: number, request: NativeRequest, body: Uint8Array | undefined): void;
  drain(): void;
}

/** The native half. */
export interface Native {
  NativeResponder: new (ops: NativeOps) => NativeResponder;
  BODY_LIMIT: number;
  runSuite(contract: string, scene: NativePlugin, deadlineSeconds: number): Promise<string>;
  Builder: new (options: string) => Builder;
  Answers: new () => Answers;
  NativePlugin: new (facts: string, answers: Answers, invoke: Invoke) => NativePlugin;
  pluginMethods(): string[];
  NativeCells: new () => NativeCells;
  NativeCollecting: new (ask: (call: number) => void) => NativeCollecting;
  NativeFamily: new (definition: FamilyDefinition) => NativeFamily;
  NativeRegistry: new (ofTheProcess: boolean) => NativeRegistry;
  renderMetrics(openMetrics: boolean): { contentType: string; body: string };
  runWorker(args: string[]): never;
  runCli(args: string[], worker: string): number;
}

/** The builds of the native half that may fit this machine, in the words of npm's platform packages. */
function platforms(): string[] {
  const name = `${process.platform}-${process.arch}`;
  // npm installs the one of the C library that is there, by the field `libc`.
  return process.platform === "linux" ? [`${name}-gnu`, `${name}-musl`] : [name];
}

function load(): Native {
  const names = platforms();
  // A build from source lies beside the package; what npm installed is a package of its own. The first is looked for
  // and not tried, so that one that is broken says so.
  const files = names.map((name) => join(__dirname, "..", `uplifted-ops.${name}.node`));
  const local = files.find(existsSync);
  if (local !== undefined) return require(local) as Native;
  const packages = names.map((name) => `uplifted-ops-${name}`);
  for (const name of packages) {
    try {
      return require(name) as Native;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  throw new Error(
    `uplifted-ops has no native half here: there is neither the package ${packages.join(" or ")} nor ` +
      `${files.join(" or ")}. Install without --omit=optional and on the machine that runs it; in a bundle, leave ` +
      "uplifted-ops out (external); or build it: npm install ./bindings-node",
  );
}

/** The native half of this package. */
export const native: Native = load();

/** How a worker of this package is started, as JSON for the native half. */
export function workerFile(): object {
  const file = join(__dirname, "worker.js");
  return {
    program: process.execPath,
    file,
    exists: existsSync(file),
    electron: process.versions["electron"] !== undefined,
  };
}
