import assert from "node:assert/strict";
import { test } from "node:test";
import { problem, type Transform, type WorkEvent } from "@cardinal/contracts";
import sharp from "sharp";
import { type BatchOptions, batches, decodeImage, normalizeInto, resizeAndCrop, seededRandom } from "../src/index.ts";
import { collect } from "./collect.ts";
import { noise } from "./noise.ts";

const transform: Transform = { resize: 18, crop: 16, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], exif: "ignore" };
const SIZE = 3 * 16 * 16;

const files = await Promise.all(
  Array.from({ length: 21 }, (_, i) => {
    const { width, height, data } = noise(20 + i, 30);
    return sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
  }),
);

const options = (more: Partial<BatchOptions<number>> = {}): BatchOptions<number> => ({
  read: async (item) => files[item]!,
  transform,
  layout: "nchw",
  batchSize: 8,
  ...more,
});

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

async function expectedRow(file: Buffer, layout: "nchw" | "nhwc" = "nchw"): Promise<Float32Array> {
  const out = new Float32Array(SIZE);
  normalizeInto(resizeAndCrop(await decodeImage(file, { exif: "ignore" }), transform), transform, layout, out, 0);
  return out;
}

/** Waits until a condition holds: each turn lets all I/O that is ready go on. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

for (const layout of ["nchw", "nhwc"] as const) {
  test(`21 images in batches of 8 are 8, 8 and 5, in order (${layout})`, async () => {
    const sizes: number[] = [];
    const seen: number[] = [];
    for await (const batch of batches(range(21), options({ layout }))) {
      sizes.push(batch.count);
      assert.equal(batch.data.length, batch.count * SIZE);
      for (const [row, entry] of batch.entries.entries()) {
        assert.equal(entry.item, entry.index);
        seen.push(entry.index);
        const expected = await expectedRow(files[entry.item]!, layout);
        assert.deepEqual(batch.data.subarray(row * SIZE, (row + 1) * SIZE), expected);
      }
    }
    assert.deepEqual(sizes, [8, 8, 5]);
    assert.deepEqual(seen, range(21));
  });
}

test("no inputs give no batch; fewer than a batch give one; an async source works", async () => {
  assert.deepEqual(await collect(batches([], options())), []);
  const source = async function* () {
    yield* range(3);
  };
  const all = await collect(batches(source(), options()));
  assert.deepEqual(
    all.map(({ count }) => count),
    [3],
  );
});

test("an unreadable image is an entry with its error, and rows close up", async () => {
  const bad = new Map([
    [0, files[0]!.subarray(0, 60)],
    [3, Buffer.from("<html>")],
    [4, Buffer.alloc(0)],
  ]);
  const read = async (item: number) => {
    if (item === 6) throw problem("image_not_found", "gone");
    return bad.get(item) ?? files[item]!;
  };
  const [batch] = await collect(batches(range(8), options({ read })));
  assert.deepEqual(
    batch!.entries.map(({ error }) => error?.code),
    ["image_truncated", undefined, undefined, "not_an_image", "empty_file", undefined, "image_not_found", undefined],
  );
  assert.equal(batch!.count, 4);
  for (const [row, item] of [1, 2, 5, 7].entries()) {
    assert.deepEqual(batch!.data.subarray(row * SIZE, (row + 1) * SIZE), await expectedRow(files[item]!));
  }
});

test("a store that cannot be reached is thrown, after the batches before it", async () => {
  const read = async (item: number) => {
    if (item === 12) throw problem("store_unavailable", "no answer");
    return files[item]!;
  };
  const seen: number[] = [];
  await assert.rejects(
    async () => {
      for await (const batch of batches(range(21), options({ read }))) seen.push(...batch.entries.map((e) => e.index));
    },
    { code: "store_unavailable" },
  );
  assert.deepEqual(seen, range(8));
});

test("batches are prepared while the consumer computes, and no more than prefetch of them", async () => {
  let reads = 0;
  const read = async (item: number) => {
    reads++;
    return files[item % 21]!;
  };
  let taken = 0;
  const endless = function* () {
    for (;;) yield taken++;
  };
  const generator = batches(endless(), options({ read, batchSize: 4, prefetch: 2 }));
  await generator.next();
  await until(() => reads >= 12);
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(reads, 12);
  assert.ok(taken <= 16, `${taken} inputs were taken`);
  await generator.next();
  await until(() => reads >= 16);
  await generator.return(undefined);
  const after = reads;
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(reads, after);
});

test("a break closes the source and leaves nothing under way", async () => {
  let closed = false;
  let underWay = 0;
  const source = async function* () {
    try {
      for (let i = 0; ; i++) yield i % 21;
    } finally {
      closed = true;
    }
  };
  const read = async (item: number) => {
    underWay++;
    await new Promise((resolve) => setImmediate(resolve));
    underWay--;
    return files[item]!;
  };
  for await (const batch of batches(source(), options({ read }))) {
    assert.equal(batch.count, 8);
    break;
  }
  assert.ok(closed);
  assert.equal(underWay, 0);
});

test("the signal ends the batches with its reason", async () => {
  const controller = new AbortController();
  const reason = problem("cancelled", "stop");
  const seen: number[] = [];
  await assert.rejects(async () => {
    for await (const batch of batches(range(21), options({ signal: controller.signal }))) {
      seen.push(batch.count);
      controller.abort(reason);
    }
  }, reason);
  assert.deepEqual(seen, [8]);
  const aborted = batches(range(3), options({ signal: AbortSignal.abort(reason) }));
  await assert.rejects(aborted.next(), reason);
});

test("augmentation takes its randomness from the image's index alone", async () => {
  const augment = {
    augment: { crop: "random-resized", flip: 0.5 } as const,
    random: (index: number) => seededRandom(9, index),
  };
  const rows = async (batchSize: number) => {
    const all = await collect(batches(range(10), options({ batchSize, augment })));
    return all.flatMap(({ data }) => [...data]);
  };
  assert.deepEqual(await rows(3), await rows(10));
});

test("stages are timed, once for each image", async () => {
  const events: WorkEvent[] = [];
  await collect(batches(range(5), options({ emit: (event) => events.push(event) })));
  for (const stage of ["read", "decode", "transform"]) {
    const of = events.filter((event) => event.type === "stage" && event.stage === stage);
    assert.equal(of.length, 5, stage);
    assert.ok(of.every((event) => event.type === "stage" && event.seconds >= 0));
  }
});

test("a batch size of 0 is refused", async () => {
  await assert.rejects(batches(range(2), options({ batchSize: 0 })).next(), RangeError);
});
