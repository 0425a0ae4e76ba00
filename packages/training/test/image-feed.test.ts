import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { IMAGENET_MEAN, IMAGENET_STD, type WorkEvent } from "@cardinal/contracts";
import { guardLeaks } from "@cardinal/testing";
import { type ImageBatch, ImageFeed, mirrorRows } from "../src/image-feed.ts";
import { type LabelledImage, readTrainingSet } from "../src/training-set.ts";
import { collect, type TestStore, testStore } from "./support.ts";

guardLeaks();

const SIDE = 28;
let files: TestStore;
let images: LabelledImage[];
let events: WorkEvent[];

before(async () => {
  files = await testStore();
  images = (await readTrainingSet(files.store, await files.digits(20, 10))).train;
});
after(() => files[Symbol.asyncDispose]());

function feed(viewBytes?: number, signal = new AbortController().signal): ImageFeed {
  events = [];
  const transform = {
    ...{ resize: SIDE, crop: SIDE, exif: "ignore" as const },
    mean: [...IMAGENET_MEAN] as [number, number, number],
    std: [...IMAGENET_STD] as [number, number, number],
  };
  return new ImageFeed({ store: files.store, transform, emit: (event) => events.push(event), signal, viewBytes });
}

const decoded = () => events.filter((event) => event.type === "stage" && event.stage === "decode").length;
const labels = (batches: ImageBatch[]) => batches.map((batch) => [...batch.labels]);
const pixels = (batches: ImageBatch[]) => Buffer.concat(batches.map((batch) => new Uint8Array(batch.pixels.buffer)));
const whole = { augment: { crop: "random-resized", flip: 0.5 }, seed: 3, epoch: 1, start: 0 } as const;

test("evaluation: every image once, in order, the last batch with what is left", async () => {
  const batches = await collect(feed().evaluation(images, 8));
  assert.deepEqual(
    batches.map(({ images: part }) => part.length),
    [8, 8, 4],
  );
  assert.deepEqual(
    batches.flatMap((batch) => batch.images),
    images,
  );
  assert.deepEqual(
    labels(batches).flat(),
    images.map(({ label }) => label),
  );
});

test("centre views are decoded once; a cache of any size gives the same pixels", async () => {
  const cached = feed();
  const first = pixels(await collect(cached.evaluation(images, 8)));
  assert.equal(decoded(), 20);
  assert.deepEqual(pixels(await collect(cached.evaluation(images, 8))), first);
  assert.equal(decoded(), 20);
  for (const [views, more] of [
    [0, 20],
    [7, 13],
  ] as const) {
    const small = feed(views * SIDE * SIDE * 12);
    assert.deepEqual(pixels(await collect(small.evaluation(images, 8))), first);
    assert.deepEqual(pixels(await collect(small.evaluation(images, 8))), first);
    assert.equal(decoded(), 20 + more);
  }
});

test("mirroring leaves the cached view as it is", async () => {
  const one = feed();
  const how = { ...whole, augment: { crop: "center", flip: 1 } } as const;
  const plain = (await collect(one.evaluation(images, 20)))[0]!.pixels;
  const mirrored = (await collect(one.training(images, [20], how)))[0]!.pixels;
  assert.notDeepEqual(mirrored, plain);
  assert.deepEqual((await collect(one.evaluation(images, 20)))[0]!.pixels, plain);
  for (let at = 0; at < mirrored.length; at += 3 * SIDE * SIDE)
    mirrorRows(mirrored.subarray(at, at + 3 * SIDE * SIDE), SIDE);
  assert.deepEqual(mirrored, plain);
});

for (const crop of ["center", "random-resized"] as const) {
  test(`an epoch that is taken up in its middle goes on as if undisturbed (${crop})`, async () => {
    const how = { ...whole, augment: { crop, flip: 0.5 } };
    const undisturbed = await collect(feed().training(images, [8, 16, 20], how));
    const rest = await collect(feed().training(images.slice(8), [8, 12], { ...how, start: 8 }));
    assert.deepEqual(rest, undisturbed.slice(1));
    const next = await collect(feed().training(images, [8, 16, 20], { ...how, epoch: 2 }));
    assert.notDeepEqual(pixels(next), pixels(undisturbed));
  });
}

test("it stops between two batches when it is told to, with the signal's reason", async () => {
  const controller = new AbortController();
  const reason = new Error("stop");
  const batches = feed(undefined, controller.signal).evaluation(images, 4);
  await batches.next();
  setImmediate(() => controller.abort(reason)); // as a message would, while the consumer computes
  await assert.rejects(collect(batches), reason);
});
