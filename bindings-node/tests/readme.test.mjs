// The README's examples do what they say.
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fresh, program, service } from "./support.mjs";

const readme = readFileSync(join(fresh, "README.md"), "utf8");
const blocks = [...readme.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code);

test("the first example is five lines, and each runs", async () => {
  assert.ok(blocks.length >= 3);
  assert.ok(blocks[0].trim().split("\n").filter((line) => line.trim() !== "").length <= 5);
});

for (const [at, code] of blocks.entries()) {
  test(`example ${at + 1} runs`, async () => {
    const root = service();
    writeFileSync(join(root, "ops.toml"), '[service]\nname = "shop"\n[backup]\ninclude = ["data"]\n[[target]]\nname = "local"\nkind = "fs"\npath = "backups"\n');
    const file = join(fresh, `readme-${at}.mjs`);
    writeFileSync(file, code.replaceAll("/opt/shop", root));
    const { code: status, stdout, stderr } = await program(process.execPath, [file]);
    rmSync(file);
    assert.equal(status, 0, stdout + stderr);
  });
}
