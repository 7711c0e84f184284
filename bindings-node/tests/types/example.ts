// Compiled with --strict, never run: what the types promise.
import { createServer } from "node:http";
import { Ops, OpsError } from "uplifted-ops";
import type { BackupCreateResponse, BackupTarget, CallContext, HealthCheck, MetricsSink, Store } from "uplifted-ops";
import { fastifyOps } from "uplifted-ops/http";
import { Counter, Gauge, Histogram, register } from "uplifted-ops/metrics";
import client, { Counter as PeerCounter, Registry } from "uplifted-ops/prom-client";
import { checkTarget } from "uplifted-ops/testing";

class Target implements BackupTarget {
  readonly capability = { kind: "map", location: "here" };
  readonly #objects = new Map<string, Uint8Array>();
  put(key: string, bytes: Uint8Array, ifAbsent: boolean): boolean {
    if (ifAbsent && this.#objects.has(key)) return false;
    this.#objects.set(key, bytes);
    return true;
  }
  upload(_key: string, _expected: number | null, { signal }: CallContext) {
    return { write: async (_bytes: Uint8Array) => signal.throwIfAborted(), finish() {}, abort() {} };
  }
  get(key: string, start: number, end: number) {
    return this.#objects.get(key)?.subarray(start, end) ?? null;
  }
  async list(_prefix: string, _after: string | null) {
    return [];
  }
  stat(key: string) {
    const bytes = this.#objects.get(key);
    return bytes ? { key, sizeBytes: bytes.length, modifiedAt: new Date() } : null;
  }
  delete(key: string) {
    this.#objects.delete(key);
  }
}

const store: Store = {
  capability: { kind: "lines", file: "/srv/lines" },
  stats: () => ({ sizeBytes: 1n }),
  verify: (depth) => ({ ok: depth === "quick" }),
  snapshotTo: async (dir, { progress }) => (progress({ stage: dir }), { files: ["lines"] }),
  checkCopy: () => ({ ok: true }),
  restoreFrom: () => {},
};
const check: HealthCheck = { check: () => ({ status: "warn", message: "slow", observed: 3, unit: "seconds" }) };
const sink: MetricsSink = { export: ({ families }) => console.log(families[0]?.series[0]?.labels[0]?.[1]) };

export async function main(): Promise<BackupCreateResponse> {
  const ops = await Ops.create({
    root: "/opt/shop",
    stores: { store },
    targets: { target: new Target() },
    checks: { check, inline: ({ signal }) => ({ status: signal.aborted ? "fail" : "pass", message: "" }) },
    sinks: { sink },
  });
  createServer(ops.handler()).listen(0);
  fastifyOps satisfies Function;
  const made = await ops.backup.create({ label: "nightly" }, { signal: AbortSignal.timeout(1000), onProgress: (p) => p.stage });
  const outcome: "complete" | "partial" = made.outcome;
  const { snapshots } = await ops.backup.list();
  const time: Date | undefined = snapshots[0]?.time;
  await ops.backup.create({ tags: ["v2"], layout: "repository" });
  const held: Date = (await ops.backup.hold({ snapshotId: made.snapshotId, reason: "incident 42" })).hold.at;
  const kept = await ops.backup.retain({ dryRun: true });
  const [decision] = kept.targets.flatMap(({ decisions }) => decisions);
  if (decision?.action === "delete") console.log(held < kept.time, decision.verifiedAt?.getTime(), decision.reasons[0]?.message);
  const freed: number | bigint = (await ops.backup.collect()).targets[0]?.freedBytes ?? 0;
  // @ts-expect-error: tags are texts
  await ops.backup.create({ tags: [freed] });
  // @ts-expect-error: a field that does not exist
  await ops.backup.create({ labl: "x" });
  // @ts-expect-error: a request that must name a snapshot
  await ops.backup.verify({});
  const raw: unknown = await ops.call("status", {});
  try {
    await ops.restore.apply({ snapshotId: "latest", into: "/tmp/look" });
  } catch (error) {
    if (error instanceof OpsError && error.code === "refused") console.log(error.hint, error.retryable, error.context, raw, time, outcome);
  }
  const requests = new Counter({ name: "requests_total", help: "Requests", labelNames: ["status"] as const });
  requests.inc({ status: 200 }, 2);
  // @ts-expect-error: a label that it does not have
  requests.inc({ verb: "GET" });
  const end = new Histogram({ name: "latency_seconds", help: "Latency", buckets: [0.1] }).startTimer();
  new Gauge({ name: "open", help: "Open" }).set(end());
  console.log(await register.metrics());
  const own = new Registry();
  const peer: PeerCounter<"method"> = new client.Counter({ name: "own_total", help: "Own", labelNames: ["method"], registers: [own] });
  peer.inc({ method: "GET" }, 2);
  peer.inc("GET");
  peer.labels("GET").inc();
  // @ts-expect-error: it has no such label
  peer.inc({ verb: "GET" });
  const value: number | undefined = (await peer.get()).values[0]?.value;
  client.collectDefaultMetrics({ register: own, prefix: `x${value}_` });
  await checkTarget(() => new Target(), { deadlineSeconds: 5 });
  await ops.close();
  return made;
}
