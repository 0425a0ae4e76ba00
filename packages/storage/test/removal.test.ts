import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type CardinalError, problem } from "@cardinal/contracts";
import { tempDir } from "@cardinal/testing";
import {
  isBeingRemoved,
  layout,
  listRemovals,
  type ObjectStore,
  openStore,
  type Removal,
  removeUnused,
  resumeRemoval,
} from "../src/index.ts";

const KEY = layout.modelRemoval("mdl-x");
const THING = "things/x";
const LONG_AGO = new Date(Date.now() - 3600_000).toISOString();

async function space() {
  const folder = await tempDir("removal");
  const store = await openStore({ kind: "directory", path: folder.path });
  return {
    store,
    async [Symbol.asyncDispose]() {
      await store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Removes `things/x`, which `users` may use. */
function removalOf(store: ObjectStore, users = new Set<string>()): Removal {
  return {
    what: "the thing",
    key: KEY,
    async refuseWhenUsed() {
      if (users.size > 0) throw problem("model_in_use", `used by ${[...users]}`);
    },
    remove: () => store.delete(THING),
  };
}

test("what is used stays, and no mark turns others away; what is not goes", async () => {
  await using t = await space();
  await t.store.put(THING, Buffer.from("x"));
  const users = new Set(["a"]);
  await assert.rejects(removeUnused(t.store, removalOf(t.store, users)), { code: "model_in_use" });
  assert.equal(await t.store.stat(KEY), undefined);
  users.clear();
  await removeUnused(t.store, removalOf(t.store, users));
  assert.equal(await t.store.stat(THING), undefined);
  assert.equal(await t.store.stat(KEY), undefined);
});

test("a user that comes under the mark is seen, and the mark is withdrawn", async () => {
  await using t = await space();
  await t.store.put(THING, Buffer.from("x"));
  const looks: boolean[] = [];
  const removal = {
    ...removalOf(t.store),
    async refuseWhenUsed() {
      looks.push(await isBeingRemoved(t.store, KEY));
      if (looks.length === 2) throw problem("model_in_use", "used by a late one");
    },
  };
  await assert.rejects(removeUnused(t.store, removal), { code: "model_in_use" });
  assert.deepEqual(looks, [false, true]);
  assert.equal(await isBeingRemoved(t.store, KEY), false);
  await removeUnused(t.store, removal);
  assert.equal(await t.store.stat(THING), undefined);
});

test("one process at a time removes; one that died is taken over, its mark withdrawn", async () => {
  await using t = await space();
  await t.store.put(THING, Buffer.from("x"));
  const etag = await t.store.swapPointer(KEY, undefined, { state: "deleting", at: new Date().toISOString() });
  await assert.rejects(removeUnused(t.store, removalOf(t.store)), { code: "being_deleted" });
  await resumeRemoval(t.store, removalOf(t.store));
  assert.ok(await t.store.stat(THING), "somebody is at it");

  const later = await t.store.swapPointer(KEY, etag, { state: "marked", at: LONG_AGO });
  await resumeRemoval(t.store, removalOf(t.store));
  assert.ok(await t.store.stat(THING), "it was only marked");
  assert.equal(await isBeingRemoved(t.store, KEY), false);

  const freed = (await t.store.readPointer(KEY))!.etag;
  assert.notEqual(freed, later);
  await t.store.swapPointer(KEY, freed, { state: "deleting", at: LONG_AGO });
  const keys = [];
  for await (const key of listRemovals(t.store)) keys.push(key);
  assert.deepEqual(keys, [KEY]);
  // Users cannot bring it back: it may be half gone.
  await resumeRemoval(t.store, removalOf(t.store, new Set(["a"])));
  assert.equal(await t.store.stat(THING), undefined);
  assert.equal(await t.store.stat(KEY), undefined);
});

test("of users and removers at the same moment: nobody ever uses what is gone", async () => {
  await using t = await space();
  const pause = () => sleep(Math.random() * 3);
  for (let round = 0; round < 60; round++) {
    await t.store.put(THING, Buffer.from("x"));
    const users = new Set<string>();
    const accepted: string[] = [];
    const removal = removalOf(t.store, users);
    const use = async (name: string) => {
      await pause();
      users.add(name);
      await pause();
      if ((await isBeingRemoved(t.store, KEY)) || !(await t.store.stat(THING))) users.delete(name);
      else accepted.push(name);
    };
    const remove = async () => {
      await pause();
      await removeUnused(t.store, removal).catch((error: CardinalError) => {
        assert.ok(["model_in_use", "being_deleted"].includes(error.code), error.message);
      });
    };
    await Promise.all([use("a"), remove(), use("b"), remove(), remove()]);
    const isThere = (await t.store.stat(THING)) !== undefined;
    if (accepted.length > 0) assert.ok(isThere, `round ${round}: ${accepted} use what is gone`);
    assert.equal(await isBeingRemoved(t.store, KEY), false);
  }
});
