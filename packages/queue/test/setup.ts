/** A Redis of the test file's own, and a fresh namespace for each test. */
import { randomUUID } from "node:crypto";
import { after } from "node:test";
import type { JobKind, Payloads } from "@cardinal/contracts";
import { startRedis, type TestRedis } from "@cardinal/testing";
import { JobQueue, type QueueConfig, QueueConsumer, type WorkerEvents } from "../src/index.ts";

export const failOnError = (error: Error): void => {
  throw error;
};

/** Events that are only recorded. */
export function recordedEvents(): WorkerEvents & { ends: string[]; errors: Error[] } {
  const ends: string[] = [];
  const errors: Error[] = [];
  return {
    ends,
    errors,
    ended: (_kind, outcome) => ends.push(outcome),
    error: (error) => errors.push(error),
  };
}

export async function testRedis(options: Parameters<typeof startRedis>[0] = {}): Promise<TestRedis> {
  const redis = await startRedis(options);
  after(() => redis.stop());
  return redis;
}

export interface Bench extends AsyncDisposable {
  config: QueueConfig;
  queue: JobQueue;
  consumer: QueueConsumer;
}

export async function openBench(redis: TestRedis): Promise<Bench> {
  const config = { redisUrl: redis.url, namespace: `t${randomUUID().slice(0, 8)}`, retentionSeconds: 3600 };
  const queue = await JobQueue.open(config, failOnError);
  const consumer = await QueueConsumer.open(config, failOnError);
  return {
    config,
    queue,
    consumer,
    async [Symbol.asyncDispose]() {
      await consumer.close();
      await queue.close();
    },
  };
}

const VERSION = "0".repeat(64);

export function ingestPayload(job = JobQueue.newId("ingest")): Payloads["ingest"] {
  return { v: 1, job, request: { name: "digits", valFraction: 0.1, seed: 0 }, archive: `uploads/${job}` };
}

export function predictPayload(job = JobQueue.newId("predict")): Payloads["predict"] {
  return {
    v: 1,
    job,
    model: "mdl-x",
    dataset: { name: "digits", version: VERSION, split: "val" },
    topK: 5,
    maxFailureRate: 1,
    priority: 100,
  };
}

export function shardsOf(job: string, count: number): Payloads["shard"][] {
  return Array.from({ length: count }, (_, shard) => ({
    v: 1 as const,
    job,
    shard,
    inputs: `predictions/${job}/inputs/${shard}.jsonl`,
    images: 10,
    model: "mdl-x",
    topK: 5 as const,
  }));
}

export function enqueue<K extends JobKind>(queue: JobQueue, kind: K, payload: Payloads[K], idempotencyKey?: string) {
  return queue.enqueue(kind, payload, { request: { name: "digits" }, priority: 100, idempotencyKey });
}
