import assert from "node:assert/strict";
import { test } from "node:test";
import { layout } from "@cardinal/storage";
import { deleteAlias, deleteModel, readAlias, rollBackAlias, setAlias } from "../src/index.ts";
import { JOB, publishModel, testStore } from "./fixture.ts";

const noJobs = { jobs: async () => [] };

async function storeWith(...ids: string[]) {
  const t = await testStore();
  for (const id of ids) await publishModel(t.store, id, JOB, 1);
  return t;
}

test("each roll-back leads one step further into the past; a new move starts from there", async () => {
  await using t = await storeWith("mdl-a-1", "mdl-b-1", "mdl-c-1", "mdl-d-1");
  for (const id of ["mdl-a-1", "mdl-b-1", "mdl-c-1"]) await setAlias(t.store, "best", id, { by: "ann" });
  const back = await rollBackAlias(t.store, "best", { by: "bob" });
  assert.deepEqual([back.model, back.updatedBy, back.revision], ["mdl-b-1", "bob", 4]);
  assert.deepEqual(
    back.history.map(({ model, updatedBy, rolledBack }) => [model, updatedBy, rolledBack]),
    [
      ["mdl-c-1", "ann", true],
      ["mdl-a-1", "ann", undefined],
    ],
  );
  assert.equal((await rollBackAlias(t.store, "best")).model, "mdl-a-1");
  await assert.rejects(rollBackAlias(t.store, "best"), { code: "no_former_model" });
  await setAlias(t.store, "best", "mdl-d-1");
  assert.equal((await rollBackAlias(t.store, "best")).model, "mdl-a-1");
  await assert.rejects(rollBackAlias(t.store, "none"), { code: "alias_not_found" });
});

test("roll-backs at the same time take a step each", async () => {
  const ids = Array.from({ length: 9 }, (_, n) => `mdl-${n}-1`);
  await using t = await storeWith(...ids);
  for (const id of ids) await setAlias(t.store, "best", id);
  await Promise.all(Array.from({ length: 8 }, () => rollBackAlias(t.store, "best")));
  const record = await readAlias(t.store, "best");
  assert.equal(record?.model, "mdl-0-1");
  assert.deepEqual(
    record?.history.map(({ model }) => model),
    ids.slice(1),
  );
});

test("a revision that one has seen is the only one that is moved, rolled back or removed", async () => {
  await using t = await storeWith("mdl-a-1", "mdl-b-1");
  await assert.rejects(setAlias(t.store, "best", "mdl-a-1", { revision: 1 }), { code: "alias_changed" });
  assert.equal((await setAlias(t.store, "best", "mdl-a-1", { revision: 0 })).revision, 1);
  const movers = await Promise.allSettled([
    setAlias(t.store, "best", "mdl-b-1", { revision: 1 }),
    rollBackAlias(t.store, "best", { revision: 0 }),
    setAlias(t.store, "best", "mdl-b-1", { revision: 1 }),
  ]);
  assert.equal(movers.filter(({ status }) => status === "fulfilled").length, 1);
  await assert.rejects(deleteAlias(t.store, "best", { revision: 1 }), { code: "alias_changed" });
  await deleteAlias(t.store, "best", { revision: 2 });
  await assert.rejects(deleteAlias(t.store, "best"), { code: "alias_not_found" });
});

test("there is no way back to a deleted model", async () => {
  await using t = await storeWith("mdl-a-1", "mdl-b-1");
  await setAlias(t.store, "best", "mdl-a-1");
  const before = await setAlias(t.store, "best", "mdl-b-1");
  await deleteModel(t.store, "mdl-a-1", noJobs);
  await assert.rejects(rollBackAlias(t.store, "best"), { code: "model_not_found", message: /was deleted/ });
  assert.deepEqual(await readAlias(t.store, "best"), before);
});

test("a record of before revisions is read", async () => {
  await using t = await storeWith("mdl-a-1", "mdl-b-1");
  const old = { alias: "best", model: "mdl-a-1", updatedAt: new Date(0).toISOString(), history: [] };
  await t.store.swapPointer(layout.alias("best"), undefined, old);
  assert.equal((await readAlias(t.store, "best"))?.revision, 0);
  assert.equal((await setAlias(t.store, "best", "mdl-b-1")).revision, 1);
});

test("an alias and a deletion at the same moment: an alias never points to a deleted model", async () => {
  for (let round = 0; round < 25; round++) {
    await using t = await storeWith("mdl-a-1", "mdl-b-1");
    await setAlias(t.store, "best", "mdl-a-1");
    const [moved, deleted] = await Promise.allSettled([
      setAlias(t.store, "best", "mdl-b-1"),
      deleteModel(t.store, "mdl-b-1", noJobs),
    ]);
    const record = await readAlias(t.store, "best");
    const isThere = (await t.store.stat(layout.modelManifest("mdl-b-1"))) !== undefined;
    assert.equal(isThere, deleted.status === "rejected");
    if (record?.model === "mdl-b-1") assert.ok(isThere, `round ${round}: a dangling alias`);
    else assert.deepEqual([record?.model, moved.status], ["mdl-a-1", "rejected"]);
  }
});
