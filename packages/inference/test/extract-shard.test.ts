import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { FeatureShardPayload, FeatureView, ModelManifest, ShardInput, WorkEvent } from "@cardinal/contracts";
import { blobReader, decodeImage, normalizeInto, resizeAndCrop } from "@cardinal/dataset";
import { missingFeatures, readFeatures, viewDigest } from "@cardinal/features";
import { initParameters } from "@cardinal/resnext";
import { layout } from "@cardinal/storage";
import { type ExtractShardOptions, extractShard } from "../src/index.ts";
import { type Bench, onnx, publishModel, smallNetwork, testBench } from "./fixture.ts";

const BACKBONE = "b".repeat(64);
const network = { key: "extractions/x/network.onnx", sha256: createHash("sha256").update(onnx).digest("hex") };
const transform: ModelManifest["transform"] = {
  ...{ resize: 28, crop: 28, exif: "ignore" },
  ...{ mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] },
};
const random = (number: number, flip = 0.5): FeatureView => {
  return { augment: { crop: "random-resized", flip }, seed: 7, number };
};

async function extract(
  bench: Bench,
  inputs: ShardInput[],
  options: Partial<ExtractShardOptions & FeatureShardPayload> = {},
) {
  const { views = ["center"], backbone = BACKBONE, shard = 0 } = options;
  await bench.store.put(network.key, onnx);
  const key = layout.extractionInputs("train-x", shard);
  await bench.store.put(key, Buffer.from(inputs.map((input) => `${JSON.stringify(input)}\n`).join("")));
  const job = "train-01jd0000000000000000000000";
  const payload: FeatureShardPayload = {
    ...{ v: 2, task: "features", job, shard, inputs: key, images: inputs.length },
    ...{ network: options.network ?? network, backbone, transform: options.transform ?? transform, views },
  };
  const { store, models, events } = bench;
  const read = blobReader(store, { memoryBytes: 1e7 });
  const emit = (event: WorkEvent) => void events.push(event);
  return extractShard({
    store,
    payload,
    models,
    read,
    batchSize: options.batchSize ?? 4,
    emit,
    signal: options.signal,
  });
}

const placeOf = (bench: Bench, view: FeatureView, backbone = BACKBONE) => {
  return { store: bench.store, place: { backbone, view: viewDigest(transform, view) } };
};
const digestsOf = (inputs: ShardInput[]) => inputs.map(({ sha256 }) => sha256);
const rowsFor = async (bench: Bench, view: FeatureView, inputs: ShardInput[], backbone = BACKBONE) =>
  (await readFeatures(placeOf(bench, view, backbone), digestsOf(inputs))).rows;

function assertNear(found: Float32Array, expected: Float32Array, tolerance = 1e-5): void {
  assert.equal(found.length, expected.length);
  for (const [at, value] of expected.entries()) assert.ok(Math.abs(value - found[at]!) <= tolerance, `${at}: ${value}`);
}

test("the features are what the last layer makes the logits of", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(11);
  const done = await extract(bench, inputs);
  assert.deepEqual([done.images, done.views], [11, 1]);
  const { channels, rows } = await readFeatures(placeOf(bench, "center"), digestsOf(inputs));
  const parameters = initParameters(smallNetwork, 10, 1);
  const [weight, bias] = ["fc.weight", "fc.bias"].map((name) => parameters.get(name)!.data as Float32Array);
  for (const [index, { sha256 }] of inputs.entries()) {
    const image = await decodeImage(await bench.store.read(layout.blob(sha256)), { exif: "ignore" });
    const pixels = new Float32Array(3 * 28 * 28);
    normalizeInto(resizeAndCrop(image, transform), transform, "nchw", pixels, 0);
    const logits = await bench.models.use(model, ({ session }) => session.run(pixels, 1));
    const own = rows.subarray(index * channels, (index + 1) * channels);
    const made = Float32Array.from({ length: 10 }, (_, output) =>
      own.reduce((sum, value, channel) => sum + value * weight![output * channels + channel]!, bias![output]!),
    );
    assertNear(made, logits, 1e-4);
  }
  const counted = bench.events.flatMap((event) =>
    event.type === "images" ? [[event.stage, event.outcome, event.count]] : [],
  );
  assert.deepEqual(counted, [
    ["extract", "ok", 4],
    ["extract", "ok", 4],
    ["extract", "ok", 3],
  ]);
});

test("a random view depends on seed, number and image alone, not on shard, order or batch", async () => {
  await using bench = await testBench();
  const inputs = await bench.putDigits(9);
  const views = [random(0), random(1), random(2)];
  await extract(bench, inputs, { views, batchSize: 2 });
  await extract(bench, [...inputs].reverse(), { views: [views[1]!], backbone: "c".repeat(64), batchSize: 8, shard: 1 });
  const [first, second, again] = [
    await rowsFor(bench, views[0]!, inputs),
    await rowsFor(bench, views[1]!, inputs),
    await rowsFor(bench, views[1]!, inputs, "c".repeat(64)),
  ];
  assertNear(again, second);
  assert.ok(
    first.some((value, at) => Math.abs(value - second[at]!) > 1e-3),
    "two views are two crops",
  );
  assert.deepEqual(await missingFeatures(placeOf(bench, "center"), digestsOf(inputs)), digestsOf(inputs));
});

test("each view is as if it had been extracted alone; an image is decoded once", async () => {
  await using bench = await testBench();
  const inputs = await bench.putDigits(6);
  const mirrored: FeatureView = { augment: { crop: "center", flip: 1 }, seed: 0, number: 0 };
  await extract(bench, inputs, { views: ["center", mirrored] });
  const decoded = bench.events.filter((event) => event.type === "stage" && event.stage === "decode").length;
  assert.equal(decoded, 6);
  await extract(bench, inputs, { views: ["center"], backbone: "c".repeat(64) });
  await extract(bench, inputs, { views: [mirrored], backbone: "c".repeat(64) });
  for (const view of ["center", mirrored] as const) {
    assertNear(await rowsFor(bench, view, inputs), await rowsFor(bench, view, inputs, "c".repeat(64)));
  }
  const [plain, flipped] = [await rowsFor(bench, "center", inputs), await rowsFor(bench, mirrored, inputs)];
  assert.ok(plain.some((value, at) => Math.abs(value - flipped[at]!) > 1e-3));
});

test("a shard that is done again, or by two workers at once, leaves one segment with the same bits", async () => {
  await using bench = await testBench();
  const inputs = await bench.putDigits(10);
  await Promise.all([extract(bench, inputs), extract(bench, inputs)]);
  await extract(bench, inputs);
  const { backbone, view } = placeOf(bench, "center").place;
  assert.equal((await Array.fromAsync(bench.store.list(layout.features(backbone, view)))).length, 1);
});

test("an image that cannot be read fails the shard by its name, and all others are there", async () => {
  await using bench = await testBench();
  const inputs = await bench.putDigits(10);
  const cut = await bench.putImage((await bench.store.read(layout.blob(inputs[3]!.sha256))).subarray(0, 90));
  const lost = { image: "train/b/lost.png", sha256: "0".repeat(64) };
  const all = [...inputs.slice(0, 5), { image: "train/a/cut.png", sha256: cut }, ...inputs.slice(5), lost];
  await assert.rejects(extract(bench, all), { code: "image_truncated", message: /^train\/a\/cut\.png: / });
  const missing = await missingFeatures(placeOf(bench, "center"), digestsOf(all));
  assert.deepEqual(missing, [cut, lost.sha256]);
  await extract(bench, inputs, { backbone: "c".repeat(64) });
  assertNear(await rowsFor(bench, "center", inputs), await rowsFor(bench, "center", inputs, "c".repeat(64)));
  await assert.rejects(extract(bench, [lost]), { code: "image_not_found", message: /lost\.png/ });
  const damaged = { image: "train/c/damaged.png", sha256: inputs[0]!.sha256 };
  await bench.store.put(layout.blob(damaged.sha256), Buffer.from("something else"));
  await assert.rejects(extract(bench, [damaged]), { code: "digest_mismatch", message: /damaged\.png/ });
});

test("a network of another size, a damaged one, and an abort write nothing", async () => {
  await using bench = await testBench();
  const inputs = await bench.putDigits(4);
  await assert.rejects(extract(bench, inputs, { transform: { ...transform, crop: 32 } }), { code: "model_corrupt" });
  const reason = new Error("enough");
  await assert.rejects(extract(bench, inputs, { signal: AbortSignal.abort(reason) }), reason);
  assert.deepEqual(await Array.fromAsync(bench.store.list(layout.allFeatures)), []);
  const whole = await bench.store.read(network.key);
  await bench.store.put("extractions/x/damaged.onnx", whole.subarray(1));
  const damaged = { key: "extractions/x/damaged.onnx", sha256: "d".repeat(64) };
  await assert.rejects(extract(bench, inputs, { network: damaged }), { code: "model_corrupt", message: /digest/ });
});
