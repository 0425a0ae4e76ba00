import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TrainPayload } from "@cardinal/contracts";
import { readManifest } from "@cardinal/dataset";
import { layout } from "@cardinal/storage";
import { digitImages, guardLeaks } from "@cardinal/testing";
import { runTraining } from "@cardinal/training";
import { attempt, coded, collect, payload, type TestStore, testStore, train } from "./support.ts";

guardLeaks();

let files: TestStore;
let dataset: TrainPayload["request"]["dataset"];

before(async () => {
  files = await testStore();
  dataset = await files.digits(20, 10);
});
after(() => files[Symbol.asyncDispose]());

const digits = () => collect(digitImages({ train: 10, val: 0 }));

test("a set without labels cannot be trained on", async () => {
  const flat = (await digits()).map(({ data }, index) => ({ name: `${index}.png`, data }));
  const unlabelled = await files.ingest("flat", flat);
  await assert.rejects(train(files.store, payload(unlabelled)), coded("dataset_not_trainable"));
});

test("a classifier of one class is refused", async () => {
  const same = (await digits()).map(({ data }, index) => ({ name: `train/seven/${index}.png`, data }));
  // ingest refuses such a set itself, or stores it for batch prediction
  const single = await files.ingest("one-class", same).catch((error: unknown) => {
    assert.ok(coded("single_class")(error), String(error));
  });
  if (single) await assert.rejects(train(files.store, payload(single)), coded("single_class"));
});

test("a set that is not there is named", async () => {
  const missing = { name: "nowhere", version: "0".repeat(64) };
  await assert.rejects(train(files.store, payload(missing)), coded("dataset_not_found"));
});

test("images too small for the network are refused before any work", async () => {
  const run = attempt(files.store, payload(dataset, { architecture: "resnext50_32x4d", imageSize: 16 }));
  await assert.rejects(runTraining(run.options), coded("image_size_too_small"));
  assert.deepEqual(run.events, []);
});

test("frozen stages need a base, and the base has to be there", async () => {
  await assert.rejects(train(files.store, payload(dataset, { trainable: "head" })), coded("base_required"));
  await assert.rejects(train(files.store, payload(dataset, { base: "mdl-x" })), coded("model_not_found"));
});

for (const [what, code, replacement] of [
  ["lost", "image_not_found", undefined],
  ["damaged", "digest_mismatch", Buffer.from("not what it was")],
] as const) {
  test(`an image that was ${what} since the ingest is named`, async () => {
    const [row] = await collect(readManifest(files.store, dataset.name, dataset.version, "train"));
    const key = layout.blob(row!.sha256);
    const bytes = await files.store.read(key);
    await (replacement ? files.store.put(key, replacement) : files.store.delete(key));
    try {
      await assert.rejects(train(files.store, payload(dataset)), (error: unknown) => {
        assert.ok(coded(code)(error), String(error));
        assert.ok((error as Error).message.includes(row!.path), (error as Error).message);
        return true;
      });
    } finally {
      await files.store.put(key, bytes);
    }
  });
}
