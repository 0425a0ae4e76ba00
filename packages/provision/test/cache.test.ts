import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { type TempDir, tempDir } from "@cardinal/testing";
import { cacheRoot, ensureEntry, findEntry } from "../src/cache.ts";

let root: string;
let folder: TempDir;
beforeEach(async () => {
  folder = await tempDir("cache");
  root = folder.path;
  process.env.CARDINAL_CACHE_DIR = root;
});
afterEach(() => folder[Symbol.asyncDispose]());

const write = (content: string) => async (folder: string) => {
  mkdirSync(path.join(folder, "deep"));
  writeFileSync(path.join(folder, "deep/file"), content);
};
const read = (key: string) => readFileSync(path.join(root, key, "deep/file"), "utf8");

test("the cache lies where the environment says, outside the tree", () => {
  assert.equal(cacheRoot({ CARDINAL_CACHE_DIR: "/a", XDG_CACHE_HOME: "/b" }), "/a");
  assert.equal(cacheRoot({ XDG_CACHE_HOME: "/b" }), "/b/cardinal");
  assert.match(cacheRoot({}), /\/\.cache\/cardinal$/);
});

test("an entry is built once", async () => {
  assert.equal(findEntry("part"), undefined);
  assert.deepEqual(await ensureEntry("part", write("one")), { folder: path.join(root, "part"), built: true });
  assert.deepEqual(await ensureEntry("part", write("two")), { folder: path.join(root, "part"), built: false });
  assert.equal(read("part"), "one");
});

test("a build that fails leaves nothing behind", async () => {
  await assert.rejects(
    ensureEntry("part", async (folder) => {
      await write("half")(folder);
      throw new Error("no network");
    }),
    /no network/,
  );
  assert.deepEqual(readdirSync(root), []);
});

test("an entry that lost a file, was cut short or lost its stamp is built anew", async () => {
  const damages: ((folder: string) => void)[] = [
    (folder) => rmSync(path.join(folder, "deep/file")),
    (folder) => writeFileSync(path.join(folder, "deep/file"), "on"),
    (folder) => rmSync(path.join(folder, "stamp.json")),
    (folder) => writeFileSync(path.join(folder, "stamp.json"), '{"deep/fi'),
  ];
  for (const damage of damages) {
    const { folder } = await ensureEntry("part", write("one"));
    damage(folder);
    assert.equal(findEntry("part"), undefined);
    assert.equal((await ensureEntry("part", write("one"))).built, true);
    assert.equal(read("part"), "one");
  }
  assert.deepEqual(readdirSync(root), ["part"]);
});

test("two set-ups at once end with one whole entry", async () => {
  const both = Promise.withResolvers<void>();
  let building = 0;
  const build = async (folder: string) => {
    building += 1;
    if (building === 2) both.resolve();
    await both.promise; // neither is done before the other has begun
    await write("same")(folder);
  };
  const results = await Promise.all([ensureEntry("part", build), ensureEntry("part", build)]);
  assert.equal(building, 2);
  assert.deepEqual(new Set(results.map(({ folder }) => folder)), new Set([path.join(root, "part")]));
  assert.equal(read("part"), "same");
  assert.deepEqual(readdirSync(root), ["part"]);
});

test("what a killed set-up left is swept, what a living one builds is not", async () => {
  const gone = spawn(process.execPath, ["-e", ""]);
  await once(gone, "close");
  const temps = [`tmp-${hostname()}~${gone.pid}~a`, `tmp-${hostname()}~${process.pid}~b`, "tmp-elsewhere~1~c"];
  for (const name of temps) mkdirSync(path.join(root, name));
  await ensureEntry("part", write("one"));
  assert.deepEqual(readdirSync(root).sort(), ["part", ...temps.slice(1)].sort());
});
