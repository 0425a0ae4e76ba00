import assert from "node:assert/strict";
import { test } from "node:test";
import { layout, type ObjectStore } from "@cardinal/storage";
import { claimCheckpoint, listModels, modelId, readModel, rollForward, sweepJob } from "../src/index.ts";
import { collect, Died, dyingStore, JOB, keysBelow, testStore, writeBundle } from "./fixture.ts";

/** What an attempt of a training job does at its end. Gives the id of the job's model. */
async function finishJob(store: ObjectStore, attempt: number): Promise<string> {
  const pointer = await claimCheckpoint(store, JOB, attempt);
  const published = await rollForward(store, JOB);
  if (published) return published.id;
  const key = layout.checkpoint(JOB, attempt, 1, "last");
  const { sha256 } = await store.put(key, Buffer.from("tensors"));
  await pointer.update({ last: { key, sha256, step: 1 } });
  return (await pointer.announce(await writeBundle(store, JOB, attempt))).id;
}

async function assertOneWholeModel(store: ObjectStore, id: string): Promise<void> {
  const models = await collect(listModels(store));
  assert.deepEqual(
    models.map((model) => model.id),
    [id],
  );
  const files = Object.entries(models[0]!.manifest.files);
  assert.equal(files.length, 4);
  for (const [file, { sha256 }] of files) await store.read(`models/${id}/${file}`, { sha256 });
  assert.deepEqual(await keysBelow(store, "models/"), await keysBelow(store, `models/${id}/`));
}

for (const when of ["before", "after"] as const) {
  test(`a process that dies ${when} any change while it publishes: the next one ends with one model`, async () => {
    let step = 0;
    for (let died = true; died; step++) {
      await using t = await testStore();
      const dying = dyingStore(t.store, step, when);
      await finishJob(dying.store, 1).catch((error) => assert.ok(error instanceof Died, error));
      died = dying.died();
      const id = await finishJob(t.store, 2);
      await sweepJob(t.store, JOB, { keepCheckpoints: false });
      await assertOneWholeModel(t.store, id);
      assert.deepEqual(await keysBelow(t.store, layout.checkpoints(JOB)), []);
    }
    assert.ok(step > 8, `only ${step} steps were tried`);
  });

  test(`a sweep that dies ${when} any change can be done again`, async () => {
    let step = 0;
    for (let died = true; died; step++) {
      await using t = await testStore();
      await writeBundle(t.store, JOB, 1);
      const id = await finishJob(t.store, 2);
      await t.store.delete(layout.modelManifest(id)); // announced, but its writer died
      const dying = dyingStore(t.store, step, when);
      await sweepJob(dying.store, JOB, { keepCheckpoints: false }).catch((error) =>
        assert.ok(error instanceof Died, error),
      );
      died = dying.died();
      await sweepJob(t.store, JOB, { keepCheckpoints: false });
      await assertOneWholeModel(t.store, id);
      assert.deepEqual(await keysBelow(t.store, layout.checkpoints(JOB)), []);
    }
    assert.ok(step > 4, `only ${step} steps were tried`);
  });
}

test("the first bundle that is announced stays the job's model", async () => {
  await using t = await testStore();
  const first = await claimCheckpoint(t.store, JOB, 1);
  const manifest = await writeBundle(t.store, JOB, 1);
  await first.announce(manifest);
  assert.deepEqual(await first.announce(manifest), manifest);
  const second = await claimCheckpoint(t.store, JOB, 2);
  assert.deepEqual(second.publish, manifest);
  assert.deepEqual(await second.announce(await writeBundle(t.store, JOB, 2)), manifest);
  assert.equal((await readModel(t.store, manifest.id)).id, modelId(JOB, 1));
  await assert.rejects(readModel(t.store, modelId(JOB, 2)), { code: "model_not_found" });
});

test("rolling forward gives nothing while nothing is announced", async () => {
  await using t = await testStore();
  await claimCheckpoint(t.store, JOB, 1);
  await writeBundle(t.store, JOB, 1);
  assert.equal(await rollForward(t.store, JOB), undefined);
  assert.deepEqual(await collect(listModels(t.store)), []);
});

test("a bundle with a missing or short file cannot be announced", async () => {
  await using t = await testStore();
  const pointer = await claimCheckpoint(t.store, JOB, 1);
  const manifest = await writeBundle(t.store, JOB, 1);
  await t.store.put(layout.modelFile(manifest.id, "model.onnx"), Buffer.from("short"));
  await t.store.delete(layout.modelFile(manifest.id, "report.json"));
  await assert.rejects(pointer.announce(manifest), {
    code: "object_not_found",
    details: { missing: ["model.onnx", "report.json"] },
  });
  assert.equal(await rollForward(t.store, JOB), undefined);
});

test("an attempt cannot announce a bundle of another attempt or job", async () => {
  await using t = await testStore();
  const pointer = await claimCheckpoint(t.store, JOB, 2);
  await assert.rejects(pointer.announce(await writeBundle(t.store, JOB, 1)), { code: "internal_error" });
});

test("a sweep that keeps checkpoints keeps those that a retry continues from, and fences the writer off", async () => {
  await using t = await testStore();
  const pointer = await claimCheckpoint(t.store, JOB, 1);
  const key = layout.checkpoint(JOB, 1, 5, "last");
  const { sha256 } = await t.store.put(key, Buffer.from("tensors"));
  await pointer.update({ last: { key, sha256, step: 5 } });
  await t.store.put(layout.checkpoint(JOB, 1, 6, "last"), Buffer.from("never pointed to"));
  const manifest = await writeBundle(t.store, JOB, 1);

  assert.equal(await sweepJob(t.store, JOB, { keepCheckpoints: true }), 4);
  assert.deepEqual(await keysBelow(t.store, "models/"), []);
  assert.deepEqual(await keysBelow(t.store, layout.checkpoints(JOB)), [key, layout.checkpointLatest(JOB)]);
  await assert.rejects(pointer.update({ last: { key, sha256, step: 7 } }), { code: "fenced" });
  await assert.rejects(pointer.announce(manifest));
  assert.equal((await claimCheckpoint(t.store, JOB, 2)).checkpoint?.last.key, key);
});

test("a sweep leaves other jobs and attempts with a longer number alone", async () => {
  await using t = await testStore();
  const other = "train-01jd0000000000000000000001";
  const mine = await claimCheckpoint(t.store, JOB, 11);
  const manifest = await mine.announce(await writeBundle(t.store, JOB, 11));
  await writeBundle(t.store, JOB, 1);
  const theirs = await writeBundle(t.store, other, 1);
  await sweepJob(t.store, JOB, { keepCheckpoints: false });
  assert.deepEqual(await collect(t.store.listFolders("models/")), [manifest.id, theirs.id]);
});

test("sweeping a failed job again and again changes nothing and fences no retry off", async () => {
  await using t = await testStore();
  const pointer = await claimCheckpoint(t.store, JOB, 1);
  const key = layout.checkpoint(JOB, 1, 5, "last");
  const { sha256 } = await t.store.put(key, Buffer.from("tensors"));
  await pointer.update({ last: { key, sha256, step: 5 } });
  await sweepJob(t.store, JOB, { keepCheckpoints: true });
  await pointer.update({ last: { key, sha256, step: 6 } });
});
