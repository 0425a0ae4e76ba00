import assert from "node:assert/strict";
import { test } from "node:test";
import { PAYLOAD_VERSION, type WorkerView } from "@cardinal/contracts";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { Backlog, type OpenJob } from "../src/backlog.ts";
import { createShardWorker, createWorker, type JobRecord, whyWaiting } from "../src/index.ts";
import { FleetSpeed } from "../src/speed.ts";
import {
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

const NOW = 1_700_000_000_000;
const at = (seconds: number) => new Date(NOW + 1000 * seconds);

const worker = (id: string, queues: WorkerView["queues"], speeds: Record<string, number> = {}): WorkerView => ({
  ...{ id, kind: "train", host: "h", pid: 1, version: "0", payloadVersion: PAYLOAD_VERSION, queues, speeds },
  ...{
    cores: 1,
    memoryBytes: 1,
    engine: "none",
    startedAt: at(0).toISOString(),
    seenAt: at(0).toISOString(),
    active: [],
  },
});

const job = (id: string, fields: Partial<OpenJob> = {}): OpenJob => ({
  ...{ id, kind: "train", state: "waiting", priority: 100, waitingSince: at(0), done: 0 },
  ...fields,
});

const backlogOf = (jobs: OpenJob[], workers: WorkerView[], remembered: Record<string, number> = {}) =>
  new Backlog(jobs, 1, new FleetSpeed(new Map(Object.entries(remembered)), workers), workers, NOW);

const work = (amount: number, sort = "train:resnet18:all") => ({ work: { sort, amount } });

test("a job's turn comes when the first of its kind's workers is free, by priority and waiting time", () => {
  const running = job("a", {
    state: "active",
    progress: { done: 1, total: 2, unit: "steps", percent: 50, etaSeconds: 30 },
  });
  const other = job("b", {
    state: "active",
    ...work(40),
    progress: { done: 3, total: 4, unit: "steps", percent: 75 },
  });
  const early = job("c", { waitingSince: at(-10), ...work(40) });
  const urgent = job("d", { priority: 1, ...work(20) });
  const resting = job("e", { priority: 1, retryAt: at(60), ...work(1_000) });
  const last = job("f", { waitingSince: at(-1), ...work(10) });
  const all = [running, other, early, urgent, resting, last];
  // One unit a second: 30 s and 10 s are left of what runs.
  const two = [worker("1", ["train"], { train: 1 }), worker("2", ["train"], { train: 1 })];
  const backlog = backlogOf(all, two);
  assert.deepEqual(backlog.turn(urgent), { jobsAhead: 2, secondsAhead: 10, etaSeconds: 30 });
  assert.deepEqual(backlog.turn(early), { jobsAhead: 3, secondsAhead: 30, etaSeconds: 70 });
  assert.deepEqual(backlog.turn(last), { jobsAhead: 4, secondsAhead: 30, etaSeconds: 40 });
  const three = backlogOf(all, [...two, worker("3", ["train"])]);
  assert.deepEqual(three.turn(urgent), { jobsAhead: 2, secondsAhead: 0, etaSeconds: 20 }, "a free worker");
  assert.equal(backlog.seconds("train", 0), (30 + 10 + 40 + 20 + 1_000 + 10) / 2);
  assert.equal(backlog.seconds("ingest", 0), 0);
});

test("seconds are told only of what was measured; a running job's pace is a measure", () => {
  const first = job("a", { state: "active", ...work(100), startedAt: at(-60) });
  const next = job("b", { waitingSince: at(-5), ...work(50) });
  const workers = [worker("1", ["train"])];
  const unknown = backlogOf([first, next], workers);
  assert.deepEqual(unknown.turn(next), { jobsAhead: 1, secondsAhead: undefined, etaSeconds: undefined });
  assert.equal(unknown.seconds("train", 0), undefined);
  const progress = { done: 5, total: 10, unit: "steps", percent: 50 } as const;
  const paced = backlogOf([{ ...first, progress }, next], workers);
  assert.deepEqual(paced.turn(next), { jobsAhead: 1, secondsAhead: 60, etaSeconds: 120 });
  const byRuns = backlogOf([first, job("c", { waitingSince: at(-1) })], workers, { "train#run": 20 });
  assert.equal(byRuns.seconds("train", 0), 40);
});

test("predict jobs are one stream over all predict-workers; what is planned counts as shards", () => {
  const planned = job("a", { kind: "predict", state: "active", total: 1_000, done: 400, ...work(1_000, "shard:m") });
  const waiting = job("b", { kind: "predict", ...work(300, "shard:m") });
  const other = job("c", { kind: "predict", waitingSince: at(1), ...work(100, "shard:other") });
  const workers = [
    worker("1", ["shard", "predict"], { "shard:m": 10 }),
    worker("2", ["shard", "predict"], { "shard:m": 20 }),
  ];
  const backlog = backlogOf([planned, waiting, other], workers, { shard: 5 });
  // 15 images a second on average of the two, so 30 of both.
  assert.deepEqual(backlog.turn(waiting), { jobsAhead: 1, secondsAhead: 20, etaSeconds: 30 });
  assert.equal(backlog.turn(other).etaSeconds, 30 + 10);
  assert.equal(backlog.seconds("shard", 0), 20);
  assert.equal(backlog.seconds("predict", 0), 10 + 10);
  assert.equal(backlog.seconds("image", 7), undefined);
  assert.equal(backlogOf([], workers, { image: 3.5 }).seconds("image", 7), 2);
});

test("workers measure what they do, and tell why a job waits: no worker, others before it, a pause after a failure", async () => {
  await using bench = await openBench(redis);
  const { queue, consumer } = bench;
  const first = await enqueue(queue, "ingest", ingestPayload());
  const payload = ingestPayload();
  await queue.enqueue("ingest", payload, { request: {}, priority: 100, work: { sort: "ingest", amount: 600 } });
  const why = async (id: string) => {
    const record = await queue.get(id);
    return whyWaiting(record, await queue.backlog());
  };
  const waiting = await waitFor(
    async () => {
      const reason = await why(payload.job);
      return reason?.jobsAhead === 1 && reason;
    },
    { what: "the job before it to be seen" },
  );
  assert.equal(waiting.code, "no_worker");
  consumer.startHeartbeat(() => worker("w", ["ingest", "predict", "shard"]));
  const until = (id: string, code: string) =>
    waitFor(
      async () => {
        const reason = await why(id);
        return reason?.code === code && reason;
      },
      { what: code },
    );
  assert.equal((await until(payload.job, "behind")).text, "1 ingest job comes before it");
  assert.equal((await until(first.job.id, "next")).jobsAhead, 0);

  const ingest = createWorker(consumer, {
    kind: "ingest",
    concurrency: 2,
    events: recordedEvents(),
    handle: async (run) => {
      if (run.payload.job === first.job.id && run.attempts === 1) throw new Error("something that may heal");
      await new Promise((resolve) => setTimeout(resolve, 100));
      return { result: {} };
    },
  });
  const retry = await until(first.job.id, "retry");
  const left = Date.parse(retry.retryAt!) - Date.now();
  assert.ok(left > 0 && left <= 1_000, `${left} ms`);
  await waitFor(async () => (await queue.get(payload.job)).state === "completed", { what: "completion" });
  const { speeds } = consumer;
  const perSecond = speeds.means().ingest!;
  assert.ok(perSecond > 1_000 && perSecond <= 6_100, `600 bytes in a good 100 ms: ${perSecond}`);
  assert.ok(speeds.means()["ingest#run"]! >= 0.099);
  await waitFor(async () => (await queue.get(first.job.id)).state === "completed", { what: "the second attempt" });
  await ingest.close();

  const predict = predictPayload();
  const shards = shardsOf(predict.job, 2);
  const planner = createWorker(consumer, {
    kind: "predict",
    concurrency: 1,
    events: { error: failOnError },
    handle: async (run) => (run.shardsDone ? { result: {} } : { shards, images: 20, priority: 100 }),
  });
  const shardWorker = createShardWorker(consumer, {
    concurrency: 1,
    events: { error: failOnError },
    handle: async () => new Promise((resolve) => setTimeout(resolve, 50)),
  });
  await enqueue(queue, "predict", predict);
  await waitFor(async () => (await queue.get(predict.job)).state === "completed", { what: "the predict job" });
  await shardWorker.close();
  await planner.close();
  assert.ok(speeds.means()["shard:mdl-x"]! > 20 && speeds.means().shard! <= 210, "10 images in a good 50 ms");
  const remembered = await queue.internals.redis.hkeys(queue.internals.keys.speeds);
  assert.deepEqual(remembered.sort(), ["ingest", "ingest#run", "shard", "shard:mdl-x"]);
});

test("a job whose worker went silent says so, one that waits for its shards does not", () => {
  const record = (fields: Partial<JobRecord>) =>
    ({ kind: "train", state: "active", id: "train-1", done: 0, ...fields }) as JobRecord;
  const alive = { ...worker("1", ["train", "shard"]), active: ["train-1"] };
  const silent = record({ claimedAt: at(-20), parked: false });
  assert.equal(whyWaiting(silent, backlogOf([], [alive]), NOW), undefined);
  assert.equal(whyWaiting(silent, backlogOf([], []), NOW)?.code, "worker_silent");
  assert.equal(whyWaiting(record({ claimedAt: at(-1), parked: false }), backlogOf([], []), NOW), undefined);
  const extracting = record({ claimedAt: at(-20), parked: true, total: 10, done: 3 });
  assert.equal(whyWaiting(extracting, backlogOf([], [alive]), NOW)?.code, "features");
  assert.equal(whyWaiting(extracting, backlogOf([], []), NOW)?.code, "no_worker");
  const predicting = record({ kind: "predict", claimedAt: at(-20), parked: true, total: 10 });
  assert.equal(whyWaiting(predicting, backlogOf([], [alive]), NOW), undefined);
});
