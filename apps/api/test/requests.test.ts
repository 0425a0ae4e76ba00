import assert from "node:assert/strict";
import { test } from "node:test";
import { type ImageAnswer, type JobView, problem } from "@cardinal/contracts";
import { createImageWorker, QueueConsumer } from "@cardinal/queue";
import { guardLeaks } from "@cardinal/testing";
import { putDataset, putModel, startApi, VERSION } from "./api-under-test.ts";

const api = await startApi();
guardLeaks();
await putDataset(api.store, "digits");
await putDataset(api.store, "one-class", { classes: ["only"] });
await putDataset(api.store, "wide", { classes: Array.from({ length: 300 }, (_, at) => `c${at}`), train: 600 });
await putDataset(api.store, "flat", { classes: [], train: 0, val: 0, all: 5 });
await putModel(api.store, "mdl-test-1");

async function refused(response: Response, status: number, code: string, path?: string) {
  const body = (await response.json()) as Record<string, unknown> & { errors?: { path: string }[] };
  assert.deepEqual([response.status, body.code], [status, code], JSON.stringify(body));
  assert.equal(response.headers.get("content-type"), "application/problem+json; charset=utf-8");
  assert.equal(body.status, status);
  assert.doesNotMatch(JSON.stringify(body), /\.ts:\d+|node_modules/, "no stack");
  if (path !== undefined) {
    const paths = [body.path, ...(body.errors ?? []).map((error) => error.path)];
    assert.ok(paths.includes(path), `${path} in ${JSON.stringify(body)}`);
  }
}

test("a key is needed below /v1 and nowhere else", async () => {
  await refused(await api.call("/v1/jobs", { key: null }), 401, "unauthorized");
  await refused(await api.call("/v1/jobs", { key: "wrong" }), 401, "unauthorized");
  await refused(await api.call("/v1/nothing", { key: null }), 401, "unauthorized");
  const basic = await api.call("/v1/jobs", { key: null, headers: { authorization: "Basic abc" } });
  await refused(basic, 401, "unauthorized");
  assert.equal(basic.headers.get("www-authenticate"), "Bearer");
  assert.equal((await api.call("/v1/jobs")).status, 200);
  for (const path of ["/healthz", "/readyz", "/metrics"]) {
    assert.equal((await api.call(path, { key: null })).status, 200, path);
  }
});

test("bad bodies of POST /v1/train", async () => {
  const train = (body: string, type = "application/json") =>
    api.call("/v1/train", { method: "POST", body, headers: { "content-type": type } });
  await refused(await train('{"a":'), 400, "invalid_json");
  await refused(await train('"digits"'), 400, "invalid_json");
  await refused(await train("[]"), 400, "invalid_request");
  await refused(await train("{}"), 400, "invalid_request", "dataset");
  await refused(await train('{"dataset":"digits"}', "text/plain"), 415, "unsupported_media_type");
  await refused(await train(`{"dataset":"${"x".repeat(2e6)}"}`), 413, "body_too_large");
  await refused(await train('{"dataset":"digits","__proto__":{"x":1}}'), 400, "invalid_request", "__proto__");
  await refused(await train('{"dataset":"digits","constructor":1}'), 400, "invalid_request", "constructor");
  for (const epochs of ['"5"', "-1", "1e9", "1.5", "null"]) {
    await refused(await train(`{"dataset":"digits","epochs":${epochs}}`), 400, "invalid_request", "epochs");
  }
  await refused(await train('{"dataset":"digits","batchSize":0}'), 400, "invalid_request", "batchSize");
  await refused(await train('{"dataset":"digits","optimizer":{"lr":1}}'), 400, "invalid_request", "optimizer.lr");
  await refused(await train('{"dataset":"digits","unknown":1}'), 400, "invalid_request", "unknown");
});

test("bad recipes of POST /v1/train, each with its path", async () => {
  const bad = async (path: string, body: object) =>
    refused(await api.json("POST", "/v1/train", { dataset: "digits", ...body }), 400, "invalid_request", path);
  await bad("optimizer.name", { optimizer: { name: "lion" } });
  await bad("optimizer.momentum", { optimizer: { name: "adamw", momentum: 0.9 } });
  await bad("optimizer.momentum", { optimizer: { name: "sgd", momentum: 1 } });
  await bad("optimizer.weightDecay", { optimizer: { weightDecay: -1 } });
  await bad("schedule.stepEpochs", { schedule: { name: "step" } });
  await bad("schedule.stepEpochs", { schedule: { name: "cosine", stepEpochs: 2 } });
  await bad("schedule.gamma", { schedule: { gamma: 0.5 } });
  await bad("schedule.warmupEpochs", { epochs: 2, schedule: { warmupEpochs: 2 } });
  await bad("labelSmoothing", { labelSmoothing: 1 });
  await bad("earlyStopping.patience", { earlyStopping: { patience: 0 } });
  await bad("earlyStopping.patience", { earlyStopping: {} });
  await bad("maxRuntimeSeconds", { maxRuntimeSeconds: 0 });
  await bad("accumulate", { accumulate: 0 });
  await bad("classWeights", { classWeights: "equal" });
  await bad("classWeights", { classWeights: [1, 2, 3] });
  await bad("classWeights", { classWeights: { a: 1, c: 2 } });
  await bad("classWeights.a", { classWeights: { a: 0 } });
  await bad("augment.colorJitter.hue", { augment: { colorJitter: { hue: 0.6 } } });
  await bad("augment.colorJitter.contrast", { augment: { colorJitter: { contrast: -0.1 } } });
  await bad("augment.colorJitter.gamma", { augment: { colorJitter: { gamma: 1 } } });
  const swept = (path: string, sweep: object, more = {}) => bad(path, { trainable: "head", sweep, ...more });
  await bad("sweep", { sweep: { learningRate: [1e-3] } });
  await bad("sweep", { trainable: "layer2", sweep: { learningRate: [1e-3] } });
  await swept("sweep", {});
  await swept("sweep", { samples: 3 });
  await swept("sweep.learningRate", { learningRate: [] });
  await swept("sweep.learningRate", { learningRate: [1e-3, 1e-3] });
  await swept("sweep.learningRate.1", { learningRate: [1e-3, 0] });
  await swept("sweep.optimizer.0", { optimizer: ["lion"] });
  await swept("sweep.weightDecay", { weightDecay: 0.1 });
  await swept("sweep.momentum", { momentum: [0.9], learningRate: [1] });
  await swept("sweep.samples", { learningRate: [1, 2], samples: 257 });
  await swept("sweep.samples", { learningRate: [1], optimizer: ["adam", "sgd"], samples: 3 });
  const many = Array.from({ length: 129 }, (_, at) => at + 1);
  await swept("sweep", { learningRate: many, weightDecay: [0, 1] });
  await swept("sweep", { learningRate: many }, { epochs: 200 });
});

test("what a training job cannot do is refused before it is queued", async () => {
  const train = (body: object) => api.json("POST", "/v1/train", { dataset: "digits", ...body });
  await refused(await train({ trainable: "head" }), 400, "base_required", "base");
  await refused(await train({ trainable: "layer2", architecture: "resnet18" }), 400, "base_required", "base");
  await refused(await train({ base: "mdl-nothing" }), 404, "model_not_found");
  await refused(await train({ base: "no-alias" }), 404, "model_not_found");
  await refused(await train({ base: ".." }), 400, "invalid_name", "base");
  const based = (body: object) => train({ base: "mdl-test-1", ...body });
  await refused(await based({ architecture: "resnet18" }), 400, "base_mismatch", "architecture");
  await refused(await based({ trainable: "layer4" }), 400, "invalid_request", "trainable");
  await refused(await based({ trainable: "layer5" }), 400, "invalid_request", "trainable");
  await refused(await based({ imageSize: 3 }), 400, "invalid_request", "imageSize");
  await refused(await train({ imageSize: 31 }), 400, "image_size_too_small", "imageSize");
  await refused(await train({ imageSize: 32, batchSize: 1 }), 400, "batch_too_small", "batchSize");
  await refused(await based({ imageSize: 4, batchSize: 1 }), 400, "batch_too_small", "batchSize");
  const sweep = { learningRate: [1e-4, 1e-2], samples: 64 };
  await refused(await based({ dataset: "wide", trainable: "head", sweep }), 400, "invalid_request", "sweep");
  await refused(await train({ dataset: "nothing" }), 404, "dataset_not_found");
  await refused(await train({ dataset: `digits@${"0".repeat(64)}` }), 404, "dataset_not_found");
  await refused(await train({ dataset: "one-class" }), 422, "single_class", "dataset");
  await refused(await train({ dataset: "flat" }), 400, "dataset_not_trainable", "dataset");
  assert.deepEqual(((await (await api.call("/v1/jobs?kind=train")).json()) as { jobs: [] }).jobs, []);
});

test("training from a base: the alias becomes an id, the architecture the base's, every default is filled in", async () => {
  await api.json("PUT", "/v1/aliases/start", { model: "mdl-test-1" });
  const body = { base: "start", trainable: "head", optimizer: { name: "adamw" }, classWeights: { b: 2 } };
  const response = await api.json("POST", "/v1/train", { dataset: "digits", ...body });
  assert.equal(response.status, 202);
  const { id, request } = (await response.json()) as JobView;
  assert.deepEqual([request.base, request.architecture, request.trainable], ["mdl-test-1", "resnext14_8x4d", "head"]);
  const optimizer = { name: "adamw", learningRate: 1e-4, weightDecay: 0.01, decayNormAndBias: true };
  assert.deepEqual(request.optimizer, optimizer);
  assert.deepEqual(request.schedule, { name: "constant", warmupEpochs: 0 });
  assert.deepEqual([request.labelSmoothing, request.accumulate], [0, 1]);
  await api.call(`/v1/jobs/${id}`, { method: "DELETE" });
});

test("what a prediction cannot do is refused before it is queued", async () => {
  const predict = (body: object) => api.json("POST", "/v1/predict", body);
  await refused(await predict({ model: "mdl-nothing", dataset: "digits" }), 404, "model_not_found");
  await refused(await predict({ model: "no-alias", dataset: "digits" }), 404, "model_not_found");
  await refused(await predict({ model: "mdl-test-1" }), 400, "invalid_request", "dataset");
  await refused(await predict({ model: "mdl-test-1", dataset: "digits", images: [VERSION] }), 400, "invalid_request");
  await refused(await predict({ model: "mdl-test-1", images: ["../x"] }), 400, "invalid_request", "images.0");
  await refused(await predict({ model: "mdl-test-1", dataset: "flat", split: "val" }), 404, "split_not_found", "split");
  await refused(await predict({ model: "mdl-test-1", dataset: "digits", topK: 0 }), 400, "invalid_request", "topK");
});

test("names that are none", async () => {
  for (const name of ["..", "%2e%2e%2fx", "a%2F..%2Fb", "a%00b", "x".repeat(300), "%20", "-a", ".a"]) {
    const upload = await api.call(`/v1/datasets?name=${name}`, { method: "POST", body: "x" });
    await refused(upload, 400, "invalid_name");
    // A client folds a bare `..` in a path away before it is sent.
    if (name !== "..") await refused(await api.call(`/v1/datasets/${name}`), 400, "invalid_name");
    const train = await api.json("POST", "/v1/train", { dataset: decodeURIComponent(name) });
    await refused(train, 400, "invalid_name");
  }
  await refused(await api.call("/v1/datasets/%zz"), 400, "invalid_request");
  await refused(await api.call("/v1/jobs/not-a-job"), 404, "job_not_found");
  await refused(await api.call("/v1/jobs/train-01jd0000000000000000000000"), 404, "job_not_found");
  await refused(await api.call("/v1/models/mdl-test-1/files/..%2Fmanifest.json"), 404, "not_found");
  await refused(await api.json("PUT", "/v1/aliases/mdl-x", { model: "mdl-test-1" }), 400, "invalid_name");
});

test("an accepted job: 202, Location, its view with pinned names and the reason why it waits", async () => {
  const response = await api.json("POST", "/v1/train", { dataset: "digits", epochs: 2 });
  assert.equal(response.status, 202);
  const job = (await response.json()) as JobView;
  assert.equal(response.headers.get("location"), `/v1/jobs/${job.id}`);
  assert.equal(job.state, "waiting");
  assert.equal(job.waiting?.code, "no_worker");
  assert.equal(job.waiting.text, "no live worker takes train jobs");
  assert.deepEqual(job.request.dataset, { name: "digits", version: VERSION });
  const optimizer = { name: "adam", learningRate: 1e-4, weightDecay: 0, decayNormAndBias: true };
  assert.deepEqual(job.request.optimizer, optimizer);
  assert.equal(job.request.architecture, "resnext50_32x4d");
  assert.equal(job.request.batchSize, 16);

  const cancelled = await api.call(`/v1/jobs/${job.id}`, { method: "DELETE" });
  assert.equal(((await cancelled.json()) as { state: string }).state, "cancelled");
  assert.equal((await api.call(`/v1/jobs/${job.id}`, { method: "DELETE" })).status, 200, "a second cancel is a no-op");
  await refused(await api.call(`/v1/jobs/${job.id}/results`), 404, "not_found");
});

test("a prediction without a split takes val, or all; its results are not ready yet", async () => {
  const predict = async (dataset: string) => {
    const response = await api.json("POST", "/v1/predict", { model: "mdl-test-1", dataset });
    assert.equal(response.status, 202);
    return (await response.json()) as { id: string; request: { dataset: { split: string } } };
  };
  const val = await predict("digits");
  assert.equal(val.request.dataset.split, "val");
  assert.equal((await predict("flat")).request.dataset.split, "all");
  await refused(await api.call(`/v1/jobs/${val.id}/results`), 409, "results_not_ready");
  await refused(await api.call(`/v1/jobs/${val.id}/results?format=xml`), 400, "invalid_request", "format");
});

test("Idempotency-Key: the same body gives the same job, another one 409", async () => {
  const post = (epochs: number) =>
    api.json("POST", "/v1/train", { dataset: "digits", epochs }, { "idempotency-key": "once" });
  const first = (await (await post(3)).json()) as { id: string };
  const again = (await (await post(3)).json()) as { id: string };
  assert.equal(again.id, first.id);
  await refused(await post(4), 409, "idempotency_conflict");
});

test("pages of jobs have no gap and no double", async () => {
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = (await (await api.call(`/v1/jobs?limit=2${cursor ? `&cursor=${cursor}` : ""}`)).json()) as {
      jobs: { id: string }[];
      nextCursor?: string;
    };
    seen.push(...page.jobs.map((job) => job.id));
    cursor = page.nextCursor;
  } while (cursor);
  const all = (await (await api.call("/v1/jobs?limit=200")).json()) as { jobs: { id: string }[] };
  assert.deepEqual(
    seen,
    all.jobs.map((job) => job.id),
  );
  assert.ok(seen.length >= 4);
  await refused(await api.call("/v1/jobs?limit=0"), 400, "invalid_request", "limit");
  await refused(await api.call("/v1/jobs?cursor=nothing"), 400, "invalid_request", "cursor");
  await refused(await api.call("/v1/jobs?state=done"), 400, "invalid_request", "state");
});

test("models and aliases", async () => {
  assert.equal((await api.call("/v1/models/mdl-test-1")).status, 200);
  await refused(await api.call("/v1/models/mdl-nothing"), 404, "model_not_found");
  await refused(await api.json("PUT", "/v1/aliases/best", { model: "mdl-nothing" }), 404, "model_not_found");
  assert.equal((await api.json("PUT", "/v1/aliases/best", { model: "mdl-test-1" })).status, 200);
  assert.equal(((await (await api.call("/v1/models/best")).json()) as { id: string }).id, "mdl-test-1");
  assert.equal(((await (await api.call("/v1/models")).json()) as { models: [] }).models.length, 1);
});

test("an import names its weights and where they may come from", async () => {
  const post = (body: object) => api.json("POST", "/v1/models/import", { architecture: "resnet18", ...body });
  await refused(await post({}), 400, "invalid_request", "source");
  await refused(await post({ architecture: "vgg16", source: "imports/x" }), 400, "invalid_request", "architecture");
  for (const source of [
    "https://elsewhere.example/x.pth",
    "http://weights.example/x.pth",
    "file:///etc/passwd",
    "models/mdl-test-1/manifest.json",
    "imports/nothing",
    "imports/../models/mdl-test-1/manifest.json",
  ]) {
    const response = await post({ source });
    assert.ok([400, 403].includes(response.status), `${source}: ${response.status}`);
    assert.ok(["source_not_allowed", "invalid_name"].includes(((await response.json()) as { code: string }).code));
  }
  const accepted = await post({ source: "https://weights.example/x.pth", classes: { 0: "a", 1: "b" } });
  assert.equal(accepted.status, 202);
  assert.equal(((await accepted.json()) as JobView).request.classes, 2);
  await refused(await post({ source: "https://weights.example/x.pth", classes: { 1: "b" } }), 400, "invalid_request");
  const form = new FormData();
  form.append("classes", "[1");
  form.append("file", new Blob(["x"]), "x.pth");
  const bad = await api.call("/v1/models/import?architecture=resnet18", { method: "POST", body: form });
  await refused(bad, 400, "invalid_request", "classes");
});

test("a single image without a worker: 503 with Retry-After, and nothing left in the store", async () => {
  const post = (body: Uint8Array<ArrayBuffer>, model = "mdl-test-1") =>
    api.call(`/v1/predict/image?model=${model}&topK=1`, {
      method: "POST",
      body,
      headers: { "content-type": "image/png" },
    });
  const response = await post(new Uint8Array(10));
  assert.equal(response.headers.get("retry-after"), "2");
  await refused(response, 503, "model_warming");
  await refused(await post(new Uint8Array(0)), 422, "empty_file");
  await refused(await post(new Uint8Array(2e6)), 413, "body_too_large");
  await refused(await post(new Uint8Array(10), ".."), 400, "invalid_name");
  await refused(await api.call("/v1/predict/image", { method: "POST", body: "x" }), 400, "invalid_request", "model");
  for await (const { key } of api.store.list("uploads/")) assert.doesNotMatch(key, /image-/);
});

test("Prefer: wait is passed on to the worker, and a cold model is 503 without it", async () => {
  const consumer = await QueueConsumer.open(api.config, () => {});
  const worker = createImageWorker(consumer, {
    concurrency: 1,
    events: { error: () => {} },
    handle: async ({ model, wait, deadline }) => {
      if (!wait) throw problem("model_warming", `${model} is being loaded`, { model });
      return { model, top: [{ class: String(Math.round((deadline - Date.now()) / 1000)), index: 0, probability: 1 }] };
    },
  });
  const post = (prefer?: string) =>
    api.call("/v1/predict/image?model=mdl-test-1", {
      method: "POST",
      body: new Uint8Array(10),
      headers: { "content-type": "image/png", ...(prefer !== undefined && { prefer }) },
    });
  try {
    for (const prefer of [undefined, "wait=0", "respond-async", "waiting", "wait=x"]) {
      const response = await post(prefer);
      assert.equal(response.headers.get("retry-after"), "2");
      assert.equal(response.headers.get("preference-applied"), null);
      await refused(response, 503, "model_warming");
    }
    for (const [prefer, applied, seconds] of [
      ["wait", "wait", 0],
      ["respond-async, wait=10", "wait=10", 10],
      ['Wait = "7"', "wait=7", 7],
      ["wait=99999", "wait=300", 300],
    ] as const) {
      const response = await post(prefer);
      assert.equal(response.status, 200);
      assert.equal(response.headers.get("preference-applied"), applied);
      assert.equal(((await response.json()) as ImageAnswer).top[0]!.class, String(seconds), prefer);
    }
  } finally {
    await worker.close();
    await consumer.close();
  }
});

test("unknown addresses are 404", async () => {
  await refused(await api.call("/nothing"), 404, "not_found");
  await refused(await api.call("/v1/nothing"), 404, "not_found");
});
