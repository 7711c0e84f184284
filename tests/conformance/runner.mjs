// The conformance cases, through the npm package. `README.md` beside this says how they are written.
//
// `import { run } from ".../runner.mjs"` gives `run(package)` for node:test; alone, `node runner.mjs PACKAGE [PART OF A NAME]`
// runs them and exits 1 when one fails. PACKAGE is the folder of the installed package. Typed calls go through the generated
// methods: the wire's request becomes theirs, and their response becomes the wire's again.

import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const FOLDER = path.dirname(fileURLToPath(import.meta.url));
const OUT = process.env["CONFORMANCE_OUT"] ?? path.join(FOLDER, "../../target/conformance");
const HANG = 120_000;

class Failed extends Error {}

const read = (...parts) => JSON.parse(fs.readFileSync(path.join(FOLDER, ...parts), "utf8"));

/** Every case of `area`, with its file's name, in the order of files and cases. */
function cases(area) {
  const files = fs.readdirSync(path.join(FOLDER, area)).filter((file) => file.endsWith(".json")).sort();
  return files.flatMap((file) => read(area, file).map((one) => ({ file: `${area}/${file}`, one })));
}

export function allCases() {
  return [...cases("operations"), ...cases("config").filter(({ file }) => file === "config/environment.json")];
}

/** The first of a case's needs that this machine does not meet. */
function lacking({ needs = [] }) {
  const root = process.geteuid() === 0;
  const met = { sqlite: true, root, unprivileged: !root };
  return needs.find((need) => {
    if (!(need in met)) throw new Error(`nobody knows the need ${need}`);
    return !met[need];
  });
}

/** What a case is given: a folder of a service, made from a description. */
class Scene {
  constructor(Ops, given) {
    this.Ops = Ops;
    this.beside = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "conformance-")));
    this.root = path.join(this.beside, "uplifted");
    fs.mkdirSync(this.root);
    this.names = { root: this.root, beside: this.beside };
    this.settings = {};
    this.environment = {};
    if (given.like !== undefined) this.add(read("services.json")[given.like]);
    this.add(given);
  }

  add(given) {
    given = this.filled(given);
    for (const [name, content] of Object.entries(given.files ?? {})) this.#file(this.path(name), content);
    for (const [name, content] of Object.entries(given.named_in_hex ?? {})) {
      this.#file(Buffer.concat([Buffer.from(`${this.root}/`), Buffer.from(name, "hex")]), content);
    }
    for (const [name, sql] of Object.entries(given.databases ?? {})) {
      fs.mkdirSync(path.dirname(this.path(name)), { recursive: true });
      sqlite(this.path(name), sql);
    }
    for (const [name, patch] of Object.entries(given.patches ?? {})) {
      const file = fs.openSync(this.path(name), "r+");
      fs.writeSync(file, Buffer.from(patch.hex, "hex"), 0, undefined, patch.at);
      fs.closeSync(file);
    }
    merge(this.settings, given.settings ?? {});
    Object.assign(this.environment, given.environment);
  }

  #file(file, content) {
    if (content === null) return fs.rmSync(file, { recursive: true });
    if (typeof file === "string") fs.mkdirSync(path.dirname(file), { recursive: true });
    // A text has a method of that name.
    if (typeof content.link === "string") return fs.symlinkSync(content.link, file);
    if (content.folder) return fs.mkdirSync(file);
    fs.writeFileSync(file, contentOf(content));
    if (content.mode !== undefined) fs.chmodSync(file, Number.parseInt(content.mode, 8));
  }

  /** An `Ops` on the scene. The environment is read when it is made. */
  async ops() {
    const before = { ...process.env };
    try {
      for (const name of Object.keys(process.env)) {
        if (/^(uplifted|other)_/i.test(name)) delete process.env[name];
      }
      Object.assign(process.env, this.environment);
      return await this.Ops.create({ root: this.root, settings: this.settings });
    } finally {
      for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
      Object.assign(process.env, before);
    }
  }

  path(name) {
    return path.resolve(this.root, name);
  }

  /** `value` with what the scene knows in place of `<name>`, in keys and in texts. */
  filled(value) {
    if (typeof value === "string") {
      return Object.entries(this.names).reduce((text, [name, known]) => text.replaceAll(`<${name}>`, known), value);
    }
    return changed(value, (item) => this.filled(item), (name) => this.filled(name));
  }

  remove() {
    fs.rmSync(this.beside, { recursive: true, force: true });
  }
}

/** Runs SQL with the `sqlite3` program: Node has no SQLite of its own in every version that we support. */
function sqlite(file, sql) {
  return execFileSync("sqlite3", ["-batch", file], { input: sql, encoding: "utf8", timeout: HANG }).replace(/\n$/, "");
}

function changed(value, change, rename = (name) => name) {
  if (Array.isArray(value)) return value.map(change);
  if (typeof value !== "object" || value === null || value instanceof Date || Buffer.isBuffer(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [rename(name), change(item)]));
}

function merge(into, over) {
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  for (const [name, value] of Object.entries(over)) {
    if (isObject(value) && isObject(into[name])) merge(into[name], value);
    else into[name] = structuredClone(value);
  }
}

function contentOf(content) {
  if (typeof content === "string") return Buffer.from(content);
  return content.text === undefined ? Buffer.from(content.hex, "hex") : Buffer.from(content.text);
}

async function runCase(api, one) {
  const scene = new Scene(api.Ops, one.given ?? {});
  let ops;
  try {
    for (const [index, step] of (one.steps ?? [one]).entries()) {
      try {
        if (one.steps) scene.add(step.given ?? {});
        if (step.reopen) {
          await ops?.close();
          ops = undefined;
        }
        ops ??= await opened(api, scene, step.expect);
        if (ops) await runStep(api, scene, ops, step);
      } catch (error) {
        throw new Failed(`step ${index + 1}: ${error.message}`, { cause: error });
      }
    }
  } finally {
    await ops?.close();
    scene.remove();
  }
}

/** An `Ops`, or nothing where the case expects that there can be none. */
async function opened({ OpsError }, scene, expect) {
  try {
    return await scene.ops();
  } catch (error) {
    if (!(error instanceof OpsError) || expect.error === undefined) throw error;
    told(mismatch(scene.filled(expect.error), body(error), "error"));
    return undefined;
  }
}

async function runStep(api, scene, ops, step) {
  const request = integers(scene.filled(step.call.request));
  const name = step.call.operation;
  const expect = scene.filled(step.expect);
  const events = [];
  const options = { signal: AbortSignal.timeout(HANG), onProgress: (event) => events.push(snaked(event)) };
  let response;
  try {
    response = step.call.typed === false ? await ops.call(name, request, options) : await typed(api, ops, name, request, options);
  } catch (error) {
    if (!(error instanceof api.OpsError)) throw error;
    if (expect.error === undefined) throw new Failed(`failed: ${show(body(error))}`);
    told(mismatch(expect.error, body(error), "error"));
  }
  if (response !== undefined) {
    if (expect.error !== undefined) throw new Failed(`answered ${show(response)}`);
    told(mismatch(expect.response ?? "<any>", response, "response"));
    for (const [kept, pointer] of Object.entries(step.keep ?? {})) {
      scene.names[kept] = pointer.split("/").slice(1).reduce((found, part) => found[part], response);
    }
  }
  told(mismatch(expect.progress ?? "<any>", events, "progress"));
  for (const [file, content] of Object.entries(expect.files ?? {})) {
    const found = fs.existsSync(scene.path(file)) ? fs.readFileSync(scene.path(file)) : null;
    const same = content === null ? found === null : found?.equals(contentOf(content));
    if (!same) throw new Failed(`the file ${file} holds ${found}`);
  }
  for (const [file, [sql, pattern]] of Object.entries(expect.rows ?? {})) {
    told(mismatch(pattern, sqlite(scene.path(file), sql), file));
  }
}

const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const snaked = (value) => changed(value, snaked, (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));

/** Calls the generated method, and gives its response back as the wire has it. */
async function typed({ operations }, ops, name, request, options) {
  const [verb, group] = name.split(".").reverse();
  const owner = group === undefined ? ops : ops[camel(group)];
  const response = await owner[camel(verb)](changed(request, argument, camel), options);
  // Through text, as whoever logs it would.
  return operations[name].toWire(response);
}

/** What a person would pass for a wire value. */
function argument(value) {
  if (Array.isArray(value)) return value.map(argument);
  if (typeof value === "object" && typeof value?.bytes === "string") return Buffer.from(value.bytes, "hex");
  return typeof value === "string" && /^\d{4}-\d\d-\d\dT.*Z$/.test(value) ? new Date(value) : value;
}

function body(error) {
  const { code: kind, message, hint, retryable, operation, context } = error;
  return { kind, message, hint, retryable, operation, context };
}

/** A case of `config/environment.json` through `config.show`. */
async function runConfig({ Ops, OpsError }, { given, expect }) {
  const pairs = given.environment ?? [];
  const odd = pairs.some(([name, value]) => name === "" || name.includes("=") || `${name}${value}`.includes("\0"));
  // An operating system takes neither, and gives no order to two spellings of a name.
  if (odd || new Set(pairs.map(([name]) => name.toLowerCase())).size < pairs.length) return;
  const files = Object.entries({ "ops.toml": given.file, ".env": given.dotenv }).filter(([, text]) => text !== undefined);
  const scene = new Scene(Ops, { files: Object.fromEntries(files), environment: Object.fromEntries(pairs) });
  let ops;
  try {
    ops = await scene.ops();
    const { settings } = await ops.config.show();
    if (expect.error !== undefined) throw new Failed("it was accepted");
    const shown = new Map(settings.map(({ key, value }) => [key, value]));
    for (const [key, value] of Object.entries(expect.settings ?? {})) {
      const found = shown.get(key);
      if (found !== undefined && found !== "***" && show(found) !== show(value)) {
        throw new Failed(`${key} is ${show(found)} and not ${show(value)}`);
      }
    }
  } catch (error) {
    if (!(error instanceof OpsError)) throw error;
    const text = `${error.message} ${error.hint ?? ""}`;
    const missing = (expect.error ?? ["kind"]).find((part) => !text.includes(part));
    if (missing !== undefined) throw new Failed(`${show(text)} does not say ${show(missing)}`);
  } finally {
    await ops?.close();
    scene.remove();
  }
}

/** Why `value` does not match `pattern`. */
function mismatch(pattern, value, place) {
  value ??= null;
  const differs = `${place}: ${show(value)} is not ${show(pattern)}`;
  if (typeof pattern === "string" && pattern.startsWith("<") && pattern.endsWith(">")) {
    return placeholder(pattern, value) ? undefined : differs;
  }
  if (Array.isArray(pattern)) {
    if (!Array.isArray(value) || value.length !== pattern.length) return differs;
    return first(pattern, (item, index) => mismatch(item, value[index], `${place}[${index}]`));
  }
  if (typeof pattern === "object" && pattern !== null) {
    const entries = Object.entries(pattern);
    if (entries.length === 1 && entries[0][0].startsWith("<")) return special(...entries[0], value, place);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return differs;
    return first(entries, ([name, inner]) => mismatch(inner, value[name], `${place}.${name}`));
  }
  return pattern === value ? undefined : differs;
}

function first(items, reason) {
  for (const [index, item] of items.entries()) {
    const found = reason(item, index);
    if (found !== undefined) return found;
  }
  return undefined;
}

const isInteger = (value) => typeof value === "bigint" || Number.isInteger(value);
const PLACEHOLDERS = {
  "<any>": () => true,
  "<text>": (value) => typeof value === "string" && value !== "",
  "<id>": (value) => /^[0-9a-f]{12}$/.test(value),
  "<time>": (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(value),
  "<number>": (value) => typeof value === "number",
  "<integer>": isInteger,
  "<boolean>": (value) => typeof value === "boolean",
};

function placeholder(word, value) {
  if (!(word in PLACEHOLDERS)) throw new Error(`nobody knows the placeholder ${word}`);
  return PLACEHOLDERS[word](value);
}

function special(word, inner, value, place) {
  const list = Array.isArray(value);
  const fits = (item) => mismatch(inner, item, place) === undefined;
  const tests = {
    "<some>": () => list && value.some(fits),
    "<none>": () => list && !value.some(fits),
    "<length>": () => list && value.length === inner,
    "<contains>": () => typeof value === "string" && value.includes(inner),
    "<integer>": () => isInteger(value) && String(value) === inner,
  };
  if (word === "<each>" && list) return first(value, (item, index) => mismatch(inner, item, `${place}[${index}]`));
  if (word !== "<each>" && !(word in tests)) throw new Error(`nobody knows the pattern ${word}`);
  return tests[word]?.() ? undefined : `${place}: ${show(value)} lacks ${word} ${show(inner)}`;
}

/** `{"<integer>": "…"}` in a request as the integer. */
function integers(value) {
  const digits = typeof value === "object" && value?.["<integer>"];
  return typeof digits === "string" ? BigInt(digits) : changed(value, integers);
}

function told(reason) {
  if (reason !== undefined) throw new Failed(reason);
}

function show(value) {
  return JSON.stringify(value, (_, item) => (typeof item === "bigint" ? `${item}n` : item));
}

/** Runs all cases whose name has `only` in it, and tells of each. */
export async function run(api, { only = "", tell = () => {} } = {}) {
  const lines = [];
  const failures = [];
  for (const { file, one } of allCases()) {
    const name = `${file}::${one.name}`;
    if (!name.includes(only)) continue;
    const need = lacking(one);
    let status = need === undefined ? "ok" : `skipped: ${need}`;
    if (need === undefined) {
      try {
        await (file.startsWith("config/") ? runConfig : runCase)(api, one);
      } catch (error) {
        status = "failed";
        failures.push(`${name}\n    ${error.message}`);
      }
    }
    lines.push(`${name} -> ${status}\n`);
    tell(name, status);
  }
  if (only === "") {
    fs.mkdirSync(OUT, { recursive: true });
    fs.writeFileSync(path.join(OUT, "node.txt"), lines.join(""));
  }
  return { cases: lines.length, failures };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [, , folder, only] = process.argv;
  const api = createRequire(import.meta.url)(path.resolve(folder ?? "bindings-node"));
  const { cases: count, failures } = await run(api, { only });
  failures.forEach((failure) => console.error(failure));
  console.log(`${count} cases, ${failures.length} failed`);
  process.exitCode = failures.length > 0 || count === 0 ? 1 : 0;
}
