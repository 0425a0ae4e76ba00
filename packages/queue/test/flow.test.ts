import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { problem } from "@cardinal/contracts";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { createImageWorker, createShardWorker, createWorker, ImageCaller, type Outcome } from "../src/index.ts";
import {
  type Bench,
  enqueue,
  failOnError,
  ingestPayload,
  openBench,
  predictPayload,
  recordedEvents,
  shardsOf,
  testRedis,
} from "./setup.ts";

const redis = await testRedis();
guardLeaks();

function predictWorker(bench: Bench, shards: number, events = recordedEvents()) {
  return createWorker(bench.consumer, {
    kind: "predict",
    concurrency: 4,
    events,
    handle: async (run): Promise<Outcome> => {
      if (!run.shardsDone) {
        return { shards: shardsOf(run.payload.job, shards), images: shards * 10, priority: 100 };
      }
      return { result: { failed: run.shardsDone, attempts: run.attempts } };
    },
  });
}

const ended = (bench: Bench, id: string) =>
  waitFor(
    async () => {
      const job = await bench.queue.get(id);
      return job.finishedAt && job;
    },
    { what: "the job's end", timeoutMs: 60_000 },
  );

test("a predict job waits for its shards, counts them once, and ends with what failed for good", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "predict", predictPayload());
  const runs: number[] = [];
  const parent = predictWorker(bench, 12);
  const shards = createShardWorker(bench.consumer, {
    concurrency: 3,
    events: recordedEvents(),
    handle: async ({ payload }) => {
      runs.push(payload.shard);
      if (payload.shard === 3) throw problem("model_not_found", "the model is gone");
      if (payload.shard === 5 && runs.filter((n) => n === 5).length === 1) throw problem("store_timeout", "slow");
    },
  });
  const end = await ended(bench, job.id);
  await parent.close();
  await shards.close();
  assert.equal(end.state, "completed");
  assert.deepEqual(end.result, {
    failed: [{ shard: 3, reason: "model_not_found: the model is gone" }],
    attempts: 1,
  });
  assert.equal(end.total, 120);
  assert.equal(end.done, 110);
  assert.equal(runs.length, 13, "12 shards and one second try");
});

test("a shard's next run sees what the one before has saved", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "predict", predictPayload());
  const parent = predictWorker(bench, 1);
  const saved: unknown[] = [];
  const shards = createShardWorker(bench.consumer, {
    concurrency: 1,
    events: recordedEvents(),
    handle: async (run) => {
      saved.push({ saved: run.saved, lostWorkers: run.lostWorkers });
      await run.save({ done: saved.length });
      if (saved.length < 3) throw problem("store_timeout", "slow");
    },
  });
  await ended(bench, job.id);
  await parent.close();
  await shards.close();
  assert.deepEqual(
    saved,
    [undefined, { done: 1 }, { done: 2 }].map((each) => ({ saved: each, lostWorkers: 0 })),
  );
});

test("a small job behind a huge one of the same priority ends early", async () => {
  await using bench = await openBench(redis);
  const order: string[] = [];
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const parent = createWorker(bench.consumer, {
    kind: "predict",
    concurrency: 2,
    events: recordedEvents(),
    handle: async (run): Promise<Outcome> => {
      if (run.shardsDone) return { result: {} };
      const count = run.payload.model === "mdl-huge" ? 50 : 2;
      return { shards: shardsOf(run.payload.job, count), images: count * 10, priority: 100 };
    },
  });
  const huge = await enqueue(bench.queue, "predict", { ...predictPayload(), model: "mdl-huge" });
  const waiting = async () => (await bench.queue.depths()).shard.waiting;
  await waitFor(async () => (await waiting()) === 50, { what: "the huge job's shards" });
  const small = await enqueue(bench.queue, "predict", predictPayload());
  await waitFor(async () => (await waiting()) === 52, { what: "the small job's shards" });
  const shards = createShardWorker(bench.consumer, {
    concurrency: 1,
    events: recordedEvents(),
    handle: async ({ payload }) => {
      await gate;
      order.push(payload.job);
    },
  });
  open();
  await ended(bench, huge.job.id);
  await ended(bench, small.job.id);
  await parent.close();
  await shards.close();
  assert.ok(
    order.lastIndexOf(small.job.id) <= 4,
    `the small job's last shard ran as number ${order.lastIndexOf(small.job.id)}`,
  );
});

test("shards of a job of a lower priority number go before all of another's", async () => {
  await using bench = await openBench(redis);
  const order: string[] = [];
  const parent = createWorker(bench.consumer, {
    kind: "predict",
    concurrency: 2,
    events: recordedEvents(),
    handle: async (run): Promise<Outcome> => {
      if (run.shardsDone) return { result: {} };
      const { job, priority } = run.payload;
      return { shards: shardsOf(job, 5), images: 50, priority };
    },
  });
  const waiting = async () => (await bench.queue.depths()).shard.waiting;
  const usual = await enqueue(bench.queue, "predict", predictPayload());
  await waitFor(async () => (await waiting()) === 5, { what: "the usual job's shards" });
  const urgent = await enqueue(bench.queue, "predict", { ...predictPayload(), priority: 99 });
  await waitFor(async () => (await waiting()) === 10, { what: "the urgent job's shards" });
  const shards = createShardWorker(bench.consumer, {
    concurrency: 1,
    events: recordedEvents(),
    handle: async ({ payload }) => void order.push(payload.job),
  });
  await ended(bench, usual.job.id);
  await parent.close();
  await shards.close();
  assert.deepEqual(order, [...new Array(5).fill(urgent.job.id), ...new Array(5).fill(usual.job.id)]);
});

test("cancelling a predict job drops the shards that have not begun", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "predict", predictPayload());
  const parent = predictWorker(bench, 30);
  const begun: number[] = [];
  const shards = createShardWorker(bench.consumer, {
    concurrency: 1,
    events: recordedEvents(),
    handle: async ({ payload, signal }) => {
      begun.push(payload.shard);
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
      throw problem("cancelled", "stopped");
    },
  });
  await waitFor(() => begun.length === 1, { what: "the first shard" });
  await bench.queue.cancel(job.id);
  const idle = async () => {
    const { shard, predict } = await bench.queue.depths();
    return shard.waiting + shard.active + predict.active === 0;
  };
  await waitFor(idle, { what: "the queue to be empty", timeoutMs: 5_000 });
  await parent.close();
  await shards.close();
  assert.deepEqual(begun, [0]);
  assert.equal((await bench.queue.get(job.id)).state, "cancelled");
});

test("SIGKILL of a worker: another takes its job and its shard, with a higher fence", { timeout: 90_000 }, async () => {
  await using bench = await openBench(redis);
  const startChild = async (mode: string) => {
    const child = fork(new URL("./fixtures/worker.ts", import.meta.url), [redis.url, bench.config.namespace, mode]);
    const messages: unknown[] = [];
    child.on("message", (message) => messages.push(message));
    await waitFor(() => messages.includes("ready"), { what: "the worker" });
    return { child, messages };
  };
  const victim = await startChild("hold");
  const ingest = await enqueue(bench.queue, "ingest", ingestPayload());
  const predict = await enqueue(bench.queue, "predict", predictPayload());
  const parent = predictWorker(bench, 1);
  await waitFor(() => victim.messages.length === 3, { what: "the victim to hold a job and a shard" });
  victim.child.kill("SIGKILL");
  await once(victim.child, "exit");
  const heir = await startChild("finish");
  const job = await ended(bench, ingest.job.id);
  assert.deepEqual(job.result, { pid: heir.child.pid, attempts: 2, fence: 2 });
  const shardsJob = await ended(bench, predict.job.id);
  assert.deepEqual(shardsJob.result, { failed: [], attempts: 1 });
  await parent.close();
  heir.child.kill("SIGKILL");
  await once(heir.child, "exit");
});

test("a reply that cannot be read ends neither the process nor the calls of others", async () => {
  await using bench = await openBench(redis);
  const errors: Error[] = [];
  const caller = await ImageCaller.open(bench.config, bench.queue, (error) => errors.push(error));
  const worker = createImageWorker(bench.consumer, {
    concurrency: 1,
    events: recordedEvents(),
    handle: async ({ id, replyTo }) => {
      await bench.consumer.redis.publish(replyTo, "no JSON");
      await bench.consumer.redis.publish(replyTo, JSON.stringify({ id, error: { code: "of_tomorrow", message: "" } }));
      return { model: "mdl-x", top: [{ class: "a", index: 0, probability: 1 }] };
    },
  });
  const asked = caller.ask({ image: "uploads/x", model: "mdl-x", topK: 1 }, 5_000, new AbortController().signal);
  assert.equal((await asked).model, "mdl-x");
  assert.equal(errors.length, 2);
  await worker.close();
  await caller.close();
});

test("single images: an answer, an error, a time-out that leaves no work behind", async () => {
  await using bench = await openBench(redis);
  const caller = await ImageCaller.open(bench.config, bench.queue, failOnError);
  const question = { image: "uploads/x", model: "mdl-x", topK: 1 as const };
  const never = new AbortController().signal;
  await assert.rejects(caller.ask(question, 100, never), { code: "model_warming" });
  assert.equal((await bench.queue.depths()).image.waiting, 0);
  const answer = { model: "mdl-x", top: [{ class: "a", index: 0, probability: 1 }] };
  const worker = createImageWorker(bench.consumer, {
    concurrency: 2,
    events: recordedEvents(),
    handle: async (payload) => {
      if (payload.image === "uploads/bad") throw problem("image_truncated", "ends early");
      return answer;
    },
  });
  assert.deepEqual(await caller.ask(question, 5_000, never), answer);
  await assert.rejects(caller.ask({ ...question, image: "uploads/bad" }, 5_000, never), { code: "image_truncated" });
  await worker.close();
  const gone = new AbortController();
  const asking = caller.ask(question, 5_000, gone.signal);
  gone.abort();
  await assert.rejects(asking, { code: "cancelled" });
  await waitFor(async () => (await bench.queue.depths()).image.waiting === 0, {
    what: "the question to be taken back",
  });
  await caller.close();
});

test("a single image whose caller has gone is stopped in the worker that has it, and in no other", async () => {
  await using bench = await openBench(redis);
  const caller = await ImageCaller.open(bench.config, bench.queue, failOnError);
  const begun: string[] = [];
  const stopped: string[] = [];
  const answer = { model: "mdl-x", top: [{ class: "a", index: 0, probability: 1 }] };
  const finish = Promise.withResolvers<void>();
  const worker = createImageWorker(bench.consumer, {
    concurrency: 2,
    events: recordedEvents(),
    handle: async (payload, signal) => {
      begun.push(payload.image);
      const aborted = Promise.withResolvers<never>();
      signal.addEventListener("abort", () => {
        stopped.push(payload.image);
        aborted.reject(signal.reason);
      });
      await Promise.race([finish.promise, aborted.promise]);
      return answer;
    },
  });
  const question = { model: "mdl-x", topK: 1 as const };
  const gone = new AbortController();
  const leaving = caller.ask({ ...question, image: "uploads/leaving" }, 5_000, gone.signal);
  const staying = caller.ask({ ...question, image: "uploads/staying" }, 5_000, new AbortController().signal);
  leaving.catch(() => {});
  await waitFor(() => begun.length === 2, { what: "both to be begun" });
  gone.abort();
  await assert.rejects(leaving, { code: "cancelled" });
  await waitFor(() => stopped.length > 0, { what: "the worker to hear of it" });
  finish.resolve();
  assert.deepEqual(await staying, answer);
  assert.deepEqual(stopped, ["uploads/leaving"]);
  await worker.close();
  await caller.close();
});
