// What a call costs from Node: prints one JSON object, in microseconds and milliseconds.
// Run by `make bench-bindings` in a folder that has the package installed.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Ops } from "uplifted-ops";
import { Counter } from "uplifted-ops/metrics";

const ROUNDS = 5;

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

async function rounds(run) {
  await run();
  const found = [];
  for (let round = 0; round < ROUNDS; round++) found.push(await run());
  return median(found);
}

// Milliseconds of one of `count` calls.
async function each(count, act) {
  const began = performance.now();
  for (let at = 0; at < count; at++) await act();
  return (performance.now() - began) / count;
}

// What loading the package adds to the start of a process.
function importMilliseconds() {
  const code = "const began = performance.now(); await import('uplifted-ops'); console.log(performance.now() - began)";
  const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8", cwd: import.meta.dirname });
  return Number(stdout);
}

const folder = mkdtempSync(join(tmpdir(), "uplifted-ops-bench-"));
const ops = await Ops.create({ root: folder });
const empty = await rounds(() => each(5_000, () => ops.status()));
const plain = await rounds(() => each(5_000, () => ops.call("status")));
await ops.store.stats();
const warm = await rounds(() => each(200, () => ops.call("store.stats")));
await ops.close();

const began = performance.now();
const fresh = await Ops.create({ root: folder });
await fresh.call("store.stats");
const cold = performance.now() - began;
await fresh.close();

const counter = new Counter({ name: "bench_counts", help: "Counts of the bench" });
const inc = await rounds(async () => {
  const began = performance.now();
  for (let at = 0; at < 200_000; at++) counter.inc();
  return (performance.now() - began) / 200_000;
});
rmSync(folder, { recursive: true });
console.log(
  JSON.stringify({
    empty_us: empty * 1e3,
    empty_untyped_us: plain * 1e3,
    warm_worker_ms: warm,
    first_call_of_a_worker_ms: cold,
    counter_inc_us: inc * 1e3,
    import_ms: median(Array.from({ length: 2 * ROUNDS }, importMilliseconds)),
  }),
);
