import assert from "node:assert/strict";
import { test } from "node:test";
import { PAYLOAD_VERSION, problem } from "@cardinal/contracts";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { createWorker, JobQueue } from "../src/index.ts";
import { enqueue, failOnError, ingestPayload, openBench, recordedEvents, testRedis } from "./setup.ts";

const redis = await testRedis();
guardLeaks();

test("a job is accepted, run once and completed with its result", async () => {
  await using bench = await openBench(redis);
  const { job, created } = await enqueue(bench.queue, "ingest", ingestPayload());
  assert.equal(created, true);
  assert.equal(job.state, "waiting");
  const events = recordedEvents();
  const seen: unknown[] = [];
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events,
    handle: async (run) => {
      seen.push(run.payload);
      await run.progress({ done: 1, total: 2, unit: "images", percent: 50 });
      assert.equal((await bench.queue.get(job.id)).progress?.percent, 50);
      return { result: { dataset: "digits" } };
    },
  });
  await waitFor(async () => (await bench.queue.get(job.id)).state === "completed", { what: "completion" });
  await worker.close();
  const done = await bench.queue.get(job.id);
  assert.deepEqual(done.result, { dataset: "digits" });
  assert.equal(done.attempts, 1);
  assert.ok(done.startedAt && done.finishedAt);
  assert.equal(seen.length, 1);
  assert.deepEqual(events.ends, ["completed"]);
  await assert.rejects(bench.queue.cancel(job.id), { code: "job_already_finished" });
  assert.deepEqual((await bench.queue.depths()).ingest, { waiting: 0, active: 0, delayed: 0, oldestWaitingSeconds: 0 });
});

test("what can heal is tried again, what cannot is not", async () => {
  await using bench = await openBench(redis);
  const first = await enqueue(bench.queue, "ingest", ingestPayload());
  const second = await enqueue(bench.queue, "ingest", ingestPayload());
  const runs: string[] = [];
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 2,
    events: recordedEvents(),
    handle: async (run) => {
      runs.push(run.payload.job);
      if (run.payload.job === second.job.id) throw problem("empty_class", "class c has no images", { classes: ["c"] });
      if (run.attempts === 1) throw problem("store_unavailable", "the store is away");
      return { result: { attempts: run.attempts } };
    },
  });
  const healed = await waitFor(
    async () => {
      const job = await bench.queue.get(first.job.id);
      return job.state === "completed" && job;
    },
    { what: "the second attempt" },
  );
  assert.equal(healed.attempts, 2);
  const failed = await waitFor(
    async () => {
      const job = await bench.queue.get(second.job.id);
      return job.state === "failed" && job;
    },
    { what: "the failure" },
  );
  await worker.close();
  assert.deepEqual(failed.error, {
    code: "empty_class",
    message: "class c has no images",
    details: { classes: ["c"] },
  });
  assert.equal(runs.filter((id) => id === second.job.id).length, 1);
});

test("attempts end: a retryable error that stays fails the job with its own code", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  let runs = 0;
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: recordedEvents(),
    handle: async () => {
      runs++;
      throw problem("store_unavailable", "the store is away");
    },
  });
  await waitFor(async () => (await bench.queue.get(job.id)).state === "failed", {
    what: "the failure",
    timeoutMs: 20_000,
  });
  await worker.close();
  assert.equal(runs, 3);
  assert.equal((await bench.queue.get(job.id)).error?.code, "store_unavailable");
});

test("a waiting job is cancelled at once and never runs; a second cancel is a no-op", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  assert.equal((await bench.queue.cancel(job.id)).before, "waiting");
  assert.equal((await bench.queue.cancel(job.id)).before, "cancelled");
  let ran = false;
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: { error: failOnError },
    handle: async (run) => {
      ran ||= run.payload.job === job.id;
      return { result: {} };
    },
  });
  const next = await enqueue(bench.queue, "ingest", ingestPayload());
  await waitFor(async () => (await bench.queue.get(next.job.id)).state === "completed", { what: "the next job" });
  await worker.close();
  assert.equal(ran, false);
  assert.equal((await bench.queue.get(job.id)).state, "cancelled");
});

test("an active job is cancelled from another process' queue: its signal aborts, its result is not taken", async () => {
  await using bench = await openBench(redis);
  const other = await JobQueue.open(bench.config, failOnError);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const events = recordedEvents();
  const reasons: unknown[] = [];
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events,
    handle: async (run) => {
      await new Promise((resolve) => run.signal.addEventListener("abort", resolve));
      reasons.push(run.stopReason(), await run.seal());
      return { result: { late: true } };
    },
  });
  await waitFor(async () => (await bench.queue.get(job.id)).state === "active", { what: "the run" });
  await other.cancel(job.id);
  await waitFor(() => events.ends.length > 0, { what: "the run to end", timeoutMs: 5_000 });
  await worker.close();
  await other.close();
  assert.deepEqual(reasons, ["cancelled", false]);
  assert.deepEqual(events.ends, ["stopped"]);
  const end = await bench.queue.get(job.id);
  assert.equal(end.state, "cancelled");
  assert.equal(end.result, undefined);
});

test("a sealed job can no longer be cancelled", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: { error: failOnError },
    handle: async (run) => {
      assert.equal(await run.seal(), true);
      await assert.rejects(bench.queue.cancel(job.id), { code: "job_already_finished" });
      return { result: { published: true } };
    },
  });
  await waitFor(async () => (await bench.queue.get(job.id)).state === "completed", { what: "completion" });
  await worker.close();
});

test("the seal outlives its run: a job whose result may be out already is never cancelled", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const between: unknown[] = [];
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: recordedEvents(),
    handle: async (run) => {
      // The first run publishes, and then fails to say so; the second finds what is published and goes on.
      if (run.attempts > 1) between.push(await bench.queue.cancel(job.id).catch((error) => error.code));
      else await run.seal();
      if (run.attempts === 1) throw problem("store_unavailable", "the store is away");
      return { result: { published: true } };
    },
  });
  const isBetween = async () => {
    const { state, attempts } = await bench.queue.get(job.id);
    return state === "waiting" && attempts === 1;
  };
  await waitFor(isBetween, { what: "the first run's end" });
  await assert.rejects(bench.queue.cancel(job.id), { code: "job_already_finished" });
  await waitFor(async () => (await bench.queue.get(job.id)).state === "completed", { what: "completion" });
  await worker.close();
  assert.deepEqual(between, ["job_already_finished"]);
});

test("a run that is tried again is not lost for the word 'stalled' in its error", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: recordedEvents(),
    handle: async (run) => {
      if (run.attempts === 1) throw problem("store_timeout", "train/stalled-engine/1.jpg did not arrive in time");
      return { result: {} };
    },
  });
  const end = await waitFor(
    async () => {
      const record = await bench.queue.get(job.id);
      return record.finishedAt && record;
    },
    { what: "the end" },
  );
  await worker.close();
  assert.equal(end.state, "completed", JSON.stringify(end.error));
});

test("a drained job waits again without using an attempt, and the next worker gets it", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const events = recordedEvents();
  const first = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events,
    handle: async (run) => {
      await new Promise((resolve) => run.signal.addEventListener("abort", resolve));
      throw problem("shutting_down", run.stopReason() ?? "no reason");
    },
  });
  await waitFor(async () => (await bench.queue.get(job.id)).state === "active", { what: "the run" });
  await first.close();
  assert.equal((await bench.queue.get(job.id)).state, "waiting");
  assert.deepEqual(events.ends, ["drained"]);
  const second = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events,
    handle: async (run) => ({ result: { attempts: run.attempts, fence: run.fence } }),
  });
  const done = await waitFor(
    async () => {
      const record = await bench.queue.get(job.id);
      return record.state === "completed" && record;
    },
    { what: "completion" },
  );
  await second.close();
  assert.deepEqual(done.result, { attempts: 1, fence: 2 });
});

test("Idempotency-Key: the same request gives the same job, another one is a conflict", async () => {
  await using bench = await openBench(redis);
  const first = await enqueue(bench.queue, "ingest", ingestPayload(), "key-1");
  const again = await enqueue(bench.queue, "ingest", ingestPayload(), "key-1");
  assert.equal(again.created, false);
  assert.equal(again.job.id, first.job.id);
  const other = bench.queue.enqueue("ingest", ingestPayload(), {
    request: { name: "flowers" },
    priority: 1,
    idempotencyKey: "key-1",
  });
  await assert.rejects(other, { code: "idempotency_conflict" });
  assert.equal((await bench.queue.list({ limit: 10 })).jobs.length, 1);
});

test("a record without an entry (its process died while it accepted the job) is added again", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  await bench.queue.internals.bull.ingest.remove(job.id);
  assert.deepEqual(await bench.queue.repair(), [], "a fresh record is left alone");
  assert.deepEqual(await bench.queue.repair(Date.now() + 60_000), [job.id]);
  assert.deepEqual(await bench.queue.repair(Date.now() + 60_000), []);
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: { error: failOnError },
    handle: async () => ({ result: {} }),
  });
  await waitFor(async () => (await bench.queue.get(job.id)).state === "completed", { what: "completion" });
  await worker.close();
});

test("priority counts", async () => {
  await using bench = await openBench(redis);
  const enqueueWith = async (priority: number) => {
    const payload = ingestPayload();
    await bench.queue.enqueue("ingest", payload, { request: {}, priority });
    return payload.job;
  };
  const late = await enqueueWith(500);
  const early = await enqueueWith(5);
  const order: string[] = [];
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: { error: failOnError },
    handle: async (run) => {
      order.push(run.payload.job);
      return { result: {} };
    },
  });
  await waitFor(() => order.length === 2, { what: "both jobs" });
  await worker.close();
  assert.deepEqual(order, [early, late]);
});

test("a payload of a newer Cardinal is left for workers that understand it", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const entry = await bench.queue.internals.bull.ingest.getJob(job.id);
  await entry!.updateData({ ...entry!.data, v: PAYLOAD_VERSION + 1 });
  let ran = false;
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: recordedEvents(),
    handle: async () => {
      ran = true;
      return { result: {} };
    },
  });
  await waitFor(async () => (await entry!.getState()) === "delayed", { what: "the entry to be put back" });
  await worker.close();
  assert.equal(ran, false);
  assert.equal((await bench.queue.get(job.id)).attempts, 0);
});
