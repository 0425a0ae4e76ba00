import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turnOfTheLoop } from "node:timers/promises";
import type { WorkEvent } from "@cardinal/contracts";
import { layout } from "@cardinal/storage";
import { waitFor } from "@cardinal/testing";
import { ImagesFirst, predictImage } from "../src/index.ts";
import { publishModel, testBench } from "./fixture.ts";

test("an image that nobody waits for any more costs no run of the network", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const [input] = await bench.putDigits(1);
  const bytes = await bench.store.read(layout.blob(input!.sha256));
  const events: WorkEvent[] = [];
  const stages = () => events.flatMap((event) => (event.type === "stage" ? [event.stage] : []));
  const gone = new AbortController();
  const emit = (event: WorkEvent) => {
    events.push(event);
    if (event.type === "stage" && event.stage === "decode") gone.abort(new Error("gone"));
  };
  const call = { bytes, model, topK: 1, models: bench.models, emit } as const;
  await assert.rejects(predictImage({ ...call, signal: gone.signal }), /gone/);
  const isReleased = async () => {
    await bench.models.close();
    return bench.models.loaded.length === 0;
  };
  await waitFor(isReleased, { what: "the session to be given back" });
  assert.deepEqual(stages(), ["decode", "transform"]);
  await assert.rejects(predictImage({ ...call, signal: AbortSignal.abort(new Error("gone before")) }), /gone before/);
  assert.deepEqual(bench.models.loaded, []);
  assert.ok(!events.some((event) => event.type === "images"), "neither an answer nor an error");
  await predictImage(call);
  assert.deepEqual(stages(), ["decode", "transform", "decode", "transform", "infer"]);
});

test("an abort does not wait for the load of the model", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  const gone = new AbortController();
  const call = predictImage({ bytes: new Uint8Array(1), model, topK: 1, models: bench.models, signal: gone.signal });
  gone.abort(new Error("gone"));
  await assert.rejects(call, /gone/);
  assert.deepEqual(bench.models.loaded, [model]);
});

test("a cold model is loaded by the question whether it is ready, and a load that failed is told once", async () => {
  await using bench = await testBench();
  const model = await publishModel(bench.store);
  assert.equal(bench.models.isReady(model), false);
  assert.equal(bench.models.isReady(model), false, "one load");
  await waitFor(() => bench.models.isReady(model), { what: "the model to be loaded" });
  const corrupt = await publishModel(bench.store, { number: 1, bytes: Buffer.from("no network") });
  assert.equal(bench.models.isReady(corrupt), false);
  const failure = () => {
    try {
      return bench.models.isReady(corrupt) ? undefined : false;
    } catch (error) {
      return error;
    }
  };
  assert.equal(((await waitFor(failure, { what: "the load to fail" })) as { code: string }).code, "model_corrupt");
  assert.equal(bench.models.isReady(corrupt), false, "it is tried again");
});

test("shards wait for single images, but never for long", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const order = new ImagesFirst();
  await order.shardTurn();
  const done: string[] = [];
  const work = Promise.withResolvers<void>();
  const image = order.image(() => work.promise).then(() => done.push("image"));
  const turn = order.shardTurn().then(() => done.push("shard"));
  await turnOfTheLoop();
  assert.deepEqual(done, []);
  work.resolve();
  await Promise.all([image, turn]);
  assert.deepEqual(done.toSorted(), ["image", "shard"]);
  const failed = order.image(() => Promise.reject(new Error("mine")));
  await assert.rejects(failed, /mine/);
  await order.shardTurn();
  void order.image(() => new Promise(() => {})); // images without end
  const late = order.shardTurn();
  t.mock.timers.tick(2_000);
  await late;
});
