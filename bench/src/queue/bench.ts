/** How fast jobs are accepted: `POST /v1/predict` to a real API on a real Redis and a real store, on 32 connections. */
import { JobQueue } from "@cardinal/queue";
import { openStore } from "@cardinal/storage";
import type { Bench, BenchContext, Outcome } from "../bench.ts";
import { PrivateRedis } from "../private-redis.ts";
import { ServiceProcess } from "../service-process.ts";
import { putStandInDataset, putStandInModel, STAND_IN_MODEL } from "../stand-in.ts";
import { type Load, load } from "./load.ts";

const JOBS = 10_000;
const CONNECTIONS = 32;
/** Until the machine code of the API is made and its caches are warm. */
const WARM_UP = 2_000;
const KEY = "a-key-for-benchmarks-only";

async function run({ folder, say, rounds }: BenchContext): Promise<Outcome> {
  const samples: Record<"jobsPerSecond" | "p50" | "p99" | "redisCpu" | "redisMb", number[]> = {
    jobsPerSecond: [],
    p50: [],
    p99: [],
    redisCpu: [],
    redisMb: [],
  };
  let version = "";
  for (let round = 0; round < rounds; round++) {
    await using redis = await PrivateRedis.start(`${folder}/${round}`);
    version = redis.version;
    const { accepted, redisCpu } = await acceptJobs(redis, `${folder}/${round}`);
    samples.jobsPerSecond.push(JOBS / accepted.seconds);
    samples.p50.push(quantile(accepted.milliseconds, 0.5));
    samples.p99.push(quantile(accepted.milliseconds, 0.99));
    samples.redisCpu.push(redisCpu * 100);
    samples.redisMb.push(redis.peakMb());
    say(`queue: ${JOBS} jobs in ${accepted.seconds.toFixed(2)} s, every one in the queue once`);
  }
  const median = (values: number[]) => quantile(values, 0.5);
  return {
    measured: [
      { name: "jobs accepted", unit: "jobs/s", samples: samples.jobsPerSecond },
      { name: "answer, median", unit: "ms", samples: samples.p50 },
      { name: "answer, 99th percentile", unit: "ms", samples: samples.p99 },
      { name: "Redis", unit: "% of a core", samples: samples.redisCpu },
      { name: "Redis at its peak", unit: "MB", samples: samples.redisMb },
    ],
    ratios: {
      jobsPerSecond: { value: median(samples.jobsPerSecond), target: { atLeast: 2_000 } },
      acceptP99Ms: { value: median(samples.p99), target: { atMost: 50 } },
    },
    versions: { redis: version },
  };
}

async function acceptJobs(redis: PrivateRedis, folder: string): Promise<{ accepted: Load; redisCpu: number }> {
  const namespace = "bench";
  await using store = await openStore({ kind: "directory", path: `${folder}/store` });
  await putStandInModel(store);
  const version = await putStandInDataset(store, "images", 1_000);
  await using api = await ServiceProcess.start(new URL("../../../apps/api/src/main.ts", import.meta.url), {
    REDIS_URL: redis.url,
    CARDINAL_NAMESPACE: namespace,
    STORE_URL: `file://${folder}/store`,
    API_PORT: "0",
    API_KEY: KEY,
  });
  const body = JSON.stringify({ model: STAND_IN_MODEL, dataset: `images@${version}`, split: "val" });
  const head = `POST /v1/predict HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer ${KEY}\r\n`;
  const request = `${head}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const shared = { url: api.url, connections: CONNECTIONS, expected: 202, request: () => request };
  const warm = await load({ ...shared, requests: WARM_UP });
  if (warm.failure) throw new Error(warm.failure);
  const cpu = redis.cpuSeconds();
  const accepted = await load({ ...shared, requests: JOBS });
  const redisCpu = (redis.cpuSeconds() - cpu) / accepted.seconds;
  if (accepted.failure) throw new Error(accepted.failure);
  await using stack = new AsyncDisposableStack();
  const config = { redisUrl: redis.url, namespace, retentionSeconds: 3600 };
  const queue = await JobQueue.open(config, (error) => {
    throw error;
  });
  stack.defer(() => queue.close());
  const { waiting } = (await queue.depths()).predict;
  if (waiting !== JOBS + WARM_UP) throw new Error(`${waiting} jobs wait, ${JOBS + WARM_UP} were accepted`);
  return { accepted, redisCpu };
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

export const queue: Bench = {
  title: "jobs accepted over HTTP on 32 connections, by a real API on a real Redis",
  rounds: 3,
  withoutPeer: true,
  run,
};
