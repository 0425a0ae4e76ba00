/** Recipes through whole trainings: optimisers, accumulation, and the early ends. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { readModel } from "@cardinal/checkpoint";
import type { TrainPayload } from "@cardinal/contracts";
import { guardLeaks } from "@cardinal/testing";
import { runTraining } from "@cardinal/training";
import { atStep, attempt, coded, payload, type TestStore, testStore, train } from "./support.ts";

guardLeaks();

let files: TestStore;
let dataset: TrainPayload["request"]["dataset"];

before(async () => {
  files = await testStore();
  dataset = await files.digits(40, 20);
});
after(() => files[Symbol.asyncDispose]());

const weights = async (model: string) =>
  (await readModel(files.store, model)).manifest.files["weights.safetensors"].sha256;

test("every optimiser learns, with every value in the recipe of result and bundle", async () => {
  const augment = { crop: "center", flip: 0 };
  for (const optimizer of [
    { name: "adamw", learningRate: 1e-3, weightDecay: 0.1, decayNormAndBias: false },
    { name: "sgd", learningRate: 1e-2, weightDecay: 1e-4, momentum: 0.8 },
  ]) {
    const request = {
      ...{ optimizer, augment, epochs: 3, labelSmoothing: 0.1, classWeights: "balanced" },
      ...{ schedule: { name: "cosine", warmupEpochs: 1 }, earlyStopping: { patience: 3 }, maxRuntimeSeconds: 1000 },
    };
    const { model, recipe, epochs, endedBy } = await train(files.store, payload(dataset, request));
    assert.ok(epochs[2]!.trainLoss < epochs[0]!.trainLoss, JSON.stringify(epochs));
    assert.deepEqual(recipe.optimizer, { decayNormAndBias: true, ...optimizer });
    assert.equal(recipe.classWeights!.length, 10);
    assert.deepEqual(recipe.earlyStopping, { patience: 3, minDelta: 0 });
    assert.deepEqual([recipe.labelSmoothing, recipe.accumulate, recipe.maxRuntimeSeconds], [0.1, 1, 1000]);
    assert.equal(endedBy, "epochs");
    const { lineage } = (await readModel(files.store, model)).manifest;
    assert.deepEqual("recipe" in lineage && lineage.recipe, recipe);
  }
});

test("class weights and label smoothing change what is learnt", async () => {
  const digests = new Set<string>();
  for (const request of [{}, { classWeights: { 3: 5 } }, { labelSmoothing: 0.2 }]) {
    digests.add(await weights((await train(files.store, payload(dataset, { epochs: 1, ...request }))).model));
  }
  assert.equal(digests.size, 3);
});

test("accumulated batches make one step, also across a death", async () => {
  const request = { batchSize: 8, accumulate: 2, epochs: 2 };
  const run = attempt(files.store, payload(dataset, request));
  const undisturbed = await runTraining(run.options);
  const last = run.events.filter((event) => event.type === "progress").at(-1)!;
  assert.deepEqual([last.progress.done, last.progress.total], [6, 6], "40 images: steps of 16, 16 and 8");
  const job = payload(dataset, request);
  const killed = attempt(
    files.store,
    job,
    1,
    atStep(4, () => {
      throw new Error("killed");
    }),
  );
  await assert.rejects(runTraining({ ...killed.options, checkpointSeconds: 0 }), /killed/);
  const resumed = await train(files.store, job, 2);
  assert.equal(resumed.resumedFromStep, 1);
  assert.equal(await weights(resumed.model), await weights(undisturbed.model));
});

test("early stopping ends after its patience, keeps the best, and says so", async () => {
  const request = { epochs: 50, optimizer: { learningRate: 1e-12 }, earlyStopping: { patience: 2 } };
  const run = attempt(files.store, payload(dataset, request));
  const result = await runTraining(run.options);
  assert.equal(result.endedBy, "early-stopping");
  assert.ok(result.epochs.length < 20, `${result.epochs.length} epochs of a network that does not change`);
  const best = Math.max(...result.epochs.map(({ valAccuracy }) => valAccuracy));
  assert.equal(result.valAccuracy, best);
  assert.ok(run.events.some((event) => event.type === "log" && event.message.startsWith("training ends early")));
});

test("maxRuntimeSeconds cuts the epoch short and gives the best so far, also of less than one epoch", async () => {
  const run = attempt(files.store, payload(dataset, { epochs: 1000, batchSize: 4, maxRuntimeSeconds: 0.001 }));
  const short = await runTraining(run.options);
  assert.equal(short.endedBy, "max-runtime");
  assert.equal(short.epochs.length, 1);
  assert.equal(run.events.filter((event) => event.type === "stage" && event.stage === "train_step").length, 1);
  const longer = await train(files.store, payload(dataset, { epochs: 1000, maxRuntimeSeconds: 1.5 }));
  assert.equal(longer.endedBy, "max-runtime");
  assert.ok(longer.epochs.length < 1000 && longer.trainSeconds >= 1.5);
  assert.equal(longer.valAccuracy, Math.max(...longer.epochs.map(({ valAccuracy }) => valAccuracy)));
});

test("class weights that do not suit the data set are refused before any work", async () => {
  await assert.rejects(train(files.store, payload(dataset, { classWeights: [1, 2] })), coded("invalid_request"));
  await assert.rejects(train(files.store, payload(dataset, { classWeights: { ten: 1 } })), /no class "ten"/);
});
