// Builds, packs, installs the package into a fresh folder as anybody would, and runs the tests there. Arguments go to
// `node --test`: names of files in `tests`. UPLIFTED_OPS_NODE_PROFILE=debug builds without optimisation.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
const work = join(dirname(here), "target", "node-test");

function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { stdio: "inherit", ...options });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
if (!existsSync(join(here, "node_modules"))) run("npm", ["install", "--ignore-scripts", ...quiet], { cwd: here });
run("npm", ["run", "--silent", "build"], { cwd: here });
rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
run("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", work], { cwd: here });
const tarball = readdirSync(work).find((name) => name.endsWith(".tgz"));

// Versions of what the tests use beside the package. The drivers are optional: where one cannot be built, its test says so.
const { devDependencies } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
writeFileSync(
  join(work, "package.json"),
  JSON.stringify({
    name: "fresh",
    private: true,
    type: "module",
    dependencies: { "uplifted-ops": `file:./${tarball}`, ...devDependencies, express: "^5.1.0", fastify: "^5.6.0" },
  }),
);
run("npm", ["install", ...quiet], { cwd: work });
cpSync(join(here, "tests"), join(work, "tests"), { recursive: true });
cpSync(join(here, "README.md"), join(work, "README.md"));

const named = process.argv.slice(2);
const files = readdirSync(join(work, "tests")).filter((name) => name.endsWith(".test.mjs"));
const chosen = named.length === 0 ? files : files.filter((file) => named.some((name) => file.startsWith(name)));
run(
  process.execPath,
  // No test takes minutes: one that hangs is one that failed.
  ["--test", "--test-concurrency=2", "--test-timeout=180000", ...chosen.map((file) => join("tests", file))],
  { cwd: work, env: { ...process.env, UPLIFTED_OPS_REPOSITORY: dirname(here) } },
);
