/** The API on real Redis and a directory store, listening on a port of its own; no workers. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { after } from "node:test";
import { ApiKeys, RateLimits } from "@cardinal/access";
import { ImageCaller, JobQueue, JobWatcher, type QueueConfig } from "@cardinal/queue";
import { closeServer, createLogger, createMetrics, listen } from "@cardinal/service";
import { layout, type ObjectStore, openStore } from "@cardinal/storage";
import { startRedis, type TestRedis, tempDir } from "@cardinal/testing";
import { createApp } from "../src/app.ts";
import type { ApiContext } from "../src/context.ts";
import { OpenStreams } from "../src/open-streams.ts";

export const KEY = "a-key-for-tests-only";

export interface ApiUnderTest {
  url: string;
  store: ObjectStore;
  queue: JobQueue;
  redis: TestRedis;
  context: ApiContext;
  config: QueueConfig;
  /** A request with the key; `path` begins with `/`. */
  call(path: string, init?: RequestInit & { key?: string | null }): Promise<Response>;
  json(method: string, path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
}

export async function startApi(limits: Partial<ApiContext["limits"]> = {}, maxStreams = 100): Promise<ApiUnderTest> {
  const redis = await startRedis();
  const folder = await tempDir("api");
  const store = await openStore({ kind: "directory", path: folder.path });
  const config = { redisUrl: redis.url, namespace: `t${randomUUID().slice(0, 8)}`, retentionSeconds: 3600 };
  const quiet = () => {};
  const queue = await JobQueue.open(config, quiet);
  const images = await ImageCaller.open(config, queue, quiet);
  const watcher = new JobWatcher(config, quiet);
  const metrics = createMetrics();
  const context: ApiContext = {
    store,
    queue,
    images,
    watcher,
    streams: new OpenStreams(maxStreams, metrics),
    metrics,
    limits: { uploadBytes: 50e6, imageBytes: 1e6, imageTimeoutMs: 300, ...limits },
    apiKey: KEY,
    keys: new ApiKeys(queue.internals),
    rates: new RateLimits(queue.internals),
    importHosts: ["weights.example"],
    prefixArea: "inbox/",
    isClosing: () => false,
  };
  const server = createServer(
    { headersTimeout: 10_000, requestTimeout: 0 },
    createApp(context, createLogger("api", "silent")),
  );
  const url = `http://127.0.0.1:${await listen(server, 0, "127.0.0.1")}`;
  after(async () => {
    server.closeAllConnections();
    await closeServer(server, 1_000);
    await images.close();
    watcher.close();
    await queue.close();
    await store.close();
    await folder[Symbol.asyncDispose]();
    await redis.stop();
  });
  const call: ApiUnderTest["call"] = (path, { key = KEY, ...init } = {}) =>
    fetch(url + path, { ...init, headers: { ...(key && { authorization: `Bearer ${key}` }), ...init.headers } });
  const json: ApiUnderTest["json"] = (method, path, body, headers = {}) =>
    call(path, { method, body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers } });
  return { url, store, queue, redis, context, config, call, json };
}

export const VERSION = "ab".repeat(32);

/** A data set as an ingest would leave it, without images: enough for what the API looks at. */
export async function putDataset(
  store: ObjectStore,
  name: string,
  { classes = ["a", "b"], train = 10, val = 2, all = 0 } = {},
): Promise<void> {
  const splits = { ...(train && { train }), ...(val && { val }), ...(all && { all }) };
  const dataset = {
    name,
    version: VERSION,
    createdAt: new Date().toISOString(),
    classes,
    report: {
      images: train + val + all,
      bytes: 1000,
      splits,
      classes: classes.map((c) => ({ class: c, train: Math.floor(train / classes.length), val: 1 })),
      junk: { count: 0, examples: [] },
      skipped: { count: 0, examples: [] },
      duplicates: { count: 0, acrossSplits: 0, examples: [] },
      warnings: [],
      valDrawn: false,
    },
  };
  await store.put(layout.manifest(name, VERSION), Buffer.alloc(0));
  await store.put(layout.dataset(name, VERSION), Buffer.from(JSON.stringify(dataset)));
  await store.swapPointer(layout.datasetLatest(name), undefined, { version: VERSION });
}

/** A model's manifest, without its files. */
export async function putModel(store: ObjectStore, id: string): Promise<void> {
  const transform = { resize: 28, crop: 28, mean: [0, 0, 0], std: [1, 1, 1], exif: "ignore" };
  const manifest = {
    format: 1,
    id,
    createdAt: new Date().toISOString(),
    architecture: "resnext14_8x4d",
    classes: ["a", "b"],
    transform,
    metrics: { valAccuracy: 1, valLoss: 0, bestEpoch: 1 },
    lineage: {
      job: "train-x",
      dataset: { name: "digits", version: VERSION },
      recipe: {
        architecture: "resnext14_8x4d",
        trainable: "all",
        epochs: 1,
        batchSize: 16,
        optimizer: { name: "adam", learningRate: 1e-4 },
        schedule: { name: "constant" },
        augment: { crop: "center", flip: 0 },
        imageSize: 28,
        transform,
        seed: 0,
      },
      software: "test",
    },
    files: {
      "model.onnx": { sha256: VERSION, bytes: 1 },
      "weights.safetensors": { sha256: VERSION, bytes: 1 },
      "class_indices.json": { sha256: VERSION, bytes: 1 },
      "report.json": { sha256: VERSION, bytes: 1 },
    },
  };
  await store.put(layout.modelManifest(id), Buffer.from(JSON.stringify(manifest)));
}
