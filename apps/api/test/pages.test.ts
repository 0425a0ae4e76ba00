/** The pages over HTTP, in a real browser: the report of a model and the contact sheet of a job. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { layout } from "@cardinal/storage";
import { guardLeaks } from "@cardinal/testing";
import { startBrowser } from "@cardinal/testing/browser";
import { KEY, putModel, startApi } from "./api-under-test.ts";
import { endedJob } from "./ended-job.ts";

const api = await startApi();
guardLeaks();

const HOSTILE = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;
const answer = { class: HOSTILE, index: 1, probability: 0.75 };
const row = (index: number) => ({ image: `${index}.jpg`, sha256: "a".repeat(64), ...answer, top: [], label: "b" });
const sheet = Buffer.from(Array.from({ length: 120 }, (_, i) => `${JSON.stringify({ row: row(i) })}\n`).join(""));
const job = await endedJob(api, "classes", { contactSheet: sheet }, { model: "mdl-1", images: 3_000, accuracy: 0.25 });
const address = `/v1/jobs/${job}/contact-sheet`;

function assertStrict(response: Response): void {
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/html; charset=utf-8");
  const policy = response.headers.get("content-security-policy")!.split("; ");
  for (const rule of ["default-src 'none'", "img-src data:", "frame-ancestors 'none'", "sandbox"]) {
    assert.ok(policy.includes(rule), `${policy} has ${rule}`);
  }
  assert.ok(policy.every((rule) => !rule.startsWith("script-src")));
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");
}

test("the contact sheet in pages, with a policy under which nothing runs", async () => {
  const whole = await api.call(address);
  assertStrict(whole);
  const count = (html: string) => html.match(/<li class="cell/g)?.length;
  assert.equal(count(await whole.text()), 100);
  assert.equal(count(await (await api.call(`${address}?offset=115&limit=500`)).text()), 5);
  for (const query of ["limit=501", "limit=0", "offset=-1", "rows=1"]) {
    assert.equal((await api.call(`${address}?${query}`)).status, 400, query);
  }
  const { links } = (await (await api.call(`/v1/jobs/${job}`)).json()) as { links: Record<string, string> };
  assert.equal(links.contactSheet, address);
});

test("a job without one says so; features have none", async () => {
  const bare = await endedJob(api, "features", {}, { model: "mdl-1", images: 1 });
  const answer = await api.call(`/v1/jobs/${bare}/contact-sheet`);
  assert.equal(answer.status, 404);
  assert.match(((await answer.json()) as { detail: string }).detail, /no contact sheet.*CONTACT_SHEET_IMAGES/);
  const { links } = (await (await api.call(`/v1/jobs/${bare}`)).json()) as { links: Record<string, string> };
  assert.equal(links.contactSheet, undefined);
});

test("a model's report is shown, not saved; a model without one answers 404", async () => {
  await putModel(api.store, "mdl-test-1");
  const file = "/v1/models/mdl-test-1/files/report.html";
  assert.equal((await api.call(file)).status, 404);
  await api.store.put(
    layout.modelFile("mdl-test-1", "report.html"),
    Buffer.from("<!doctype html><title>report</title>"),
  );
  const shown = await api.call(file);
  assertStrict(shown);
  assert.equal(shown.headers.get("content-disposition"), null);
});

test("a browser opens the sheet as the API sends it, and no name does anything", async () => {
  await using browser = await startBrowser();
  const headers = { authorization: `Bearer ${KEY}` };
  const { page, complaints, requests } = await browser.open({ url: api.url + address }, { extraHTTPHeaders: headers });
  assert.deepEqual([complaints, requests], [[], []]);
  assert.equal(await page.locator(".cell").count(), 100);
  assert.equal(await page.locator(".cell b").first().textContent(), HOSTILE);
  assert.equal(await page.locator("script, img").count(), 0);
});
