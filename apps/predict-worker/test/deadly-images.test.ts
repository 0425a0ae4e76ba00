/** Batch jobs on a real queue and a real store, computed in real processes that some images kill. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { isErrorRow, type PredictPayload, problem, type Row } from "@cardinal/contracts";
import {
  ComputeProcess,
  createShardWorker,
  createWorker,
  JobQueue,
  type JobRecord,
  QueueConsumer,
  type ShardRun,
} from "@cardinal/queue";
import { createMetrics } from "@cardinal/service";
import { layout } from "@cardinal/storage";
import { guardLeaks, startRedis, waitFor } from "@cardinal/testing";
import { publishModel, readRows, testBench } from "../../../packages/inference/test/fixture.ts";
import { batchPrediction } from "../src/batch-prediction.ts";
import { shardRuns } from "../src/shard-runs.ts";

const redis = await startRedis();
after(() => redis.stop());
guardLeaks();

const onError = (error: Error) => {
  throw error;
};

interface SystemOptions {
  maxShardImages: number;
  /** Stands before the shard's own work. */
  before?(run: ShardRun): Promise<void>;
}

async function startSystem({ maxShardImages, before }: SystemOptions) {
  const stack = new AsyncDisposableStack();
  const bench = stack.use(await testBench());
  const folder = join(bench.cacheDir, "..");
  const [deadly, seen] = [join(folder, "deadly"), join(folder, "seen")];
  const config = { redisUrl: redis.url, namespace: `t${randomUUID().slice(0, 8)}`, retentionSeconds: 3600 };
  const queue = stack.adopt(await JobQueue.open(config, onError), (it) => it.close());
  const consumer = stack.adopt(await QueueConsumer.open(config, onError), (it) => it.close());
  const env = { STORE_URL: `file://${join(folder, "store")}`, CACHE_DIR: bench.cacheDir, DEADLY: deadly, SEEN: seen };
  const compute = new ComputeProcess({
    module: fileURLToPath(new URL("./deadly-child.ts", import.meta.url)),
    env: { ...process.env, ...env },
    silenceMs: 60_000,
    cancelGraceMs: 1_000,
  });
  stack.defer(() => compute.stop());
  const events = { error: onError };
  const { store } = bench;
  const runShard = shardRuns({ store, compute, drainGraceMs: 1_000, record: () => {} });
  const startShardWorker = () =>
    createShardWorker(consumer, {
      concurrency: 1,
      events,
      handle: async (run) => {
        await before?.(run);
        await runShard(run);
      },
    });
  const handle = batchPrediction({ store, metrics: createMetrics(), maxShardImages, prefixArea: "inbox/" });
  const parents = createWorker(consumer, { kind: "predict", concurrency: 2, events, handle });
  stack.defer(() => parents.close());
  let shards = startShardWorker();
  stack.defer(() => shards.close());
  const model = await publishModel(store);
  const ended = (id: string) =>
    waitFor(async () => ((job) => job.finishedAt && job)(await queue.get(id)), {
      what: "the job's end",
      timeoutMs: 60_000,
    });
  return {
    bench,
    queue,
    store,
    ended,
    /** Digests of the images that were read since the last call, sorted. */
    async takeSeen(): Promise<string[]> {
      const lines = (await readFile(seen, "utf8").catch(() => "")).split("\n").filter((line) => line !== "");
      await writeFile(seen, "");
      return lines.sort();
    },
    kill: (digests: readonly string[]) => writeFile(deadly, digests.join("\n")),
    /** The worker is told to end in the middle of what it does, and another one begins. */
    async replaceWorker(): Promise<void> {
      await shards.close();
      shards = startShardWorker();
    },
    async submit(images: readonly string[], more: Partial<PredictPayload> = {}): Promise<JobRecord> {
      const job = JobQueue.newId("predict");
      await store.put(layout.predictionImages(job), Buffer.from(JSON.stringify(images)));
      const imageList = layout.predictionImages(job);
      const payload = { v: 1, job, model, imageList, topK: 2, maxFailureRate: 1, priority: 100, ...more } as const;
      await queue.enqueue("predict", payload, { request: {}, priority: 100 });
      return ended(job);
    },
    async retry(id: string): Promise<JobRecord> {
      await queue.requeueEnded(id);
      return ended(id);
    },
    rows: (id: string): Promise<Row[]> => readRows(store, layout.rows(id)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const codes = (rows: readonly Row[]) => rows.map((row) => (isErrorRow(row) ? row.code : "ok"));

test("an image that kills the process is one error row; its neighbours are answered; retry runs it alone", {
  timeout: 120_000,
}, async () => {
  await using system = await startSystem({ maxShardImages: 16 });
  const digests = (await system.bench.putDigits(40)).map(({ sha256 }) => sha256);
  await system.kill([digests[21]!]);
  const job = await system.submit(digests);
  assert.equal(job.state, "completed");
  assert.equal(job.attempts, 1, "no attempt of the job is used");
  const rows = await system.rows(job.id);
  assert.deepEqual(
    rows.map((row) => row.image),
    digests,
  );
  assert.deepEqual(
    codes(rows),
    digests.map((_, i) => (i === 21 ? "image_kills_process" : "ok")),
  );
  const { failed, succeeded } = job.result as { failed: number; succeeded: number };
  assert.deepEqual([succeeded, failed], [39, 1]);
  const left: string[] = [];
  for await (const { key } of system.store.list(layout.allPieces(job.id))) left.push(key);
  assert.deepEqual(left, [], "pieces are cleared away");

  await system.takeSeen();
  await system.kill([]);
  const again = await system.retry(job.id);
  assert.equal(again.state, "completed");
  assert.deepEqual(await system.takeSeen(), [digests[21]], "nothing but the failed input is read again");
  const healed = await system.rows(job.id);
  assert.deepEqual(codes(healed), new Array(40).fill("ok"));
  assert.deepEqual(
    healed.filter((_, i) => i !== 21),
    rows.filter((_, i) => i !== 21),
  );
  assert.equal(again.done, again.total);
  await assert.rejects(system.queue.requeueEnded(job.id), { code: "job_not_retryable" });
});

test("a worker that ends in the middle of the search hands over what it has found out", {
  timeout: 120_000,
}, async () => {
  await using system = await startSystem({ maxShardImages: 32 });
  const digests = (await system.bench.putDigits(32)).map(({ sha256 }) => sha256);
  await system.kill([digests[30]!]);
  const ending = system.submit(digests);
  const halves = async () => {
    const keys: string[] = [];
    for await (const { key } of system.store.list("predictions/")) if (key.includes("/pieces/")) keys.push(key);
    return keys;
  };
  const done = await waitFor(async () => ((keys) => keys.length > 0 && keys)(await halves()), { what: "a piece" });
  await system.takeSeen();
  await system.replaceWorker();
  const job = await ending;
  assert.deepEqual(codes(await system.rows(job.id)), new Array(32).fill("ok").with(30, "image_kills_process"));
  assert.ok(
    done.some((key) => key.endsWith("/000000-000016")),
    `the first half is the first piece: ${done}`,
  );
  const again = new Set(await system.takeSeen());
  assert.ok(!digests.slice(0, 16).some((sha256) => again.has(sha256)), "the first half is not predicted again");
});

test("one shard lost for good: the job names the missing inputs, and retry runs only those", async () => {
  let isBroken = true;
  const before = async ({ payload }: ShardRun) => {
    if (payload.shard === 1 && isBroken) throw problem("model_not_found", "the model is not on this machine");
  };
  await using system = await startSystem({ maxShardImages: 8, before });
  const digests = (await system.bench.putDigits(20)).map(({ sha256 }) => sha256);
  const job = await system.submit(digests);
  assert.equal(job.state, "failed");
  assert.equal(job.error?.code, "shards_failed");
  assert.deepEqual(job.error?.details?.missing, [
    { shard: 1, first: 8, images: 8, reason: "model_not_found: the model is not on this machine" },
  ]);
  const rows = await system.rows(job.id);
  assert.deepEqual(
    codes(rows),
    digests.map((_, i) => (i >= 8 && i < 16 ? "shard_lost" : "ok")),
  );
  const errors = await readRows(system.store, layout.errors(job.id));
  assert.deepEqual(
    errors.map((row) => row.image),
    digests.slice(8, 16),
  );

  await system.takeSeen();
  isBroken = false;
  const again = await system.retry(job.id);
  assert.equal(again.state, "completed");
  assert.deepEqual(await system.takeSeen(), digests.slice(8, 16).sort());
  assert.deepEqual(codes(await system.rows(job.id)), new Array(20).fill("ok"));
});

test("over maxFailureRate the job fails and keeps what it has; retry runs the failed inputs", async () => {
  await using system = await startSystem({ maxShardImages: 8 });
  const digests = (await system.bench.putDigits(12)).map(({ sha256 }) => sha256);
  const away = [digests[2]!, digests[9]!];
  const kept = await Promise.all(away.map((sha256) => system.store.read(layout.blob(sha256))));
  for (const sha256 of away) await system.store.delete(layout.blob(sha256));
  const job = await system.submit(digests, { maxFailureRate: 0.1 });
  assert.equal(job.error?.code, "too_many_failures");
  const expected = digests.map((sha256) => (away.includes(sha256) ? "image_not_found" : "ok"));
  assert.deepEqual(codes(await system.rows(job.id)), expected);

  await system.store.put(layout.blob(away[0]!), kept[0]!);
  await system.takeSeen();
  const again = await system.retry(job.id);
  assert.equal(again.state, "completed", "one of twelve is allowed");
  assert.deepEqual(await system.takeSeen(), away.toSorted());
  assert.deepEqual(codes(await system.rows(job.id)), expected.with(2, "ok"));
});

test("a prefix: every object below it, by its whole key, in order of the keys", async () => {
  await using system = await startSystem({ maxShardImages: 4 });
  const inputs = await system.bench.putDigits(3);
  const names = ["a/1.png", "b/1.png", "c d%20+#?中.png"];
  for (const [i, name] of names.entries()) {
    await system.store.put(`inbox/run/${name}`, await system.store.read(layout.blob(inputs[i]!.sha256)));
  }
  await system.store.put("inbox/run/b/page.jpg", Buffer.from("<html></html>"));
  await system.store.put("inbox/run-2/1.png", Buffer.from("of another prefix"));
  const job = await system.submit([], { imageList: undefined, prefix: "inbox/run/" });
  assert.equal(job.state, "completed");
  const rows = await system.rows(job.id);
  assert.deepEqual(
    rows.map((row) => [row.image, isErrorRow(row) ? row.code : row.sha256]),
    [
      ["inbox/run/a/1.png", inputs[0]!.sha256],
      ["inbox/run/b/1.png", inputs[1]!.sha256],
      ["inbox/run/b/page.jpg", "not_an_image"],
      ["inbox/run/c d%20+#?中.png", inputs[2]!.sha256],
    ],
  );
  const outside = await system.submit([], { imageList: undefined, prefix: "models/" });
  assert.equal(outside.error?.code, "prefix_not_allowed");
});
