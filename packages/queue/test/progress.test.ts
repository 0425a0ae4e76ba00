import assert from "node:assert/strict";
import { test } from "node:test";
import type { Epoch, Progress } from "@cardinal/contracts";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { createWorker, JobWatcher } from "../src/index.ts";
import { ProgressWriter } from "../src/progress-writer.ts";
import { enqueue, failOnError, ingestPayload, openBench, testRedis } from "./setup.ts";

const redis = await testRedis();
guardLeaks();

const epochsTo = (last: number): Epoch[] =>
  Array.from({ length: last }, (_, index) => ({
    ...{ epoch: index + 1, trainLoss: 1 / (index + 1), trainAccuracy: 0.5, valLoss: 1, valAccuracy: 0.5 },
    ...{ learningRate: 1e-4, seconds: 1, imagesPerSecond: 10 },
  }));

const progressAt = (done: number, epochs?: Epoch[]): Progress => ({
  ...{ done, total: 100, unit: "steps", percent: done },
  ...(epochs && { epochs }),
});

test("progress and the finished epochs stay when a worker dies, and are those of the job's last run", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const { records } = bench.consumer;
  const first = (await records.claim("ingest", job.id))!;
  const before = new ProgressWriter(records, job.id, first.fence);
  for (let epoch = 0; epoch <= 4; epoch++) assert.equal(await before.write(progressAt(epoch, epochsTo(epoch))), "ok");
  // Nobody ends the run: its worker is dead.
  const left = await bench.queue.get(job.id);
  assert.deepEqual([left.state, left.progress?.done], ["active", 4]);
  assert.equal(left.progress?.epochs, undefined, "the record itself stays small");
  assert.deepEqual(await bench.queue.epochs(job.id), epochsTo(4));
  assert.deepEqual(
    (await bench.queue.epochs(job.id, 3)).map(({ epoch }) => epoch),
    [4],
  );

  const second = (await records.claim("ingest", job.id))!;
  assert.equal(second.takenOver, true);
  assert.equal(await before.write(progressAt(99, epochsTo(9))), "fenced", "a late writer changes nothing");
  const after = new ProgressWriter(records, job.id, second.fence);
  // It goes on from a checkpoint of epoch 2.
  await after.write(progressAt(2, epochsTo(2)));
  assert.equal((await bench.queue.epochs(job.id)).length, 2);
  await after.write(progressAt(3, epochsTo(3)));
  await records.finish("ingest", job.id, second.fence, { result: {} });
  const ended = await bench.queue.get(job.id);
  assert.deepEqual([ended.state, ended.progress?.done], ["completed", 3]);
  assert.deepEqual(await bench.queue.epochs(job.id), epochsTo(3));
  const { redis: connection, keys } = bench.queue.internals;
  assert.ok((await connection.ttl(keys.epochs(job.id))) > 3_000, "kept as long as the job");
});

test("a run that tells faster than Redis takes it: one write at a time, the latest is written before the end", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  let revisions = 0;
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: { error: failOnError },
    handle: async (run) => {
      const before = (await bench.queue.get(job.id)).revision;
      for (let done = 0; done <= 100; done++) void run.progress(progressAt(done));
      await waitFor(async () => (await bench.queue.get(job.id)).progress?.done === 100, { what: "the latest" });
      revisions = (await bench.queue.get(job.id)).revision - before;
      void run.progress(progressAt(42));
      void run.progress(progressAt(43));
      return { result: {} };
    },
  });
  const ended = await waitFor(
    async () => {
      const record = await bench.queue.get(job.id);
      return record.state === "completed" && record;
    },
    { what: "completion" },
  );
  await worker.close();
  assert.ok(revisions < 10, `${revisions} writes`);
  assert.equal(ended.progress?.done, 43);
});

test("a watch wakes at each change, holds no message, and frees its subscription", async () => {
  await using bench = await openBench(redis);
  const watcher = new JobWatcher(bench.config, failOnError);
  const { redis: connection, keys } = bench.queue.internals;
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const subscribers = async () => (await connection.pubsub("NUMSUB", keys.job(job.id)))[1];
  const { signal } = new AbortController();
  {
    using watch = watcher.watch(job.id);
    using _other = watcher.watch(job.id);
    await waitFor(async () => (await subscribers()) === 1, { what: "one subscription for both" });
    // The first look, and the one for what came before the subscription stood.
    await watch.changed(10_000, signal);
    const began = performance.now();
    await watch.changed(50, signal);
    await watch.changed(50, signal);
    assert.ok(performance.now() - began >= 45, "nothing has changed: the time runs out");
    const woken = watch.changed(10_000, signal).then(() => performance.now());
    const cancelledAt = performance.now();
    await bench.queue.cancel(job.id);
    assert.ok((await woken) - cancelledAt < 2_000);
    assert.equal((await bench.queue.get(job.id)).revision, 2);
  }
  await waitFor(async () => (await subscribers()) === 0, { what: "the subscription to end" });
  watcher.close();
});
