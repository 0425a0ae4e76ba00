import assert from "node:assert/strict";
import { test } from "node:test";
import { type ErrorRow, isErrorRow, problem, type ResultRow, type WorkEvent } from "@cardinal/contracts";
import { blobReader } from "@cardinal/dataset";
import { layout } from "@cardinal/storage";
import { predictImage, predictShard } from "../src/index.ts";
import { digits, JOB, partRows, publishModel, testBench } from "./fixture.ts";

test("rows are one to one with the inputs, whatever the batch size", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(25);
  for (const [count, batchSize] of [
    [10, 8],
    [3, 8],
    [1, 8],
    [25, 1],
    [25, 25],
  ] as const) {
    const rows = await bench.predict(inputs.slice(0, count), { model, batchSize });
    assert.deepEqual(
      rows.map((row) => row.image),
      inputs.slice(0, count).map((input) => input.image),
    );
    for (const [i, row] of (rows as ResultRow[]).entries()) {
      assert.equal(row.label, inputs[i]!.label);
      assert.equal(row.sha256, inputs[i]!.sha256);
      assert.equal(row.top.length, 3);
      assert.deepEqual(row.top[0], { class: row.class, index: row.index, probability: row.probability });
      assert.equal(row.class, digits[row.index]);
    }
  }
});

test("a batch gives the answers that its images have alone", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(12);
  const rows = (await bench.predict(inputs, { model, batchSize: 8, topK: "all" })) as ResultRow[];
  for (const [i, row] of rows.entries()) {
    const bytes = await bench.store.read(layout.blob(inputs[i]!.sha256));
    const alone = await predictImage({ bytes, model, topK: "all", models: bench.models });
    assert.equal(alone.model, model);
    assert.deepEqual(
      alone.top.map(({ index }) => index),
      row.top.map(({ index }) => index),
    );
    for (const [k, { probability }] of alone.top.entries()) {
      assert.ok(Math.abs(probability - row.top[k]!.probability) < 1e-6);
    }
  }
  const distinct = new Set(rows.map((row) => row.probability));
  assert.equal(distinct.size, 12, "different images have different answers");
});

test("one corrupt image among 100 is one error row in its place, and the neighbours keep their answers", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(100);
  const clean = await bench.predict(inputs, { model });
  const png = await bench.store.read(layout.blob(inputs[41]!.sha256));
  inputs[41] = { image: inputs[41]!.image, sha256: await bench.putImage(png.subarray(0, png.length / 2)), label: "x" };
  bench.events.length = 0;
  const rows = await bench.predict(inputs, { model });
  assert.equal(rows.length, 100);
  assert.deepEqual(
    rows.map((row) => row.image),
    inputs.map((input) => input.image),
  );
  assert.deepEqual(rows.filter(isErrorRow), [rows[41]]);
  assert.equal((rows[41] as ErrorRow).code, "image_truncated");
  // The batch with the gap has 7 images: its sums may be done in another order, within the last digits.
  for (const [i, row] of rows.entries()) {
    if (isErrorRow(row)) continue;
    assert.equal(row.class, (clean[i] as ResultRow).class);
    assert.ok(Math.abs(row.probability - (clean[i] as ResultRow).probability) < 1e-6);
  }
  assert.deepEqual(imageCounts(bench.events), { ok: 99, error: 1 });
});

test("a shard of bad images only has error rows only; each says what is wrong", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = [
    { image: "empty.png", sha256: await bench.putImage(Buffer.alloc(0)) },
    { image: "page.jpg", sha256: await bench.putImage(Buffer.from("<html><body>not found</body></html>")) },
    { image: "gone.png", sha256: "f".repeat(64) },
  ];
  const rows = await bench.predict(inputs, { model });
  assert.deepEqual(
    (rows as ErrorRow[]).map(({ image, code }) => [image, code]),
    [
      ["empty.png", "empty_file"],
      ["page.jpg", "not_an_image"],
      ["gone.png", "image_not_found"],
    ],
  );
});

test("two names of one image both have their row", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const [input] = await bench.putDigits(1);
  const rows = (await bench.predict([input!, { ...input!, image: "copy.png" }], { model })) as ResultRow[];
  assert.deepEqual(
    rows.map((row) => row.image),
    [input!.image, "copy.png"],
  );
  assert.deepEqual(rows[0]!.top, rows[1]!.top);
});

test("names of every kind come back as they were", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const [input] = await bench.putDigits(1);
  const names = ["a b%20+#?.png", "中/é\u2028😀.png", 'quote".png', "new\nline.png"];
  const rows = await bench.predict(
    names.map((image) => ({ ...input!, image })),
    { model },
  );
  assert.deepEqual(
    rows.map((row) => row.image),
    names,
  );
});

test("a shard done again gives the same rows", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(20);
  await bench.predict(inputs, { model });
  const first = await partRows(bench.store);
  await bench.predict(inputs, { model });
  assert.deepEqual(await partRows(bench.store), first);
});

test("the result counts what the rows say, and the events tell the course", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(20);
  inputs[3] = { ...inputs[3]!, sha256: "e".repeat(64) };
  inputs[4] = { image: inputs[4]!.image, sha256: inputs[4]!.sha256 };
  const rows = await bench.predict(inputs, { model });
  const answers = rows.filter((row): row is ResultRow => !isErrorRow(row));
  const events: WorkEvent[] = [];
  const payload = await bench.payload(inputs, { model });
  const read = blobReader(bench.store, { memoryBytes: 0 });
  const emit = (event: WorkEvent) => void events.push(event);
  const result = await predictShard({ store: bench.store, payload, models: bench.models, read, batchSize: 8, emit });
  const { seconds, ...counts } = result;
  assert.deepEqual(counts, { images: 20, succeeded: 19, failed: 1 });
  assert.ok(seconds > 0);
  assert.deepEqual(imageCounts(events), { ok: 19, error: 1 });
  const done = events.flatMap((event) => (event.type === "progress" ? [event.progress.done] : []));
  assert.deepEqual(done, [8, 16, 20]);
  const confidence = events.flatMap((event) => (event.type === "confidence" ? event.values : []));
  assert.deepEqual(
    confidence,
    answers.map((row) => row.probability),
  );
  const stages = new Set(events.flatMap((event) => (event.type === "stage" ? [event.stage] : [])));
  assert.deepEqual([...stages].sort(), ["decode", "infer", "read", "transform", "write"]);
});

test("trouble with the store fails the shard and writes no part", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(20);
  const read = async () => {
    throw problem("store_timeout", "no answer");
  };
  await assert.rejects(bench.predict(inputs, { model, read }), { code: "store_timeout", retryable: true });
  assert.equal(await bench.store.stat(layout.part(JOB, 0)), undefined);
});

test("an input object that is not the planned one fails the shard", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const payload = { ...(await bench.payload(await bench.putDigits(2), { model })), images: 3 };
  const options = { store: bench.store, models: bench.models, read: bench.store.read, batchSize: 8, emit: () => {} };
  await assert.rejects(predictShard({ ...options, payload }), { message: /has 2 inputs, the plan says 3/ });
});

test("an abort ends the shard between batches without a part", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(60);
  const abort = new AbortController();
  const reason = problem("cancelled", "the job was cancelled");
  let batches = 0;
  const emit = (event: WorkEvent) => {
    if (event.type === "progress" && ++batches === 2) abort.abort(reason);
  };
  await assert.rejects(bench.predict(inputs, { model, emit, signal: abort.signal }), reason);
  assert.equal(batches, 2);
  assert.equal(await bench.store.stat(layout.part(JOB, 0)), undefined);
});

test("a bad single image throws its code", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const call = predictImage({ bytes: Buffer.from("x"), model, topK: 1, models: bench.models });
  await assert.rejects(call, { code: "not_an_image", status: 422 });
});

test("memory levels off over thousands of images", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(64);
  const options = { model, read: blobReader(bench.store, { memoryBytes: 1e6 }), emit: () => {} };
  const many = Array.from({ length: 8 }, () => inputs).flat();
  const run = async (rounds: number) => {
    for (let i = 0; i < rounds; i++) await bench.predict(many, options);
    return process.memoryUsage.rss() / 2 ** 20;
  };
  // V8 lets its heap grow for the first thousands of images before it collects for good.
  const before = await run(8);
  const grown = (await run(8)) - before;
  assert.ok(grown < 40, `4,096 further images made the process ${grown.toFixed(1)} MB larger`);
});

function imageCounts(events: WorkEvent[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const event of events) {
    if (event.type === "images") counts[event.outcome] = (counts[event.outcome] ?? 0) + event.count;
  }
  return counts;
}
