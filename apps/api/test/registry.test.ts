/** Models, aliases and data sets over HTTP: lists, moves, and deletions while jobs come in. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AliasRecord, JobView, ModelList, ModelView } from "@cardinal/contracts";
import { createLogger } from "@cardinal/service";
import { layout } from "@cardinal/storage";
import { guardLeaks } from "@cardinal/testing";
import { startHousekeeping } from "../src/housekeeping.ts";
import { putDataset, putModel, startApi, VERSION } from "./api-under-test.ts";

const api = await startApi();
guardLeaks();

const get = async <T>(path: string) => (await (await api.call(path)).json()) as T;
const remove = (path: string) => api.call(path, { method: "DELETE" });
const train = (body: object) => api.json("POST", "/v1/train", body);
const problemOf = async (response: Response) => {
  const { code, jobs, aliases } = (await response.json()) as { code: string; jobs?: string[]; aliases?: string[] };
  return { status: response.status, code, ...(jobs && { jobs }), ...(aliases && { aliases }) };
};

test("an alias: its ETag is its revision, If-Match moves only what one has seen, a roll-back leads back", async () => {
  await putModel(api.store, "mdl-alias-1");
  await putModel(api.store, "mdl-alias-2");
  const move = (model: string, etag?: string) =>
    api.json("PUT", "/v1/aliases/best", { model }, etag ? { "if-match": etag } : {});
  const first = await move("mdl-alias-1", '"0"');
  assert.deepEqual([first.status, first.headers.get("etag")], [200, '"1"']);
  assert.deepEqual(await problemOf(await move("mdl-alias-2", '"0"')), { status: 412, code: "alias_changed" });
  assert.deepEqual(await problemOf(await move("mdl-alias-2", "*")), { status: 400, code: "invalid_request" });
  await move("mdl-alias-2");
  const seen = await api.call("/v1/aliases/best");
  assert.equal(seen.headers.get("etag"), '"2"');
  assert.equal(((await seen.json()) as AliasRecord).updatedBy, "bootstrap");
  assert.deepEqual((await get<ModelView>("/v1/models/best")).aliases, ["best"]);
  const back = await api.call("/v1/aliases/best/rollback", { method: "POST" });
  assert.equal(((await back.json()) as AliasRecord).model, "mdl-alias-1");
  const listed = await get<ModelList>("/v1/models?alias=best");
  assert.deepEqual(
    listed.models.map(({ id, aliases }) => [id, aliases]),
    [["mdl-alias-1", ["best"]]],
  );
  assert.equal((await remove("/v1/aliases/best")).status, 204);
  assert.deepEqual(await problemOf(await api.call("/v1/aliases/best")), { status: 404, code: "alias_not_found" });
  assert.deepEqual(await problemOf(await remove("/v1/aliases/best")), { status: 404, code: "alias_not_found" });
});

test("lists: filters that are none are refused, pages go on", async () => {
  const page = await get<ModelList>("/v1/models?limit=1&dataset=digits");
  assert.deepEqual([page.models.length, page.nextCursor], [1, "mdl-alias-2"]);
  const next = await get<ModelList>(`/v1/models?limit=1&cursor=${page.nextCursor}`);
  assert.deepEqual([next.models[0]?.id, next.nextCursor], ["mdl-alias-1", undefined]);
  for (const query of ["limit=0", "architecture=vgg16", "color=red"]) {
    assert.equal((await api.call(`/v1/models?${query}`)).status, 400, query);
  }
  assert.equal((await api.call("/v1/models?dataset=..")).status, 400);
});

test("a model in use stays; when nobody uses it any more it goes, and is gone for new jobs", async () => {
  await putDataset(api.store, "digits");
  await putModel(api.store, "mdl-used-1");
  await api.json("PUT", "/v1/aliases/live", { model: "mdl-used-1" });
  const { id } = (await (await train({ dataset: "digits", base: "live" })).json()) as JobView;
  assert.deepEqual(await problemOf(await remove("/v1/models/mdl-used-1")), {
    status: 409,
    code: "model_in_use",
    aliases: ["live"],
    jobs: [id],
  });
  assert.equal((await problemOf(await remove("/v1/models/live"))).code, "invalid_name");
  const dataset = await problemOf(await remove("/v1/datasets/digits"));
  assert.deepEqual(dataset, { status: 409, code: "dataset_in_use", jobs: [id] });
  await remove("/v1/aliases/live");
  await remove(`/v1/jobs/${id}`);
  assert.equal((await remove("/v1/models/mdl-used-1")).status, 204);
  assert.deepEqual(await problemOf(await remove("/v1/models/mdl-used-1")), { status: 404, code: "model_not_found" });
  assert.equal((await problemOf(await train({ dataset: "digits", base: "mdl-used-1" }))).code, "model_not_found");
  // The cancelled job could be retried but for its base.
  assert.equal((await problemOf(await api.call(`/v1/jobs/${id}/retry`, { method: "POST" }))).code, "model_not_found");
  assert.equal((await remove(`/v1/datasets/digits/versions/${VERSION}`)).status, 204);
  assert.equal((await problemOf(await train({ dataset: "digits" }))).code, "dataset_not_found");
  assert.deepEqual(await problemOf(await remove("/v1/datasets/digits")), { status: 404, code: "dataset_not_found" });
});

test("a job that is submitted while its data set is being deleted is refused, or keeps it", async () => {
  const outcomes = { refused: 0, kept: 0 };
  for (let round = 0; round < 15; round++) {
    await putDataset(api.store, "race");
    const answers = await Promise.all([
      ...Array.from({ length: 3 }, () => train({ dataset: "race" })),
      remove("/v1/datasets/race"),
      ...Array.from({ length: 3 }, () => train({ dataset: "race" })),
    ]);
    const isThere = (await api.store.stat(layout.dataset("race", VERSION))) !== undefined;
    const accepted: string[] = [];
    for (const answer of answers.filter(({ status }) => status === 202)) {
      accepted.push(((await answer.json()) as JobView).id);
    }
    const codes = await Promise.all(answers.filter(({ status }) => status >= 400).map(problemOf));
    for (const { code } of codes) assert.match(code, /^(dataset_not_found|dataset_in_use|being_deleted)$/);
    assert.equal(isThere, answers[3]!.status !== 204);
    if (accepted.length > 0) assert.ok(isThere, `round ${round}: ${accepted} have no data`);
    outcomes[isThere ? "kept" : "refused"]++;
    assert.equal((await api.queue.openJobs()).length, accepted.length, "a refused job leaves no trace");
    for (const id of accepted) await remove(`/v1/jobs/${id}`);
    if (isThere) await remove("/v1/datasets/race");
  }
  assert.equal(outcomes.kept + outcomes.refused, 15);
});

test("an ended job is removed with its rows; an open one is not", async () => {
  await putDataset(api.store, "digits");
  const { id } = (await (await train({ dataset: "digits" })).json()) as JobView;
  assert.deepEqual(await problemOf(await remove(`/v1/jobs/${id}?purge=true`)), {
    status: 409,
    code: "job_not_finished",
  });
  await remove(`/v1/jobs/${id}`);
  await api.store.put(layout.rows(id), Buffer.from("{}\n"));
  await api.store.put(layout.checkpoint(id, 1, 1, "last"), Buffer.from("x"));
  assert.equal((await remove(`/v1/jobs/${id}?purge=yes`)).status, 400);
  assert.equal((await remove(`/v1/jobs/${id}?purge=true`)).status, 204);
  assert.equal((await api.call(`/v1/jobs/${id}`)).status, 404);
  assert.equal((await remove(`/v1/jobs/${id}?purge=true`)).status, 404);
  for await (const { key } of api.store.list("")) assert.ok(!key.includes(id), key);
});

test("a deletion that died is ended by housekeeping, and a stop does not wait for a long round", async () => {
  await putModel(api.store, "mdl-half-1");
  const at = new Date(0).toISOString();
  await api.store.swapPointer(layout.modelRemoval("mdl-half-1"), undefined, { state: "deleting", at });
  await putDataset(api.store, "half");
  await api.store.swapPointer(layout.datasetRemoval("half", VERSION), undefined, { state: "deleting", at });
  assert.equal((await problemOf(await train({ dataset: "half" }))).code, "being_deleted");
  const housekeeper = startHousekeeping(api.store, api.queue, createLogger("test", "silent"), 30);
  await housekeeper.round();
  assert.equal((await api.call("/v1/models/mdl-half-1")).status, 404);
  assert.equal((await api.call("/v1/datasets/half")).status, 404);
  await api.store.put(layout.upload("ingest-01jd0000000000000000000000"), Buffer.from("x"));
  await housekeeper.stop();
  await assert.rejects(housekeeper.round(), { name: "AbortError" });
});
