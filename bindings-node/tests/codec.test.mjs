// How values cross, where the conformance cases cannot look.
import assert from "node:assert/strict";
import { test } from "node:test";

import { operations, WireError } from "uplifted-ops";

const AREA = {
  undo_id: "u",
  snapshot_id: "0123456789ab",
  time: "2025-01-02T03:04:05.123456789Z",
  undoes: null,
  paths: ["config", { bytes: "636f6e6669672fff" }],
  files: 1,
  size_bytes: 2n ** 64n - 1n,
};
const areas = operations["restore.undo_list"];
const decode = (changes = {}) => areas.decode({ areas: [{ ...AREA, ...changes }] }).areas[0];

test("names, times, file names and large integers are JavaScript's own", () => {
  assert.deepEqual(decode(), {
    undoId: "u",
    snapshotId: "0123456789ab",
    time: new Date("2025-01-02T03:04:05.123Z"),
    undoes: null,
    paths: ["config", Buffer.from("config/\xff", "latin1")],
    files: 1,
    sizeBytes: 2n ** 64n - 1n,
  });
});

test("a response becomes the JSON that it came from", () => {
  assert.deepEqual(areas.toWire({ areas: [decode()] }), { areas: [{ ...AREA, time: "2025-01-02T03:04:05.123Z" }] });
});

test("what a newer core says is passed over, what a caller misspells is handed on", () => {
  assert.deepEqual(decode({ colour: "blue" }), decode());
  assert.deepEqual(operations["backup.create"].encode({ lable: "x" }), { lable: "x" });
});

test("a broken promise is named by its place", () => {
  const broken = (changes, place) =>
    assert.throws(() => decode(changes), (error) => error instanceof WireError && error.message.includes(place));
  broken({ time: "yesterday" }, "areas[0].time");
  broken({ paths: "config" }, "areas[0].paths");
  broken({ paths: [{ hex: "00" }] }, "areas[0].paths[0]");
  broken({ undo_id: undefined }, "undo_id is missing");
});

test("keys of maps and of free JSON are data", () => {
  const record = {
    time: AREA.time, operation: "x.y", outcome: "failed", duration_seconds: 1, pid: 1, request: { some_key: 1 },
    response: null, error: { kind: "busy", message: "m", hint: null, retryable: true, operation: null, context: { a_b: "c" }, causes: [] },
  };
  const page = { records: [record], damaged_lines: 0, unreadable_segments: [], more: false };
  const [decoded] = operations["journal.read"].decode(page).records;
  assert.deepEqual(decoded.request, { some_key: 1 });
  assert.deepEqual(decoded.error.context, { a_b: "c" });
});

test("requests take what a program has at hand", () => {
  const apply = operations["restore.apply"];
  const request = { snapshotId: "latest", into: new URL("file:///tmp/a%20b"), paths: [Buffer.from([0xff]), Buffer.from("é")] };
  assert.deepEqual(apply.encode(request), { snapshot_id: "latest", into: "/tmp/a b", paths: [{ bytes: "ff" }, "é"] });
  assert.deepEqual(operations["journal.read"].encode({ since: new Date(0), limit: undefined }), { since: "1970-01-01T00:00:00.000Z" });
  assert.throws(() => operations["journal.read"].encode({ since: new Date(Number.NaN) }), /valid Date/);
  assert.throws(() => apply.encode({ snapshotId: "latest", paths: "one" }), /a list is expected/);
});
