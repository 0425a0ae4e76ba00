import assert from "node:assert/strict";
import { test } from "node:test";
import { problem } from "@cardinal/contracts";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { createWorker, JobQueue, type JobRun, type QueueConsumer, type WorkerEvents } from "../src/index.ts";
import { type Bench, enqueue, ingestPayload, openBench, recordedEvents, testRedis } from "./setup.ts";

const redis = await testRedis();
guardLeaks();

type Handle = (run: JobRun<"ingest">) => Promise<{ result: Record<string, unknown> }>;

const ingestWorker = (consumer: QueueConsumer, handle: Handle, events: WorkerEvents = recordedEvents()) =>
  createWorker(consumer, { kind: "ingest", concurrency: 1, events, handle });

const reaches = (bench: Bench, id: string, state: string) =>
  waitFor(
    async () => {
      const job = await bench.queue.get(id);
      return job.state === state && job;
    },
    { what: `${id} ${state}`, timeoutMs: 20_000 },
  );

test("a failed job is run again under its id, with all its attempts, and keeps how it ended", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const fences: number[] = [];
  const worker = ingestWorker(bench.consumer, async (run) => {
    fences.push(run.fence);
    // Two runs of the second budget fail in a way that heals: the first budget's end must not count against them.
    if (fences.length === 1) throw problem("empty_class", "class c has no images", { classes: [] });
    if (fences.length < 4) throw problem("store_unavailable", "the store is away");
    return { result: { dataset: "digits" } };
  });
  const failed = await reaches(bench, job.id, "failed");
  const retried = await bench.queue.requeueEnded(job.id);
  assert.deepEqual(
    [retried.id, retried.state, retried.error, retried.finishedAt],
    [job.id, "waiting", undefined, undefined],
  );
  assert.equal(retried.createdAt.getTime(), job.createdAt.getTime());
  assert.equal(await bench.queue.internals.redis.ttl(bench.queue.internals.keys.job(job.id)), -1, "it does not expire");

  const done = await reaches(bench, job.id, "completed");
  await worker.close();
  assert.deepEqual([done.attempts, done.attemptsBefore], [4, 1]);
  assert.deepEqual(done.history, [
    { state: "failed", finishedAt: failed.finishedAt, attempts: 1, error: failed.error },
  ]);
  assert.deepEqual(failed.error?.details, { classes: [] });
  assert.ok(
    fences.every((fence, index) => index === 0 || fence > fences[index - 1]!),
    `fences rise: ${fences}`,
  );
  assert.ok((await bench.queue.internals.redis.ttl(bench.queue.internals.keys.job(job.id))) > 0);
  await assert.rejects(bench.queue.requeueEnded(job.id), {
    code: "job_not_retryable",
    details: { state: "completed" },
  });
});

test("a job that was cancelled in the middle of a run and retried at once runs again; the old run writes nothing", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const events = recordedEvents();
  const runs: JobRun<"ingest">[] = [];
  const worker = ingestWorker(
    bench.consumer,
    async (run) => {
      runs.push(run);
      if (runs.length > 1) return { result: { run: 2 } };
      await new Promise((resolve) => run.signal.addEventListener("abort", resolve, { once: true }));
      assert.equal(await run.seal(), false);
      return { result: { run: 1 } };
    },
    events,
  );
  await waitFor(() => runs.length === 1, { what: "the first run" });
  await bench.queue.cancel(job.id);
  await bench.queue.requeueEnded(job.id);
  const done = await reaches(bench, job.id, "completed");
  await worker.close();
  assert.deepEqual(done.result, { run: 2 });
  assert.deepEqual(events.ends, ["stopped", "completed"]);
  assert.deepEqual(
    done.history.map(({ state, attempts }) => [state, attempts]),
    [["cancelled", 1]],
  );
  assert.deepEqual(events.errors, []);
});

test("only what failed or was cancelled can be retried, once at a time", async () => {
  await using bench = await openBench(redis);
  await assert.rejects(bench.queue.requeueEnded(JobQueue.newId("ingest")), { code: "job_not_found" });
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  await assert.rejects(bench.queue.requeueEnded(job.id), { code: "job_not_retryable", details: { state: "waiting" } });
  await bench.queue.cancel(job.id);
  const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => bench.queue.requeueEnded(job.id)));
  assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  assert.equal((await bench.queue.get(job.id)).history.length, 1);
});

test("a retry whose check fails is a failed job with that error", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  await bench.queue.cancel(job.id);
  const retry = bench.queue.requeueEnded(job.id, async (open) => {
    assert.equal(open.state, "waiting");
    throw problem("dataset_not_found", "there is no data set digits");
  });
  await assert.rejects(retry, { code: "dataset_not_found" });
  const ended = await bench.queue.get(job.id);
  assert.deepEqual([ended.state, ended.error?.code, ended.history.length], ["failed", "dataset_not_found", 1]);
  assert.equal((await bench.queue.depths()).ingest.waiting, 0);
});
