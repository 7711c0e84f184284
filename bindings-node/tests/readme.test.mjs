// The README's examples do what they say.
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fresh, program, service } from "./support.mjs";

const blocksOf = (file) => [...readFileSync(file, "utf8").matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code);
const repository = process.env.UPLIFTED_OPS_REPOSITORY;
// The package's own page, and that of the repository when the tests run in one.
const blocks = [...blocksOf(join(fresh, "README.md")), ...(repository ? blocksOf(join(repository, "README.md")) : [])];

test("the first example is five lines, and each runs", async () => {
  assert.ok(blocks.length >= (repository ? 4 : 3));
  assert.ok(blocks[0].trim().split("\n").filter((line) => line.trim() !== "").length <= 5);
});

for (const [at, code] of blocks.entries()) {
  test(`example ${at + 1} runs`, async () => {
    const root = service();
    writeFileSync(join(root, "ops.toml"), '[service]\nname = "shop"\n[backup]\ninclude = ["data"]\n[[target]]\nname = "local"\nkind = "fs"\npath = "backups"\n');
    const file = join(fresh, `readme-${at}.mjs`);
    writeFileSync(file, code.replace(/\/opt\/(shop|uplifted)/g, root));
    const { code: status, stdout, stderr } = await program(process.execPath, [file]);
    rmSync(file);
    assert.equal(status, 0, stdout + stderr);
  });
}
