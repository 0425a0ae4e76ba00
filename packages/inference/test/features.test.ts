/** `output: "features"`: what the network's last layer is given, as a matrix with names. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeSafetensors, npyMatrixHeader, safetensorsMatrixHeader } from "@cardinal/checkpoint";
import { type FeatureRow, featureRowSchema, isErrorRow, jobRowSchema, type PredictPayload } from "@cardinal/contracts";
import { blobReader } from "@cardinal/dataset";
import { layout, type ObjectStore } from "@cardinal/storage";
import { planShards, stitchParts, unfinishedShards } from "../src/batch.ts";
import { predictShard } from "../src/index.ts";
import { type Bench, digits, JOB, publishModel, testBench } from "./fixture.ts";

const lines = async (store: ObjectStore, key: string): Promise<unknown[]> =>
  (await store.read(key))
    .toString()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));

/** Runs a features job over digests and gives its matrix and rows. */
async function run(bench: Bench, model: string, images: string[], isRetry = false) {
  const { store, models } = bench;
  const imageList = layout.predictionImages(JOB);
  await store.put(imageList, Buffer.from(JSON.stringify(images)));
  const payload: PredictPayload = {
    v: 1,
    job: JOB,
    model,
    imageList,
    topK: 5,
    output: "features",
    maxFailureRate: 1,
    priority: 100,
  };
  const { shards } = await planShards({ store, payload, cut: "run-1", maxImages: 4 });
  const read = blobReader(store, { memoryBytes: 0 });
  const shared = { v: 1, job: JOB, model, topK: 5, output: "features" } as const;
  for (const shard of await unfinishedShards(store, JOB, shards, isRetry)) {
    await predictShard({ store, models, read, batchSize: 3, emit: () => {}, payload: { ...shared, ...shard } });
  }
  const account = { model, classes: digits, topK: 5, output: "features", startedAt: Date.now() } as const;
  const { summary } = await stitchParts({ store, job: JOB, ...account });
  const file = await store.read(layout.featureMatrix(JOB));
  const matrix = decodeSafetensors(file).tensors.get("features")!;
  const rows = (await lines(store, layout.rows(JOB))).map((row) => jobRowSchema.parse(row));
  const names = (await lines(store, layout.featureNames(JOB))).map((row) => featureRowSchema.parse(row));
  return { summary, file, shape: [...matrix.shape], data: matrix.data as Float32Array, rows, names };
}

test("a matrix with a row for each answered image, in input order, and its names beside it", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = (await bench.putDigits(11)).map(({ sha256 }) => sha256);
  const bad = await bench.putImage(Buffer.from("<html>"));
  const images = inputs.toSpliced(5, 0, bad);
  const { summary, shape, data, rows, names } = await run(bench, model, images);
  const width = summary.featureWidth!;
  assert.deepEqual(shape, [11, width]);
  assert.deepEqual([summary.images, summary.succeeded, summary.failed], [12, 11, 1]);
  assert.deepEqual(summary.classCounts, []);
  assert.deepEqual(
    rows.map((row) => (isErrorRow(row) ? row.code : (row as FeatureRow).row)),
    [0, 1, 2, 3, 4, "not_an_image", 5, 6, 7, 8, 9, 10],
  );
  assert.deepEqual(
    names.map(({ row, sha256 }) => [row, sha256]),
    inputs.map((sha256, row) => [row, sha256]),
  );
  // Each row is that of its image alone.
  const alone = await run(await other(bench), model, [inputs[7]!]);
  for (let i = 0; i < width; i++) assert.ok(Math.abs(data[7 * width + i]! - alone.data[i]!) < 1e-5);
  assert.ok(data.some((value) => value !== data[0]));
});

/** The same store without the job. */
async function other(bench: Bench): Promise<Bench> {
  await bench.store.deletePrefix(layout.predictions(JOB));
  return bench;
}

test("a retry computes the failed images only; rows and matrix stay together", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const images = (await bench.putDigits(10)).map(({ sha256 }) => sha256);
  const whole = await run(bench, model, images);
  await other(bench);
  const away = await bench.store.read(layout.blob(images[2]!));
  await bench.store.delete(layout.blob(images[2]!));
  const first = await run(bench, model, images);
  assert.deepEqual([first.shape[0], first.summary.failed], [9, 1]);
  await bench.store.put(layout.blob(images[2]!), away);
  const second = await run(bench, model, images, true);
  assert.equal(second.shape[0], 10);
  assert.deepEqual(second.rows, whole.rows);
  for (const [i, value] of second.data.entries()) assert.ok(Math.abs(value - whole.data[i]!) < 1e-5);
});

test("behind the header of .npy the same values are NumPy's", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const images = (await bench.putDigits(5)).map(({ sha256 }) => sha256);
  const { file, shape, data } = await run(bench, model, images);
  const [rows, width] = shape as [number, number];
  const npy = Buffer.concat([npyMatrixHeader(rows, width), file.subarray(safetensorsMatrixHeader(rows, width).length)]);
  const { fits, values } = readNpy(npy);
  assert.deepEqual(fits, shape);
  assert.deepEqual(values, data);
});

/** A small reader of what npyMatrixHeader says, by NumPy's own description of the format. */
function readNpy(bytes: Buffer): { fits: number[]; values: Float32Array } {
  const length = bytes.readUInt16LE(8);
  const [, rows, width] = /'shape': \((\d+), (\d+)\)/.exec(bytes.subarray(10, 10 + length).toString())!;
  const values = new Float32Array(new Uint8Array(bytes.subarray(10 + length)).buffer);
  return { fits: [Number(rows), Number(width)], values };
}
