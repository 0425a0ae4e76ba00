/** pip takes the wheels from a folder here, so this needs no network. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { tempDir, zipOf } from "@cardinal/testing";
import { unpackWheel } from "../src/wheel.ts";

const METADATA = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n";

async function tinyWheel(folder: string) {
  const bytes = await zipOf([
    { name: "tiny/bin/server", data: "native" },
    { name: "tiny/other.py", data: "pass" },
    { name: "tiny-1.0.dist-info/METADATA", data: METADATA },
    { name: "tiny-1.0.dist-info/WHEEL", data: "Wheel-Version: 1.0\nTag: cp312-cp312-manylinux_2_17_x86_64\n" },
    { name: "tiny-1.0.dist-info/RECORD", data: "" },
  ]);
  writeFileSync(path.join(folder, "tiny-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"), bytes);
  Object.assign(process.env, { PIP_NO_INDEX: "1", PIP_FIND_LINKS: folder });
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { project: "tiny", version: "1.0", platform: "manylinux_2_17_x86_64", sha256 };
}

test("only the wanted members of a wheel are unpacked", async () => {
  await using source = await tempDir("wheel");
  await using target = await tempDir("unpacked");
  await unpackWheel(await tinyWheel(source.path), ["tiny/bin/"], target.path);
  assert.equal(readFileSync(path.join(target.path, "tiny/bin/server"), "utf8"), "native");
  assert.deepEqual(readdirSync(target.path), ["tiny"]);
  assert.deepEqual(readdirSync(path.join(target.path, "tiny")), ["bin"]);
  assert.equal(statSync(path.join(target.path, "tiny/bin/server")).mode & 0o444, 0o444);
});

test("a wheel with another hash than the pinned one is refused before it is unpacked", async () => {
  await using source = await tempDir("wheel");
  await using target = await tempDir("unpacked");
  const wheel = { ...(await tinyWheel(source.path)), sha256: "0".repeat(64) };
  await assert.rejects(unpackWheel(wheel, ["tiny/"], target.path), /tiny-1\.0-.* has SHA-256 .*, pinned is 0{64}/);
  assert.ok(!readdirSync(target.path).includes("tiny"));
});

test("a member that is not there and a version that is not there are errors", async () => {
  await using source = await tempDir("wheel");
  await using target = await tempDir("unpacked");
  const wheel = await tinyWheel(source.path);
  await assert.rejects(unpackWheel(wheel, ["tiny/lib/"], target.path), /no member starts with tiny\/lib\//);
  await assert.rejects(unpackWheel({ ...wheel, version: "9.9" }, ["tiny/"], target.path), /tiny==9\.9/);
});
