import assert from "node:assert/strict";
import { test } from "node:test";
import { layout, type ObjectStore, resumeRemoval } from "@cardinal/storage";
import {
  ancestorsOf,
  claimCheckpoint,
  deleteModel,
  modelRemoval,
  queryModels,
  readModel,
  setAlias,
  sweepJob,
} from "../src/index.ts";
import { Died, dyingStore, JOB, keysBelow, publishModel, testStore, writeBundle } from "./fixture.ts";

const noJobs = { jobs: async (): Promise<string[]> => [] };

async function publish(store: ObjectStore): Promise<string> {
  const pointer = await claimCheckpoint(store, JOB, 1);
  return (await pointer.announce(await writeBundle(store, JOB, 1))).id;
}

/** The model as if it had been trained from that base on that data set. */
async function derive(store: ObjectStore, id: string, changes: { base?: string; dataset?: string }): Promise<void> {
  await publishModel(store, id, JOB, 1);
  const { manifest } = await readModel(store, id);
  const { base, dataset = "flowers" } = changes;
  const lineage = { ...manifest.lineage, ...(base && { base }), dataset: { name: dataset, version: "0".repeat(64) } };
  await store.put(layout.modelManifest(id), Buffer.from(JSON.stringify({ ...manifest, lineage })));
}

test("a model in use is not deleted, and the refusal names every user", async () => {
  await using t = await testStore();
  const id = await publish(t.store);
  await setAlias(t.store, "best", id);
  await setAlias(t.store, "live", id);
  await assert.rejects(deleteModel(t.store, id, { jobs: async () => ["predict-1"] }), {
    code: "model_in_use",
    message: `the model ${id} is used by the alias best, the alias live, the job predict-1`,
    details: { model: id, aliases: ["best", "live"], jobs: ["predict-1"] },
  });
  await readModel(t.store, id);
  await assert.rejects(deleteModel(t.store, "mdl-none-1", noJobs), { code: "model_not_found" });
});

test("a deleted model leaves no file, and its job's pointer does not bring it back", async () => {
  await using t = await testStore();
  const id = await publish(t.store);
  await deleteModel(t.store, id, { ...noJobs, by: "ann" });
  await sweepJob(t.store, JOB, { keepCheckpoints: true });
  assert.deepEqual(await keysBelow(t.store, ""), [layout.deletedModel(id)]);
  await assert.rejects(readModel(t.store, id), { code: "model_not_found", message: `the model ${id} was deleted` });
  await assert.rejects(setAlias(t.store, "best", id), { code: "model_not_found" });
});

test("a process that dies anywhere leaves a whole model, or one that the next process ends", async () => {
  for (const when of ["before", "after"] as const) {
    for (let step = 0, died = true; died; step++) {
      await using t = await testStore();
      const id = await publish(t.store);
      const dying = dyingStore(t.store, step, when);
      died = await deleteModel(dying.store, id, noJobs).then(
        () => false,
        (error) => {
          assert.ok(error instanceof Died, String(error));
          return true;
        },
      );
      if (!died) break;
      await makeAbandoned(t.store, layout.modelRemoval(id));
      await resumeRemoval(t.store, modelRemoval(t.store, id, noJobs));
      // What was only marked is whole and usable again.
      const files = await keysBelow(t.store, layout.model(id));
      if (files.length > 0) {
        assert.equal(files.length, 5, `${when} step ${step}`);
        await setAlias(t.store, "best", id);
      } else {
        assert.deepEqual(await keysBelow(t.store, ""), [layout.deletedModel(id)], `${when} step ${step}`);
      }
    }
  }
});

/** As if the process had died long ago. */
async function makeAbandoned(store: ObjectStore, key: string): Promise<void> {
  const found = await store.readPointer(key);
  if (found) await store.swapPointer(key, found.etag, { ...(found.value as object), at: new Date(0).toISOString() });
}

test("the lineage goes on over deleted models, and ends at one of which nothing is known", async () => {
  await using t = await testStore();
  await derive(t.store, "mdl-b-1", { base: "mdl-a-1", dataset: "pets" });
  await derive(t.store, "mdl-c-1", { base: "mdl-b-1" });
  await derive(t.store, "mdl-d-1", { base: "mdl-c-1" });
  await deleteModel(t.store, "mdl-b-1", { ...noJobs, by: "ann" });
  const ancestors = await ancestorsOf(t.store, (await readModel(t.store, "mdl-d-1")).manifest);
  assert.deepEqual(
    ancestors.map(({ id, dataset, deletedBy }) => [id, dataset?.name, deletedBy]),
    [
      ["mdl-c-1", "flowers", undefined],
      ["mdl-b-1", "pets", "ann"],
      ["mdl-a-1", undefined, undefined],
    ],
  );
});

test("models are listed newest first, by filter, in pages without gap or double", async () => {
  await using t = await testStore();
  for (let n = 0; n < 23; n++) {
    const dataset = n % 2 ? "pets" : "flowers";
    await derive(t.store, `mdl-${String(n).padStart(2, "0")}-1`, { dataset, ...(n > 20 && { base: "mdl-00-1" }) });
  }
  await setAlias(t.store, "start", "mdl-00-1");
  const ids = async (query: Partial<Parameters<typeof queryModels>[1]>) =>
    (await queryModels(t.store, { limit: 200, ...query })).models.map(({ id }) => id);
  const all = await ids({});
  assert.equal(all.length, 23);
  assert.deepEqual(all, [...all].sort().reverse());
  assert.equal((await ids({ dataset: { name: "pets" } })).length, 11);
  assert.deepEqual(await ids({ dataset: { name: "pets", version: "1".repeat(64) } }), []);
  assert.deepEqual(await ids({ base: "start" }), ["mdl-22-1", "mdl-21-1"]);
  assert.deepEqual(await ids({ base: "start", dataset: { name: "pets" } }), ["mdl-21-1"]);
  assert.deepEqual(await ids({ architecture: "resnet18" }), []);
  const [start] = (await queryModels(t.store, { limit: 5, alias: "start" })).models;
  assert.deepEqual([start?.id, start?.aliases], ["mdl-00-1", ["start"]]);
  await assert.rejects(ids({ alias: "none" }), { code: "model_not_found" });
  for (const limit of [1, 4, 11, 23]) {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await queryModels(t.store, { limit, cursor, dataset: { name: "flowers" } });
      assert.ok(page.models.length <= limit);
      seen.push(...page.models.map(({ id }) => id));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    assert.deepEqual(seen, await ids({ dataset: { name: "flowers" } }));
  }
});
