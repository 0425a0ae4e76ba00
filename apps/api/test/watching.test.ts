/** What a person sees of a job while it runs, from several API processes, with real readers. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  type Epoch,
  type JobView,
  type LogLine,
  PAYLOAD_VERSION,
  type Progress,
  trainRequestSchema,
} from "@cardinal/contracts";
import { createWorker, JobQueue, type JobRun, QueueConsumer } from "@cardinal/queue";
import { guardLeaks, startRedis, waitFor } from "@cardinal/testing";
import { type ApiProcess, apiProcesses, ended } from "./api-processes.ts";
import { KEY, VERSION } from "./api-under-test.ts";
import { readEvents } from "./event-reader.ts";

const redis = await startRedis();
const processes = await apiProcesses(redis.url);
const [one, two] = await Promise.all([processes.start({ MAX_STREAMS: "4" }), processes.start()]);
const failOnError = (error: Error) => {
  throw error;
};
const queue = await JobQueue.open(processes.queue, failOnError);
const consumer = await QueueConsumer.open(processes.queue, failOnError);
consumer.startHeartbeat(() => ({
  ...{ id: "w", kind: "train", host: "h", pid: 1, version: "0", payloadVersion: PAYLOAD_VERSION, queues: ["train"] },
  ...{ cores: 1, memoryBytes: 1, engine: "none", startedAt: "2026-01-01T00:00:00.000Z", active: [] },
}));

type Run = JobRun<"train">;
const runs: { run: Run; end(): void }[] = [];
const worker = createWorker(consumer, {
  kind: "train",
  concurrency: 20,
  events: { error: failOnError },
  handle: async (run) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    runs.push({ run, end: resolve });
    await promise;
    return { result: { model: "mdl-x" } };
  },
});
after(async () => {
  for (const { end } of runs) end();
  await worker.close();
  await consumer.close();
  await queue.close();
  await processes[Symbol.asyncDispose]();
  await redis.stop();
});
guardLeaks();

const epochsTo = (last: number): Epoch[] =>
  Array.from({ length: last }, (_, index) => ({
    ...{ epoch: index + 1, trainLoss: 1, trainAccuracy: 0.5, valLoss: 1, valAccuracy: 0.5 },
    ...{ learningRate: 1e-4, seconds: 1, imagesPerSecond: 10 },
  }));

const progressAt = (done: number, epochs: number): Progress => ({
  ...{ done, total: 40, unit: "steps", percent: (100 * done) / 40, phase: "training", loss: 0.5, accuracy: 0.75 },
  ...{ epoch: epochs + 1, totalEpochs: 4, epochs: epochsTo(epochs), imagesPerSecond: 12, etaSeconds: 9 },
});

/** A job in the hands of the test's worker. */
async function runningJob(): Promise<{ id: string; run: Run; end(): void }> {
  const id = JobQueue.newId("train");
  const request = { ...trainRequestSchema.parse({ dataset: "digits" }), architecture: "resnet18" as const };
  const pinned = { ...request, dataset: { name: "digits", version: VERSION } };
  await queue.enqueue("train", { v: PAYLOAD_VERSION, job: id, request: pinned }, { request: {}, priority: 100 });
  const { run, end } = await waitFor(() => runs.find(({ run }) => run.payload.job === id), { what: "the run" });
  return { id, run, end };
}

const eventsOf = (api: ApiProcess, id: string, last?: string) =>
  readEvents(`${api.url}/v1/jobs/${id}/events`, KEY, last);
const view = async (api: ApiProcess, id: string, query = "") =>
  (await (await api.call(`/v1/jobs/${id}${query}`)).json()) as JobView;

test("a stream: snapshot, changes, epochs, end; a reader that comes back to another process is told what it missed", async () => {
  const { id, run, end } = await runningJob();
  await run.progress(progressAt(10, 1));
  const reader = await eventsOf(one, id);
  assert.equal(reader.response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const [snapshot] = await waitFor(() => reader.events.length > 0 && reader.events, { what: "the snapshot" });
  assert.equal(snapshot!.name, "snapshot");
  const { progress } = snapshot!.data as unknown as JobView;
  assert.deepEqual(progress, progressAt(10, 1), "epoch, step, loss, accuracy, images/s, ETA and the finished epochs");
  assert.deepEqual(reader.lines, ["retry: 2000"]);

  await run.progress(progressAt(20, 2));
  await waitFor(() => reader.events.at(-1)?.name === "change", { what: "the change" });
  assert.deepEqual(
    reader.events.map(({ name }) => name),
    ["snapshot", "epoch", "change"],
  );
  assert.equal((reader.events[1]!.data as unknown as Epoch).epoch, 2);
  const change = reader.events[2]!.data as unknown as JobView;
  assert.deepEqual([change.progress?.done, change.progress?.epochs], [20, undefined]);
  const last = reader.events.at(-1)!.id!;

  // The process dies; meanwhile two epochs end.
  await ended(one.child, "SIGKILL");
  await assert.rejects(reader.done);
  await run.progress(progressAt(30, 3));
  await run.progress(progressAt(40, 4));
  const again = await eventsOf(two, id, last);
  await waitFor(() => again.events.some(({ name }) => name === "change"), { what: "what was missed" });
  assert.deepEqual(
    again.events.map(({ name }) => name),
    ["epoch", "epoch", "change"],
  );
  assert.deepEqual(
    again.events.slice(0, 2).map(({ data }) => (data as unknown as Epoch).epoch),
    [3, 4],
  );

  end();
  await again.done;
  const final = again.events.at(-1)!;
  assert.equal(final.name, "end");
  const ended_ = final.data as unknown as JobView;
  assert.equal(ended_.state, "completed");
  assert.deepEqual(ended_.result, { model: "mdl-x" });
  assert.deepEqual(ended_.progress?.epochs, epochsTo(4));
  assert.deepEqual(await view(two, id), ended_, "all of it is still there");
  // One that has heard of the end is told not to come back; one that comes for the first time hears of it.
  assert.equal((await eventsOf(two, id, final.id)).response.status, 204);
  const late = await eventsOf(two, id);
  await late.done;
  assert.deepEqual(
    late.events.map(({ name }) => name),
    ["snapshot", "end"],
  );
});

test("a long poll answers at the end, at a change, or when its time is up; one that goes away is let go", async () => {
  const { id, run, end } = await runningJob();
  const began = performance.now();
  const inTime = await view(two, id, "?wait=0.3");
  assert.equal(inTime.state, "active");
  assert.ok(performance.now() - began >= 290);
  assert.equal((await view(two, id, "?wait=30&since=0")).revision, inTime.revision, "what is news is told at once");

  const change = view(two, id, `?wait=30&since=${inTime.revision}`);
  const whole = view(two, id, "?wait=30");
  await waitFor(async () => (await two.metric("cardinal_open_streams")) === 2, { what: "both polls" });
  await run.progress(progressAt(10, 1));
  assert.equal((await change).progress?.done, 10);
  assert.equal(await two.metric("cardinal_open_streams"), 1, "a change is no end");

  const gone = new AbortController();
  const left = two.call(`/v1/jobs/${id}?wait=30`, { signal: gone.signal });
  const stream = await eventsOf(two, id);
  await waitFor(async () => (await two.metric("cardinal_open_streams")) === 3, { what: "the readers" });
  gone.abort();
  stream.close();
  await assert.rejects(left);
  await waitFor(async () => (await two.metric("cardinal_open_streams")) === 1, { what: "the readers to be let go" });
  end();
  assert.equal((await whole).state, "completed");
  const { redis: connection, keys } = queue.internals;
  const subscribers = async () => (await connection.pubsub("NUMSUB", keys.job(id)))[1];
  await waitFor(async () => (await subscribers()) === 0, { what: "no subscription to be left" });
  assert.equal(await two.metric("cardinal_open_streams"), 0);
  for (const query of ["?wait=61", "?wait=-1", "?wait=x", "?since=-1", "?waits=1"]) {
    assert.equal((await two.call(`/v1/jobs/${id}${query}`)).status, 400, query);
  }
});

test("a process keeps so many streams and no more; its end ends them, so that readers go elsewhere", async () => {
  const three = await processes.start({ MAX_STREAMS: "2" });
  const { id, end } = await runningJob();
  const readers = [await eventsOf(three, id), await eventsOf(three, id)];
  const refused = await three.call(`/v1/jobs/${id}/events`);
  assert.equal(refused.status, 503);
  assert.equal(refused.headers.get("retry-after"), "2");
  assert.equal(((await refused.json()) as { code: string }).code, "too_many_streams");
  assert.equal((await three.call(`/v1/jobs/${id}?wait=5`)).status, 503);
  assert.equal((await three.call(`/v1/jobs/${id}`)).status, 200, "who does not wait is answered");
  readers[0]!.close();
  await waitFor(async () => (await three.metric("cardinal_open_streams")) === 1, { what: "a free place" });
  const began = performance.now();
  await Promise.all([ended(three.child, "SIGTERM"), readers[1]!.done]);
  assert.ok(performance.now() - began < 5_000);
  end();
});

test("the log of a job as JSON lines and as text, from a place on, and followed to the job's end", async () => {
  const { id, end } = await runningJob();
  const lines = async (query = "") =>
    (await (await two.call(`/v1/jobs/${id}/logs${query}`)).text())
      .split("\n")
      .flatMap((line) => (line === "" ? [] : [JSON.parse(line) as LogLine]));
  const [begins] = await waitFor(async () => ((await lines()).length > 0 ? lines() : undefined), { what: "a line" });
  assert.equal(begins!.message, "a worker begins");
  const followed = two.call(`/v1/jobs/${id}/logs?follow=true&format=text`).then((answer) => answer.text());
  await waitFor(async () => (await two.metric("cardinal_open_streams")) === 1, { what: "the follower" });
  consumer.tell(id, "warn", "the head is new", { classes: 5 });
  await waitFor(async () => (await lines()).length === 2, { what: "the second line" });
  assert.deepEqual(
    (await lines(`?after=${begins!.id}`)).map(({ message }) => message),
    ["the head is new"],
  );
  end();
  const text = (await followed).trimEnd().split("\n");
  assert.equal(text.length, 3);
  assert.match(text[1]!, /^\d{4}-\d\d-\d\dT[\d:.]+Z WARN {2}the head is new classes=5$/);
  assert.match(text[2]!, /INFO {2}completed seconds=/);
  assert.equal((await two.call(`/v1/jobs/${id}/logs?after=x`)).status, 400);
  assert.equal((await two.call(`/v1/jobs/${JobQueue.newId("train")}/logs`)).status, 404);
});

test("the line before a waiting job, its seconds and the backlog gauge: the same from every process", async () => {
  const three = await processes.start();
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) {
    const id = JobQueue.newId("ingest");
    const payload = {
      v: PAYLOAD_VERSION,
      job: id,
      request: { name: "x", valFraction: 0.1, seed: 0 },
      archive: "x",
    } as const;
    const work = { sort: "ingest", amount: 1_000 * (i + 1) };
    await queue.enqueue("ingest", payload, { request: {}, priority: 100, work });
    ids.push(id);
  }
  const isKnown = async () => (await view(two, ids[2]!)).waiting?.jobsAhead === 2;
  await waitFor(isKnown, { what: "the jobs before it" });
  assert.equal((await view(two, ids[2]!)).waiting?.code, "no_worker");
  assert.equal((await view(two, ids[2]!)).waiting?.secondsAhead, undefined, "nothing was measured yet");
  const backlog = async (api: ApiProcess) =>
    /^cardinal_backlog_seconds\{queue="ingest"\} (\S+)$/m.exec(await (await api.call("/metrics")).text())?.[1];
  assert.equal(await backlog(two), undefined);
  // A worker that has measured 500 bytes a second tells so, and is gone: its measure stays.
  consumer.speeds.worked({ sort: "ingest", amount: 500 }, 1);
  await waitFor(async () => (await backlog(two)) === "12", { what: "the backlog", timeoutMs: 5_000 });
  await waitFor(async () => (await backlog(three)) === "12", {
    what: "the same from another process",
    timeoutMs: 5_000,
  });
  for (const api of [two, three]) {
    assert.deepEqual((await view(api, ids[2]!)).waiting, {
      code: "no_worker",
      text: "no live worker takes ingest jobs",
      jobsAhead: 2,
      secondsAhead: 6,
    });
  }
  const gauges = async (api: ApiProcess) =>
    (await (await api.call("/metrics")).text())
      .split("\n")
      .filter((line) => /^cardinal_(queue_jobs|backlog|workers)/.test(line));
  assert.deepEqual(await gauges(two), await gauges(three));
});
