/** Head training with its feature extraction on real processes: what dies, is stopped, is missing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { CardinalClient, TrainBody } from "@cardinal/client";
import type { JobView } from "@cardinal/contracts";
import { layout, type ObjectStore, openStore } from "@cardinal/storage";
import { digitsZip, guardLeaks, waitFor } from "@cardinal/testing";
import { completed, pidOf, RECIPE, type System, startSystem, trainResult } from "./embedded.ts";

guardLeaks();

/** Many small forward passes: long enough to be met in the middle. */
const HEAD: TrainBody = { dataset: "digits", base: "base", trainable: "head", epochs: 2, imageSize: 48 };

async function withBase(up: System, train: number, val: number): Promise<string> {
  const { client } = up;
  await using archive = await digitsZip({ train, val });
  const { version } = (await completed(client, await client.uploadDataset("digits", archive.path))).result!;
  await completed(client, await client.train({ dataset: "digits", ...RECIPE, alias: "base" }));
  return String(version);
}

/** Waits until features of `images` images at least are there, and gives the view of then. */
const extractedBeyond = (client: CardinalClient, { id }: JobView, images: number): Promise<JobView> =>
  waitFor(
    async () => {
      const job = await client.job(id);
      assert.ok(job.state === "waiting" || job.state === "active", `${job.state}: ${JSON.stringify(job.error)}`);
      return job.progress?.phase === "extracting" && job.progress.done > images && job;
    },
    { what: `features of ${images} images`, timeoutMs: 60_000 },
  );

async function messagesOf(client: CardinalClient, { id }: JobView): Promise<string[]> {
  return (await Array.fromAsync(client.logs(id))).map(({ message }) => message);
}

async function weightsOf(client: CardinalClient, job: JobView): Promise<string> {
  return (await client.model(trainResult(job).model)).files["weights.safetensors"].sha256;
}

interface Row {
  path: string;
  sha256: string;
}

async function trainingRows(store: ObjectStore, name: string, version: string): Promise<Row[]> {
  const lines = (await store.read(layout.splitManifest(name, version, "train"))).toString().trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line));
}

/** The image is lost during `work`. */
async function withoutImage<T>(store: ObjectStore, { path, sha256 }: Row, work: (path: string) => Promise<T>) {
  const key = layout.blob(sha256);
  const bytes = await store.read(key);
  await store.delete(key);
  try {
    return await work(path);
  } finally {
    await store.put(key, bytes);
  }
}

test("a predict-worker and the train-worker killed, a job cancelled, an image lost, all while features are extracted", {
  timeout: 240_000,
}, async () => {
  await using up = await startSystem();
  const { client, system } = up;
  const version = await withBase(up, 400, 60);
  await using larger = await digitsZip({ train: 420, val: 60 });
  const more = (await completed(client, await client.uploadDataset("more", larger.path))).result!;
  await using store = await openStore({ kind: "directory", path: system.folder.store });

  const killed = await client.train({ ...HEAD, augment: { views: 4 } });
  const seen = await extractedBeyond(client, killed, 0);
  assert.deepEqual([seen.state, seen.waiting?.code, seen.progress?.unit], ["active", "features", "images"]);
  assert.equal(seen.progress?.total, 460);
  const isFree = async () => (await client.workers()).find(({ kind }) => kind === "train")?.active.length === 0;
  assert.ok(await waitFor(isFree, { what: "the train-worker to be free" }), "waiting holds no worker");
  process.kill(pidOf(system, "predict-worker-1"), "SIGKILL");
  process.kill(pidOf(system, "train-worker"), "SIGKILL");

  // A worker's death is noticed after 20 s: meanwhile the rest of the fleet goes on.
  const given = await client.train({ ...HEAD, seed: 1, augment: { views: 8 } });
  await extractedBeyond(client, given, 0);
  const began = performance.now();
  assert.equal((await client.cancel(given.id)).state, "cancelled");
  // One that no worker has in memory.
  const known = new Set((await trainingRows(store, "digits", version)).map(({ sha256 }) => sha256));
  const unknown = (await trainingRows(store, "more", String(more.version))).find(({ sha256 }) => !known.has(sha256));
  const lost = await withoutImage(store, unknown!, async (path) => {
    const job = await client.wait((await client.train({ ...HEAD, dataset: "more", imageSize: 40 })).id);
    assert.deepEqual([job.state, job.error?.code], ["failed", "image_not_found"]);
    assert.ok(job.error!.message.startsWith(`${path}: `), job.error!.message);
    return job;
  });
  assert.ok(performance.now() - began < 60_000);
  await completed(client, await client.retry(lost.id));
  assert.ok((await messagesOf(client, lost)).includes("features: 479 of 480 images are in the cache"));

  const job = await completed(client, killed);
  assert.equal(job.attempts, 1);
  assert.deepEqual(trainResult(job).features, { images: 460, reused: 0, extracted: 460, views: 4 });
  const again = await completed(client, await client.train({ ...HEAD, augment: { views: 4 } }));
  assert.deepEqual(trainResult(again).features, { images: 460, reused: 460, extracted: 0, views: 4 });
  assert.equal(await weightsOf(client, again), await weightsOf(client, job));
  const models = await client.models();
  assert.equal(models.length, 4, "the cancelled job made none");
});

test("all stopped while features are extracted: the job says what it lacks, and goes on when a predict-worker comes", {
  timeout: 120_000,
}, async () => {
  const first = await startSystem({ predictWorkers: 1 });
  await using _folder = { [Symbol.asyncDispose]: () => first[Symbol.asyncDispose]() };
  let submitted: JobView;
  try {
    await withBase(first, 300, 40);
    submitted = await first.client.train({ ...HEAD, augment: { views: 4 } });
    await extractedBeyond(first.client, submitted, 0);
  } finally {
    await first.system.stop();
  }
  const { dataDir } = first;
  {
    await using without = await startSystem({ dataDir, predictWorkers: 0 });
    const { state, waiting, progress } = await without.client.job(submitted.id);
    assert.deepEqual([state, waiting?.code, progress?.phase], ["active", "no_worker", "extracting"]);
    assert.match(waiting!.text, /no live worker takes shard jobs/);
  }
  await using again = await startSystem({ dataDir, predictWorkers: 1 });
  const job = await completed(again.client, submitted);
  assert.equal(job.attempts, 1, "nothing has failed");
  assert.equal(trainResult(job).features!.extracted, 340);
  assert.ok((await messagesOf(again.client, job)).includes("features: 0 of 340 images are in the cache"));
});
