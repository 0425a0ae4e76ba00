/** Names of all kinds, and lists in their order. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { all, bytesOf, code, keysOf, type Subject } from "./subject.ts";

const ODD = [
  ..."a|a/b|a/b/c|a-b|a.b|a0|B|é|e\u0301|中|Ａ|😀|a b| a|a |a+b|a%b|a%2Fb|a%2fb|a#b|a?b|a&b|a=b|a'b".split("|"),
  ...'a"b|a<b>c|a@|a@.|a@..|a@/b|a@./b|.a|..a|a..|...|a:b|a;b,c|a*b|a(b)|a!b|~x|$x|0123|1e5|0x1f|true|null'.split("|"),
  "&amp;",
  "%00",
  "a\u00a0b",
  "\u202eabc",
  "x".repeat(254),
  "中".repeat(84),
  `${"d/".repeat(200)}x`,
];

const BAD = [
  "",
  "/",
  "/a",
  "a/",
  "a//b",
  ".",
  "..",
  "a/..",
  "../a",
  "a/./b",
  "a\u0000b",
  "a\nb",
  "\u007f",
  "a\\b",
  "\ud800",
];

const inOrder = (keys: string[]): string[] => keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

export function keysAndLists(subject: Subject): void {
  it("takes names of all kinds, and an object beside a folder of its name", async () => {
    await using store = await subject.open();
    const keys = ODD.map((name) => `odd/${name}`);
    // One after the other: of `a` and `a/b` that are made at the same instant SeaweedFS can lose one. No two keys of
    // Cardinal's layout are like that.
    for (const key of keys) await store.put(key, Buffer.from(key));
    assert.deepEqual(await keysOf(store, "odd/"), inOrder(keys));
    for (const key of keys) {
      assert.equal(String(await bytesOf(store, key)), key);
      assert.equal((await store.stat(key))?.key, key);
    }
    await store.delete("odd/a");
    assert.equal(String(await store.read("odd/a/b")), "odd/a/b");
    const rest = keys.filter((key) => key !== "odd/a");
    assert.deepEqual(await keysOf(store, "odd/"), inOrder(rest));
    assert.equal(await store.deletePrefix("odd/"), rest.length);
    assert.deepEqual(await keysOf(store, "odd/"), []);
    for (const key of ["0123", "1e5"]) await store.put(key, Buffer.from(key));
    assert.deepEqual(await keysOf(store, "0"), ["0123"]);
    assert.deepEqual(await keysOf(store, "1e"), ["1e5"]);
  });

  it("refuses keys that are not legal, everywhere", async () => {
    await using store = await subject.open();
    for (const key of [...BAD, "x".repeat(255), `${"abcdefghi/".repeat(103)}x`]) {
      const refused = code("invalid_name");
      await assert.rejects(store.put(key, Buffer.from("x")), refused, key);
      await assert.rejects(store.get(key), refused, key);
      await assert.rejects(store.stat(key), refused, key);
      await assert.rejects(store.delete(key), refused, key);
      await assert.rejects(store.readPointer(key), refused, key);
      await assert.rejects(store.swapPointer(key, undefined, 1), refused, key);
    }
    for (const prefix of ["", "folder", "../", "a//"])
      await assert.rejects(store.deletePrefix(prefix), code("invalid_name"));
    for (const prefix of ["../", "a//b", "./a"]) await assert.rejects(keysOf(store, prefix), code("invalid_name"));
    await assert.rejects(all(store.listFolders("folder")), code("invalid_name"));
  });

  it("lists 2,500 keys in order, by prefix, and after a key", async () => {
    await using store = await subject.open();
    const keys = Array.from({ length: 2500 }, (_, i) => `many/${i % 7}/${i}`);
    let next = 0;
    const writer = async () => {
      while (next < keys.length) await store.put(keys[next++] as string, Buffer.from("x"), { deferSync: true });
    };
    await Promise.all(Array.from({ length: 16 }, writer));
    const sorted = inOrder(keys);
    assert.deepEqual(await keysOf(store, "many/"), sorted);
    assert.deepEqual(
      await keysOf(store, "many/3/1"),
      sorted.filter((key) => key.startsWith("many/3/1")),
    );
    assert.deepEqual(await keysOf(store, "many/", { after: sorted[1200] }), sorted.slice(1201));
    assert.deepEqual(
      await keysOf(store, "many/", { after: "many/3" }),
      sorted.filter((key) => key > "many/3"),
    );
    assert.deepEqual(await keysOf(store, "many/", { after: "many/6/zz" }), []);
    const folders = ["0", "1", "2", "3", "4", "5", "6"];
    assert.deepEqual(await all(store.listFolders("many/")), folders);
    const found = await store.list("many/")[Symbol.asyncIterator]().next();
    assert.deepEqual(found.value, await store.stat(sorted[0] as string));
    assert.equal(await store.deletePrefix("many/3/"), keys.filter((key) => key.startsWith("many/3/")).length);
    assert.deepEqual(await all(store.listFolders("many/")), folders.toSpliced(3, 1));
    assert.ok((await store.deletePrefix("many/")) > 2000);
    assert.equal(await store.deletePrefix("many/"), 0);
  });

  it("lists folders that hold an object at some depth, in key order", async () => {
    await using store = await subject.open();
    for (const key of ["b/x", "a/deep/er/x", "a-b/x", "plain", "😀 b/x", "gone/deep/x"]) {
      await store.put(`folders/${key}`, Buffer.from("x"));
    }
    await store.delete("folders/gone/deep/x");
    assert.deepEqual(await all(store.listFolders("folders/")), ["a-b", "a", "b", "😀 b"]);
    assert.ok((await all(store.listFolders(""))).includes("folders"));
    assert.deepEqual(await all(store.listFolders("none/")), []);
    assert.deepEqual(await keysOf(store, "none/"), []);
  });
}
