// What the tests share: a small service, children with a hard end, and waiting for something to become true.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Ops } from "uplifted-ops";

/** Where the package was installed. */
export const fresh = dirname(dirname(fileURLToPath(import.meta.url)));

const folders = [];
// Not a hook of the tests: children use this file too.
process.on("exit", () => folders.forEach((folder) => {
  try {
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  } catch {
    // A schedule that nobody closed writes until the process is gone.
  }
}));

/** An empty folder, gone after the tests. */
export function folder() {
  const made = mkdtempSync(join(tmpdir(), "uplifted-ops-"));
  folders.push(made);
  return made;
}

/** Settings of a service that keeps `data` and backs it up to a folder. */
export const settings = {
  service: { name: "shop" },
  backup: { include: ["data"] },
  target: [{ name: "local", kind: "fs", path: "backups" }],
};

/** The root of a small service. */
export function service() {
  const root = folder();
  mkdirSync(join(root, "data"));
  writeFileSync(join(root, "data", "hello.txt"), "hello");
  return root;
}

/** An `Ops` of a small service, closed when the test ends. */
export async function open(test, options = {}) {
  const ops = await Ops.create({ root: service(), settings, ...options });
  test.after(() => ops.close());
  return ops;
}

/** Runs code, an ES module, in a Node of its own. Killed when it does not end: that is a failure, never a hang. */
export async function child(code, { args = [], env = {}, seconds = 60, signal, flags = [] } = {}) {
  const file = join(fresh, `child-${Math.random().toString(36).slice(2)}.mjs`);
  writeFileSync(file, code);
  return program(process.execPath, [...flags, file, ...args], { env, seconds, signal }).finally(() => rmSync(file));
}

/** Runs a program to its end. */
export async function program(command, args, { env = {}, seconds = 60, signal, cwd = fresh } = {}) {
  const { NODE_TEST_CONTEXT: _, ...inherited } = process.env;
  const started = spawn(command, args, { cwd, env: { ...inherited, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  started.stdout.on("data", (data) => {
    stdout += data;
    if (signal && stdout.includes("ready")) started.kill(signal), (signal = undefined);
  });
  started.stderr.on("data", (data) => (stderr += data));
  const guard = setTimeout(() => started.kill("SIGKILL"), seconds * 1000);
  const [code, killed] = await once(started, "close");
  clearTimeout(guard);
  return { code, signal: killed, stdout, stderr };
}

/** Waits until `holds` says so. */
export async function until(holds, what, seconds = 20) {
  for (const end = Date.now() + seconds * 1000; ; ) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what} did not happen within ${seconds} s`);
    await sleep(10);
  }
}

/** The processes that this one started and that are workers. */
export function workers(of = process.pid) {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        const isWorker = readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("__uplifted_ops_worker");
        return isWorker && state !== "Z" && Number(parent) === of;
      } catch {
        return false;
      }
    });
}

/** A target in memory. */
export class MemoryTarget {
  objects = new Map();
  capability = { kind: "memory", location: "memory", putIfAbsent: true };

  put(key, bytes, ifAbsent) {
    if (ifAbsent && this.objects.has(key)) return false;
    this.objects.set(key, { bytes: Buffer.from(bytes), modifiedAt: new Date() });
    return true;
  }

  upload(key) {
    const { objects } = this;
    const blocks = [];
    return {
      write: (bytes) => void blocks.push(bytes),
      finish: async () => {
        const { OpsError } = await import("uplifted-ops");
        if (objects.has(key)) throw new OpsError("refused", `${key} exists`);
        objects.set(key, { bytes: Buffer.concat(blocks), modifiedAt: new Date() });
      },
      abort: () => void blocks.splice(0),
    };
  }

  get(key, start, end) {
    return this.objects.get(key)?.bytes.subarray(start, end) ?? null;
  }

  async list(prefix, after) {
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && (after === null || key > after));
    return keys.sort().slice(0, 1000).map((key) => this.stat(key));
  }

  stat(key) {
    const object = this.objects.get(key);
    return object ? { key, sizeBytes: object.bytes.length, modifiedAt: object.modifiedAt } : null;
  }

  delete(key) {
    this.objects.delete(key);
  }
}
