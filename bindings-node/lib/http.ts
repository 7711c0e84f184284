/**
 * The operations over the host's own HTTP server: `/status`, `/health`, `/livez`, `/readyz`, `/startupz`, `/metrics` and
 * `/api/v1/<group>/<operation>`. Who may ask what is in the section `[http]` of the settings.
 *
 * @example
 * ```ts
 * import http from "node:http";
 * http.createServer(ops.handler()).listen(7541);       // node:http
 * app.use("/ops", ops.handler());                      // Express
 * fastify.register(fastifyOps, { ops, prefix: "/ops" }); // Fastify, from "uplifted-ops/http"
 * ```
 *
 * @packageDocumentation
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Calls } from "./calls.js";
import { collectAll } from "./collect.js";
import { natively } from "./errors.js";
import { stringify } from "./json.js";
import { native } from "./native.js";
import type { NativeOps } from "./native.js";
import type { Ops } from "./ops.js";

/** How a handler is mounted. */
export interface HandlerOptions {
  /** The prefix that paths have, when the framework neither takes it off nor tells it: `/ops`. */
  mount?: string;
}

/** Answers requests of `node:http`, and of what is built on it. */
export interface Handler {
  /**
   * Answers. With `next`, as Express calls it, what is none of our paths goes on; without, it is a 404.
   */
  (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void): void;
  /** Says that the service is about to stop: `/readyz` is 503 from now on. */
  drain(): void;
}

interface Answered {
  status: number;
  headers: [string, string][];
  /** Each byte as the character of its number. */
  body: string;
}

/** How long the rest of a body that was refused is read. */
const LINGER_MILLISECONDS = 1_000;

/** The paths that can be ours, so that other requests of the host do not make the journey. */
const OURS = /^\/(?:status|health|livez|readyz|startupz|metrics|badge\.svg|badge\/[^?]*\.svg|api\/v1(?:\/[^?]*)?)(?:\?|$)/;

/**
 * The handler of an `Ops`.
 * @internal
 */
export function makeHandler(ops: NativeOps, calls: Calls, options: HandlerOptions): Handler {
  const responder = natively(() => new native.NativeResponder(ops));
  const mount = (options.mount ?? "").replace(/\/+$/, "");

  const answer = async (request: IncomingMessage, signal: AbortSignal, at: string, target: string): Promise<Answered> => {
    const body = request.method === "POST" ? await bodyOf(request) : undefined;
    if (/\/metrics(?:\?|$)/.test(target)) await collectAll();
    const asked = {
      method: request.method ?? "GET",
      target,
      mount: at,
      headers: headersOf(request),
      peer: request.socket.remoteAddress,
    };
    const { text } = await calls.start(ops, "http", { signal }, (id) => responder.respond(id, asked, body));
    return JSON.parse(text) as Answered;
  };

  const handler = (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void): void => {
    const at = (request as { baseUrl?: string }).baseUrl || mount;
    const target = request.url ?? "/";
    const below = at !== "" && target.startsWith(at) ? target.slice(at.length) || "/" : target;
    if (next && !OURS.test(below)) return next();
    const gone = new AbortController();
    response.once("close", () => {
      if (!response.writableFinished) gone.abort(new Error("the client went away"));
    });
    answer(request, gone.signal, at, target).then(
      (answered) => {
        if (next && answered.status === 404 && !namesOperation(answered.body)) return next();
        if (response.headersSent || response.destroyed) return;
        response.writeHead(answered.status, answered.headers.flat());
        response.end(answered.body, "latin1");
        if (request.method === "POST" && !request.readableEnded) discard(request);
      },
      (error: unknown) => {
        if (next) return next(error);
        if (response.headersSent || response.destroyed) return;
        response.writeHead(503, { "content-type": "application/json", "cache-control": "no-store" });
        response.end(stringify({ error }));
      },
    );
  };
  return Object.assign(handler, { drain: () => responder.drain() });
}

/** All headers as they came. HTTP/2 has `:authority` for `host`. */
function headersOf(request: IncomingMessage): string[] {
  const headers = [...request.rawHeaders];
  const authority = (request as { authority?: string }).authority;
  return authority === undefined ? headers : ["host", authority, ...headers.filter((_, at) => !isPseudo(headers, at))];
}

function isPseudo(headers: string[], at: number): boolean {
  return headers[at - (at % 2)]!.startsWith(":");
}

/** The body, or as much of it as shows that it is too long. */
async function bodyOf(request: IncomingMessage & { body?: unknown }): Promise<Uint8Array> {
  if (request.readableEnded && request.body !== undefined) {
    // A parser of the framework was there first.
    const { body } = request;
    return body instanceof Uint8Array ? body : Buffer.from(typeof body === "string" ? body : stringify(body));
  }
  const blocks: Uint8Array[] = [];
  let length = 0;
  return new Promise((resolve, reject) => {
    const end = (): void => {
      request.off("data", take).off("end", end).off("error", reject).off("close", left);
      resolve(Buffer.concat(blocks).subarray(0, native.BODY_LIMIT));
    };
    const take = (block: Uint8Array): void => {
      blocks.push(block);
      length += block.length;
      if (length < native.BODY_LIMIT) return;
      // What else comes is not kept, see `discard`.
      request.pause();
      end();
    };
    const left = (): void => reject(new Error("the client went away"));
    request.on("data", take).on("end", end).on("error", reject).on("close", left);
  });
}

/**
 * Reads on for a moment what is not wanted, and then hangs up. A connection that is closed at once is reset, and the client
 * would see that instead of the refusal.
 */
function discard(request: IncomingMessage): void {
  const hangUp = setTimeout(() => request.destroy(), LINGER_MILLISECONDS);
  hangUp.unref();
  request.once("end", () => clearTimeout(hangUp)).resume();
}

function namesOperation(body: string): boolean {
  try {
    return Boolean((JSON.parse(Buffer.from(body, "latin1").toString()) as { error?: { operation?: string | null } }).error?.operation);
  } catch {
    return false;
  }
}

/** What is needed of Fastify. */
interface FastifyLike {
  readonly prefix: string;
  removeAllContentTypeParsers(): unknown;
  addContentTypeParser(type: string, parser: (request: unknown, payload: unknown, done: (error: null) => void) => void): unknown;
  all(path: string, handler: (request: { raw: IncomingMessage }, reply: { raw: ServerResponse; hijack(): unknown }) => void): unknown;
}

/** The handler as a Fastify plugin: `fastify.register(fastifyOps, { ops, prefix: "/ops" })`. */
export function fastifyOps(fastify: FastifyLike, options: { ops: Ops }, done: (error?: Error) => void): void {
  const handler = options.ops.handler({ mount: fastify.prefix });
  // Bodies are read by the handler. Both hold for this plugin alone.
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser("*", (_, __, parsed) => parsed(null));
  fastify.all("/*", (request, reply) => {
    reply.hijack();
    handler(request.raw, reply.raw);
  });
  done();
}
