/** Compare and swap. */
import assert from "node:assert/strict";
import { it } from "node:test";
import type { CardinalError } from "@cardinal/contracts";
import type { ObjectStore } from "../src/index.ts";
import { code, keysOf, type Subject } from "./subject.ts";

/** Adds one to a counter, again and again until nobody else was faster. */
export async function increment(store: ObjectStore, key: string): Promise<void> {
  for (;;) {
    const before = await store.readPointer(key);
    try {
      await store.swapPointer(key, before?.etag, ((before?.value as number | undefined) ?? 0) + 1);
      return;
    } catch (error) {
      if ((error as CardinalError).code !== "object_changed") throw error;
    }
  }
}

export function pointers(subject: Subject): void {
  it("creates, reads and swaps; refuses who has not seen the last value", async () => {
    await using store = await subject.open();
    const key = "pointers/latest.json";
    assert.equal(await store.readPointer(key), undefined);
    await assert.rejects(store.swapPointer(key, "some-etag", {}), code("object_changed"));
    const first = await store.swapPointer(key, undefined, { step: 1 });
    assert.deepEqual(await store.readPointer(key), { value: { step: 1 }, etag: first });
    await assert.rejects(store.swapPointer(key, undefined, { step: 9 }), code("object_changed"));
    const second = await store.swapPointer(key, first, { step: 2 });
    await assert.rejects(store.swapPointer(key, first, { step: 9 }), code("object_changed"));
    assert.deepEqual(await store.readPointer(key), { value: { step: 2 }, etag: second });
  });

  it("is an object like others", async () => {
    await using store = await subject.open();
    const key = "pointers/object.json";
    const etag = await store.swapPointer(key, undefined, ["中", null]);
    assert.deepEqual(JSON.parse(String(await store.read(key))), ["中", null]);
    assert.equal((await store.stat(key))?.etag, etag);
    assert.ok((await keysOf(store, "pointers/")).includes(key));
    const put = await store.put(key, Buffer.from('{"by":"put"}'));
    await assert.rejects(store.swapPointer(key, etag, 1), code("object_changed"));
    assert.deepEqual(await store.readPointer(key), { value: { by: "put" }, etag: put.etag });
    const swapped = await store.swapPointer(key, put.etag, 2);
    assert.deepEqual(await store.readPointer(key), { value: 2, etag: swapped });
    await store.delete(key);
    assert.equal(await store.readPointer(key), undefined);
    assert.equal(await store.stat(key), undefined);
    await store.swapPointer(key, undefined, 3);
    assert.equal((await store.readPointer(key))?.value, 3);
    await store.deletePrefix("pointers/");
    assert.equal(await store.readPointer(key), undefined);
  });

  it("never gives an etag twice, also when the values are the same", async () => {
    await using store = await subject.open();
    const etags: (string | undefined)[] = [undefined];
    for (const value of ["a", "b", "a", "b", "a"]) {
      etags.push(await store.swapPointer("pointers/aba", etags.at(-1), value));
    }
    assert.equal(new Set(etags).size, 6);
    for (const old of etags.slice(0, -1)) {
      await assert.rejects(store.swapPointer("pointers/aba", old, "c"), code("object_changed"));
    }
  });

  it("loses none of 20 racers' updates", async () => {
    await using store = await subject.open();
    await using other = await subject.open();
    await Promise.all(Array.from({ length: 20 }, (_, i) => increment(i % 2 ? store : other, "pointers/counter")));
    assert.equal((await store.readPointer("pointers/counter"))?.value, 20);
    assert.equal(String(await store.read("pointers/counter")).trim(), "20");
    assert.deepEqual(await subject.leftovers(), []);
  });

  it("refuses what JSON cannot say, and what is no small object", async () => {
    await using store = await subject.open();
    await assert.rejects(store.swapPointer("pointers/bad", undefined, undefined), code("invalid_request"));
    await assert.rejects(store.swapPointer("pointers/bad", undefined, "x".repeat(2e6)), code("invalid_request"));
    assert.equal(await store.stat("pointers/bad"), undefined);
  });
}
