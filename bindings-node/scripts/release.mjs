// Prepares what is published: `node scripts/release.mjs FOLDER` takes the `*.node` files of every platform from FOLDER, puts each
// into its package in `npm`, and writes to FOLDER a copy of the package that names them all as optional dependencies and has
// none itself. They are named here and not in `package.json`: a checkout must not look for packages that nobody has
// published yet.
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
const [given] = process.argv.slice(2);
if (given === undefined) {
  console.error("usage: node scripts/release.mjs FOLDER-WITH-NODE-FILES");
  process.exit(2);
}
const folder = resolve(given);
const read = (file) => JSON.parse(readFileSync(file, "utf8"));
const main = read(join(here, "package.json"));
const platforms = readdirSync(join(here, "npm")).map((name) => {
  const from = join(here, "npm", name);
  return { from, manifest: read(join(from, "package.json")) };
});

// All are there before anything is written: half of a release must not lie around to be published.
for (const { manifest } of platforms) {
  const { name, version, main: file } = manifest;
  if (version !== main.version) throw new Error(`${name} is ${version}, the package is ${main.version}`);
  if (!existsSync(join(folder, file))) throw new Error(`${file} is not in ${folder}: build it on that platform`);
}
const optionalDependencies = {};
for (const { from, manifest } of platforms) {
  const { name, version, main: file } = manifest;
  const to = join(folder, "packages", name);
  mkdirSync(to, { recursive: true });
  copyFileSync(join(from, "package.json"), join(to, "package.json"));
  copyFileSync(join(folder, file), join(to, file));
  optionalDependencies[name] = version;
}
const to = join(folder, "packages", main.name);
rmSync(to, { recursive: true, force: true });
mkdirSync(to, { recursive: true });
for (const name of ["dist", "README.md", "LICENSE-MIT", "LICENSE-APACHE"]) cpSync(join(here, name), join(to, name), { recursive: true });
const { scripts: _, devDependencies: __, ...published } = main;
writeFileSync(join(to, "package.json"), `${JSON.stringify({ ...published, optionalDependencies }, null, 2)}\n`);
console.log(readdirSync(join(folder, "packages")).map((name) => join(folder, "packages", name)).join("\n"));
