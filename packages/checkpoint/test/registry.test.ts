import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatClassIndices,
  listAliases,
  listModels,
  parseClassIndices,
  readAlias,
  readModel,
  resolveModel,
  setAlias,
} from "../src/index.ts";
import { collect, JOB, publishModel, testStore, writeBundle } from "./fixture.ts";

test("models are found by id and by alias", async () => {
  await using t = await testStore();
  await publishModel(t.store, "mdl-a-1", JOB, 1);
  await setAlias(t.store, "flowers", "mdl-a-1");
  for (const reference of ["mdl-a-1", "flowers"]) {
    assert.equal((await readModel(t.store, reference)).id, "mdl-a-1");
    assert.equal(await resolveModel(t.store, reference), "mdl-a-1");
  }
});

test("unknown models and aliases, and names that are none, are refused", async () => {
  await using t = await testStore();
  for (const call of [readModel, resolveModel]) {
    await assert.rejects(call(t.store, "mdl-none-1"), { code: "model_not_found" });
    await assert.rejects(call(t.store, "none"), { code: "model_not_found" });
    for (const name of ["..", "a/../b", "", "a\0", "x".repeat(300), "mdl-../x"]) {
      await assert.rejects(call(t.store, name), { code: "invalid_name" });
    }
  }
  assert.equal(await readAlias(t.store, "none"), undefined);
});

test("a bundle without its manifest is no model", async () => {
  await using t = await testStore();
  const { id } = await writeBundle(t.store, JOB, 1);
  await publishModel(t.store, "mdl-b-1", JOB, 2);
  assert.deepEqual(
    (await collect(listModels(t.store))).map((model) => model.id),
    ["mdl-b-1"],
  );
  await assert.rejects(readModel(t.store, id), { code: "model_not_found" });
  await assert.rejects(setAlias(t.store, "flowers", id), { code: "model_not_found" });
});

test("an alias takes only ids of models that exist, and no name of an id", async () => {
  await using t = await testStore();
  await publishModel(t.store, "mdl-a-1", JOB, 1);
  await setAlias(t.store, "flowers", "mdl-a-1");
  await assert.rejects(setAlias(t.store, "other", "flowers"), { code: "model_not_found" });
  await assert.rejects(setAlias(t.store, "mdl-a-1", "mdl-a-1"), { code: "invalid_name" });
  await assert.rejects(setAlias(t.store, "../x", "mdl-a-1"), { code: "invalid_name" });
  assert.deepEqual(
    (await collect(listAliases(t.store))).map(({ alias }) => alias),
    ["flowers"],
  );
});

test("the history holds the former models, newest first, 100 at most; setting the same again adds nothing", async () => {
  await using t = await testStore();
  await publishModel(t.store, "mdl-a-1", JOB, 1);
  await publishModel(t.store, "mdl-b-1", JOB, 2);
  const first = await setAlias(t.store, "flowers", "mdl-a-1");
  assert.deepEqual(first.history, []);
  assert.deepEqual(await setAlias(t.store, "flowers", "mdl-a-1"), first);
  const second = await setAlias(t.store, "flowers", "mdl-b-1");
  assert.deepEqual(second.history, [{ model: "mdl-a-1", updatedAt: first.updatedAt }]);
  for (let i = 0; i < 104; i++) await setAlias(t.store, "flowers", i % 2 ? "mdl-b-1" : "mdl-a-1");
  const last = await readAlias(t.store, "flowers");
  assert.equal(last?.history.length, 100);
  assert.deepEqual(
    last?.history.slice(0, 2).map((entry) => entry.model),
    ["mdl-a-1", "mdl-b-1"],
  );
});

test("of many writers of one alias each leaves its trace", async () => {
  await using t = await testStore();
  const ids = Array.from({ length: 12 }, (_, i) => `mdl-${String(i).padStart(2, "0")}-1`);
  for (const id of ids) await publishModel(t.store, id, JOB, 1);
  await Promise.all(ids.map((id) => setAlias(t.store, "flowers", id)));
  const record = await readAlias(t.store, "flowers");
  assert.deepEqual([record!.model, ...record!.history.map((entry) => entry.model)].sort(), ids);
});

test("class_indices.json is index to name as the tutorials have it", () => {
  const classes = ["10", "2", "a b", "é", "中"];
  const text = formatClassIndices(classes);
  assert.equal(text.split("\n")[1], '    "0": "10",');
  assert.deepEqual(parseClassIndices(text), classes);
  const many = Array.from({ length: 1000 }, (_, i) => `class ${i}`);
  assert.deepEqual(parseClassIndices(formatClassIndices(many)), many);
});

test("a class index with a gap, or that is none, is refused", () => {
  assert.throws(() => parseClassIndices('{"0": "a", "2": "b"}'), { code: "invalid_checkpoint", message: /index 1/ });
  assert.throws(() => parseClassIndices("{"), { code: "invalid_checkpoint" });
  assert.throws(() => parseClassIndices('["a"]'), { code: "invalid_checkpoint" });
  assert.throws(() => parseClassIndices('{"0": 1}'), { code: "invalid_checkpoint" });
});
