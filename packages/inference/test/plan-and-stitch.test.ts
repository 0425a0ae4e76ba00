import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type DatasetVersion,
  type ErrorRow,
  isErrorRow,
  type PredictPayload,
  type ResultRow,
  type ShardInput,
  shardInputSchema,
} from "@cardinal/contracts";
import { blobReader } from "@cardinal/dataset";
import { layout, type ObjectStore } from "@cardinal/storage";
import {
  checkFailureRate,
  type PlannedShard,
  planShards,
  readPlan,
  stitchParts,
  unfinishedShards,
} from "../src/batch.ts";
import { predictShard } from "../src/index.ts";
import { type Bench, digits, JOB, publishModel, readRows, testBench } from "./fixture.ts";

const version = "1".repeat(64);

function payloadOf(model: string, source: Pick<PredictPayload, "dataset" | "imageList">): PredictPayload {
  return { v: 1, job: JOB, model, topK: 2, maxFailureRate: 1, priority: 100, ...source };
}

/** A data set version with a val split of these inputs, each of so many bytes. */
async function putSplit(store: ObjectStore, inputs: ShardInput[], bytes = 300): Promise<PredictPayload["dataset"]> {
  const rows = inputs.map(({ image, sha256, label }) => {
    const row = { path: image, split: "val", class: label, sha256, bytes, width: 28, height: 28, format: "png" };
    return `${JSON.stringify(row)}\n`;
  });
  await store.put(layout.splitManifest("digits", version, "val"), Buffer.from(rows.join("")));
  const none = { count: 0, examples: [] };
  const report: DatasetVersion["report"] = {
    images: rows.length,
    bytes: rows.length * bytes,
    splits: { val: rows.length },
    classes: [],
    junk: none,
    skipped: none,
    duplicates: { ...none, acrossSplits: 0 },
    warnings: [],
    valDrawn: false,
  };
  const dataset: DatasetVersion = {
    name: "digits",
    version,
    createdAt: new Date().toISOString(),
    classes: digits,
    report,
  };
  await store.put(layout.dataset("digits", version), Buffer.from(JSON.stringify(dataset)));
  return { name: "digits", version, split: "val" };
}

async function inputsOf(store: ObjectStore, shards: PlannedShard[]): Promise<ShardInput[]> {
  const lines = await Promise.all(shards.map(async ({ inputs }) => (await store.read(inputs)).toString().split("\n")));
  return lines
    .flat()
    .filter((line) => line !== "")
    .map((line) => shardInputSchema.parse(JSON.parse(line)));
}

async function predictAll(bench: Bench, payload: PredictPayload, shards: PlannedShard[]): Promise<void> {
  const read = blobReader(bench.store, { memoryBytes: 1e6 });
  for (const shard of shards) {
    const { job, model, topK } = payload;
    const options = { store: bench.store, models: bench.models, read, batchSize: 4, emit: () => {} };
    await predictShard({ ...options, payload: { v: 1, job, model, topK, ...shard } });
  }
}

test("a split is cut by count, in order, without loss", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(23);
  const payload = payloadOf(model, { dataset: await putSplit(bench.store, inputs) });
  const plan = await planShards({ store: bench.store, cut: "run-1", payload, maxImages: 10 });
  assert.equal(plan.images, 23);
  assert.deepEqual(
    plan.shards.map(({ shard, images }) => [shard, images]),
    [
      [0, 10],
      [1, 10],
      [2, 3],
    ],
  );
  assert.deepEqual(await inputsOf(bench.store, plan.shards), inputs);
});

test("a split is cut by bytes; a single large image is a shard of its own", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(5);
  const payload = payloadOf(model, { dataset: await putSplit(bench.store, inputs, 300) });
  const byTwo = await planShards({ store: bench.store, cut: "run-1", payload, maxBytes: 700 });
  assert.deepEqual(
    byTwo.shards.map(({ images }) => images),
    [2, 2, 1],
  );
  const other = { ...payload, job: "predict-01jd0000000000000000000001" };
  const byOne = await planShards({ store: bench.store, cut: "run-1", payload: other, maxBytes: 100 });
  assert.deepEqual(
    byOne.shards.map(({ images }) => images),
    [1, 1, 1, 1, 1],
  );
});

test("many predictions for each image make small shards", async () => {
  await using bench = await testBench();
  const classes = Array.from({ length: 20_000 }, (_, i) => `class ${i}`);
  const model = await publishModel(bench.store, { classes });
  const inputs = await bench.putDigits(30);
  const payload = { ...payloadOf(model, { dataset: await putSplit(bench.store, inputs) }), topK: "all" as const };
  const plan = await planShards({ store: bench.store, cut: "run-1", payload });
  assert.deepEqual(
    plan.shards.map(({ images }) => images),
    [25, 5],
  );
});

test("a complete plan is kept whatever the limits of a later planner; an incomplete one is made anew", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(10);
  const payload = payloadOf(model, { dataset: await putSplit(bench.store, inputs) });
  const first = await planShards({ store: bench.store, cut: "run-1", payload, maxImages: 4 });
  assert.deepEqual(await planShards({ store: bench.store, cut: "run-2", payload, maxImages: 5 }), first);
  await bench.store.delete(layout.predictionPlan(JOB));
  assert.equal(await readPlan(bench.store, JOB), undefined);
  const again = await planShards({ store: bench.store, cut: "run-3", payload, maxImages: 5 });
  assert.deepEqual(
    again.shards.map(({ images }) => images),
    [5, 5],
  );
  assert.deepEqual(await inputsOf(bench.store, again.shards), inputs);
});

test("of planners at once with different limits one wins, and its shards are whole", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(50);
  const payload = payloadOf(model, { dataset: await putSplit(bench.store, inputs) });
  const plans = await Promise.all(
    [3, 7, 11, 4, 9].map((maxImages, run) => planShards({ store: bench.store, cut: `run-${run}`, payload, maxImages })),
  );
  for (const plan of plans) assert.deepEqual(plan, plans[0]);
  assert.deepEqual(await inputsOf(bench.store, plans[0]!.shards), inputs);
  const folders: string[] = [];
  for await (const folder of bench.store.listFolders(layout.allInputs(JOB))) folders.push(folder);
  assert.deepEqual(folders, [(await readPlan(bench.store, JOB))!.cut], "the losers clean up after themselves");
});

test("a list of digests: the digest is the name, and a digest that is not there is an error row", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const [a, b] = await bench.putDigits(2);
  const gone = "d".repeat(64);
  await bench.store.put("uploads/list", Buffer.from(JSON.stringify([b!.sha256, gone, a!.sha256, b!.sha256])));
  const payload = payloadOf(model, { imageList: "uploads/list" });
  const plan = await planShards({ store: bench.store, cut: "run-1", payload, maxImages: 3 });
  await predictAll(bench, payload, plan.shards);
  const { summary } = await stitchParts({
    store: bench.store,
    job: JOB,
    model,
    classes: digits,
    topK: 2,
    output: "classes",
    startedAt: Date.now(),
  });
  const rows = await readRows(bench.store, layout.rows(JOB));
  assert.deepEqual(
    rows.map((row) => row.image),
    [b!.sha256, gone, a!.sha256, b!.sha256],
  );
  assert.equal((rows[1] as ErrorRow).code, "image_not_found");
  assert.equal(summary.accuracy, undefined, "without labels there is no accuracy");
  assert.deepEqual([summary.images, summary.succeeded, summary.failed, summary.shards], [4, 3, 1, 2]);
});

test("what cannot be planned is refused", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const plan = (payload: PredictPayload) => planShards({ store: bench.store, cut: "run-1", payload });
  await assert.rejects(plan(payloadOf("mdl-none-1", { imageList: "uploads/list" })), { code: "model_not_found" });
  await assert.rejects(plan(payloadOf(model, {})), { code: "invalid_request" });
  await bench.store.put("uploads/list", Buffer.from('["../x"]'));
  await assert.rejects(plan(payloadOf(model, { imageList: "uploads/list" })), { code: "invalid_request" });
  const dataset = await putSplit(bench.store, []);
  await assert.rejects(plan(payloadOf(model, { dataset })), { code: "no_images" });
  assert.equal(await readPlan(bench.store, JOB), undefined);
});

test("100,000 images are planned in seconds, and only some of them are in memory at a time", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = Array.from({ length: 100_000 }, (_, i) => {
    return { image: `val/${i % 10}/${i}.png`, sha256: i.toString(16).padStart(64, "0"), label: digits[i % 10] };
  });
  const payload = payloadOf(model, { dataset: await putSplit(bench.store, inputs) });
  const start = performance.now();
  const before = process.memoryUsage().rss;
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 20);
  const plan = await planShards({ store: bench.store, cut: "run-1", payload });
  clearInterval(timer);
  const grown = (most - before) / 2 ** 20;
  assert.ok(grown < 200, `planning took ${grown.toFixed(0)} MB`);
  const seconds = (performance.now() - start) / 1000;
  assert.equal(plan.images, 100_000);
  assert.equal(plan.shards.length, 391);
  assert.deepEqual(await inputsOf(bench.store, plan.shards.slice(-1)), inputs.slice(-160));
  assert.ok(seconds < 20, `it took ${seconds} s`);
});

test("parts become rows in input order, error rows are listed apart, and the summary counts them", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(23);
  inputs[5] = { ...inputs[5]!, sha256: await bench.putImage(Buffer.from("no image")) };
  inputs[22] = { ...inputs[22]!, sha256: "c".repeat(64) };
  const payload = payloadOf(model, { dataset: await putSplit(bench.store, inputs) });
  const { shards } = await planShards({ store: bench.store, cut: "run-1", payload, maxImages: 6 });
  await predictAll(bench, payload, shards.toReversed()); // shards end in any order
  const startedAt = Date.now() - 2000;
  const result = await stitchParts({
    store: bench.store,
    job: JOB,
    model,
    classes: digits,
    topK: 2,
    output: "classes",
    startedAt,
  });
  const rows = await readRows(bench.store, layout.rows(JOB));
  assert.deepEqual(
    rows.map((row) => row.image),
    inputs.map((input) => input.image),
  );
  assert.deepEqual(await readRows(bench.store, layout.errors(JOB)), rows.filter(isErrorRow));
  assert.deepEqual(
    rows.filter(isErrorRow).map((row) => row.code),
    ["not_an_image", "image_not_found"],
  );

  const answers = rows.filter((row): row is ResultRow => !isErrorRow(row));
  const { summary, missing } = result;
  assert.deepEqual(missing, []);
  const { seconds, imagesPerSecond, classCounts, confidence, stageSeconds, ...rest } = summary;
  const accuracy = answers.filter((row) => row.class === row.label).length / 21;
  assert.deepEqual(rest, { model, images: 23, succeeded: 21, failed: 2, accuracy, shards: 4 });
  const tenths = answers.map((row) => Math.min(9, Math.floor(row.probability * 10)));
  assert.deepEqual(
    confidence,
    Array.from({ length: 10 }, (_, bin) => tenths.filter((tenth) => tenth === bin).length),
  );
  assert.deepEqual(Object.keys(stageSeconds!).sort(), ["decode", "infer", "read", "transform"]);
  assert.deepEqual(
    classCounts.map((entry) => entry.class),
    digits,
  );
  for (const entry of classCounts) {
    assert.equal(entry.images, answers.filter((row) => row.class === entry.class).length);
  }
  assert.ok(seconds >= 2 && Math.abs(imagesPerSecond - 23 / seconds) < 1e-9);

  checkFailureRate(summary, 2 / 23);
  assert.throws(() => checkFailureRate(summary, 1 / 23), { code: "too_many_failures", message: /^2 of 23 images/ });
});

test("shards that are lost are reported with their places, and done again they complete the rows", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(20);
  const payload = payloadOf(model, { dataset: await putSplit(bench.store, inputs) });
  const { shards } = await planShards({ store: bench.store, cut: "run-1", payload, maxImages: 6 });
  await predictAll(
    bench,
    payload,
    shards.filter(({ shard }) => shard !== 1),
  );
  const left = await unfinishedShards(bench.store, JOB, shards, false);
  assert.deepEqual(
    left.map(({ shard }) => shard),
    [1],
  );
  const stitch = () =>
    stitchParts({
      store: bench.store,
      job: JOB,
      model,
      classes: digits,
      topK: 2,
      output: "classes",
      startedAt: Date.now(),
      failures: new Map([[1, "worker_died: again and again"]]),
    });
  const first = await stitch();
  assert.deepEqual(first.missing, [{ shard: 1, first: 6, images: 6, reason: "no part" }]);
  assert.deepEqual([first.summary.images, first.summary.failed], [20, 6]);
  const names = inputs.map((input) => input.image);
  const shown = await readRows(bench.store, layout.rows(JOB));
  assert.deepEqual(
    shown.map((row) => row.image),
    names,
    "an input without an answer has an error row in its place",
  );
  const lost = await readRows(bench.store, layout.errors(JOB));
  assert.deepEqual(
    lost.map((row) => row.image),
    names.slice(6, 12),
  );
  assert.deepEqual(
    [...new Set(lost.map((row) => isErrorRow(row) && `${row.code} ${row.message}`))],
    ["shard_lost shard 1 failed for good: worker_died: again and again"],
  );

  await predictAll(
    bench,
    payload,
    first.missing.map(({ shard }) => shards[shard]!),
  );
  const second = await stitch();
  assert.deepEqual(second.missing, []);
  const rows = await readRows(bench.store, layout.rows(JOB));
  assert.deepEqual(
    rows.map((row) => row.image),
    inputs.map((input) => input.image),
  );
  assert.deepEqual(await readRows(bench.store, layout.errors(JOB)), []);
});

test("a job without a plan cannot be stitched; a damaged part fails with its own error and leaves no rows", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const stitch = () =>
    stitchParts({
      store: bench.store,
      job: JOB,
      model,
      classes: digits,
      topK: 2,
      output: "classes",
      startedAt: Date.now(),
    });
  await assert.rejects(stitch(), { code: "internal_error", message: /no complete plan/ });
  const payload = payloadOf(model, { dataset: await putSplit(bench.store, await bench.putDigits(2)) });
  await planShards({ store: bench.store, cut: "run-1", payload });
  await bench.store.put(layout.part(JOB, 0), Buffer.from('{"image":\n'));
  await assert.rejects(stitch(), { code: "internal_error", message: /is not a whole part/ });
  assert.equal(await bench.store.stat(layout.rows(JOB)), undefined);
});
