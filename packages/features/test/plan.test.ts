import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type FeatureView, type ShardInput, shardInputSchema, type Transform } from "@cardinal/contracts";
import { layout } from "@cardinal/storage";
import { guardLeaks } from "@cardinal/testing";
import {
  backboneDigest,
  type FeatureNeed,
  planExtraction,
  plannedImages,
  spendPlan,
  viewDigest,
  writeFeatures,
} from "../src/index.ts";
import { type CountedStore, countedStore, digestOf, imagesFrom, rowsOf } from "./store.ts";

guardLeaks();

let files: CountedStore;
before(async () => {
  files = await countedStore();
});
after(() => files[Symbol.asyncDispose]());

const transform: Transform = { resize: 32, crop: 28, mean: [0.5, 0.5, 0.5], std: [1, 1, 1], exif: "ignore" };
const random = (number: number): FeatureView => ({ augment: { crop: "random-resized", flip: 0.5 }, seed: 0, number });
const inputsOf = (images: readonly string[]): ShardInput[] =>
  images.map((sha256, index) => ({ image: `train/a/${index}.jpg`, sha256 }));

let jobs = 0;
const fresh = (needs: FeatureNeed[]) => {
  const number = jobs++;
  return { store: files.store, job: `train-${number}`, backbone: digestOf(`backbone ${number}`), transform, needs };
};

async function imagesOf(inputs: string): Promise<string[]> {
  const lines = (await files.store.read(inputs)).toString().trimEnd().split("\n");
  return lines.map((line) => shardInputSchema.parse(JSON.parse(line)).sha256);
}

async function cached({ backbone }: ReturnType<typeof fresh>, view: FeatureView, images: string[]): Promise<void> {
  const place = { backbone, view: viewDigest(transform, view) };
  await writeFeatures({ store: files.store, place }, images, rowsOf(images, 3));
}

test("only what lacks is planned, each image once, together with those that lack the same views", async () => {
  const images = imagesFrom(0, 40);
  const plan = fresh([
    { view: random(0), images: inputsOf(images) },
    { view: random(1), images: inputsOf([...images, images[7]!]) },
    { view: "center", images: inputsOf(imagesFrom(30, 50)) },
  ]);
  await cached(plan, random(0), imagesFrom(0, 20));
  await cached(plan, "center", imagesFrom(40, 45));
  const { shards } = await planExtraction(plan);
  const planned: Record<string, string[]> = {};
  for (const shard of shards) {
    const found = await imagesOf(shard.inputs);
    assert.equal(found.length, shard.images);
    assert.ok(shard.images <= 16);
    const group = JSON.stringify(shard.views.map((view) => (view === "center" ? view : view.number)));
    planned[group] = [...(planned[group] ?? []), ...found];
  }
  assert.deepEqual(planned, {
    "[0,1]": imagesFrom(20, 30),
    '[0,1,"center"]': imagesFrom(30, 40),
    "[1]": imagesFrom(0, 20),
    '["center"]': imagesFrom(45, 50),
  });
  assert.equal(await plannedImages(files.store, plan.job), 45);
});

test("nothing lacks: no shards, and no plan is left", async () => {
  const images = imagesFrom(0, 20);
  const plan = fresh([{ view: "center", images: inputsOf(images) }]);
  await cached(plan, "center", images);
  assert.deepEqual(await planExtraction(plan), { shards: [] });
  assert.deepEqual(await Array.fromAsync(files.store.list(layout.extraction(plan.job))), []);
  assert.equal(await plannedImages(files.store, plan.job), 0);
});

test("shards are even, and many enough for many workers", async () => {
  const sizes = async (images: number) => {
    const { shards } = await planExtraction(fresh([{ view: "center", images: inputsOf(imagesFrom(0, images)) }]));
    return shards.map((shard) => shard.images);
  };
  assert.deepEqual(await sizes(10), [10]);
  assert.deepEqual(await sizes(1600), new Array(32).fill(50));
  assert.equal(Math.max(...(await sizes(10_000))), 256);
});

test("an open plan stays as it is whatever comes into the cache; a spent one is followed by another", async () => {
  const images = imagesFrom(0, 50);
  const plan = fresh([{ view: "center", images: inputsOf(images) }]);
  const first = await planExtraction(plan);
  await cached(plan, "center", images.slice(0, 48));
  assert.deepEqual(await planExtraction(plan), first);
  await spendPlan(files.store, plan.job);
  const second = await planExtraction(plan);
  assert.deepEqual(
    second.shards.map((shard) => shard.images),
    [2],
  );
  assert.equal(await plannedImages(files.store, plan.job), 52);
  await spendPlan(files.store, "train-without-plan");
});

test("the backbone's digest is of what computes features, not of the head", () => {
  const state = () =>
    new Map([
      ["conv1.weight", { shape: [2, 1], data: Float32Array.of(1, 2) }],
      ["bn1.num_batches_tracked", { shape: [], data: BigInt64Array.of(3n) }],
      ["fc.weight", { shape: [1, 2], data: Float32Array.of(3, 4) }],
    ]);
  const digest = backboneDigest("resnet18", state());
  const head = state();
  head.get("fc.weight")!.data[0] = 9;
  head.get("bn1.num_batches_tracked")!.data[0] = 4n;
  assert.equal(backboneDigest("resnet18", new Map([...head].reverse())), digest);
  head.delete("fc.weight");
  assert.equal(backboneDigest("resnet18", head), digest);
  assert.notEqual(backboneDigest("resnet34", state()), digest);
  const other = state();
  other.get("conv1.weight")!.data[1] = -2;
  assert.notEqual(backboneDigest("resnet18", other), digest);
});

test("a view's digest is of all that makes the input, in any order of keys", () => {
  const digests = new Set([
    viewDigest(transform, "center"),
    viewDigest({ ...transform, exif: "apply" }, "center"),
    viewDigest({ ...transform, resize: 33 }, "center"),
    viewDigest(transform, random(0)),
    viewDigest(transform, random(1)),
    viewDigest(transform, { augment: { crop: "random-resized", flip: 0.25 }, seed: 0, number: 0 }),
    viewDigest(transform, { augment: { crop: "random-resized", flip: 0.5 }, seed: 1, number: 0 }),
  ]);
  assert.equal(digests.size, 7);
  const { exif, std, mean, crop, resize } = transform;
  assert.equal(viewDigest({ exif, std, mean, crop, resize }, "center"), viewDigest(transform, "center"));
});
