// The host, started for real on the loopback and asked over HTTP, with the steps that every host of `examples` takes.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request as ask } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import Database from "better-sqlite3";

const EXAMPLES = join(import.meta.dirname, "../../..");
const APP = join(import.meta.dirname, "../src/app.js");

interface Step {
  ask?: string;
  tools?: boolean;
  with?: Record<string, string>;
  send?: unknown;
  writing?: boolean;
  status?: number;
  headers?: Record<string, string>;
  text?: string[];
  json?: unknown;
  items?: Record<string, unknown>;
  write?: string;
  exists?: string;
  gone?: string;
  restart?: boolean;
}

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

const script = JSON.parse(readFileSync(join(EXAMPLES, "requests.json"), "utf8")) as { write_token: string; steps: Step[] };

/** A running host. When its stdin closes, it stops. */
class Host {
  private constructor(
    readonly process: ChildProcessWithoutNullStreams,
    private readonly addresses: Map<string, string>,
    private readonly report: Promise<string>,
  ) {}

  static async start(root: string): Promise<Host> {
    const args = ["--root", root, "--until-stdin-closes", "--rate", "100", "--listen", "127.0.0.1:0", "--tools", "127.0.0.1:0"];
    const child = spawn(process.execPath, [APP, ...args], {
      env: { ...process.env, UPLIFTED__HTTP__WRITE_TOKEN: script.write_token },
    });
    const report = text(child.stdout);
    const addresses = new Map<string, string>();
    const said: string[] = [];
    for await (const line of createInterface(child.stderr)) {
      said.push(line);
      const found = /^listening on http:\/\/([^/]+)\/(\w+)$/.exec(line);
      if (found) addresses.set(found[2]!, found[1]!);
      if (addresses.size === 2) break;
    }
    // What it says later is not of interest, but a full pipe would stop it.
    child.stderr.resume();
    assert.equal(addresses.size, 2, `the host ended before it listened: ${said.join("\n")}`);
    const host = new Host(child, addresses, report);
    // Until each check has answered once, it is not ready.
    const until = performance.now() + 60_000;
    while ((await host.ask({ ask: "GET /health" } as Step)).body.includes('"unknown"')) {
      assert.ok(performance.now() < until, "a check does not answer");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return host;
  }

  /** Stops it. Returns what its writer did. */
  async stop(): Promise<{ transactions: number; last_transfer: number }> {
    const exit = once(this.process, "exit");
    this.process.stdin.end();
    assert.deepEqual(await exit, [0, null]);
    return JSON.parse(await this.report);
  }

  /** One request on a connection of its own. */
  async ask(step: Step): Promise<Answer> {
    const [method, path] = step.ask!.split(" ");
    const headers: Record<string, string> = { connection: "close", ...step.with };
    if (step.send !== undefined) headers["content-type"] = "application/json";
    if (step.writing) headers["authorization"] = `Bearer ${script.write_token}`;
    const url = `http://${this.addresses.get(step.tools ? "tools" : "status")}${path}`;
    const sent = ask(url, { method: method!, headers, agent: false });
    sent.end(step.send === undefined ? undefined : JSON.stringify(step.send));
    const [response] = await once(sent, "response");
    return { status: response.statusCode, headers: response.headers, body: await text(response) };
  }
}

/** Whether an answer has at least what is wanted. */
function has(answer: unknown, wanted: unknown): boolean {
  if (typeof wanted !== "object" || wanted === null || Array.isArray(wanted)) {
    return JSON.stringify(answer) === JSON.stringify(wanted);
  }
  if (typeof answer !== "object" || answer === null) return false;
  return Object.entries(wanted).every(([name, value]) => has((answer as Record<string, unknown>)[name], value));
}

function check(step: Step, { status, headers, body }: Answer): void {
  const said = `${step.ask}: ${status} ${body}`;
  assert.equal(status, step.status, said);
  for (const [name, value] of Object.entries(step.headers ?? {})) assert.equal(headers[name], value, said);
  for (const part of step.text ?? []) assert.ok(body.includes(part), said);
  if (step.json !== undefined) assert.ok(has(JSON.parse(body), step.json), said);
  for (const [name, item] of Object.entries(step.items ?? {})) {
    assert.ok((JSON.parse(body)[name] as unknown[]).some((one) => has(one, item)), said);
  }
}

test("the host answers as every host does", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "uplifted-"));
  const root = join(folder, "service");
  cpSync(join(EXAMPLES, "service"), root, { recursive: true });
  let host = await Host.start(root);
  t.after(() => {
    host.process.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  });
  for (const step of script.steps) {
    if (step.ask) check(step, await host.ask(step));
    else if (step.write) writeFileSync(join(root, step.write), "written by the test");
    else if (step.exists) assert.ok(existsSync(join(root, step.exists)), `${step.exists} is gone`);
    else if (step.gone) assert.ok(!existsSync(join(root, step.gone)), `${step.gone} is there`);
    else if (step.restart) {
      await host.stop();
      host = await Host.start(root);
    } else assert.fail(`no such step: ${JSON.stringify(step)}`);
  }
  const report = await host.stop();
  // Every transfer of the last run is in the database that is there now: it was not traded after it was opened.
  const database = new Database(join(root, "data/uplifted.db"));
  assert.equal(database.pragma("integrity_check", { simple: true }), "ok");
  assert.equal(database.prepare("SELECT last_transfer FROM counter").pluck().get(), report.last_transfer);
  assert.equal(database.prepare("SELECT sum(balance) FROM account").pluck().get(), 1000 * 1000);
  database.close();
  assert.ok(report.transactions > 0);
});

test("settings that are wrong keep it from starting", (t) => {
  const root = mkdtempSync(join(tmpdir(), "uplifted-"));
  t.after(() => rmSync(root, { recursive: true }));
  writeFileSync(join(root, "ops.toml"), "[servcie]\n");
  const { status, stderr } = spawnSync(process.execPath, [APP, "--root", root], { timeout: 60_000, encoding: "utf8" });
  assert.equal(status, 2);
  assert.match(stderr, /servcie/);
  assert.ok(!existsSync(join(root, "data")), "the database was opened");
});
