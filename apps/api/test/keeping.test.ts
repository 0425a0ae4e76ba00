/** What stays, what goes, and what a repeated request means, when things move in between. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import type { JobView } from "@cardinal/contracts";
import { JobQueue } from "@cardinal/queue";
import { createLogger } from "@cardinal/service";
import { layout } from "@cardinal/storage";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { startHousekeeping } from "../src/housekeeping.ts";
import { dropUpload } from "../src/upload.ts";
import { KEY, putDataset, putModel, startApi } from "./api-under-test.ts";

const api = await startApi();
guardLeaks();
await putDataset(api.store, "digits");
await putModel(api.store, "mdl-test-1");
await putModel(api.store, "mdl-test-2");

const idOf = async (response: Response) => ((await response.json()) as JobView).id;

test("the same request is the same job, although its alias means another model by now", async () => {
  const point = (model: string) => api.json("PUT", "/v1/aliases/best", { model });
  const post = () =>
    api.json("POST", "/v1/predict", { model: "best", dataset: "digits" }, { "idempotency-key": "moved" });
  await point("mdl-test-1");
  const first = await idOf(await post());
  await point("mdl-test-2");
  const again = await post();
  assert.equal(again.status, 202);
  assert.equal(await idOf(again), first);
});

test("a job over a list of images shows their number; the list lies in the store", async () => {
  const images = Array.from({ length: 1000 }, (_, n) => n.toString(16).padStart(64, "0"));
  const job = (await (await api.json("POST", "/v1/predict", { model: "mdl-test-1", images })).json()) as JobView;
  assert.equal(job.request.images, 1000);
  assert.deepEqual(JSON.parse((await api.store.read(layout.predictionImages(job.id))).toString()), images);
});

test("housekeeping leaves what a job is about to want", async () => {
  const key = layout.predictionImages(JobQueue.newId("predict"));
  await api.store.put(key, Buffer.from("[]"));
  const housekeeper = startHousekeeping(api.store, api.queue, createLogger("test", "silent"), 30);
  await housekeeper.round();
  await housekeeper.stop();
  assert.ok(await api.store.stat(key));
});

test("a download: whole, ranges, and a client that goes away is no failure of the API", async () => {
  const content = Buffer.alloc(8e6, "x");
  await api.store.put(layout.modelFile("mdl-test-1", "model.onnx"), content);
  const path = "/v1/models/mdl-test-1/files/model.onnx";
  const get = (range: string) => api.call(path, { headers: { range } });
  assert.equal((await (await api.call(path)).arrayBuffer()).byteLength, content.length);
  const part = await get("bytes=-5");
  assert.deepEqual([part.status, await part.text()], [206, "xxxxx"]);
  assert.equal(part.headers.get("content-range"), "bytes 7999995-7999999/8000000");
  const beyond = await get("bytes=8000000-");
  assert.equal(beyond.status, 416);
  assert.equal(beyond.headers.get("content-range"), "bytes */8000000");
  const head = await api.call(path, { method: "HEAD" });
  assert.equal(head.headers.get("content-length"), "8000000");
  const socket = connect(Number(new URL(api.url).port), "127.0.0.1");
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${KEY}\r\n\r\n`);
  await once(socket, "data");
  socket.destroy();
  const gone = /cardinal_http_requests_total\{[^}]*files\/:file",method="GET",status="499"\} 1/;
  await waitFor(async () => gone.test(await (await api.call("/metrics")).text()), { what: "the request's end" });
});

test("an upload is dropped only when Redis says that no job has it", async () => {
  const accepted = JobQueue.newId("ingest");
  const refused = JobQueue.newId("ingest");
  for (const id of [accepted, refused]) await api.store.put(layout.upload(id), Buffer.from("x"));
  const request = { name: "digits", valFraction: 0.1, seed: 0 };
  const payload = { v: 1, job: accepted, request, archive: layout.upload(accepted) } as const;
  await api.queue.enqueue("ingest", payload, { request, priority: 100 });
  await dropUpload(api.context, accepted, layout.upload(accepted), new Error("refused"));
  await dropUpload(api.context, refused, layout.upload(refused), new Error("refused"));
  assert.ok(await api.store.stat(layout.upload(accepted)));
  assert.equal(await api.store.stat(layout.upload(refused)), undefined);
  await api.redis.kill();
  await dropUpload(api.context, accepted, layout.upload(accepted), new Error("refused"));
  assert.ok(await api.store.stat(layout.upload(accepted)), "Redis is away, so nobody knows");
});
