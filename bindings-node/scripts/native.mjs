// Builds the native half and puts it where the package looks for it. `--debug` for a quick build.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
const workspace = dirname(here);
// Installed from what `npm pack` made, there is nothing to build.
if (!existsSync(join(workspace, "core", "Cargo.toml"))) process.exit(0);

const debug = process.argv.includes("--debug") || process.env.UPLIFTED_OPS_NODE_PROFILE === "debug";
const cargo = process.env.CARGO ?? "cargo";
const built = spawnSync(
  cargo,
  ["build", "--quiet", "-p", "uplifted-ops-node", "--message-format=json-render-diagnostics", ...(debug ? [] : ["--release"])],
  { cwd: workspace, stdio: ["ignore", "pipe", "inherit"], encoding: "utf8", maxBuffer: 1 << 30 },
);
if (built.error) {
  console.error(`could not start ${cargo}: ${built.error.message}; install Rust from https://rustup.rs, or name cargo in CARGO`);
  process.exit(2);
}
if (built.status !== 0) process.exit(built.status ?? 2);
const artifacts = built.stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line));
const library = artifacts
  .filter((artifact) => artifact.reason === "compiler-artifact" && artifact.target.name === "uplifted_ops_node")
  .flatMap((artifact) => artifact.filenames)
  .find((file) => /\.(so|dylib|dll)$/.test(file));
if (!library) throw new Error("cargo built no library of uplifted-ops-node");

const musl = process.platform === "linux" && existsSync("/etc/alpine-release");
const libc = process.platform === "linux" ? (musl ? "-musl" : "-gnu") : "";
const file = join(here, `uplifted-ops.${process.platform}-${process.arch}${libc}.node`);
// Renamed into place: a process that has the old one mapped keeps it, and would crash if it were overwritten.
copyFileSync(library, `${file}.new`);
if (!debug && process.platform === "linux") spawnSync("strip", ["--strip-debug", `${file}.new`], { stdio: "ignore" });
renameSync(`${file}.new`, file);
rmSync(`${file}.new`, { force: true });
