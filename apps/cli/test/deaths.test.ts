import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import type { CardinalClient } from "@cardinal/client";
import type { JobView } from "@cardinal/contracts";
import { layout, openStore } from "@cardinal/storage";
import { digitsZip, guardLeaks, waitFor } from "@cardinal/testing";
import { completed, pidOf, RECIPE, type System, startSystem, trainResult } from "./embedded.ts";

guardLeaks();

/** Long enough to be met in the middle, with a checkpoint a second. */
const LONG = { ...RECIPE, dataset: "digits", epochs: 6, seed: 3 } as const;
const env = { CHECKPOINT_SECONDS: "1" };

async function withDigits(train: number, val: number): Promise<System> {
  const up = await startSystem({ env });
  await using archive = await digitsZip({ train, val });
  await completed(up.client, await up.client.uploadDataset("digits", archive.path));
  return up;
}

/** Waits until the job is in training and beyond its step number `step`. */
async function trainingBeyond(client: CardinalClient, id: string, step: number): Promise<JobView> {
  const look = async () => {
    const job = await client.job(id);
    assert.ok(job.state === "waiting" || job.state === "active", `job ${job.state}: ${JSON.stringify(job.error)}`);
    return job.progress?.unit === "steps" && job.progress.done > step && job;
  };
  return waitFor(look, { what: `step ${step}`, timeoutMs: 90_000 });
}

const childrenOf = (pid: number): number[] =>
  readdirSync("/proc")
    .filter((entry) => {
      if (!/^\d+$/.test(entry)) return false;
      try {
        const stat = readFileSync(`/proc/${entry}/stat`, "utf8");
        return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1] === String(pid);
      } catch {
        return false;
      }
    })
    .map(Number);

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

async function weightsOf(client: CardinalClient, model: string): Promise<string> {
  return (await client.model(model)).files["weights.safetensors"].sha256;
}

test("a train-worker killed twice in one job: one model, equal to an undisturbed run's", {
  timeout: 300_000,
}, async () => {
  await using up = await withDigits(300, 50);
  const { client, system } = up;
  const undisturbed = trainResult(await completed(client, await client.train(LONG)));

  const submitted = await client.train(LONG);
  const events = Array.fromAsync(client.events(submitted.id));
  for (const step of [8, 25]) {
    await trainingBeyond(client, submitted.id, step);
    const worker = pidOf(system, "train-worker");
    const [child] = childrenOf(worker);
    process.kill(worker, "SIGKILL");
    await waitFor(() => !isAlive(child!), { what: "the orphaned child to end" });
    const began = performance.now();
    await trainingBeyond(client, submitted.id, step);
    const isToldSilent = async () => (await client.job(submitted.id)).waiting?.code === "worker_silent";
    await waitFor(isToldSilent, { what: "the view to say that its worker is silent", timeoutMs: 30_000 });
    const isTakenAgain = async () => (await client.job(submitted.id)).attempts === (step === 8 ? 2 : 3);
    await waitFor(isTakenAgain, { what: "another worker to take the job", timeoutMs: 60_000 });
    assert.ok(performance.now() - began < 60_000);
  }
  const job = await completed(client, submitted);
  const result = trainResult(job);
  assert.equal(job.attempts, 3);
  assert.ok(result.resumedFromStep! > 0, "it went on from a checkpoint");
  const models = await client.models();
  assert.deepEqual(models.map(({ id }) => id).sort(), [undisturbed.model, result.model].sort(), "one model a job");
  assert.equal(await weightsOf(client, result.model), await weightsOf(client, undisturbed.model));
  const curve = ({ epochs }: typeof result) => epochs.map(({ trainLoss, valAccuracy }) => [trainLoss, valAccuracy]);
  assert.deepEqual(curve(result), curve(undisturbed));
  // What a person sees of it: the whole history, in the view, as it was told, and in the log of all three workers.
  assert.deepEqual(job.progress?.epochs, result.epochs);
  assert.deepEqual([job.progress?.epoch, job.progress?.totalEpochs], [6, 6]);
  const heard = (await events).flatMap(({ event, data }) => (event === "epoch" ? [data.epoch] : []));
  assert.deepEqual(heard, [1, 2, 3, 4, 5, 6]);
  const lines = (await Array.fromAsync(client.logs(job.id))).map(({ level, message }) => `${level} ${message}`);
  const count = (line: string) => lines.filter((text) => text === line).length;
  assert.equal(count("info a worker begins"), 3);
  assert.equal(count("warn the worker that ran the job went silent: another one takes it"), 2);
  assert.equal(count("info epoch 1 ended"), 1);
  assert.ok(lines.some((line) => line.startsWith("info training goes on after step")));
  assert.equal(count("info completed"), 1);
});

test("the compute process killed: the worker notices, the job goes on in a new one", { timeout: 120_000 }, async () => {
  await using up = await withDigits(300, 20);
  const { client, system } = up;
  const submitted = await client.train({ ...LONG, epochs: 3 });
  await trainingBeyond(client, submitted.id, 4);
  const [child] = childrenOf(pidOf(system, "train-worker"));
  process.kill(child!, "SIGKILL");
  const job = await completed(client, submitted);
  assert.equal(job.attempts, 2);
  assert.equal((await client.models()).length, 1);
});

test("a running training is cancelled: child free, nothing half done left, the worker takes the next job", async () => {
  await using up = await withDigits(300, 20);
  const { client, system } = up;
  const submitted = await client.train({ ...LONG, epochs: 50 });
  await trainingBeyond(client, submitted.id, 4);
  const began = performance.now();
  const cancelled = await client.cancel(submitted.id);
  assert.equal(cancelled.state, "cancelled");
  const isFree = async () => {
    const workers = await client.workers();
    return workers.find(({ kind }) => kind === "train")?.active.length === 0;
  };
  await waitFor(isFree, { what: "the worker to be free" });
  assert.ok(performance.now() - began < 8_000);
  assert.equal((await client.cancel(submitted.id)).state, "cancelled", "again is a no-op");
  await completed(client, await client.train({ ...LONG, epochs: 1 }));
  assert.equal((await client.models()).length, 1, "the cancelled job made no model");
  await assert.rejects(client.cancel((await client.jobs({ kind: "train", state: "completed" })).jobs[0]!.id), {
    code: "job_already_finished",
  });
  const store = await openStore({ kind: "directory", path: system.folder.store });
  const models = await Array.fromAsync(store.listFolders(layout.models));
  assert.equal(models.length, 1);
  await store.close();
});

test("SIGTERM: the job waits again with a checkpoint and no attempt used; the next start goes on", {
  timeout: 120_000,
}, async () => {
  const up = await withDigits(300, 20);
  let submitted: JobView;
  try {
    submitted = await up.client.train({ ...LONG, epochs: 4 });
    await trainingBeyond(up.client, submitted.id, 6);
  } finally {
    await up.system.stop();
  }
  // Removed last: what is declared first is disposed of after the system that uses it.
  await using _folder = { [Symbol.asyncDispose]: () => up[Symbol.asyncDispose]() };
  await using again = await startSystem({ dataDir: up.dataDir, env });
  const job = await completed(again.client, submitted);
  assert.equal(job.attempts, 1);
  assert.ok(trainResult(job).resumedFromStep! >= 6);
  assert.equal((await again.client.models()).length, 1);
});

test("a predict-worker killed among shards: every image has its row, once, in order", {
  timeout: 120_000,
}, async () => {
  await using up = await startSystem({ env: { SHARD_IMAGES: "16" } });
  const { client, system } = up;
  await using archive = await digitsZip({ train: 300, val: 1500 });
  await completed(client, await client.uploadDataset("digits", archive.path));
  await completed(client, await client.train({ ...LONG, epochs: 1, alias: "digits" }));
  const calm = await completed(client, await client.predict({ model: "digits", dataset: "digits" }));
  const submitted = await client.predict({ model: "digits", dataset: "digits" });
  await waitFor(async () => ((await client.job(submitted.id)).progress?.done ?? 0) > 0, { what: "the first shard" });
  process.kill(pidOf(system, "predict-worker-1"), "SIGKILL");
  const job = await completed(client, submitted);
  assert.deepEqual(await Array.fromAsync(client.rows(job.id)), await Array.fromAsync(client.rows(calm.id)));
  assert.equal((await Array.fromAsync(client.rows(job.id))).length, 1500);
});

test("Redis killed while a job trains: it is started again with its data, and the job goes on", {
  timeout: 300_000,
}, async () => {
  await using up = await withDigits(300, 50);
  const { client, system } = up;
  const submitted = await client.train(LONG);
  await trainingBeyond(client, submitted.id, 8);
  const before = system.redis.pid()!;
  process.kill(before, "SIGKILL");
  const isBack = () => {
    const pid = system.redis.pid();
    return pid !== undefined && pid !== before && isAlive(pid);
  };
  await waitFor(isBack, { what: "Redis to be started again", timeoutMs: 30_000 });
  const job = await completed(client, submitted);
  assert.equal(job.attempts, 1);
  assert.equal(up.notices.filter((line) => line.startsWith("Redis ended with SIGKILL")).length, 1);
});
