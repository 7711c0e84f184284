// Jobs in a host: they run by themselves, and keep no process alive.
import assert from "node:assert/strict";
import test from "node:test";
import { Ops } from "uplifted-ops";
import { MemoryTarget, child, service, settings, until } from "./support.mjs";

const job = [{ name: "often", operation: "backup.create", schedule: "* * * * * *" }];

test("a scheduled job runs, and calls a target of this process", async () => {
  const target = new MemoryTarget();
  const ops = await Ops.create({ root: service(), settings: { ...settings, target: [], job }, targets: { target } });
  const done = await until(async () => {
    const [often] = (await ops.schedule.list()).jobs;
    return often.lastSuccessAt && often;
  }, "a run", 60);
  assert.equal(done.words, "every second");
  assert.equal(done.lastRun.why, "scheduled");
  const { role, leader } = await ops.schedule.list();
  assert.deepEqual([role, leader.pid, leader.isThisProcess], ["leader", process.pid, true]);
  assert.ok((await ops.backup.list()).snapshots.length > 0);
  await ops.close();
});

test("a schedule keeps no process alive", async () => {
  const ended = await child(`
    import { Ops } from "uplifted-ops";
    import { service, settings } from "./tests/support.mjs";
    const backup = { ...settings.backup, schedule: "0 2 * * *" };
    const job = [{ name: "often", operation: "status", schedule: "* * * * * *" }];
    const ops = await Ops.create({ root: service(), settings: { ...settings, backup, job } });
    console.log((await ops.schedule.list()).jobs.map(({ name }) => name).join(" "));
  `);
  assert.deepEqual([ended.code, ended.signal, ended.stdout], [0, null, "backup collect often\n"], ended.stderr);
});

test("a job runs by hand", async () => {
  const ops = await Ops.create({ root: service(), settings: { ...settings, job: [{ name: "often", operation: "backup.create" }] } });
  const run = await ops.schedule.run({ job: "often" });
  assert.equal(run.outcome, "done");
  assert.equal(run.response.outcome, "complete");
  await ops.close();
});
