/** The README tells the truth: its tables are the source's, its rooms and commands exist. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { README, withTables } from "../tables.ts";

const ROOT = path.dirname(README);
const text = await readFile(README, "utf8");

test("the tables of environment, errors and metrics are what the source says (npm run tables)", async () => {
  assert.equal(text, await withTables(text));
});

test("every room stands in the map of rooms, and every path that it names exists", () => {
  for (const folder of ["packages", "apps"]) {
    for (const room of readdirSync(path.join(ROOT, folder))) assert.ok(text.includes(`\`${folder}/${room}\``), room);
  }
  for (const [, named] of text.matchAll(/`((?:packages|apps|infra|bench|scripts|docs)\/[\w./-]*)`/g)) {
    assert.ok(existsSync(path.join(ROOT, named!)), `${named} does not exist`);
  }
});

test("every npm script that the README names exists", async () => {
  const { scripts } = JSON.parse(await readFile(path.join(ROOT, "package.json"), "utf8"));
  for (const [, name] of text.matchAll(/npm run ([\w-]+)/g)) assert.ok(scripts[name!], name);
});

test("links into the tree lead somewhere", () => {
  for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
    assert.ok(existsSync(path.join(ROOT, target!)), target);
  }
});
