// Builds, packs, installs the package into a fresh folder as anybody would, and runs the tests there. Arguments go to
// `node --test`: names of files in `tests`. UPLIFTED_OPS_NODE_PROFILE=debug builds without optimisation.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
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
if (!existsSync(join(here, "node_modules"))) run("npm", ["ci", "--ignore-scripts", ...quiet], { cwd: here });
run("npm", ["run", "--silent", "build"], { cwd: here });
rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
run("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", work], { cwd: here });
const tarball = readdirSync(work).find((name) => name.endsWith(".tgz"));

// What the tests use beside the package, and then the package, as anybody adds it. A driver that cannot be built is no failure
// here: its test says so.
cpSync(join(here, "tests", "host"), work, { recursive: true });
run("npm", ["ci", ...quiet], { cwd: work });
run("npm", ["install", "--no-save", ...quiet, `./${tarball}`], { cwd: work });
cpSync(join(here, "tests"), join(work, "tests"), { recursive: true });
cpSync(join(here, "README.md"), join(work, "README.md"));

const named = process.argv.slice(2);
const files = readdirSync(join(work, "tests")).filter((name) => name.endsWith(".test.mjs"));
const chosen = named.length === 0 ? files : files.filter((file) => named.some((name) => file.startsWith(name)));
run(
  process.execPath,
  // The hard end of every file and every test; what a test starts has a nearer one.
  ["--test", "--test-concurrency=2", "--test-timeout=300000", ...chosen.map((file) => join("tests", file))],
  { cwd: work, env: { ...process.env, UPLIFTED_OPS_REPOSITORY: dirname(here) } },
);
