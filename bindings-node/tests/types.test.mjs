// The types, compiled as a host compiles them: strict, as an ES module and as CommonJS, our declarations checked too.
import assert from "node:assert/strict";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import test from "node:test";
import { fresh, program } from "./support.mjs";

for (const type of ["module", "commonjs"]) {
  test(`tsc --noEmit --strict, ${type}`, async () => {
    const folder = join(fresh, `types-${type}`);
    mkdirSync(folder, { recursive: true });
    cpSync(join(fresh, "tests", "types", "example.ts"), join(folder, "example.ts"));
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type }));
    const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
    const flags = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--module", "node16", "--target", "es2022", "--types", "node"];
    const { code, stdout } = await program(process.execPath, [tsc, ...flags, "example.ts"], { cwd: folder, seconds: 100 });
    assert.equal(code, 0, stdout);
  });
}
