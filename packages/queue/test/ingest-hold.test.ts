import assert from "node:assert/strict";
import { test } from "node:test";
import { problem } from "@cardinal/contracts";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { createWorker, JobQueue } from "../src/index.ts";
import { enqueue, ingestPayload, openBench, recordedEvents, testRedis } from "./setup.ts";

const redis = await testRedis();
guardLeaks();

test("an ingest waits while it is held; while one is active there is no hold", async () => {
  await using bench = await openBench(redis);
  const hold = await bench.queue.holdIngests();
  assert.ok(hold?.isHeld());
  assert.equal(await bench.queue.holdIngests(), undefined, "one holder at a time");
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const writes = Promise.withResolvers<void>();
  let writing = false;
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: recordedEvents(),
    handle: async (run) => {
      await bench.consumer.whenIngestsMayWrite(run.signal);
      writing = true;
      await writes.promise;
      return { result: {} };
    },
  });
  await waitFor(async () => (await bench.queue.get(job.id)).state === "active", { what: "the run" });
  assert.equal(writing, false);
  await hold!.release();
  await waitFor(() => writing, { what: "the writing" });
  assert.equal(await bench.queue.holdIngests(), undefined);
  assert.equal(await bench.queue.internals.redis.exists(bench.queue.internals.keys.ingestHold), 0, "no trace is left");
  writes.resolve();
  await waitFor(async () => (await bench.queue.get(job.id)).state === "completed", { what: "the end" });
  await worker.close();
  const again = await bench.queue.holdIngests();
  assert.ok(again);
  // A hold that has run out and is somebody else's by now stays when its former holder lets go.
  await bench.queue.internals.redis.set(bench.queue.internals.keys.ingestHold, "another");
  await again.release();
  assert.equal(await bench.queue.internals.redis.get(bench.queue.internals.keys.ingestHold), "another");
});

test("a collection is due once in a while, and at once when it is asked for", async () => {
  await using bench = await openBench(redis);
  assert.deepEqual(await Promise.all([1, 2, 3].map(() => bench.queue.isCollectionDue(60))), [true, false, false]);
  await bench.queue.scheduleCollection();
  assert.equal(await bench.queue.isCollectionDue(60), true);
  await bench.queue.scheduleCollection(60);
  assert.equal(await bench.queue.isCollectionDue(60), false);
});

test("a job that is not confirmed is none, and its Idempotency-Key is free", async () => {
  await using bench = await openBench(redis);
  const options = { request: { name: "digits" }, priority: 100, idempotencyKey: "once" };
  const payload = ingestPayload();
  const confirm = async (job: { id: string }) => {
    assert.deepEqual(
      (await bench.queue.openJobs()).map(({ id }) => id),
      [job.id],
    );
    throw problem("being_deleted", "digits is being deleted");
  };
  await assert.rejects(bench.queue.enqueue("ingest", payload, { ...options, confirm }), { code: "being_deleted" });
  await assert.rejects(bench.queue.get(payload.job), { code: "job_not_found" });
  assert.deepEqual(await bench.queue.openJobs(), []);
  assert.equal((await bench.queue.depths()).ingest.waiting, 0);
  assert.equal((await bench.queue.enqueue("ingest", ingestPayload(), options)).created, true);
});

test("only an ended job can be forgotten; its Idempotency-Key makes a new job then", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload(), "once");
  await assert.rejects(bench.queue.forget(job.id), { code: "job_not_finished", details: { state: "waiting" } });
  await bench.queue.cancel(job.id);
  await bench.queue.forget(job.id);
  await assert.rejects(bench.queue.get(job.id), { code: "job_not_found" });
  await assert.rejects(bench.queue.forget(job.id), { code: "job_not_found" });
  await assert.rejects(bench.queue.forget(JobQueue.newId("train")), { code: "job_not_found" });
  assert.deepEqual(await bench.queue.list({ limit: 10 }), { jobs: [] });
  const again = await enqueue(bench.queue, "ingest", ingestPayload(), "once");
  assert.deepEqual([again.created, again.job.id === job.id], [true, false]);
});
