/**
 * Whether more workers do more: a real queue, a real store, real processes, and a stand-in engine that sleeps 30 ms an
 * image, so that what is measured is everything around an engine. 1,000 images for each worker.
 */
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { JobQueue } from "@cardinal/queue";
import { layout, type ObjectStore, openStore } from "@cardinal/storage";
import type { Bench, BenchContext, Outcome } from "../bench.ts";
import { PrivateRedis } from "../private-redis.ts";
import { ServiceProcess } from "../service-process.ts";
import { putStandInDataset, putStandInModel, STAND_IN_MODEL, standInImage } from "../stand-in.ts";
import type { Measured } from "../turns.ts";

const WORKERS = [1, 2, 8, 32];
const IMAGES_EACH = 1_000;
const MANY = 100_000;
/** SCALE_MANY=0 leaves the 100,000 images out: they take 100 s. */
const withMany = process.env.SCALE_MANY !== "0";
/** Starting many processes at once only makes each of them slow. */
const STARTS_AT_ONCE = 4;

interface Ground {
  redis: PrivateRedis;
  store: ObjectStore;
  queue: JobQueue;
  env: Record<string, string>;
  say(line: string): void;
}

interface Run {
  imagesPerSecond: number;
  /** Of Redis: share of one core. */
  redisCpu: number;
}

async function run({ folder, say }: BenchContext): Promise<Outcome> {
  await using redis = await PrivateRedis.start(folder);
  await using store = await openStore({ kind: "directory", path: `${folder}/store` });
  await putStandInModel(store);
  const namespace = "bench";
  const queue = await JobQueue.open({ redisUrl: redis.url, namespace, retentionSeconds: 3600 }, (error) => {
    throw error;
  });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => queue.close());
  const env = {
    REDIS_URL: redis.url,
    CARDINAL_NAMESPACE: namespace,
    STORE_URL: `file://${folder}/store`,
    METRICS_PORT: "0",
    THREADS: "1",
  };
  const ground: Ground = { redis, store, queue, env, say };
  const workers: ServiceProcess[] = [];
  stack.defer(async () => void (await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()))));
  const runs = new Map<number, Run>();
  for (const count of WORKERS) {
    await startWorkers(ground, workers, count);
    runs.set(count, await measure(ground, count, IMAGES_EACH * count));
  }
  const many = withMany ? await measure(ground, WORKERS.at(-1)!, MANY) : undefined;
  return outcome(runs, many, redis);
}

async function startWorkers({ env, say }: Ground, workers: ServiceProcess[], count: number): Promise<void> {
  say(`scale: starting ${count - workers.length} workers`);
  const module = new URL("./worker.ts", import.meta.url);
  while (workers.length < count) {
    const next = Math.min(STARTS_AT_ONCE, count - workers.length);
    workers.push(...(await Promise.all(Array.from({ length: next }, () => ServiceProcess.start(module, env)))));
  }
}

/** From the submission to the end of the job; the workers are ready before. */
async function measure({ redis, store, queue, say }: Ground, workers: number, images: number): Promise<Run> {
  const name = `images-${images}`;
  const version = await putStandInDataset(store, name, images);
  const job = JobQueue.newId("predict");
  const dataset = { name, version, split: "val" } as const;
  const payload = { v: 1, job, model: STAND_IN_MODEL, dataset, topK: 5, maxFailureRate: 0, priority: 100 } as const;
  const cpu = redis.cpuSeconds();
  const start = performance.now();
  await queue.enqueue("predict", payload, { request: {}, priority: 100 });
  let record = await queue.get(job);
  for (; !record.finishedAt; record = await queue.get(job)) await sleep(20);
  const seconds = (performance.now() - start) / 1000;
  const redisCpu = (redis.cpuSeconds() - cpu) / seconds;
  if (record.state !== "completed") throw new Error(`the job failed: ${JSON.stringify(record.error)}`);
  await checkRows(store, job, images);
  say(`scale: ${workers} workers, ${images} images in ${seconds.toFixed(1)} s, every row there once`);
  return { imagesPerSecond: images / seconds, redisCpu };
}

/** Throws unless there is one row for each image, in order. */
async function checkRows(store: ObjectStore, job: string, images: number): Promise<void> {
  let count = 0;
  for await (const line of createInterface({ input: await store.get(layout.rows(job)) })) {
    const { image } = JSON.parse(line) as { image: string };
    if (image !== standInImage(count)) throw new Error(`row ${count} is of ${image}`);
    count++;
  }
  if (count !== images) throw new Error(`${count} rows of ${images} images`);
}

function outcome(runs: ReadonlyMap<number, Run>, many: Run | undefined, redis: PrivateRedis): Outcome {
  const all: [string, Run][] = [...runs].map(([workers, each]) => [`${workers} workers`, each]);
  if (many) all.push([`32 workers, ${MANY} images`, many]);
  const measured: Measured[] = all.flatMap(([name, { imagesPerSecond, redisCpu }]) => [
    { name, unit: "images/s", samples: [imagesPerSecond] },
    { name: `${name}: Redis`, unit: "% of a core", samples: [redisCpu * 100] },
  ]);
  measured.push({ name: "Redis at its peak", unit: "MB", samples: [redis.peakMb()] });
  const alone = runs.get(1)!.imagesPerSecond;
  const efficiency = (workers: number, of: Run) => of.imagesPerSecond / (workers * alone);
  return {
    measured,
    ratios: {
      efficiency8: { value: efficiency(8, runs.get(8)!), target: { atLeast: 0.9 } },
      efficiency32: { value: efficiency(32, runs.get(32)!), target: { atLeast: 0.9 } },
      ...(many && { efficiency32Many: { value: efficiency(32, many), target: { atLeast: 0.9 } } }),
    },
    versions: { redis: redis.version },
  };
}

export const scale: Bench = {
  title: "1 to 32 predict-workers with an engine that sleeps: what is lost around the engine",
  rounds: 1,
  withoutPeer: true,
  run,
};
