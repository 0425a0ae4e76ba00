/** Single images in the worker's own compute process, beside shards. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { WorkEvent } from "@cardinal/contracts";
import { ComputeProcess } from "@cardinal/queue";
import { layout } from "@cardinal/storage";
import { waitFor } from "@cardinal/testing";
import { publishModel, testBench } from "../../../packages/inference/test/fixture.ts";
import { inferenceEnvironment, inferenceModule } from "../src/inference-process.ts";

test("a cold model answers model_warming at once, a warm one between two batches of a shard", async () => {
  await using bench = await testBench();
  const storeUrl = pathToFileURL(join(bench.cacheDir, "../store")).href;
  const settings = { threads: 1, cacheDir: join(bench.cacheDir, "../child-models"), batchSize: 1, modelMemoryMb: 500 };
  const child = new ComputeProcess({
    module: fileURLToPath(inferenceModule),
    env: { ...process.env, STORE_URL: storeUrl, ...inferenceEnvironment(settings) },
    silenceMs: 60_000,
    cancelGraceMs: 5_000,
  });
  await using _ = { [Symbol.asyncDispose]: () => child.stop() };
  const model = await publishModel(bench.store);
  const inputs = await bench.putDigits(100);
  const question = { v: 1, image: layout.blob(inputs[0]!.sha256), model, topK: 1, replyTo: "-", deadline: 0 };
  const ask = (id: string, more = {}) => child.run("image", { ...question, id, ...more });

  await assert.rejects(ask("image-1"), { code: "model_warming" });
  const warm = () =>
    ask("image-2").catch((error) => {
      assert.equal(error.code, "model_warming");
      return false;
    });
  const first = await waitFor(warm, { what: "the model to be warm" });
  assert.deepEqual(await ask("image-3", { wait: true }), first);
  const cold = await publishModel(bench.store, { number: 1 });
  assert.deepEqual(await ask("image-4", { model: cold, wait: true }), { ...(first as object), model: cold });

  // The same images again and again: reading them costs little, and the shard is long.
  const long = Array.from({ length: 40 }, () => inputs).flat();
  const shard = await bench.payload(long, { model });
  let done = 0;
  const predicting = child.run(
    "shard",
    { payload: shard },
    {
      onEvent: (event: WorkEvent) => {
        if (event.type === "progress") done = event.progress.done;
      },
    },
  );
  await waitFor(() => done > 0, { what: "the shard to run" });
  for (let i = 0; i < 5; i++) assert.deepEqual(await ask(`image-${5 + i}`), first);
  assert.ok(done < long.length, "the shard was still running");
  assert.equal(((await predicting) as { succeeded: number }).succeeded, long.length);
});
