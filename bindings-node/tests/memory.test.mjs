// What a host pays that calls all day long. In a file of its own: it takes a while.
import assert from "node:assert/strict";
import test from "node:test";
import { child } from "./support.mjs";

test("a million small calls leave the memory flat", async () => {
  const ended = await child(
    `
    import { Ops } from "uplifted-ops";
    import { service, settings } from "./tests/support.mjs";
    const ops = await Ops.create({ root: service(), settings });
    const calls = async (count) => {
      for (let done = 0; done < count; done += 200) {
        await Promise.all(Array.from({ length: 200 }, () => ops.call("metrics.render", { format: "nope" }).catch(() => {})));
      }
      globalThis.gc();
      return process.memoryUsage().rss / 2 ** 20;
    };
    const count = Number(process.env.UPLIFTED_OPS_CALLS ?? 1_000_000);
    const before = await calls(count / 10);
    const after = await calls(count);
    console.log(Math.round(before), Math.round(after));
    if (after - before > 40) process.exitCode = 9;
  `,
    { flags: ["--expose-gc"], seconds: 280 },
  );
  assert.equal(ended.code, 0, ended.stdout + ended.stderr);
});
