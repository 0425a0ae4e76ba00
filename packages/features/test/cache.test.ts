import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { layout } from "@cardinal/storage";
import { guardLeaks } from "@cardinal/testing";
import { missingFeatures, readFeatures, sweepFeatures, writeFeatures } from "../src/index.ts";
import { encodeSegment, segmentImages, segmentRows, segmentShape } from "../src/segment.ts";
import { type CountedStore, countedStore, digestOf, imagesFrom, rowsOf } from "./store.ts";

guardLeaks();

let files: CountedStore;
before(async () => {
  files = await countedStore();
});
after(() => files[Symbol.asyncDispose]());

let places = 0;
/** Options for a place of the test's own. */
const fresh = () => ({
  store: files.store,
  place: { backbone: digestOf("backbone"), view: digestOf(`view ${places++}`) },
});
const keysOf = async ({ place }: ReturnType<typeof fresh>) =>
  (await Array.fromAsync(files.store.list(layout.features(place.backbone, place.view)))).map(({ key }) => key);

test("a segment's name and size tell its shape; other objects are none", () => {
  const images = imagesFrom(0, 3);
  const rows = rowsOf(images, 5);
  const { name, bytes } = encodeSegment(images, rows);
  const shape = segmentShape(name, bytes.length)!;
  assert.deepEqual([shape.count, shape.channels], [3, 5]);
  assert.deepEqual(segmentImages(shape, Buffer.from(bytes)), images);
  assert.deepEqual(segmentRows(shape, Buffer.from(bytes)), rows);
  assert.equal(encodeSegment(images, rows).name, name);
  for (const [other, size] of [
    [name, bytes.length - 1],
    [name, 96],
    [`0${name}`, bytes.length],
    ["3.f32", bytes.length],
    [`${name}.part`, bytes.length],
  ] as const) {
    assert.equal(segmentShape(other, size), undefined, `${other} ${size}`);
  }
  assert.throws(() => encodeSegment([], rows), RangeError);
  assert.throws(() => encodeSegment(imagesFrom(0, 2), rows), RangeError);
});

test("rows come in the order asked for, from any number of segments; what lacks is named", async () => {
  const at = fresh();
  const images = imagesFrom(0, 100);
  for (const start of [0, 40, 80]) {
    const part = images.slice(start, start + 40);
    await writeFeatures(at, part, rowsOf(part, 7));
  }
  const asked = [images[90]!, images[3]!, images[50]!, images[3]!, images[99]!];
  const { channels, rows } = await readFeatures(at, asked);
  assert.equal(channels, 7);
  assert.deepEqual(rows, rowsOf(asked, 7));
  const others = imagesFrom(100, 103);
  assert.deepEqual(await missingFeatures(at, [others[1]!, images[0]!, others[0]!, others[1]!]), [others[1], others[0]]);
  await assert.rejects(readFeatures(at, [images[0]!, others[0]!]), { code: "features_missing" });
  assert.deepEqual(await missingFeatures(fresh(), images.slice(0, 2)), images.slice(0, 2), "another view is apart");
  assert.deepEqual((await readFeatures(at, [])).rows.length, 0);
});

test("3,670 images are looked up with one listing and one small read a segment", async () => {
  const at = fresh();
  const images = imagesFrom(0, 3670);
  for (let start = 0; start < images.length; start += 115) {
    const part = images.slice(start, start + 115);
    await writeFeatures(at, part, rowsOf(part, 8));
  }
  files.calls.clear();
  assert.deepEqual(await missingFeatures(at, images), []);
  assert.deepEqual(Object.fromEntries(files.calls), { list: 1, get: 32 });
  files.calls.clear();
  assert.deepEqual(await missingFeatures(at, images.slice(0, 10)), []);
  assert.ok(files.calls.get("get")! <= 32);
});

test("the same piece of work twice is one segment; of different rows the first ones count, now and later", async () => {
  const at = fresh();
  const images = imagesFrom(0, 4);
  const first = rowsOf(images, 3);
  await Promise.all([writeFeatures(at, images, first), writeFeatures(at, images, first)]);
  assert.equal((await keysOf(at)).length, 1);
  for (let other = 1; other <= 8; other++) {
    await sleep(2); // the store's clock counts milliseconds
    const part = images.slice(other % 3);
    await writeFeatures(at, part, rowsOf(part, 3, other));
  }
  await writeFeatures(at, images, first);
  assert.equal((await keysOf(at)).length, 9);
  assert.deepEqual((await readFeatures(at, images)).rows, first);
});

test("a damaged segment is removed and missing, never answered from", async () => {
  const at = fresh();
  const images = imagesFrom(0, 4);
  await writeFeatures(at, images, rowsOf(images, 3));
  const [key] = await keysOf(at);
  const bytes = await files.store.read(key!);
  bytes[bytes.length - 1]! ^= 1;
  await files.store.put(key!, bytes);
  await assert.rejects(readFeatures(at, images), { code: "features_missing" });
  assert.deepEqual(await keysOf(at), []);
  assert.deepEqual(await missingFeatures(at, images), images);
  await writeFeatures(at, images, rowsOf(images, 3));
  assert.deepEqual((await readFeatures(at, images)).rows, rowsOf(images, 3));
});

test("what is no segment is passed over, and no images are no segment", async () => {
  const at = fresh();
  const [image] = imagesFrom(0, 1);
  await files.store.put(`${layout.features(at.place.backbone, at.place.view)}notes.txt`, Buffer.from("not ours"));
  await writeFeatures(at, [], new Float32Array());
  assert.deepEqual(await missingFeatures(at, [image!]), [image]);
  assert.equal((await keysOf(at)).length, 1);
});

test("an abort ends a look-up with its reason", async () => {
  const at = fresh();
  const images = imagesFrom(0, 4);
  await writeFeatures(at, images, rowsOf(images, 3));
  const reason = new Error("enough");
  await assert.rejects(missingFeatures({ ...at, signal: AbortSignal.abort(reason) }, images), reason);
});

test("the sweep removes what was written before a moment, and that is missing then", async () => {
  const at = fresh();
  const images = imagesFrom(0, 2);
  await writeFeatures(at, images, rowsOf(images, 3));
  const kept = await keysOf(at);
  await sweepFeatures(files.store, new Date(Date.now() - 60_000));
  assert.deepEqual(await keysOf(at), kept);
  assert.ok((await sweepFeatures(files.store, new Date(Date.now() + 60_000))) >= 1);
  assert.deepEqual(await keysOf(at), []);
  assert.deepEqual(await missingFeatures(at, images), images);
});
