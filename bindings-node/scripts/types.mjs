// Compiles `lib` to `dist`.
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
if (!existsSync(join(here, "lib"))) process.exit(0);
rmSync(join(here, "dist"), { recursive: true, force: true });
const require = createRequire(import.meta.url);
const run = (command, args, options) => {
  const { status, error } = spawnSync(command, args, { cwd: here, stdio: "inherit", ...options });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 2);
};

// `npm install ./bindings-node` links the folder, and installs none of what it needs to be built.
if (!existsSync(join(here, "node_modules", "typescript"))) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("npm_")));
  run("npm", ["ci", "--ignore-scripts", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"], { env });
}
run(process.execPath, [require.resolve("typescript/bin/tsc"), "-p", join(here, "tsconfig.json")]);
// The ES modules' ways in. Node's own way from one to the other (`export *` of CommonJS) reads every file twice to learn its
// names; they are known here.
for (const name of readdirSync(join(here, "lib")).filter((file) => file.endsWith(".mts")).map((file) => file.slice(0, -4))) {
  const names = Object.keys(require(join(here, "dist", `${name}.js`))).filter((name) => name !== "__esModule");
  const named = names.filter((name) => name !== "default");
  writeFileSync(
    join(here, "dist", `${name}.mjs`),
    `import { createRequire } from "node:module";\nconst all = createRequire(import.meta.url)("./${name}.js");\n` +
      `export const { ${named.join(", ")} } = all;\n${named.length < names.length ? "export default all.default;\n" : ""}`,
  );
}
chmodSync(join(here, "dist", "cli.js"), 0o755);
