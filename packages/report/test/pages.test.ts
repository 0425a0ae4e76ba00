/** The pages in a real browser: nothing runs, nothing is loaded, and what is drawn is what the figures say. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { makeTrainingReport } from "@cardinal/report";
import { contactSheetPage } from "@cardinal/report/contact-sheet";
import { type ObjectStore, openStore } from "@cardinal/storage";
import { type TempDir, tempDir } from "@cardinal/testing";
import { type OpenPage, startBrowser, type TestBrowser } from "@cardinal/testing/browser";
import { FLOWERS, HOSTILE, model, reportOf, storePicture } from "./fixture.ts";

let browser: TestBrowser;
let folder: TempDir;
let store: ObjectStore;
let digests: string[];

before(async () => {
  folder = await tempDir("report");
  store = await openStore({ kind: "directory", path: folder.path });
  digests = await Promise.all([0, 60, 120, 180].map((hue) => storePicture(store, hue)));
  browser = await startBrowser();
});
after(async () => {
  await browser[Symbol.asyncDispose]();
  await store.close();
  await folder[Symbol.asyncDispose]();
});

const signal = new AbortController().signal;
const quiet = () => {};

async function pageOf(classes: readonly string[], images: number) {
  const figures = reportOf(classes, images, digests);
  const { report, html } = await makeTrainingReport({
    ...{ store, model, report: figures, exif: "ignore" as const, emit: quiet, signal },
  });
  assert.ok(html, "the page is drawn");
  return { report, html };
}

/** Nothing was said, asked for or run, and no element came out of a name. */
async function assertHarmless({ page, complaints, requests }: OpenPage): Promise<void> {
  assert.deepEqual(complaints, []);
  assert.deepEqual(requests, []);
  assert.equal(await page.locator("script, iframe, object, embed, link:not([rel=icon]), [onerror]").count(), 0);
  assert.equal(await page.locator("img:not([src^='data:image/webp'])").count(), 0);
}

/** Drawn elements of the chart's series. */
const marks = ({ page }: OpenPage, chart: string, series: number) =>
  page.locator(`[data-chart="${chart}"] [ecmeta_ssr_type="chart"][ecmeta_series_index="${series}"]`).count();

const box = ({ page }: OpenPage, selector: string) => page.locator(selector).first().boundingBox();

for (const colorScheme of ["light", "dark"] as const) {
  test(`the training report is whole and harmless (${colorScheme})`, async () => {
    const { report, html } = await pageOf(FLOWERS, 400);
    const opened = await browser.open({ html }, { colorScheme });
    await assertHarmless(opened);
    const { page } = opened;
    for (const chart of ["loss", "accuracy"]) {
      // Points of both curves; the first one also has the mark of the kept epoch.
      assert.deepEqual([await marks(opened, chart, 0), await marks(opened, chart, 1)], [5 + 1, 5], chart);
    }
    assert.equal(await marks(opened, "learning-rate", 0), 5 + 1);
    const { bins } = report.evaluation!.calibration;
    const gaps = bins.filter(({ accuracy, confidence }) => accuracy !== undefined && accuracy < confidence!).length;
    const right = bins.filter(({ accuracy }) => accuracy !== undefined && accuracy > 0).length;
    assert.equal(await marks(opened, "reliability", 0), right);
    assert.equal(await marks(opened, "reliability", 1), gaps);
    assert.equal(await marks(opened, "confidence", 0), 15);
    assert.equal((await page.locator("[data-chart=confusion] rect, [data-chart=confusion] path").count()) >= 36, true);
    const cells = await page.locator("[data-chart=confusion] text").allTextContents();
    assert.ok(cells.includes(String(report.confusion[0]![0])), "counts stand in the matrix");
    assert.equal(await page.locator("#mistakes img").count(), 20);
    assert.equal(await page.locator("#classes tbody tr").count(), FLOWERS.length);
    assert.equal(await page.locator("#classes tbody tr td:first-child").nth(2).textContent(), HOSTILE);
    assert.match((await page.locator("#duplicates").textContent())!, /1 validation images .* another class/s);
    const chart = await box(opened, "[data-chart=loss] svg");
    assert.ok(chart && chart.width > 300 && chart.height > 150, JSON.stringify(chart));
    const background = await page.evaluate("getComputedStyle(document.body).backgroundColor");
    assert.equal(background, colorScheme === "light" ? "rgb(255, 255, 255)" : "rgb(20, 23, 28)");
    const ink = await page.locator("[data-chart=loss] path[stroke='var(--first)']").first().evaluate(strokeOf);
    assert.equal(ink, colorScheme === "light" ? "rgb(47, 109, 181)" : "rgb(110, 168, 234)", "charts follow the scheme");
    await page.context().close();
  });
}

// Runs in the page.
const strokeOf = (element: unknown): string =>
  (globalThis as unknown as { getComputedStyle(of: unknown): { stroke: string } }).getComputedStyle(element).stroke;

test("nothing reaches out of the page on a telephone's screen", async () => {
  const { html } = await pageOf(FLOWERS, 100);
  const opened = await browser.open({ html }, { viewport: { width: 390, height: 800 } });
  assert.ok(Number(await opened.page.evaluate("document.documentElement.scrollWidth")) <= 390);
  await opened.page.context().close();
});

test("many classes: the matrix has the most confused 30, the table the worst 100, and the page says so", async () => {
  const classes = Array.from({ length: 1_000 }, (_, index) => `class ${index}`);
  const { report, html } = await pageOf(classes, 3_000);
  assert.equal(report.confusion.length, 1_000);
  assert.ok(html.length < 1.5e6, `${html.length} bytes`);
  const opened = await browser.open({ html });
  await assertHarmless(opened);
  const { page } = opened;
  assert.match((await page.locator("[data-bounded=matrix]").textContent())!, /30 of 1,000 classes/);
  assert.match((await page.locator("[data-bounded=classes]").textContent())!, /100 of 1,000 classes/);
  assert.equal(await page.locator("#classes tbody tr").count(), 100);
  assert.equal(await page.locator("#confusion tbody tr").count(), 20);
  await page.context().close();
});

test("above 1,000 classes there is no matrix, and the page says so", async () => {
  const classes = Array.from({ length: 1_001 }, (_, index) => `class ${index}`);
  const { html } = await pageOf(classes, 1_200);
  const opened = await browser.open({ html });
  assert.equal(await opened.page.locator("[data-chart=confusion]").count(), 0);
  assert.match((await opened.page.locator("[data-bounded=matrix]").textContent())!, /1,001 classes there is no matrix/);
  await opened.page.context().close();
});

test("a training with extreme figures, or one epoch, is drawn, too", async () => {
  const report = reportOf(["a", "b"], 10, digests);
  const epochs = [{ ...report.epochs[0]!, learningRate: 1e-30, trainLoss: 9_999, valLoss: 0, valAccuracy: 0 }];
  const warnings: unknown[] = [];
  const emit = (event: unknown) => void warnings.push(event);
  const options = { store, model, exif: "ignore" as const, emit, signal };
  const { html } = await makeTrainingReport({ ...options, report: { ...report, epochs } });
  assert.deepEqual(warnings, []);
  const opened = await browser.open({ html: html! });
  await assertHarmless(opened);
  assert.equal(await marks(opened, "learning-rate", 0), 1);
  assert.match((await opened.page.locator("[data-chart=learning-rate]").textContent())!, /1e-30/);
  await opened.page.context().close();
});

test("the contact sheet shows class, probability and true label; errors are cells with their code", async () => {
  const { report } = await pageOf(FLOWERS, 100);
  const thumbnail = report.evaluation!.mistakes[0]!.thumbnail!;
  const row = (index: number, label?: string) => ({
    ...{ image: `${index} ${HOSTILE}.jpg`, sha256: digests[0]!, class: FLOWERS[index % 6]!, index: index % 6 },
    ...{ probability: 0.987, top: [], ...(label !== undefined && { label }) },
  });
  const cells = [
    ...Array.from({ length: 8 }, (_, index) => ({ row: row(index, "daisy"), thumbnail })),
    { row: { image: `bad ${HOSTILE}`, code: "image_truncated", message: `the jpeg ends too early ${HOSTILE}` } },
    { row: row(9) },
  ];
  const sheet = { job: "predict-1", model: "mdl-1", rows: 3_670, accuracy: 0.5, cells };
  const opened = await browser.open({ html: contactSheetPage({ ...sheet, offset: 2, limit: 500 }) });
  await assertHarmless(opened);
  const { page } = opened;
  assert.equal(await page.locator(".cell").count(), 8);
  assert.equal(await page.locator(".cell img").count(), 6);
  assert.match(
    (await page.locator("#range").textContent())!,
    /Rows 3 to 10 of 3,670, 50.0% of all are right.*first 10/s,
  );
  const texts = await page.locator(".cell").allTextContents();
  assert.ok(texts[0]!.includes(HOSTILE) && texts[0]!.includes("98.7%") && texts[0]!.includes("is daisy"), texts[0]);
  assert.ok(texts[6]!.includes("image_truncated") && texts[6]!.includes("ends too early"), texts[6]);
  assert.ok(texts[7]!.includes("no picture"), texts[7]);
  await page.context().close();
});
