/** What every store must do. `directory.test.ts` and `s3.test.ts` run it on the real thing. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { keysAndLists } from "./conformance-keys.ts";
import { pointers } from "./conformance-pointers.ts";
import { uploads } from "./conformance-uploads.ts";
import { bytesOf, code, digestOf, keysOf, type Subject } from "./subject.ts";

export function conformance(subject: Subject): void {
  describe("objects", () => objects(subject));
  describe("uploads", () => uploads(subject));
  describe("keys and lists", () => keysAndLists(subject));
  describe("pointers", () => pointers(subject));
}

function objects(subject: Subject): void {
  it("gives back what was put, with size, digest, etag and time", async () => {
    await using store = await subject.open();
    const body = randomBytes(3000);
    const before = Date.now();
    const put = await store.put("objects/one", body, { sha256: digestOf(body), bytes: 3000 });
    assert.deepEqual(put, { key: "objects/one", bytes: 3000, sha256: digestOf(body), etag: put.etag });
    assert.deepEqual(await store.read("objects/one", { sha256: digestOf(body) }), body);
    assert.deepEqual(await bytesOf(store, "objects/one"), body);
    const stat = await store.stat("objects/one");
    assert.deepEqual(stat, { key: "objects/one", bytes: 3000, etag: put.etag, modifiedAt: stat?.modifiedAt });
    assert.ok(Math.abs(stat!.modifiedAt.getTime() - before) < 10_000, `modified at ${stat?.modifiedAt}`);
  });

  it("gives ranges, both ends inclusive", async () => {
    await using store = await subject.open();
    await store.put("objects/range", Buffer.from("0123456789"));
    const range = async (first: number, last?: number) =>
      String(await bytesOf(store, "objects/range", { range: { first, last } }));
    assert.equal(await range(0, 0), "0");
    assert.equal(await range(2, 4), "234");
    assert.equal(await range(7), "789");
    assert.equal(await range(7, 100), "789");
    assert.equal(await range(0), "0123456789");
    for (const [first, last] of [[10], [10, 12], [4, 3], [-1], [0.5], [Number.NaN]] as [number, number?][]) {
      await assert.rejects(range(first, last), code("range_not_satisfiable"), `${first}-${last}`);
    }
  });

  it("keeps objects of no bytes", async () => {
    await using store = await subject.open();
    await store.put("objects/empty", Buffer.alloc(0), { bytes: 0 });
    assert.equal((await store.read("objects/empty")).length, 0);
    assert.equal((await bytesOf(store, "objects/empty")).length, 0);
    assert.equal((await store.stat("objects/empty"))?.bytes, 0);
    await assert.rejects(store.get("objects/empty", { range: { first: 0 } }), code("range_not_satisfiable"));
  });

  it("tells what is not there", async () => {
    await using store = await subject.open();
    assert.equal(await store.stat("objects/nothing"), undefined);
    await assert.rejects(store.get("objects/nothing"), code("object_not_found"));
    await assert.rejects(store.read("objects/nothing"), code("object_not_found"));
    await store.delete("objects/nothing");
  });

  it("refuses to read what has another digest", async () => {
    await using store = await subject.open();
    await store.put("objects/digest", Buffer.from("something"));
    await assert.rejects(
      store.read("objects/digest", { sha256: digestOf(Buffer.from("else")) }),
      code("digest_mismatch"),
    );
  });

  it("shows a reader one content or the other, whole, while writers replace it", async () => {
    await using store = await subject.open();
    const size = 300_000;
    const write = (letter: string) => store.put("objects/replaced", Buffer.alloc(size, letter));
    const etags = new Set([(await write("a")).etag]);
    let writing = true;
    const writer = (async () => {
      for (const letter of "bcdefghij") etags.add((await write(letter)).etag);
      writing = false;
    })();
    while (writing) {
      const seen = await store.read("objects/replaced");
      assert.equal(seen.length, size);
      assert.ok(
        seen.every((byte) => byte === seen[0]),
        "a mixture of two contents",
      );
    }
    await writer;
    assert.equal(etags.size, 10, "an etag for each content");
  });

  it("ends a download when its signal does", async () => {
    await using store = await subject.open();
    await store.put("objects/aborted", randomBytes(4_000_000));
    const stop = new AbortController();
    const stream = await store.get("objects/aborted", { signal: stop.signal });
    await assert.rejects(
      async () => {
        for await (const _ of stream) stop.abort();
      },
      { name: "AbortError" },
    );
    await assert.rejects(store.get("objects/aborted", { signal: AbortSignal.abort() }), { name: "AbortError" });
    await assert.rejects(store.read("objects/aborted", { signal: AbortSignal.abort() }), { name: "AbortError" });
  });

  it("can drop a download at once", async () => {
    await using store = await subject.open();
    await store.put("objects/dropped", randomBytes(4_000_000));
    for (let i = 0; i < 20; i++) {
      const stream = await store.get("objects/dropped");
      stream.destroy();
    }
    assert.equal((await store.read("objects/dropped")).length, 4_000_000);
  });

  it("deletes, and says whether it works", async () => {
    await using store = await subject.open();
    await store.put("objects/deleted", Buffer.from("x"));
    await store.delete("objects/deleted");
    assert.equal(await store.stat("objects/deleted"), undefined);
    await store.check();
    assert.deepEqual(await keysOf(store, "checks/"), []);
    assert.match(store.description, /^(s3|directory) /);
  });
}
