import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { tempDir } from "@cardinal/testing";
import { findRedis, findRedisBinary, ProvisionError } from "../src/index.ts";

/** A program that only knows --version, which is all that looking for a server runs. */
function fakeServer(folder: string, name: string, version: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, `#!/bin/sh\necho "Server v=${version} sha=0:0 bits=64"\n`, { mode: 0o755 });
  return file;
}

async function withPath<T>(folder: string, look: () => Promise<T>): Promise<T> {
  const { PATH, CARDINAL_CACHE_DIR } = process.env;
  Object.assign(process.env, { PATH: `${folder}:/usr/bin:/bin`, CARDINAL_CACHE_DIR: folder });
  try {
    return await look();
  } finally {
    process.env.PATH = PATH;
    if (CARDINAL_CACHE_DIR === undefined) delete process.env.CARDINAL_CACHE_DIR;
    else process.env.CARDINAL_CACHE_DIR = CARDINAL_CACHE_DIR;
  }
}

test("REDIS_URL comes first, and must be one", async () => {
  const url = "rediss://:secret@redis.example:6380/2";
  assert.deepEqual(await findRedis({ REDIS_URL: url }), { kind: "url", url, why: "REDIS_URL is set" });
  for (const bad of ["http://redis.example", "redis.example:6379", "6379"]) {
    await assert.rejects(findRedis({ REDIS_URL: bad }), ProvisionError);
  }
});

test("then valkey-server or redis-server on PATH, if at least 6.2", async () => {
  await using folder = await tempDir("path");
  const redis = fakeServer(folder.path, "redis-server", "6.2.0");
  const found = await withPath(folder.path, () => findRedis({}));
  assert.deepEqual(found, { kind: "binary", path: redis, product: "redis", version: "6.2.0", why: `${redis} on PATH` });

  const valkey = fakeServer(folder.path, "valkey-server", "8.0.1");
  assert.equal((await withPath(folder.path, () => findRedisBinary("valkey")))?.path, valkey);
  assert.equal((await withPath(folder.path, () => findRedisBinary("redis")))?.path, redis);
  const first = await withPath(folder.path, () => findRedis({}));
  assert.equal(first?.kind === "binary" && first.path, valkey);
});

test("a server that is too old is not taken", async () => {
  await using folder = await tempDir("path");
  fakeServer(folder.path, "redis-server", "6.0.16");
  fakeServer(folder.path, "valkey-server", "5.9.9");
  // The cache is the same, empty folder; a real server in /usr/bin may still be found.
  const found = await withPath(folder.path, () => findRedis({}));
  assert.ok(found === undefined || (found.kind === "binary" && !found.path.startsWith(folder.path)));
});

test("what set-up provided for tests is there", async () => {
  const redis = await findRedisBinary("redis");
  const valkey = await findRedisBinary("valkey");
  assert.ok(redis, "run npm run setup -- --for-tests");
  assert.equal(valkey?.product, "valkey");
});
