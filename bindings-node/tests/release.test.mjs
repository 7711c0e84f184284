// What is published: one package per platform and one that names them, installed from a registry by npm and by pnpm.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import test, { after, before } from "node:test";
import { folder, fresh, program, service, settings } from "./support.mjs";

const repository = process.env.UPLIFTED_OPS_REPOSITORY;
const installed = dirname(createRequire(import.meta.url).resolve("uplifted-ops/package.json"));
const here = `${process.platform}-${process.arch}${process.platform === "linux" ? "-gnu" : ""}`;
const release = join(repository, "bindings-node", "scripts", "release.mjs");
const json = (...path) => JSON.parse(readFileSync(join(...path), "utf8"));

const made = folder();
const packages = join(made, "packages");
let registry;

before(async () => {
  // Each platform's machine hands in its native half. There is one machine here: the others' are not even loadable.
  for (const platform of readdirSync(join(repository, "bindings-node", "npm"))) {
    const file = join(made, `uplifted-ops.${platform}.node`);
    if (platform === here) copyFileSync(join(installed, basename(file)), file);
    else writeFileSync(file, `made on ${platform}`);
  }
  if (process.platform === "linux") await done("strip", ["--strip-debug", join(made, `uplifted-ops.${here}.node`)]);
  await done(process.execPath, [release, made]);
  registry = await serve(readdirSync(packages).map((name) => join(packages, name)));
});
after(() => registry?.close());

/** Runs a program that must succeed; returns what it printed. */
async function done(command, args, options) {
  const ended = await program(command, args, { seconds: 120, ...options });
  assert.equal(ended.code, 0, `${command} ${args.join(" ")}: ${ended.signal} ${ended.stderr}${ended.stdout}`);
  return ended.stdout;
}

/** Packs the packages and serves them as a registry does: a document for each name, and the archives. */
async function serve(folders) {
  const archives = new Map();
  const documents = new Map();
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url);
    const answer = archives.get(path) ?? documents.get(path);
    response.writeHead(answer ? 200 : 404).end(answer);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = `http://127.0.0.1:${server.address().port}`;
  for (const folder of folders) {
    const [{ filename }] = JSON.parse(await done("npm", ["pack", "--json", "--pack-destination", made], { cwd: folder }));
    const archive = readFileSync(join(made, filename));
    const manifest = json(folder, "package.json");
    const { name, version } = manifest;
    archives.set(`/${filename}`, archive);
    const integrity = `sha512-${createHash("sha512").update(archive).digest("base64")}`;
    const dist = { tarball: `${address}/${filename}`, integrity };
    const versions = { [version]: { ...manifest, dist } };
    documents.set(`/${name}`, JSON.stringify({ name, "dist-tags": { latest: version }, versions }));
  }
  return { address, close: () => server.close() };
}

/** A project into which a package manager installed the package from that registry, and nothing else from anywhere. */
async function project(command, ...args) {
  const root = folder();
  writeFileSync(join(root, "package.json"), JSON.stringify({ name: "shop", private: true, type: "module" }));
  const env = {
    HOME: join(root, "home"),
    XDG_DATA_HOME: join(root, "home"),
    npm_config_registry: registry.address,
    npm_config_cache: join(root, "cache"),
    npm_config_store_dir: join(root, "store"),
    npm_config_userconfig: join(root, "npmrc"),
    npm_config_noproxy: "127.0.0.1",
    npm_config_update_notifier: "false",
    CI: "true",
  };
  await done(command, args, { cwd: root, env });
  return root;
}

/** Runs an operation of the worker in that project. */
function backup(root) {
  const app = join(root, "app.mjs");
  writeFileSync(
    app,
    `import { Ops } from "uplifted-ops";
    const ops = await Ops.create({ root: ${JSON.stringify(service())}, settings: ${JSON.stringify(settings)} });
    console.log((await ops.backup.create()).outcome);`,
  );
  return program(process.execPath, [app], { cwd: root });
}

const pnpm = join(fresh, "node_modules", "pnpm", "bin", "pnpm.cjs");
const managers = {
  npm: ["npm", "install", "--no-audit", "--no-fund", "uplifted-ops"],
  pnpm: [process.execPath, pnpm, "add", "uplifted-ops"],
};

test("the packages are laid out as npm's clients choose by", () => {
  const { version, optionalDependencies, scripts, devDependencies, ...main } = json(packages, "uplifted-ops", "package.json");
  assert.equal(main.name, "uplifted-ops");
  assert.deepEqual([scripts, devDependencies], [undefined, undefined], "nothing is run or built where it is installed");
  const platforms = readdirSync(packages).filter((name) => name !== "uplifted-ops");
  assert.deepEqual(Object.keys(optionalDependencies).sort(), platforms.sort());
  assert.deepEqual(readdirSync(join(packages, "uplifted-ops")).filter((name) => name.endsWith(".node")), []);
  for (const name of platforms) {
    const platform = json(packages, name, "package.json");
    // Exactly this version: host and worker, and the two halves, are of one.
    assert.deepEqual([platform.version, optionalDependencies[name]], [version, version]);
    const [, os, cpu, libc] = /^uplifted-ops-([a-z]+)-([a-z0-9]+)(?:-([a-z]+))?$/.exec(name);
    assert.deepEqual([platform.os, platform.cpu], [[os], [cpu]]);
    assert.deepEqual(platform.libc, libc && [{ gnu: "glibc", musl: "musl" }[libc]]);
    assert.deepEqual(platform.files, [platform.main]);
    assert.ok(existsSync(join(packages, name, platform.main)));
  }
});

for (const [name, [command, ...args]] of Object.entries(managers)) {
  test(`${name} installs the native half of this platform alone, and it runs`, async () => {
    const root = await project(command, ...args);
    const ran = await backup(root);
    assert.deepEqual([ran.code, ran.stdout], [0, "complete\n"], ran.stderr);
    const beside = dirname(join(createRequire(join(root, "x.cjs")).resolve("uplifted-ops/package.json"), ".."));
    const names = readdirSync(beside).filter((name) => name.startsWith("uplifted-ops"));
    assert.deepEqual(names, ["uplifted-ops", `uplifted-ops-${here}`]);
    const bin = join(root, "node_modules", ".bin", "uplifted-ops");
    assert.match(await done(bin, ["--version"], { cwd: root }), /^uplifted-ops /);
  });
}

test("without the optional packages it says what to do", async () => {
  const [command, ...args] = managers.npm;
  const ended = await backup(await project(command, ...args, "--omit=optional"));
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, new RegExp(`neither the package uplifted-ops-${here} .* Install without --omit=optional`));
});

test("without every platform nothing is laid out", async () => {
  const bare = folder();
  const [first] = readdirSync(join(repository, "bindings-node", "npm"));
  writeFileSync(join(bare, `uplifted-ops.${first}.node`), "");
  const ended = await program(process.execPath, [release, bare]);
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, /uplifted-ops\..*\.node is not in .*: build it on that platform/);
  assert.equal(existsSync(join(bare, "packages")), false);
});

test("the lock files name versions and digests, and no place", () => {
  for (const of of ["bindings-node", "bindings-node/tests/host", "examples/node"]) {
    const { packages } = json(repository, of, "package-lock.json");
    const { "": project, ...others } = packages;
    const { name } = json(repository, of, "package.json");
    assert.equal(project.name, name);
    assert.ok(Object.keys(others).length > 0);
    for (const [path, entry] of Object.entries(others)) {
      assert.equal(entry.resolved, undefined, `${of}: ${path}`);
      assert.match(entry.integrity, /^sha512-/, `${of}: ${path}`);
    }
  }
});
