/** The typed client behind a proxy with a path of its own, over connections that break off. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { CardinalClient } from "@cardinal/client";
import { CardinalError, type Epoch, type JobEvent, PAYLOAD_VERSION, trainRequestSchema } from "@cardinal/contracts";
import { createWorker, JobQueue, type JobRun, QueueConsumer } from "@cardinal/queue";
import { layout } from "@cardinal/storage";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { KEY, startApi, VERSION } from "./api-under-test.ts";
import { cuttingProxy } from "./cutting-proxy.ts";

// Before the API's own hook, which ends the Redis that these need to close.
after(async () => {
  for (const { end } of runs.values()) end();
  for (const worker of workers) await worker.close();
  await consumer.close();
  await proxy[Symbol.asyncDispose]();
});
const api = await startApi();
const proxy = await cuttingProxy(api.url, "/cardinal");
const client = new CardinalClient({ baseUrl: proxy.url, key: KEY });
const consumer = await QueueConsumer.open(api.config, () => {});
const events = { error: () => {} };
const runs = new Map<string, { run: JobRun<"train">; end(): void }>();
const workers = [
  createWorker(consumer, { kind: "predict", concurrency: 1, events, handle: async () => ({ result: { images: 1 } }) }),
  createWorker(consumer, {
    kind: "train",
    concurrency: 5,
    events,
    handle: async (run) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      runs.set(run.payload.job, { run, end: resolve });
      await promise;
      return { result: {} };
    },
  }),
];
guardLeaks();

const ROWS = Array.from({ length: 3_000 }, (_, n) => ({
  image: `é ${n}.jpg`,
  code: "empty_file",
  message: "no bytes",
}));
const linesOf = (rows: object[]) => Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));

async function predictedJob(): Promise<string> {
  const id = JobQueue.newId("predict");
  const dataset = { name: "digits", version: VERSION, split: "val" } as const;
  const payload = {
    v: PAYLOAD_VERSION,
    job: id,
    model: "mdl-x",
    dataset,
    topK: 5,
    maxFailureRate: 1,
    priority: 1,
  } as const;
  await api.queue.enqueue("predict", payload, { request: {}, priority: 100 });
  await api.store.put(layout.rows(id), linesOf(ROWS));
  assert.equal((await client.wait(id)).state, "completed");
  return id;
}

async function trainingJob() {
  const id = JobQueue.newId("train");
  const fields = { ...trainRequestSchema.parse({ dataset: "digits" }), architecture: "resnet18" as const };
  const request = { ...fields, dataset: { name: "digits", version: VERSION } };
  await api.queue.enqueue("train", { v: PAYLOAD_VERSION, job: id, request }, { request: {}, priority: 100 });
  return { id, ...(await waitFor(() => runs.get(id), { what: "the run" })) };
}

const epochsTo = (last: number): Epoch[] =>
  Array.from({ length: last }, (_, index) => ({
    ...{ epoch: index + 1, trainLoss: 1, trainAccuracy: 0.5, valLoss: 1, valAccuracy: 0.5 },
    ...{ learningRate: 1e-4, seconds: 1, imagesPerSecond: 10 },
  }));

const progressAt = (epochs: number) =>
  ({ done: epochs, total: 9, unit: "steps", percent: epochs * 11, epochs: epochsTo(epochs) }) as const;

test("the base address may have a path, with or without a slash at its end", async () => {
  await client.jobs({ limit: 1 });
  await new CardinalClient({ baseUrl: proxy.url.slice(0, -1), key: KEY }).jobs({ limit: 1 });
  assert.deepEqual(proxy.asked, ["/v1/jobs?limit=1", "/v1/jobs?limit=1"]);
});

test("rows over a connection that breaks off again and again: each once, in order", async () => {
  const id = await predictedJob();
  proxy.asked.length = 0;
  proxy.cut(4, 40_001);
  assert.deepEqual(await Array.fromAsync(client.rows(id)), ROWS);
  assert.equal(proxy.asked.length, 5);

  // The job is retried meanwhile, and its rows are others.
  proxy.cut(1, 40_001);
  const rows = client.rows(id);
  await rows.next();
  await api.store.put(layout.rows(id), linesOf(ROWS.toReversed()));
  await assert.rejects(Array.fromAsync(rows), { name: "CardinalError", code: "object_changed" });

  // This one is compressed.
  proxy.cut(1, 1_000);
  const stream = await client.results(id, "jsonl");
  await assert.rejects(
    Array.fromAsync(stream),
    (error) => error instanceof CardinalError && error.code === "api_unreachable",
  );
});

test("a wait goes on over broken connections, hears of changes, and ends with the job", async () => {
  const { id, run, end } = await trainingJob();
  const seen: (number | undefined)[] = [];
  proxy.cut(2, 10);
  const waiting = client.wait(id, { onProgress: (job) => seen.push(job.progress?.epochs?.length) });
  await waitFor(() => seen.length === 1, { what: "the first look" });
  await run.progress(progressAt(1));
  await waitFor(() => seen.at(-1) === 1, { what: "the change" });
  end();
  assert.equal((await waiting).state, "completed");
  assert.ok(seen.length <= 4, "it looks when there is something to see");
  const left = AbortSignal.timeout(50);
  const { id: other, end: endOther } = await trainingJob();
  await assert.rejects(client.wait(other, { signal: left }), { name: "TimeoutError" });
  endOther();
});

test("events and followed log lines over broken connections: every epoch and line once", async () => {
  const { id, run, end } = await trainingJob();
  const told: JobEvent[] = [];
  proxy.cut(3, 900);
  const lines = Array.fromAsync(client.logs(id, { follow: true }));
  const reading = (async () => {
    for await (const event of client.events(id)) told.push(event);
  })();
  for (let epoch = 1; epoch <= 6; epoch++) {
    await run.progress(progressAt(epoch));
    consumer.tell(id, "info", `epoch ${epoch} ended`);
    const isTold = () => told.some(({ event, data }) => event !== "problem" && epochOf(event, data) >= epoch);
    await waitFor(isTold, { what: `epoch ${epoch}` });
  }
  end();
  await reading;
  const heard = told.flatMap(({ event, data }) => (event === "epoch" ? [data.epoch] : []));
  const first = told[0]!;
  assert.equal(first.event, "snapshot");
  const inSnapshot = first.event === "snapshot" ? (first.data.progress?.epochs ?? []).map(({ epoch }) => epoch) : [];
  assert.deepEqual([...inSnapshot, ...heard], [1, 2, 3, 4, 5, 6]);
  assert.equal(told.filter(({ event }) => event === "snapshot").length, 1);
  assert.equal(told.at(-1)!.event, "end");
  const messages = (await lines).map(({ message }) => message);
  assert.deepEqual(messages, ["a worker begins", ...heardLines(6), "completed"]);
});

const heardLines = (last: number) => epochsTo(last).map(({ epoch }) => `epoch ${epoch} ended`);

function epochOf(event: JobEvent["event"], data: JobEvent["data"]): number {
  if (event === "epoch") return (data as Epoch).epoch;
  return (data as { progress?: { epochs?: Epoch[] } }).progress?.epochs?.length ?? 0;
}
