// The listener of a whole host: answers while it hangs, says that it hangs, and what SIGTERM does.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { folder, fresh, open, until } from "./support.mjs";

const HOST = `
  import { Ops } from "uplifted-ops";
  const settings = {
    metrics: { listen: "127.0.0.1:0" }, health: { heartbeat_seconds: 0.6, drain_seconds: 1.5 }, service: { name: "shop" },
  };
  const ops = await Ops.create({ root: process.argv[2], settings });
  console.log((await ops.status()).listener.address);
`;

/** A Node of its own that listens, killed when the test ends. */
async function host(test, code, root = folder()) {
  const file = join(fresh, `child-${Math.random().toString(36).slice(2)}.mjs`);
  writeFileSync(file, HOST + code);
  const child = spawn(process.execPath, [file, root], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  test.after(() => {
    child.kill("SIGKILL");
    rmSync(file);
  });
  const line = async () => (await lines.next()).value;
  const address = await line();
  return { child, line, address, get: (path) => get(address, path) };
}

function get(address, path) {
  return new Promise((resolve, reject) => {
    http.get(`http://${address}${path}`, { agent: false, timeout: 30_000 }, (response) => {
      let text = "";
      response.on("data", (part) => (text += part));
      response.on("end", () => resolve({ status: response.statusCode, body: JSON.parse(text) }));
    }).on("error", reject);
  });
}

/** What the page says. */
function page(address) {
  return new Promise((resolve, reject) => {
    http.get(`http://${address}/metrics`, { agent: false, timeout: 30_000 }, (response) => {
      let text = "";
      response.on("data", (part) => (text += part));
      response.on("end", () => resolve(text));
    }).on("error", reject);
  });
}

test("collect functions are called for the listener, which shows the last known numbers where they cannot be", async (t) => {
  const { child, line, address } = await host(t, `
    import { Gauge } from "uplifted-ops/metrics";
    let asked = 0;
    let broken = false;
    new Gauge({ name: "h_asked", help: "Asked", collect() { this.set(++asked); } });
    new Gauge({ name: "h_late", help: "Late", async collect() {
      await new Promise((resolve) => setTimeout(resolve, 20));
      if (broken) throw new Error("no such queue");
      this.set(10 * asked);
    } });
    process.stdin.on("data", (word) => {
      if (String(word) === "break") broken = true;
      else for (const end = Date.now() + 4_000; Date.now() < end;);
      console.log(String(word));
    });
  `);
  const seen = async () => {
    const text = await page(address);
    const number = (name) => Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]);
    return [number("h_asked"), number("h_late"), number('uplifted_ops_collector_failures_total\\{collector="javascript"\\}')];
  };
  const [first, late, failures] = await seen();
  assert.ok(first > 0 && late === 10 * first && failures === 0, `${first} ${late} ${failures}`);
  // What was collected just now is fresh enough.
  await sleep(150);
  const [again] = await seen();
  assert.ok(again > first, `${again}`);

  child.stdin.write("block");
  await sleep(150);
  const began = Date.now();
  const [known, , once] = await seen();
  assert.ok(known >= again && once > 0, `${known} ${once}`);
  // Nobody waits a second time for a loop that hangs.
  await seen();
  assert.ok(Date.now() - began < 3_500, "a page waits for a loop that hangs");
  assert.equal(await line(), "block");
  await sleep(150);
  const [awake, , then] = await seen();
  assert.ok(awake > known, `${awake}`);

  child.stdin.write("break");
  assert.equal(await line(), "break");
  await sleep(150);
  const [, , thrown] = await seen();
  assert.ok(thrown > then, `${thrown}`);
});

test("what the collect functions of another process say is in the sum, until that process is gone", async (t) => {
  const root = folder();
  const code = (name) => `
    import { Counter, Gauge } from "uplifted-ops/metrics";
    const seen = new Counter({ name: "h_seen_total", help: "Seen" });
    const waits = new Gauge({ name: "h_waits", help: "Waits", labelNames: ["process"], collect() {
      seen.inc();
      this.set({ process: "${name}" }, process.pid);
    } });
    // A listener alone keeps no process.
    process.stdin.resume();
  `;
  const own = '{process="first"}';
  const first = await host(t, code("first"), root);
  const second = await host(t, code("second"), root);
  const asked = (address, name) =>
    page(address).then((text) => Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1] ?? NaN));
  const escaped = (text) => text.replace(/[{}]/g, "\\$&");
  // Each is asked when somebody asks it; what it said then is in the file that the other reads.
  const [mine, other] = [`h_waits${escaped(own)}`, `h_waits${escaped('{process="second"}')}`];
  assert.equal(await asked(first.address, mine), first.child.pid);
  assert.equal(await asked(second.address, other), second.child.pid);
  await until(async () => (await asked(first.address, other)) === second.child.pid, "the second one's number on the first one's page");
  await until(async () => (await asked(second.address, mine)) === first.child.pid, "the first one's number on the second one's page");
  // A counter that a collect function adds to is summed as any other is.
  const before = await asked(first.address, "h_seen_total");
  await sleep(150);
  await asked(second.address, "h_seen_total");
  await until(async () => (await asked(first.address, "h_seen_total")) >= before + 2, "the sum of what both counted");
  second.child.kill("SIGKILL");
  await until(async () => Number.isNaN(await asked(first.address, other)), "the end of what the second one said");
  assert.equal(await asked(first.address, mine), first.child.pid);
  assert.ok((await asked(first.address, "h_seen_total")) >= before + 2);
});

test("an event loop that is blocked is seen by /livez, which answers all along", async (t) => {
  const { child, line, get } = await host(t, `
    process.stdin.once("data", () => {
      const end = Date.now() + 2_000;
      while (Date.now() < end);
      console.log("awake");
    });
  `);
  await sleep(1_000);
  assert.deepEqual(await get("/livez"), { status: 200, body: { status: "pass" } });
  child.stdin.write("go");
  let seen;
  await until(async () => (seen = await get("/livez")).status === 503, "a loop that hangs is alive");
  assert.deepEqual([seen.body.wedged.pid, seen.body.wedged.pulse], [child.pid, "event loop"]);
  assert.equal(await line(), "awake");
  await until(async () => (await get("/livez")).status === 200, "it stays dead");
});

test("SIGTERM is not ready first, and ends the process after that", async (t) => {
  const { child, get, line } = await host(t, `
    ops.drainOnSigterm();
    setInterval(() => {}, 1_000);
    console.log("listens");
  `);
  // The listener answers before the signal is listened for: one that came in between would end the process at once.
  assert.equal(await line(), "listens");
  await until(async () => (await get("/readyz")).status === 200, "it is not ready");
  child.kill("SIGTERM");
  await until(async () => (await get("/readyz")).status === 503, "it stays ready");
  assert.equal((await get("/livez")).status, 200);
  const [code, signal] = child.exitCode === null && child.signalCode === null ? await once(child, "exit") : [child.exitCode, child.signalCode];
  assert.deepEqual([code, signal], [null, "SIGTERM"]);
});

test("SIGTERM goes to the host's own listeners, which may wait", async (t) => {
  const { child, get, line } = await host(t, `
    process.on("SIGTERM", async () => {
      console.log("mine");
      await ops.drain();
      process.exit(3);
    });
    ops.drainOnSigterm();
    process.stdin.resume();
    console.log("ready");
  `);
  assert.equal(await line(), "ready");
  child.kill("SIGTERM");
  assert.equal(await line(), "mine");
  assert.equal((await get("/readyz")).status, 503);
  const [code] = child.exitCode === null ? await once(child, "exit") : [child.exitCode];
  assert.equal(code, 3);
});

test("a listener keeps neither the process nor an Ops that is closed", async (t) => {
  const ops = await open(t, { settings: { metrics: { listen: "127.0.0.1:0" }, service: { name: "shop" } } });
  const { address, state } = (await ops.status()).listener;
  assert.equal(state, "serving");
  assert.equal((await get(address, "/livez")).status, 200);
  const listeners = process.listenerCount("SIGTERM");
  ops.drainOnSigterm();
  await ops.close();
  assert.equal(process.listenerCount("SIGTERM"), listeners);
  await assert.rejects(get(address, "/livez"), { code: "ECONNREFUSED" });
  const idle = await host(t, "process.stdin.unref?.();");
  const [code] = idle.child.exitCode === null ? await once(idle.child, "exit") : [idle.child.exitCode];
  assert.equal(code, 0);
});
