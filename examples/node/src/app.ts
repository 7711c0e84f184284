// A small service with uplifted-ops inside: what embedding takes.
//
//     node dist/src/app.js --root /opt/uplifted
import { once } from "node:events";
import { createServer } from "node:http";
import type { RequestListener, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Ops, OpsError } from "uplifted-ops";
import { Counter, Gauge, Histogram } from "uplifted-ops/metrics";
import { Catalog } from "./catalog.js";
import { Writer } from "./ledger.js";

// Instruments are there before any Ops is. The names are the guide's.
const requests = new Counter({
  name: "uplifted_requests_total",
  help: "Requests answered, by method, route and status code",
  labelNames: ["method", "path", "status"],
});
const duration = new Histogram({
  name: "uplifted_requests_duration_seconds",
  help: "Time taken to answer requests, by method and route",
  labelNames: ["method", "path"],
  unit: "seconds",
});
const activePlugins = new Gauge({ name: "uplifted_active_plugins", help: "Plugins that are active" });

/** How the service runs. */
interface Options {
  root: string;
  database: string;
  listen: string;
  tools: string | undefined;
  rate: number;
  checkEvery: number;
  backupEvery: number | undefined;
  untilStdinCloses: boolean;
}

function options(): Options {
  const { values } = parseArgs({
    options: {
      root: { type: "string", default: "." },
      database: { type: "string" },
      listen: { type: "string", default: "127.0.0.1:7541" },
      tools: { type: "string" },
      rate: { type: "string", default: "500" },
      "check-every": { type: "string", default: "30" },
      "backup-every": { type: "string" },
      "until-stdin-closes": { type: "boolean", default: false },
    },
  });
  const backupEvery = values["backup-every"];
  return {
    root: values.root,
    database: values.database ?? join(values.root, "data/uplifted.db"),
    listen: values.listen,
    tools: values.tools,
    rate: Number(values.rate),
    checkEvery: Number(values["check-every"]),
    backupEvery: backupEvery === undefined ? undefined : Number(backupEvery),
    untilStdinCloses: values["until-stdin-closes"],
  };
}

/** The service's own endpoints, by their paths. */
type Routes = Record<string, () => Promise<unknown>>;

async function serve(options: Options): Promise<void> {
  const catalog = new Catalog(options.root);
  // Before anything opens the database: a restore that was asked for while the service ran, or that was killed half-way, is
  // finished or undone here, and trades the database's file for another.
  const ops = await Ops.create({ root: options.root, checks: { plugins: () => catalog.check() } });
  const writer = new Writer(options.database, options.rate);

  const tools = options.tools === undefined ? undefined : createServer(answering({
    "/health": async () => ({ status: "ok" }),
    "/tools": async () => ({ tools: await catalog.tools() }),
  }));
  const handler = ops.handler();
  const own: Routes = {
    "/api/v1/system/status": async () => {
      const status = await catalog.status(tools?.listening ?? false);
      activePlugins.set(status.active_plugin_count);
      return status;
    },
  };
  // What the service does not answer itself: /status, /health, /livez, /readyz, /metrics, /api/v1/backup/list, …
  const server = createServer(counting(own, answering(own, handler)));

  if (tools !== undefined) await listen(tools, options.tools!, "tools");
  await listen(server, options.listen, "status");
  const stop = new AbortController();
  const chores = [every(options.checkEvery, stop.signal, () => check(ops))];
  if (options.backupEvery !== undefined) chores.push(every(options.backupEvery, stop.signal, () => backUp(ops)));

  await end(options.untilStdinCloses);
  // Nobody sends more work here, and what was asked already is answered.
  handler.drain();
  for (const one of [server, tools]) {
    one?.close();
    one?.closeIdleConnections();
  }
  stop.abort();
  await Promise.all(chores);
  await ops.close();
  console.log(JSON.stringify(writer.stop()));
}

/** Answers the paths of `routes`, and leaves others to `next`. */
function answering(routes: Routes, next: RequestListener = notFound): RequestListener {
  return (request, response) => {
    const route = request.method === "GET" ? routes[pathOf(request.url)] : undefined;
    if (route === undefined) return next(request, response);
    route().then(
      (answer) => send(response, 200, answer),
      (error: unknown) => {
        console.error(error);
        send(response, 500, { error: "see the log" });
      },
    );
  };
}

/** Counts what `listener` answers. */
function counting(routes: Routes, listener: RequestListener): RequestListener {
  return (request, response) => {
    const asked = pathOf(request.url);
    // The route, and never any path: a series for each path that somebody tries is without end.
    const path = asked in routes ? asked : "operations";
    const method = request.method ?? "";
    const observe = duration.startTimer({ method, path });
    response.once("finish", () => {
      observe();
      requests.inc({ method, path, status: response.statusCode });
    });
    listener(request, response);
  };
}

function pathOf(url = "/"): string {
  return url.split("?", 1)[0]!;
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function notFound(_: unknown, response: ServerResponse): void {
  send(response, 404, { error: "not found" });
}

async function listen(server: Server, address: string, path: string): Promise<void> {
  const { hostname, port } = new URL(`http://${address}`);
  server.listen(Number(port), hostname);
  await once(server, "listening");
  console.error(`listening on http://${hostname}:${(server.address() as AddressInfo).port}/${path}`);
}

/** Returns when a signal comes or, with `stdin`, when that closes: a child that watches it never outlives its parent. */
async function end(stdin: boolean): Promise<void> {
  const ends = ["SIGINT", "SIGTERM"].map((signal) => once(process, signal));
  if (stdin) ends.push(once(process.stdin.resume(), "close"));
  await Promise.race(ends);
}

/** Runs the checks, and says which are not well. */
async function check(ops: Ops): Promise<void> {
  const { checks } = await ops.health.check();
  for (const { name, status, message } of checks) {
    if (status !== "pass") console.error(`${name}: ${status}: ${message}`);
  }
}

/** Makes a backup, and says when something is missing in it. */
async function backUp(ops: Ops): Promise<void> {
  const { snapshotId, outcome, skipped } = await ops.backup.create({ label: "example" });
  if (outcome !== "complete") console.error(`backup ${snapshotId} is ${outcome}:`, skipped);
}

/** Does a chore again and again. An error goes to the log; it never ends the service. */
async function every(seconds: number, signal: AbortSignal, chore: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    try {
      await setTimeout(seconds * 1000, undefined, { signal });
      await chore();
    } catch (error) {
      if (!signal.aborted) console.error(told(error));
    }
  }
}

function told(error: unknown): string {
  return error instanceof OpsError ? `${error.message}; ${error.hint ?? ""}` : String(error);
}

serve(options()).catch((error: unknown) => {
  console.error(`error: ${told(error)}`);
  process.exit(2);
});
