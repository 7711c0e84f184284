// The handler under node:http, Express and Fastify.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import test from "node:test";
import express from "express";
import Fastify from "fastify";
import { fastifyOps } from "uplifted-ops/http";
import { MemoryTarget, open, settings, until } from "./support.mjs";

async function listen(t, server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => (server.closeAllConnections(), server.close()));
  return `http://127.0.0.1:${server.address().port}`;
}

/** What every way of mounting must do. */
async function everyday(base) {
  const status = await fetch(`${base}/status`);
  assert.equal(status.status, 200);
  assert.equal((await status.json()).service, "shop");
  assert.equal((await fetch(`${base}/livez`)).status, 200);
  // Until its checks have answered once, it has not begun.
  const until = performance.now() + 60_000;
  while ((await fetch(`${base}/startupz`)).status !== 200) {
    assert.ok(performance.now() < until, "a check does not answer");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal((await fetch(`${base}/readyz`)).status, 200);
  const metrics = await fetch(`${base}/metrics`);
  assert.match(metrics.headers.get("content-type"), /^text\/plain/);
  assert.match(await metrics.text(), /process_cpu_seconds_total/);
  const listed = await fetch(`${base}/api/v1/backup/list`);
  assert.deepEqual((await listed.json()).snapshots, []);
  const posted = await fetch(`${base}/api/v1/journal/read`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"limit":1}',
  });
  assert.equal(posted.status, 200, await posted.text());
  // Writes are off without a token of their own.
  assert.equal((await fetch(`${base}/api/v1/backup/create`, { method: "POST", body: "{}" })).status, 403);
}

test("node:http", async (t) => {
  const ops = await open(t);
  const handler = ops.handler();
  const base = await listen(t, http.createServer(handler));
  await everyday(base);
  assert.equal((await fetch(`${base}/nowhere`)).status, 404);
  const json = { "content-type": "application/json" };
  const large = await fetch(`${base}/api/v1/journal/read`, { method: "POST", headers: json, body: "x".repeat(2 ** 20 + 1) });
  assert.equal(large.status, 413);
  // One that never ends is refused as well, and its connection closed.
  const endless = http.request(`${base}/api/v1/journal/read`, { method: "POST", headers: json });
  const pump = setInterval(() => endless.write(Buffer.alloc(2 ** 18)), 5);
  const [refused] = await once(endless, "response");
  assert.equal(refused.statusCode, 413);
  const hungUp = new Promise((resolve) => endless.on("error", () => {}).on("close", resolve));
  refused.on("error", () => {}).resume();
  await hungUp;
  clearInterval(pump);
  handler.drain();
  assert.equal((await fetch(`${base}/readyz`)).status, 503);
  await ops.close();
  assert.equal((await fetch(`${base}/status`)).status, 503);
});

test("Express, mounted at the root and below, before and behind its JSON parser", async (t) => {
  const ops = await open(t);
  const app = express();
  app.use(express.json());
  app.use("/ops", ops.handler());
  app.use(ops.handler());
  app.get("/mine", (_, response) => response.send("mine"));
  app.get("/api/v1/mine/too", (_, response) => response.send("mine too"));
  const base = await listen(t, http.createServer(app));
  await everyday(base);
  await everyday(`${base}/ops`);
  assert.equal(await (await fetch(`${base}/mine`)).text(), "mine");
  assert.equal(await (await fetch(`${base}/api/v1/mine/too`)).text(), "mine too");
});

test("Fastify", async (t) => {
  const ops = await open(t);
  const app = Fastify();
  app.register(fastifyOps, { ops, prefix: "/ops" });
  app.post("/mine", async (request) => request.body);
  await app.listen({ port: 0, host: "127.0.0.1" });
  t.after(() => app.close());
  const base = `http://127.0.0.1:${app.server.address().port}`;
  await everyday(`${base}/ops`);
  const mine = await fetch(`${base}/mine`, { method: "POST", headers: { "content-type": "application/json" }, body: '{"a":1}' });
  assert.deepEqual(await mine.json(), { a: 1 });
});

test("a token reads, another one writes, a client that leaves stops its operation", async (t) => {
  // Nobody else would stop it within this time: its own deadline is 60 s.
  let [asked, stopped] = [false, false];
  const target = new MemoryTarget();
  const ops = await open(t, {
    settings: { ...settings, http: { token: "readreadreadread", write_token: "writewritewrite1" } },
    targets: { target },
  });
  const base = await listen(t, http.createServer(ops.handler()));
  const get = (path, token, options) => fetch(base + path, { ...options, headers: { authorization: `Bearer ${token}` } });
  assert.equal((await get("/api/v1/backup/list", "wrong")).status, 401);
  assert.equal((await get("/api/v1/backup/list", "readreadreadread")).status, 200);
  const made = await get("/api/v1/backup/create", "writewritewrite1", { method: "POST" });
  assert.equal(made.status, 200, await made.clone().text());
  const controller = new AbortController();
  target.list = (prefix, after, { signal }) => {
    asked = true;
    signal.addEventListener("abort", () => (stopped = true));
    return new Promise(() => {});
  };
  const left = get("/api/v1/backup/list", "readreadreadread", { signal: controller.signal }).catch(() => {});
  await until(() => asked, "the call");
  controller.abort();
  await left;
  await until(() => stopped, "the end of what it asked for");
});
