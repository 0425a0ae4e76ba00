/** A head on cached features: what is extracted, what is reused, and what becomes of features that are gone. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { decodeSafetensors, readModel } from "@cardinal/checkpoint";
import { modelReportSchema, type TrainPayload, type TrainResult, trainRequestSchema } from "@cardinal/contracts";
import { readManifest } from "@cardinal/dataset";
import { sweepFeatures } from "@cardinal/features";
import { architecture } from "@cardinal/resnext";
import { Network } from "@cardinal/resnext/tfjs";
import { layout } from "@cardinal/storage";
import { digitImages, guardLeaks } from "@cardinal/testing";
import { planFeatures, recipeOf, runTraining } from "@cardinal/training";
import { ImageFeed } from "../src/image-feed.ts";
import { FeatureInputs } from "../src/inputs.ts";
import { featureNeeds, readLabelledFeatures } from "../src/labelled-features.ts";
import { logitsOf } from "../src/network-steps.ts";
import { type Prepared, prepare } from "../src/prepare.ts";
import {
  attempt,
  coded,
  collect,
  extractFeatures,
  fewDigits,
  payload,
  SMALL,
  type TestStore,
  testStore,
  train,
} from "./support.ts";

guardLeaks();

let files: TestStore;
let digits: TrainPayload["request"]["dataset"];
let few: TrainPayload["request"]["dataset"];
let base: TrainResult;

before(async () => {
  files = await testStore();
  digits = await files.digits(40, 20);
  few = await files.ingest("few", await fewDigits());
  const augment = { crop: "center", flip: 0 };
  base = await train(files.store, payload(digits, { augment, optimizer: { learningRate: 1e-2 } }));
});
after(() => files[Symbol.asyncDispose]());

const head = (request: Parameters<typeof payload>[1] = {}, dataset = few) =>
  payload(dataset, { base: base.model, trainable: "head", ...request });

const segments = async () => (await collect(files.store.list(layout.allFeatures))).length;

async function networkOf({ recipe, start, set }: Prepared): Promise<Network> {
  return new Network(architecture(recipe.architecture), set.classes.length, start.parameters, { trainable: "head" });
}

test("a second job extracts nothing, ten further images ten, another head of the same backbone nothing", async () => {
  const first = await train(files.store, head());
  const { images } = first.features!;
  assert.deepEqual(first.features, { images, reused: 0, extracted: images, views: 1 });
  const second = await train(files.store, head({ epochs: 1, optimizer: { name: "sgd" }, seed: 9 }));
  assert.deepEqual(second.features, { images, reused: images, extracted: 0, views: 1 });
  const more = await files.ingest("more", await fewDigits(124));
  const added =
    (await prepare(files.store, head({}, more))).set.train.length -
    (await prepare(files.store, head())).set.train.length;
  const third = await train(files.store, head({ epochs: 1 }, more));
  assert.deepEqual(third.features, { images: images + added, reused: images, extracted: added, views: 1 });
  const onHead = await train(files.store, head({ base: first.model, epochs: 1 }));
  assert.equal(onHead.features!.extracted, 0);
  const report = modelReportSchema.parse(
    JSON.parse((await files.store.read(layout.modelFile(third.model, "report.json"))).toString()),
  );
  assert.deepEqual(report.training!.features, third.features);
  assert.deepEqual(first.recipe.augment, { crop: "center", flip: 0, views: 1 });
});

test("training reads no image: only the check of the exported model does", async () => {
  const job = head({ epochs: 4 });
  await extractFeatures(files.store, job);
  const run = attempt(files.store, job);
  const result = await runTraining(run.options);
  const stages = (name: string) => run.events.filter((event) => event.type === "stage" && event.stage === name).length;
  assert.equal(stages("infer"), 0);
  assert.equal(stages("decode"), Math.min(16, (await prepare(files.store, job)).set.validation.length));
  assert.ok(result.epochs[3]!.trainLoss < result.epochs[0]!.trainLoss);
  assert.ok(result.exportError < 1e-5, `${result.exportError}`);
  const told = run.events.find((event) => event.type === "log" && event.message.startsWith("features"));
  assert.ok(told?.type === "log");
  assert.deepEqual(told.details, result.features);
});

test("features are those of the frozen network, in the order of the images", async () => {
  const job = head();
  await extractFeatures(files.store, job);
  const prepared = await prepare(files.store, job);
  const { set, recipe, start } = prepared;
  using network = await networkOf(prepared);
  const { signal } = new AbortController();
  const feed = new ImageFeed({ store: files.store, transform: recipe.transform, emit: () => {}, signal });
  const read = await readLabelledFeatures(files.store, { recipe, set, parameters: start.parameters });
  assert.equal(read.train.views.length, 1);
  const inputs = new FeatureInputs(read, set, signal);
  const how = { augment: recipe.augment, seed: 3, epoch: 1, start: 5 };
  for (const [features, pixels] of [
    [inputs.training(set.train, [7, set.train.length], how), feed.training(set.train, [7, set.train.length], how)],
    [inputs.evaluation(set.validation, 4), feed.evaluation(set.validation, 4)],
  ] as const) {
    const [found, expected] = [await collect(features), await collect(pixels)];
    assert.equal(found.length, expected.length);
    found.forEach((batch, index) => {
      const { images, labels } = expected[index]!;
      assert.deepEqual([batch.images, batch.labels], [images, labels]);
      const [got, wanted] = [logitsOf(network, batch), logitsOf(network, expected[index]!)];
      for (const [at, value] of wanted.entries()) assert.ok(Math.abs(value - got[at]!) < 1e-4, `${value} ${got[at]}`);
    });
  }
});

test("views: each epoch draws one of k for every image; validation keeps to the centre view", async () => {
  const job = head({ augment: { views: 3 } });
  const { images, views, extracted } = (await train(files.store, job)).features!;
  const prepared = await prepare(files.store, job);
  const { set, recipe, start } = prepared;
  assert.deepEqual(recipe.augment, { crop: "random-resized", flip: 0.5, views: 3 });
  assert.equal(views, 3);
  assert.ok(extracted <= images);
  assert.equal(await extractFeatures(files.store, head({ augment: { views: 3 } })), 0);
  const fewer = await planFeatures({ store: files.store, payload: head({ augment: { views: 2 } }), emit: () => {} });
  assert.deepEqual(fewer, [], "two of the three views");
  const other = await planFeatures({
    store: files.store,
    payload: head({ augment: { views: 3 }, seed: 1 }),
    emit: () => {},
  });
  assert.equal(
    other.reduce((sum, shard) => sum + shard.images, 0),
    set.train.length,
    "another seed has other views",
  );
  const read = await readLabelledFeatures(files.store, { recipe, set, parameters: start.parameters });
  const { signal } = new AbortController();
  const inputs = new FeatureInputs(read, set, signal);
  const viewsOf = async (epoch: number) => {
    const how = { augment: recipe.augment, seed: 0, epoch, start: 0 };
    const [batch] = await collect(inputs.training(set.train, [set.train.length], how));
    return set.train.map((_, row) => {
      const [from, to] = [row * read.channels, (row + 1) * read.channels];
      const values = batch!.features.subarray(from, to);
      return read.train.views.findIndex(
        (matrix) => Buffer.compare(bytes(values), bytes(matrix.subarray(from, to))) === 0,
      );
    });
  };
  const [first, second] = [await viewsOf(0), await viewsOf(1)];
  assert.deepEqual(new Set([...first, ...second]), new Set([0, 1, 2]));
  assert.notDeepEqual(first, second);
  assert.deepEqual(await viewsOf(0), first);
});

const bytes = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);

test("another image size than the base's has its own features, of the same backbone", async () => {
  const job = head({ imageSize: 20, epochs: 1 });
  const shards = await planFeatures({ store: files.store, payload: job, emit: () => {} });
  assert.equal(shards[0]!.network.key, layout.extractionNetwork(job.job));
  assert.deepEqual([shards[0]!.transform.crop, shards[0]!.transform.resize], [20, 20]);
  const result = await train(files.store, job);
  assert.equal(result.features!.reused, 0);
  assert.ok(result.exportError < 1e-5);
});

test("features that were swept, or damaged, are extracted again by the next attempt", async () => {
  const job = head({ epochs: 1 });
  await extractFeatures(files.store, job);
  await sweepFeatures(files.store, new Date(Date.now() + 60_000));
  await assert.rejects(runTraining(attempt(files.store, job, 1).options), coded("features_missing"));
  const planned = await extractFeatures(files.store, job);
  assert.ok(planned > 0);
  const [segment] = await collect(files.store.list(layout.allFeatures));
  const content = await files.store.read(segment!.key);
  content[content.length - 1]! ^= 1;
  await files.store.put(segment!.key, content);
  const before = await segments();
  await assert.rejects(runTraining(attempt(files.store, job, 2).options), coded("features_missing"));
  assert.equal(await segments(), before - 1);
  assert.ok((await extractFeatures(files.store, job)) < planned, "only those of the damaged segment");
  const result = await runTraining(attempt(files.store, job, 3).options);
  const { images, extracted, reused } = result.features!;
  assert.deepEqual([extracted, reused], [images, 0], "over all plans, no image twice");
});

test("an image that was lost since the ingest is named by its shard", async () => {
  const lost = await files.ingest("lost", (await collect(digitImages({ train: 300, val: 0 }))).slice(200, 230));
  const [row] = await collect(readManifest(files.store, lost.name, lost.version, "train"));
  await files.store.delete(layout.blob(row!.sha256));
  const job = head({}, lost);
  await assert.rejects(extractFeatures(files.store, job), (error: Error) => {
    assert.ok(coded("image_not_found")(error) && error.message.includes(row!.path), String(error));
    return true;
  });
});

test("requests that contradict head training are refused; others say what they mean", () => {
  const parse = (trainable: string, augment: object) =>
    trainRequestSchema.safeParse({ dataset: "digits", base: "b", trainable, augment });
  for (const [trainable, augment, path] of [
    ["head", { crop: "random-resized" }, "crop"],
    ["head", { flip: 0.5 }, "flip"],
    ["head", { views: 1, flip: 1 }, "flip"],
    ["head", { views: 4, crop: "center", flip: 0 }, "views"],
    ["head", { views: 0 }, "views"],
    ["layer4", { views: 2 }, "views"],
  ] as const) {
    const { error } = parse(trainable, augment);
    assert.deepEqual(
      error?.issues.map((issue) => issue.path.join(".")),
      [`augment.${path}`],
      JSON.stringify(augment),
    );
  }
  for (const [trainable, augment, effective] of [
    ["head", {}, { crop: "center", flip: 0, views: 1 }],
    ["head", { crop: "center", flip: 0 }, { crop: "center", flip: 0, views: 1 }],
    ["head", { views: 5 }, { crop: "random-resized", flip: 0.5, views: 5 }],
    ["head", { views: 2, crop: "center", flip: 0.5 }, { crop: "center", flip: 0.5, views: 2 }],
    ["layer4", { flip: 0 }, { crop: "random-resized", flip: 0 }],
  ] as const) {
    assert.deepEqual(parse(trainable, augment).data?.augment, effective);
  }
});

test("a payload of a version without views trains the head on the centre view", async () => {
  const { request } = head();
  const { manifest } = await readModel(files.store, base.model);
  const old = { ...request, augment: { crop: "random-resized", flip: 0.5 } as const };
  assert.deepEqual(recipeOf(old, [], manifest).augment, { crop: "center", flip: 0, views: 1 });
});

test("more features than fit into memory are refused, with the numbers", async () => {
  const { recipe, set } = await prepare(files.store, head({ augment: { views: 100 } }));
  const image = set.train[0]!;
  const huge = { ...set, train: new Array(1_000_000).fill(image) };
  assert.throws(() => featureNeeds({ recipe, set: huge }), coded("too_many_features"));
});

test("the head's weights are the only ones that change", async () => {
  const { model } = await train(files.store, head({ epochs: 1 }));
  const weights = async (id: string) =>
    decodeSafetensors(await files.store.read(layout.modelFile(id, "weights.safetensors"))).tensors;
  const [before, after] = [await weights(base.model), await weights(model)];
  for (const [name, { data }] of after)
    if (!name.startsWith("fc.")) assert.deepEqual(data, before.get(name)!.data, name);
  assert.equal((await readModel(files.store, model)).manifest.architecture, SMALL);
});
