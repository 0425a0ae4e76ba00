import assert from "node:assert/strict";
import { test } from "node:test";
import { problem } from "@cardinal/contracts";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { createWorker } from "../src/index.ts";
import { LINE_BYTES, LOG_LINES } from "../src/job-log.ts";
import { enqueue, ingestPayload, openBench, recordedEvents, testRedis } from "./setup.ts";

const redis = await testRedis();
guardLeaks();

const ALL = { limit: LOG_LINES };

test("a run's begin, failure with its code, next attempt and end stand in the job's log", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const worker = createWorker(bench.consumer, {
    kind: "ingest",
    concurrency: 1,
    events: recordedEvents(),
    handle: async (run) => {
      bench.consumer.tell(job.id, "warn", "the head is new", { classes: 5 });
      if (run.attempts === 1) throw problem("store_unavailable", "the store is away");
      return { result: {} };
    },
  });
  await waitFor(async () => (await bench.queue.get(job.id)).state === "completed", { what: "completion" });
  await worker.close();
  const lines = await waitFor(
    async () => {
      const log = await bench.queue.log(job.id, ALL);
      return log.at(-1)?.message === "completed" && log;
    },
    { what: "the last line" },
  );
  assert.deepEqual(
    lines.map(({ level, message }) => `${level} ${message}`),
    [
      "info a worker begins",
      "warn the head is new",
      "warn failed with an error that may heal: the job is tried again",
      "info a worker begins",
      "warn the head is new",
      "info completed",
    ],
  );
  assert.equal(lines[0]!.fields!.attempt, 1);
  assert.equal(lines[2]!.fields!.code, "store_unavailable");
  assert.equal(lines[3]!.fields!.attempt, 2);
  const rest = await bench.queue.log(job.id, { after: lines[3]!.id, limit: 1 });
  assert.deepEqual(rest, [lines[4]]);
});

test("a log is bounded in lines and bytes, shows no secrets, and goes with its job", async () => {
  await using bench = await openBench(redis);
  const { job } = await enqueue(bench.queue, "ingest", ingestPayload());
  const { log } = bench.consumer;
  const add = (n: number) => log.add(job.id, "info", `line ${n}`);
  for (let n = 0; n < LOG_LINES + 50; n += 50) await Promise.all(Array.from({ length: 50 }, (_, i) => add(n + i)));
  const kept = await bench.queue.log(job.id, { limit: LOG_LINES + 50 });
  assert.equal(kept.length, LOG_LINES);
  assert.equal(kept.at(-1)!.message, `line ${LOG_LINES + 49}`);

  await log.add(job.id, "warn", "é".repeat(10_000), { list: Array.from({ length: 5_000 }, (_, i) => i), small: 1 });
  await log.add(job.id, "info", "from https://user:pw@host/a?X-Amz-Signature=abc", {
    apiKey: "hunter2",
    nested: { secretKey: "hunter2", url: "redis://:hunter2@host:6379" },
  });
  const { redis: connection, keys } = bench.queue.internals;
  const [secret, long] = await connection.xrevrange(keys.log(job.id), "+", "-", "COUNT", 2);
  assert.ok(Buffer.byteLength(long![1].at(-1)!) <= LINE_BYTES);
  assert.deepEqual((await bench.queue.log(job.id, { after: kept.at(-1)!.id, limit: 1 }))[0]!.fields, {
    omitted: "fields that are too long",
    small: 1,
  });
  assert.doesNotMatch(JSON.stringify(secret), /hunter2|pw@|Signature/);
  assert.match(secret![1].at(-1)!, /from https:\/\/host\/a/);

  assert.ok((await connection.ttl(keys.log(job.id))) > 3_000, "it ends with the retention");
  await connection.del(keys.job(job.id), keys.log(job.id));
  assert.equal(await log.add(job.id, "info", "late"), false);
  assert.equal(await connection.exists(keys.log(job.id)), 0);
});
