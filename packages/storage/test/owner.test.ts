/** A store belongs to one installation. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { tempDir } from "@cardinal/testing";
import { claimStore, openStore } from "../src/index.ts";
import { code } from "./subject.ts";

test("a store is the first installation's, and another's only when it is adopted", async () => {
  await using folder = await tempDir("owner");
  await using store = await openStore({ kind: "directory", path: folder.path });
  await claimStore(store, "one");
  await claimStore(store, "one");
  await assert.rejects(claimStore(store, "two"), code("store_misconfigured"));
  await claimStore(store, "two", true);
  await claimStore(store, "two");
  await assert.rejects(claimStore(store, "one"), code("store_misconfigured"));
});

test("of many installations at once one gets the store", async () => {
  await using folder = await tempDir("owner");
  await using store = await openStore({ kind: "directory", path: folder.path });
  const claims = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => claimStore(store, `i${n % 2}`)));
  const owners = new Set(claims.flatMap(({ status }, n) => (status === "fulfilled" ? [n % 2] : [])));
  assert.equal(owners.size, 1);
  assert.equal(claims.filter(({ status }) => status === "rejected").length, 10);
});
