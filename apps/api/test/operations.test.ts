import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { JobQueue } from "@cardinal/queue";
import { guardLeaks, promtoolCheckMetrics, waitFor, zipOf } from "@cardinal/testing";
import { KEY, putDataset, startApi } from "./api-under-test.ts";

const api = await startApi({ uploadBytes: 1e6 });
guardLeaks();
await putDataset(api.store, "digits");

const uploads = async () => {
  const keys: string[] = [];
  for await (const { key } of api.store.list("uploads/")) keys.push(key);
  return keys;
};

test("an archive as raw body and as a form, with its digest in the view", async () => {
  const zip = await zipOf([{ name: "a/x.png", data: "x" }]);
  const raw = await api.call("/v1/datasets?name=raw&valFraction=0.2&seed=7", {
    method: "POST",
    body: new Uint8Array(zip),
    headers: { "content-type": "application/zip" },
  });
  assert.equal(raw.status, 202);
  const job = (await raw.json()) as { id: string; request: { archive: { bytes: number }; valFraction: number } };
  assert.equal(job.request.archive.bytes, zip.length);
  assert.equal(job.request.valFraction, 0.2);
  const form = new FormData();
  form.append("file", new Blob([new Uint8Array(zip)]), "a.zip");
  const posted = await api.call("/v1/datasets?name=form", { method: "POST", body: form });
  assert.equal(posted.status, 202);
  assert.equal(((await posted.json()) as typeof job).request.archive.bytes, zip.length);
  assert.equal((await uploads()).length, 2);
});

test("bad uploads are refused and leave nothing in the store", async () => {
  const before = await uploads();
  const post = (init: RequestInit) => api.call("/v1/datasets?name=bad", { method: "POST", ...init });
  const zipType = { "content-type": "application/zip" };
  assert.equal((await post({ body: "x", headers: { "content-type": "text/html" } })).status, 415);
  assert.equal((await post({ body: new Uint8Array(2e6), headers: zipType })).status, 413);
  const endless = new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array(100_000)),
  });
  const chunked = await post({ body: endless, headers: zipType, duplex: "half" } as RequestInit).catch(() => undefined);
  // The API answers and closes while the client is still sending: some clients see the answer, some the close.
  if (chunked) assert.equal(chunked.status, 413);
  const empty = new FormData();
  empty.append("other", "x");
  assert.equal((await post({ body: empty })).status, 400);
  await waitFor(async () => (await uploads()).length === before.length, { what: "nothing to be left" });
});

test("a client that goes away in the middle of an upload leaves nothing, and the API lives", async () => {
  const before = await uploads();
  const { port } = new URL(api.url);
  const socket = connect(Number(port), "127.0.0.1");
  await once(socket, "connect");
  const head = [
    "POST /v1/datasets?name=cut HTTP/1.1",
    "Host: x",
    `Authorization: Bearer ${KEY}`,
    "Content-Type: application/zip",
    "Content-Length: 500000",
    "",
    "",
  ];
  socket.write(head.join("\r\n"));
  socket.write(Buffer.alloc(100_000));
  await waitFor(() => socket.bytesWritten > 100_000 && socket.writableLength === 0, { what: "the first bytes" });
  socket.destroy();
  await once(socket, "close");
  const count = async () => {
    const text = await (await api.call("/metrics")).text();
    return /cardinal_http_requests_total\{route="\/v1\/datasets",method="POST",status="499"\} 1/.test(text);
  };
  await waitFor(count, { what: "the request's end" });
  assert.deepEqual(await uploads(), before);
  assert.equal((await api.call("/healthz")).status, 200);
});

/** Sends the head of a form and a first part of its body on a raw socket. */
async function beginForm(path: string, body: string) {
  const socket = connect(Number(new URL(api.url).port), "127.0.0.1").setEncoding("utf8");
  await once(socket, "connect");
  const head = [
    `POST ${path} HTTP/1.1`,
    "Host: x",
    `Authorization: Bearer ${KEY}`,
    "Content-Type: multipart/form-data; boundary=B",
    "Content-Length: 900000",
    "",
    "",
  ];
  socket.write(head.join("\r\n") + body);
  return socket;
}

const part = (name: string, content: string) =>
  `--B\r\nContent-Disposition: form-data; name="${name}"; filename="x"\r\n\r\n${content}\r\n`;

test("forms that go wrong get an answer, end nothing but themselves, and leave nothing", async () => {
  const before = await uploads();
  const post = (init: RequestInit) =>
    api.call("/v1/models/import?architecture=resnet18", {
      method: "POST",
      signal: AbortSignal.timeout(5_000),
      ...init,
    });
  const noBoundary = await post({ body: "x", headers: { "content-type": "multipart/form-data" } });
  assert.equal(noBoundary.status, 400);
  // A part that is refused while the rest of the form is still to come.
  const largeText = new FormData();
  largeText.append("classes", new Blob([new Uint8Array(8.1e6)]), "c.json");
  largeText.append("file", new Blob(["x"]), "x.pth");
  const stream = new Response(largeText);
  const refused = await post({
    body: stream.body,
    headers: { "content-type": stream.headers.get("content-type")! },
    duplex: "half",
  } as RequestInit).catch(() => undefined);
  if (refused) assert.equal(refused.status, 413);
  // A second file is ignored, and may be cut off like the first.
  const twice = await beginForm("/v1/datasets?name=cut", part("file", "x") + part("file", "y").slice(0, -2));
  await waitFor(() => twice.writableLength === 0, { what: "the first bytes" });
  twice.destroy();
  await waitFor(async () => (await uploads()).length === before.length, { what: "nothing to be left" });
  assert.equal((await api.call("/healthz")).status, 200);
});

test("200 slow sockets do not keep /healthz from answering", async () => {
  const { port } = new URL(api.url);
  const sockets = Array.from({ length: 200 }, () => connect(Number(port), "127.0.0.1"));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  for (const socket of sockets) socket.on("error", () => {}).write("POST /v1/train HTTP/1.1\r\nHost: x\r\n");
  assert.equal((await api.call("/healthz")).status, 200);
  for (const socket of sockets) socket.destroy();
});

/** The text with the letters in upper case whose bits are set in `n`. */
const mixedCase = (text: string, n: number) =>
  [...text].map((letter, at) => (n & (1 << at) ? letter.toUpperCase() : letter)).join("");

test("the number of series does not grow with names, ids and paths", async () => {
  const series = async () => {
    const text = await (await api.call("/metrics")).text();
    return text.split("\n").filter((line) => line.startsWith("cardinal_")).length;
  };
  const round = async (n: number) => {
    await api.call(`/v1/datasets/name-${n}`);
    await api.call(`/v1/jobs/train-${String(n).padStart(26, "0")}`);
    await api.call(`/unknown/${n}`);
    await api.call(`/unknown/${n}`, { method: "PROPFIND" });
    await api.call(`/v1/${mixedCase("datasets", n)}`);
    await api.json("POST", "/v1/train", { dataset: "digits", alias: `alias-${n}` });
  };
  for (let n = 0; n < 10; n++) await round(n);
  const after10 = await series();
  for (let n = 10; n < 100; n++) await round(n);
  const enqueue = (n: number) => {
    const id = JobQueue.newId("ingest");
    const payload = { v: 1, job: id, request: { name: `name-${n}`, valFraction: 0.1, seed: 0 }, archive: "x" } as const;
    const work = { sort: `ingest:${n}`, amount: n };
    return api.queue.enqueue("ingest", payload, { request: {}, priority: 100, idempotencyKey: `key-${n}`, work });
  };
  await Promise.all(Array.from({ length: 1_000 }, (_, n) => enqueue(n)));
  assert.equal(await series(), after10);
});

test("promtool accepts the metrics; queue gauges come from Redis", async () => {
  const text = await (await api.call("/metrics")).text();
  await promtoolCheckMetrics(text);
  const waiting = (await api.queue.depths()).train.waiting;
  assert.ok(waiting >= 100);
  assert.match(text, new RegExp(`cardinal_queue_jobs\\{queue="train",state="waiting"\\} ${waiting}`));
  assert.match(text, /cardinal_workers\{kind="train"\} 0/);
});

test("Redis away: answers within 2 s, 503 with Retry-After; then everything is back", async () => {
  const { port } = api.redis;
  await api.redis.kill();
  const begin = performance.now();
  const response = await api.json("POST", "/v1/train", { dataset: "digits" });
  assert.ok(performance.now() - begin < 2_000);
  assert.equal(response.status, 503);
  assert.equal(((await response.json()) as { code: string }).code, "queue_unavailable");
  assert.equal(response.headers.get("retry-after"), "2");
  assert.equal((await api.call("/readyz")).status, 503);
  assert.equal((await api.call("/healthz")).status, 200);
  assert.equal((await api.call("/metrics")).status, 200);
  const { startRedis } = await import("@cardinal/testing");
  const again = await startRedis({ port });
  try {
    await waitFor(async () => (await api.call("/readyz")).status === 200, { what: "the API to be ready again" });
    assert.equal((await api.json("POST", "/v1/train", { dataset: "digits" })).status, 202);
  } finally {
    await again.stop();
  }
});
