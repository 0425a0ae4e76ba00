import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { decodeSafetensors, readCheckpoint, readModel } from "@cardinal/checkpoint";
import { modelReportSchema, type TrainPayload, type WorkEvent } from "@cardinal/contracts";
import { architecture, parameterSpecs } from "@cardinal/resnext";
import { tf } from "@cardinal/resnext/tfjs";
import { layout } from "@cardinal/storage";
import { digitImages, guardLeaks } from "@cardinal/testing";
import { EXPORT_TOLERANCE, runTraining } from "@cardinal/training";
import { atStep, attempt, collect, payload, SMALL, type TestStore, testStore, train } from "./support.ts";

guardLeaks();

let files: TestStore;
let dataset: TrainPayload["request"]["dataset"];

before(async () => {
  files = await testStore();
  dataset = await files.digits(40, 20);
});
after(() => files[Symbol.asyncDispose]());

/** Digest of a model's weights file. */
async function weights(model: string): Promise<string> {
  return (await readModel(files.store, model)).manifest.files["weights.safetensors"].sha256;
}

const kill = (): never => {
  throw new Error("killed");
};

test("a training publishes a whole bundle and tells what it did", async () => {
  const job = payload(dataset, { alias: "digits", epochs: 2 });
  const run = attempt(files.store, job);
  const result = await runTraining(run.options);

  assert.equal(result.epochs.length, 2);
  assert.ok(
    result.exportError > 0 && result.exportError <= EXPORT_TOLERANCE / 100,
    `export error ${result.exportError}`,
  );
  assert.deepEqual(result.classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
  assert.deepEqual(result.recipe.transform.resize, 28);
  assert.equal(result.resumedFromStep, undefined);
  assert.ok(result.trainSeconds > 0);

  const { id, manifest } = await readModel(files.store, "digits");
  assert.equal(id, result.model);
  assert.equal(manifest.metrics!.valAccuracy, result.valAccuracy);
  assert.ok("recipe" in manifest.lineage);
  assert.deepEqual(manifest.lineage.dataset, dataset);
  for (const [file, { sha256, bytes }] of Object.entries(manifest.files)) {
    const content = await files.store.read(`${layout.model(id)}${file}`);
    assert.equal(content.length, bytes);
    assert.equal(createHash("sha256").update(content).digest("hex"), sha256, file);
  }
  const report = modelReportSchema.parse(
    JSON.parse((await files.store.read(layout.modelFile(id, "report.json"))).toString()),
  );
  const total = report.confusion.flat().reduce((sum, count) => sum + count, 0);
  const right = report.confusion.reduce((sum, row, index) => sum + row[index]!, 0);
  assert.equal(total, 20);
  assert.equal(right / total, result.valAccuracy);
  assert.equal(report.training?.evaluatedOn, "val");
  assert.equal(report.evaluation!.top1, result.valAccuracy);
  assert.equal(report.evaluation!.mistakes.length, Math.min(20, total - right));
  assert.ok(
    report.evaluation!.mistakes.every(({ thumbnail }) => thumbnail?.width === 28),
    "thumbnails of images in the store",
  );
  assert.deepEqual(report.duplicates, { contents: 0, validationImages: 0, otherClass: 0, examples: [] });
  assert.deepEqual(
    report.phases!.flatMap(({ phase, images }) => (images === undefined ? [] : [[phase, images]])),
    [
      ["train", 80],
      ["validate", 40],
      ["judge", 20],
    ],
  );
  const html = (await files.store.read(layout.modelFile(id, "report.html"))).toString();
  assert.ok(html.startsWith("<!doctype html>") && html.includes(id), html.slice(0, 200));

  assert.equal(imagesOf(run.events, "train"), 80);
  assert.equal(imagesOf(run.events, "validate"), 40);
  const stages = new Set(run.events.flatMap((event) => (event.type === "stage" ? [event.stage] : [])));
  for (const stage of ["read", "decode", "train_step", "validate", "checkpoint", "export"] as const) {
    assert.ok(stages.has(stage), stage);
  }
  const progress = run.events.flatMap((event) => (event.type === "progress" ? [event.progress] : []));
  assert.deepEqual([...new Set(progress.map(({ phase }) => phase))], ["training", "validating", "exporting"]);
  assert.deepEqual([progress.at(-1)!.done, progress.at(-1)!.total, progress.at(-1)!.percent], [6, 6, 100]);
});

test("the weights are a torchvision state_dict, those of the best epoch", async () => {
  const job = payload(dataset, { epochs: 2 });
  const { model, bestEpoch } = await train(files.store, job);
  const { tensors, metadata } = decodeSafetensors(
    await files.store.read(layout.modelFile(model, "weights.safetensors")),
  );
  assert.deepEqual(metadata, { format: "pt" });
  const specs = parameterSpecs(architecture(SMALL), 10);
  assert.deepEqual(
    specs.map(({ name, shape }) => [name, [...shape]]),
    specs.map(({ name }) => [name, [...tensors.get(name)!.shape]]),
  );
  assert.equal(tensors.size, specs.length);
  const best = (await readCheckpoint(files.store, job.job))?.checkpoint?.best;
  assert.equal(best?.step, bestEpoch * 3);
  const saved = decodeSafetensors(await files.store.read(best!.key)).tensors;
  for (const { name } of specs) assert.deepEqual(tensors.get(name), saved.get(`model.${name}`), name);
});

test("the same seed gives the same weights, another seed others", async () => {
  const request = { epochs: 1, augment: { crop: "random-resized", flip: 0.5 } };
  const [first, second, other] = [
    await train(files.store, payload(dataset, request)),
    await train(files.store, payload(dataset, request)),
    await train(files.store, payload(dataset, { ...request, seed: 1 })),
  ];
  assert.equal(await weights(first.model), await weights(second.model));
  assert.notEqual(await weights(first.model), await weights(other.model));
});

for (const crop of ["random-resized", "center"]) {
  test(`a job killed twice ends as an undisturbed one, bit for bit (${crop})`, async () => {
    const request = { augment: { crop, flip: 0.5 }, schedule: { name: "cosine" } };
    const undisturbed = await train(files.store, payload(dataset, request));
    const job = payload(dataset, request);
    const first = attempt(files.store, job, 1, atStep(3, kill));
    await assert.rejects(runTraining({ ...first.options, checkpointSeconds: 0 }), /killed/);
    assert.equal((await readCheckpoint(files.store, job.job))?.checkpoint?.last.step, 2, "in the middle of epoch 1");
    const second = attempt(files.store, job, 2, atStep(3, kill));
    await assert.rejects(runTraining({ ...second.options, checkpointSeconds: 0 }), /killed/);
    assert.equal((await readCheckpoint(files.store, job.job))?.checkpoint?.last.step, 4, "in the middle of epoch 2");
    const result = await train(files.store, job, 3);
    assert.equal(result.resumedFromStep, 4);
    assert.equal(await weights(result.model), await weights(undisturbed.model));
    const figures = ({ epochs }: typeof result) =>
      epochs.map(({ seconds: _, imagesPerSecond: __, trainSeconds: ___, ...rest }) => rest);
    assert.deepEqual(figures(result), figures(undisturbed));
  });
}

test("only the last and the best checkpoint are kept", async () => {
  const job = payload(dataset, { epochs: 3 });
  await runTraining({ ...attempt(files.store, job).options, checkpointSeconds: 0 });
  const checkpoint = (await readCheckpoint(files.store, job.job))?.checkpoint;
  const kept = (await collect(files.store.list(layout.checkpoints(job.job)))).map(({ key }) => key);
  const expected = new Set([checkpoint!.last.key, checkpoint!.best!.key, layout.checkpointLatest(job.job)]);
  assert.deepEqual(kept.sort(), [...expected].sort());
});

test("17 images in batches of 16: nothing is lost, and the last batch of one does no harm", async () => {
  const small = await files.digits(17, 10);
  const run = attempt(files.store, payload(small, { epochs: 1 }));
  const { epochs } = await runTraining(run.options);
  assert.equal(run.events.filter((event) => event.type === "stage" && event.stage === "train_step").length, 2);
  assert.equal(imagesOf(run.events, "train"), 17);
  assert.ok(Number.isFinite(epochs[0]!.trainLoss));
});

test("a set without validation images is judged on its training images, and says so", async () => {
  const images = (await collect(digitImages({ train: 10, val: 0 }))).map(({ name, data }) => {
    return { name: name.replace("train/", ""), data };
  });
  const single = await files.ingest("one-each", images);
  const run = attempt(files.store, payload(single, { epochs: 1 }));
  const result = await runTraining(run.options);
  assert.ok(Number.isFinite(result.valAccuracy));
  assert.ok(run.events.some((event) => event.type === "log" && event.level === "warn"));
  const report = await files.store.read(layout.modelFile(result.model, "report.json"));
  assert.equal(modelReportSchema.parse(JSON.parse(report.toString())).training?.evaluatedOn, "train");
});

test("tensors do not pile up from job to job", async () => {
  const tiny = await files.digits(10, 10);
  const counts: number[] = [];
  for (let job = 0; job < 20; job++) {
    const run = attempt(
      files.store,
      payload(tiny, { epochs: 1, batchSize: 5 }),
      1,
      job % 2 ? atStep(2, kill) : undefined,
    );
    await runTraining(run.options).catch((error: Error) => assert.equal(error.message, "killed"));
    counts.push(tf.memory().numTensors);
  }
  assert.deepEqual(new Set(counts.slice(2)).size, 1, `tensors after each job: ${counts}`);
});

function imagesOf(events: WorkEvent[], stage: string): number {
  return events.reduce((sum, event) => (event.type === "images" && event.stage === stage ? sum + event.count : sum), 0);
}
