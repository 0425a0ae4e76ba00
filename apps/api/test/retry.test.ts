/** `POST /v1/jobs/:id/retry`: what is run again, and what is needed for it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobView } from "@cardinal/contracts";
import { createLogger } from "@cardinal/service";
import { layout } from "@cardinal/storage";
import { guardLeaks } from "@cardinal/testing";
import { startHousekeeping } from "../src/housekeeping.ts";
import { putDataset, putModel, startApi } from "./api-under-test.ts";

const api = await startApi();
guardLeaks();
await putDataset(api.store, "digits");
await putModel(api.store, "mdl-test-1");

const submit = async (body: object) => (await (await api.json("POST", "/v1/train", body)).json()) as JobView;
const cancel = (id: string) => api.call(`/v1/jobs/${id}`, { method: "DELETE" });
const retry = (id: string) => api.call(`/v1/jobs/${id}/retry`, { method: "POST" });
const codeOf = async (response: Response) => [response.status, ((await response.json()) as { code: string }).code];

test("a cancelled job waits again, with its history and its place", async () => {
  const { id } = await submit({ dataset: "digits" });
  assert.deepEqual(await codeOf(await retry(id)), [409, "job_not_retryable"]);
  await cancel(id);
  const response = await retry(id);
  assert.equal(response.status, 202);
  assert.equal(response.headers.get("location"), `/v1/jobs/${id}`);
  const view = (await response.json()) as JobView;
  assert.deepEqual([view.id, view.state, view.history?.[0]?.state], [id, "waiting", "cancelled"]);
  const listed = (await (await api.call("/v1/jobs?state=waiting")).json()) as { jobs: JobView[] };
  assert.deepEqual(
    listed.jobs.map((job) => job.id),
    [id],
  );
  await cancel(id);
  assert.deepEqual(await codeOf(await retry("train-01jd0000000000000000000000")), [404, "job_not_found"]);
});

test("a job whose base is gone stays as it ended", async () => {
  await putModel(api.store, "mdl-test-2");
  const { id } = await submit({ dataset: "digits", base: "mdl-test-2" });
  await cancel(id);
  await api.store.delete(layout.modelManifest("mdl-test-2"));
  assert.deepEqual(await codeOf(await retry(id)), [404, "model_not_found"]);
  const view = (await (await api.call(`/v1/jobs/${id}`)).json()) as JobView;
  assert.deepEqual([view.state, view.history], ["cancelled", undefined]);
});

test("the archive of a job that may be retried outlives a round of housekeeping; without it there is no retry", async () => {
  const upload = await api.call("/v1/datasets?name=digits", {
    method: "POST",
    body: "not a zip",
    headers: { "content-type": "application/zip" },
  });
  const { id } = (await upload.json()) as JobView;
  await cancel(id);
  const housekeeper = startHousekeeping(api.store, api.queue, createLogger("test", "silent"), 30);
  await housekeeper.round();
  await housekeeper.stop();
  assert.equal((await retry(id)).status, 202);
  await cancel(id);
  await api.store.delete(layout.upload(id));
  assert.deepEqual(await codeOf(await retry(id)), [409, "job_not_retryable"]);
});
