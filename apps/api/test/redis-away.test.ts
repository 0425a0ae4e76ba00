/** Redis goes away, or hangs, while people watch: nobody hangs with it, and everybody hears the end. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { JobView, ProblemRecord } from "@cardinal/contracts";
import { JobQueue } from "@cardinal/queue";
import { guardLeaks, startRedis, tempDir, waitFor } from "@cardinal/testing";
import { apiProcesses } from "./api-processes.ts";
import { KEY } from "./api-under-test.ts";
import { readEvents } from "./event-reader.ts";

const folder = await tempDir("redis-away");
let redis = await startRedis({ dir: folder.path, args: ["--appendfsync", "always"] });
const processes = await apiProcesses(redis.url);
const api = await processes.start();
const queue = await JobQueue.open(processes.queue, () => {});
after(async () => {
  await queue.close();
  await processes[Symbol.asyncDispose]();
  await redis.stop();
  await folder[Symbol.asyncDispose]();
});
guardLeaks();

async function waitingJob(): Promise<string> {
  const id = JobQueue.newId("ingest");
  const request = { name: "x", valFraction: 0.1, seed: 0 };
  await queue.enqueue("ingest", { v: 1, job: id, request, archive: "x" }, { request: {}, priority: 100 });
  return id;
}

test("Redis is gone and comes back: the stream says so, then sends a snapshot and the end", async () => {
  const id = await waitingJob();
  const reader = await readEvents(`${api.url}/v1/jobs/${id}/events`, KEY);
  await waitFor(() => reader.events.length === 1, { what: "the snapshot" });
  const poll = api.call(`/v1/jobs/${id}?wait=60`);
  await waitFor(async () => (await api.metric("cardinal_open_streams")) === 2, { what: "the poll" });
  await redis.kill();
  const told = await waitFor(() => reader.events[1], { what: "the outage to be told" });
  assert.equal(told.name, "problem");
  assert.equal((told.data as unknown as ProblemRecord).code, "queue_unavailable");
  assert.equal(told.id, undefined, "it is nothing to go on from");
  assert.equal((await poll).status, 503, "a poll is answered: its client asks again");
  const began = performance.now();
  const late = await api.call(`/v1/jobs/${id}/events`);
  assert.equal(late.status, 503);
  assert.ok(performance.now() - began < 2_000);

  redis = await startRedis({ dir: folder.path, port: redis.port, args: ["--appendfsync", "always"] });
  const again = await waitFor(() => reader.events[2], { what: "the stream to go on" });
  assert.equal(again.name, "snapshot", "once told, an outage is told no more");
  await waitFor(
    () =>
      queue.cancel(id).then(
        () => true,
        () => false,
      ),
    { what: "the cancel" },
  );
  await reader.done;
  const end = reader.events.at(-1)!;
  assert.deepEqual([end.name, (end.data as unknown as JobView).state], ["end", "cancelled"]);
});

test("Redis hangs: a POST, a look and a stream's begin are answered 503 within 2 s", async () => {
  const id = await waitingJob();
  const upload = { method: "POST", headers: { "content-type": "application/zip" }, body: "PK" };
  process.kill(redis.pid, "SIGSTOP");
  try {
    const ask = async (path: string, init: RequestInit = {}) => {
      const began = performance.now();
      const response = await api.call(path, init);
      assert.equal(response.status, 503, path);
      assert.equal(((await response.json()) as ProblemRecord).code, "queue_unavailable", path);
      assert.ok(response.headers.has("retry-after"));
      assert.ok(performance.now() - began < 2_000, `${path}: ${performance.now() - began} ms`);
    };
    const job = `/v1/jobs/${id}`;
    const looks = [job, `${job}?wait=30`, `${job}/events`, `${job}/logs`, "/v1/jobs"].map((path) => ask(path));
    await Promise.all([ask("/v1/datasets?name=x", upload), ...looks]);
    assert.equal((await api.call("/healthz")).status, 200);
  } finally {
    process.kill(redis.pid, "SIGCONT");
  }
  const isBack = async () => (await api.call(`/v1/jobs/${id}`)).status === 200;
  await waitFor(isBack, { what: "the API to answer again" });
});
