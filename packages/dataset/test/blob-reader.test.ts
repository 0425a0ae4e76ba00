import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { layout, type ObjectStore } from "@cardinal/storage";
import { blobReader } from "../src/index.ts";
import { workspace } from "./ingesting.ts";

/** Puts blobs of 100 bytes each and gives their digests. */
async function putBlobs(store: ObjectStore, count: number): Promise<string[]> {
  const digests: string[] = [];
  for (let i = 0; i < count; i++) {
    const bytes = Buffer.alloc(100, i);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    await store.put(layout.blob(sha256), bytes);
    digests.push(sha256);
  }
  return digests;
}

/** Counts the reads that reach the store. */
function counting(store: ObjectStore): ObjectStore & { reads: number } {
  const counter = Object.create(store) as ObjectStore & { reads: number };
  counter.reads = 0;
  counter.read = (...args) => {
    counter.reads++;
    return store.read(...args);
  };
  return counter;
}

test("reads once what is asked for at the same time, and keeps it within its memory", async () => {
  await using space = await workspace();
  const digests = await putBlobs(space.store, 6);
  const store = counting(space.store);
  const read = blobReader(store, { memoryBytes: 400 });
  const [a, b, c, d, e] = digests as [string, string, string, string, string];
  const same = await Promise.all([read(a), read(a), read(a)]);
  assert.deepEqual(same[0], Buffer.alloc(100, 0));
  assert.equal(store.reads, 1);
  for (const digest of [b, c, d]) await read(digest);
  await read(a); // used again, so b is now the oldest
  assert.equal(store.reads, 4);
  await read(e);
  await read(a);
  assert.equal(store.reads, 5);
  await read(b);
  assert.equal(store.reads, 6);
});

test("a large blob does not push out the small ones; no memory means no cache", async () => {
  await using space = await workspace();
  const [a] = (await putBlobs(space.store, 1)) as [string];
  const store = counting(space.store);
  for (const memoryBytes of [0, 399]) {
    const read = blobReader(store, { memoryBytes });
    store.reads = 0;
    await read(a);
    await read(a);
    assert.equal(store.reads, 2);
  }
});

test("a missing blob is named and not remembered; damaged bytes are refused", async () => {
  await using space = await workspace();
  const bytes = Buffer.from("late");
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const read = blobReader(space.store, { memoryBytes: 1000 });
  await assert.rejects(read(sha256), { code: "image_not_found", message: new RegExp(sha256) });
  await space.store.put(layout.blob(sha256), Buffer.from("damaged"));
  await assert.rejects(read(sha256), { code: "digest_mismatch" });
  await space.store.put(layout.blob(sha256), bytes);
  assert.deepEqual(await read(sha256), bytes);
});
