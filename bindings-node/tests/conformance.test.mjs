// The conformance cases, which cargo and pytest run as well.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";

import * as api from "uplifted-ops";

// The tests run from a copy of this folder, somewhere below the repository.
let runner = new URL("../tests/conformance/runner.mjs", import.meta.url);
while (!existsSync(runner)) {
  const above = new URL("../../../tests/conformance/runner.mjs", runner);
  assert.notEqual(above.href, runner.href, "no tests/conformance above this file");
  runner = above;
}
const { run } = await import(runner);

test("every case", { timeout: 600_000 }, async (t) => {
  const { cases, failures } = await run(api, { tell: (name, status) => t.diagnostic(`${name} -> ${status}`) });
  assert.ok(cases > 0);
  assert.equal(failures.length, 0, failures.join("\n"));
});
