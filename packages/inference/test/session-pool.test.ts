import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { WorkEvent } from "@cardinal/contracts";
import { initParameters } from "@cardinal/resnext";
import { exportOnnx } from "@cardinal/resnext/onnx";
import { tempDir } from "@cardinal/testing";
import { type LoadedModel, loadSession, SessionPool } from "../src/index.ts";
import { digits, onnx, publishModel, smallNetwork, testBench } from "./fixture.ts";

const image = Float32Array.from({ length: 3 * 28 * 28 }, (_, i) => Math.sin(i));

test("a session knows its shapes and gives a row of logits for each image", async () => {
  await using dir = await tempDir("session");
  const path = join(dir.path, "model.onnx");
  await writeFile(path, onnx);
  const session = await loadSession(path, { threads: 1 });
  assert.equal(session.side, 28);
  assert.equal(session.classes, 10);
  const two = new Float32Array(2 * image.length);
  two.set(image, image.length);
  const logits = await session.run(two, 2);
  assert.equal(logits.length, 20);
  assert.deepEqual(await session.run(two.subarray(image.length), 1), logits.subarray(10));
  assert.notDeepEqual(logits.subarray(0, 10), logits.subarray(10));
  await session.release();
  await assert.rejects(session.run(image, 1), /disposed/);
});

test("a file that is no network, or another one, is refused", async () => {
  await using dir = await tempDir("session");
  const path = join(dir.path, "model.onnx");
  await writeFile(path, "not a network");
  await assert.rejects(loadSession(path, { threads: 1 }), { code: "model_corrupt" });
  const parameters = initParameters(smallNetwork, 10, 1);
  for (const name of ["fc.weight", "fc.bias"]) parameters.delete(name);
  await writeFile(path, exportOnnx(smallNetwork, parameters, { includeTop: false }));
  await assert.rejects(loadSession(path, { threads: 1 }), { code: "model_corrupt", message: /logits undefined/ });
});

test("callers that come at once share one load", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const events: WorkEvent[] = [];
  const use = () =>
    bench.models.use(
      model,
      async ({ session }) => session,
      (event) => void events.push(event),
    );
  const [a, b] = await Promise.all([use(), use()]);
  assert.equal(a, b);
  assert.equal(await use(), a);
  assert.equal(events.length, 1);
  assert.ok(events[0]?.type === "model_loaded" && events[0].model === model && events[0].bytes === onnx.length);
});

test("the longest unused session is released, one in use never", async () => {
  await using bench = await testBench();
  const ids = [];
  for (const number of [0, 1, 2]) ids.push(await publishModel(bench.store, { number }));
  const [first, second, third] = ids as [string, string, string];
  const pool = new SessionPool({ cache: bench.cache, threads: 1, maxBytes: onnx.length });
  const keep = async ({ session }: LoadedModel) => session;
  const held = await pool.use(first, async ({ session }) => {
    const other = await pool.use(second, keep);
    await assert.rejects(other.run(image, 1), /disposed/, "the second was not in use and over the limit");
    assert.equal((await session.run(image, 1)).length, 10);
    return session;
  });
  assert.deepEqual(pool.loaded, [first]);
  await pool.use(third, keep);
  assert.deepEqual(pool.loaded, [third]);
  await assert.rejects(held.run(image, 1), /disposed/);
  await pool.close();
  assert.deepEqual(pool.loaded, []);
});

test("a load that failed is tried again by the next caller", async () => {
  await using bench = await testBench();
  await assert.rejects(
    bench.models.use("mdl-01jd0000000000000000000000-1", async () => {}),
    { code: "model_not_found" },
  );
  const model = await publishModel(bench.store);
  await bench.models.use(model, async () => {});
  await bench.models.close();
  await rm(bench.cacheDir, { recursive: true });
  await bench.models.use(model, async () => {});
});

test("work that fails gives the session back", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  await assert.rejects(
    bench.models.use(model, async () => {
      throw new Error("mine");
    }),
    /mine/,
  );
  await bench.models.close();
  assert.deepEqual(bench.models.loaded, []);
});

test("a network that does not fit its manifest answers nothing", async () => {
  await using bench = await testBench();
  const classes = await publishModel(bench.store, { number: 1, classes: digits.slice(1) });
  await assert.rejects(
    bench.models.use(classes, async () => {}),
    {
      code: "class_index_mismatch",
      message: /10 classes .* 9 names/,
    },
  );
  const crop = await publishModel(bench.store, { number: 2, crop: 32 });
  await assert.rejects(
    bench.models.use(crop, async () => {}),
    { code: "model_corrupt", message: /28 pixels .* 32/ },
  );
});

test("an answer that is not finite is an error row, not a probability", async () => {
  await using bench = await testBench();
  const parameters = initParameters(smallNetwork, 10, 1);
  parameters.get("fc.weight")!.data.fill(3e38 as never);
  const model = await publishModel(bench.store, { bytes: exportOnnx(smallNetwork, parameters, { imageSize: 28 }) });
  const rows = await bench.predict(await bench.putDigits(2), { model });
  for (const row of rows) assert.ok("code" in row && row.code === "prediction_not_finite", JSON.stringify(row));
});
