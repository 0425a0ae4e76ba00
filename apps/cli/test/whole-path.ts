/** The whole path over HTTP, on any store: ingest, train, predict, and every answer compared with its input. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";
import type { CardinalClient } from "@cardinal/client";
import { isErrorRow, type PredictSummary, type ResultRow } from "@cardinal/contracts";
import { digitImages } from "@cardinal/samples";
import { digitsZip, promtoolCheckMetrics, tempDir } from "@cardinal/testing";
import type { EmbeddedSystem } from "../src/embedded/system.ts";
import { ARCHITECTURE, completed, RECIPE, trainResult } from "./embedded.ts";

const COUNTS = { train: 300, val: 100 };

export async function walkWholePath(client: CardinalClient, system: EmbeddedSystem): Promise<void> {
  const version = await ingest(client);
  const model = await train(client, version);
  const rows = await predictSplit(client, model);
  await predictImages(client, model, rows);
  await predictOne(client, model, rows[0]!);
  await importWeights(client, rows);
  await checkMetrics(client, system);
}

async function ingest(client: CardinalClient): Promise<string> {
  await using archive = await digitsZip(COUNTS);
  const first = await completed(client, await client.uploadDataset("digits", archive.path));
  const again = await completed(client, await client.uploadDataset("digits", archive.path));
  assert.equal(again.result!.version, first.result!.version, "the same files give the same version");
  assert.equal(again.result!.created, false);
  const dataset = await client.dataset("digits");
  assert.deepEqual(dataset.report.splits, COUNTS);
  assert.deepEqual(dataset.classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
  return dataset.version;
}

async function train(client: CardinalClient, version: string): Promise<string> {
  const job = await completed(client, await client.train({ dataset: "digits", ...RECIPE, alias: "digits" }));
  const result = trainResult(job);
  assert.equal(result.dataset.version, version);
  assert.equal(result.epochs.length, 1);
  assert.equal(job.links.report, `/v1/models/${result.model}/files/report.html`);
  assert.ok(result.exportError <= 1e-3);
  assert.equal((await client.models()).length, 1);
  const manifest = await client.model("digits");
  assert.equal(manifest.id, result.model);
  assert.deepEqual(Object.keys(manifest.files).sort(), [
    "class_indices.json",
    "model.onnx",
    "report.html",
    "report.json",
    "weights.safetensors",
  ]);
  for (const [file, { sha256, bytes }] of Object.entries(manifest.files)) {
    const content = await buffer(await client.modelFile("digits", file as keyof typeof manifest.files));
    assert.equal(content.length, bytes);
    assert.equal(createHash("sha256").update(content).digest("hex"), sha256, file);
  }
  return manifest.id;
}

async function predictSplit(client: CardinalClient, model: string): Promise<ResultRow[]> {
  const job = await completed(client, await client.predict({ model: "digits", dataset: "digits", topK: 3 }));
  const rows: ResultRow[] = [];
  for await (const row of client.rows(job.id)) {
    assert.ok(!isErrorRow(row));
    rows.push(row);
  }
  const names: string[] = [];
  for await (const { name } of digitImages(COUNTS)) if (name.startsWith("val/")) names.push(name);
  assert.deepEqual(
    rows.map((row) => row.image),
    names.sort(),
    "a row for every input, in order",
  );
  for (const row of rows) {
    assert.equal(row.top.length, 3);
    assert.equal(row.label, row.image.split("/")[1]);
    assert.equal(row.top[0]!.class, row.class);
  }
  const sheet = await text(await client.contactSheet(job.id));
  assert.equal(sheet.match(/<img src="data:image\/webp/g)?.length, COUNTS.val, "a picture for every row");
  const summary = job.result as unknown as PredictSummary;
  assert.equal(summary.model, model);
  assert.equal(summary.images, COUNTS.val);
  const correct = rows.filter((row) => row.label === row.class).length;
  assert.equal(summary.accuracy, correct / rows.length);
  assert.equal(job.progress?.done, COUNTS.val);
  const csv = (await text(await client.results(job.id, "csv"))).trim().split("\r\n");
  assert.equal(csv.length, 1 + COUNTS.val);
  assert.ok(csv[1]!.startsWith(`${rows[0]!.image},${rows[0]!.sha256},${rows[0]!.class},`));
  return rows;
}

/** By digest: the same answers in the order asked; what is not there is an error row in its place. */
async function predictImages(client: CardinalClient, model: string, rows: ResultRow[]): Promise<void> {
  const missing = "0".repeat(64);
  const images = [rows[5]!.sha256, missing, rows[2]!.sha256];
  const job = await completed(client, await client.predict({ model, images }));
  const answers = await Array.fromAsync(client.rows(job.id));
  assert.deepEqual(
    answers.map((row) => row.image),
    images,
  );
  assert.equal((answers[0] as ResultRow).class, rows[5]!.class);
  assert.equal((answers[2] as ResultRow).class, rows[2]!.class);
  assert.ok(isErrorRow(answers[1]!));
  assert.equal(answers[1].code, "image_not_found");
  assert.deepEqual(await Array.fromAsync(client.errors(job.id)), [answers[1]]);
  const strict = await client.wait((await client.predict({ model, images, maxFailureRate: 0.1 })).id);
  assert.equal(strict.state, "failed");
  assert.equal(strict.error?.code, "too_many_failures");
  assert.equal((await Array.fromAsync(client.rows(strict.id))).length, 3, "what it has is kept");
}

async function predictOne(client: CardinalClient, model: string, row: ResultRow): Promise<void> {
  for await (const { name, data } of digitImages(COUNTS)) {
    if (name !== row.image) continue;
    const answer = await client.predictImage(new Uint8Array(data as Uint8Array), {
      model: "digits",
      topK: "all",
      wait: true,
    });
    assert.equal(answer.model, model);
    assert.equal(answer.top.length, 10);
    assert.equal(answer.top[0]!.class, row.class);
    assert.ok(Math.abs(answer.top[0]!.probability - row.probability) < 1e-4);
  }
  const cut = client.predictImage(new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]), {
    model,
    wait: true,
  });
  await assert.rejects(cut, { status: 422 });
}

/** The trained weights, taken out as a file and brought in again, answer the same. */
async function importWeights(client: CardinalClient, rows: ResultRow[]): Promise<void> {
  await using folder = await tempDir("weights");
  const path = join(folder.path, "weights.safetensors");
  await writeFile(path, await buffer(await client.modelFile("digits", "weights.safetensors")));
  const { classes } = await client.dataset("digits");
  const options = { architecture: ARCHITECTURE, alias: "imported" } as const;
  const wrong = await client.wait((await client.importModel(path, { ...options, classes: classes.slice(1) })).id);
  assert.equal(wrong.error?.code, "class_index_mismatch");
  assert.match(wrong.error.message, /9 classes.* 10/);
  const other = await client.wait((await client.importModel(path, { ...options, architecture: "resnet18" })).id);
  assert.equal(other.error?.code, "state_dict_mismatch");
  const job = await completed(client, await client.importModel(path, { ...options, classes }));
  const manifest = await client.model("imported");
  assert.equal(manifest.id, job.result!.model);
  assert.ok("source" in manifest.lineage && manifest.lineage.source.format === "safetensors");
  const again = await completed(client, await client.predict({ model: "imported", dataset: "digits", topK: 3 }));
  assert.deepEqual(await Array.fromAsync(client.rows(again.id)), rows);
}

async function checkMetrics(client: CardinalClient, system: EmbeddedSystem): Promise<void> {
  const workers = await client.workers();
  assert.deepEqual(workers.map((worker) => worker.kind).sort(), ["predict", "predict", "train"]);
  const urls = [`${system.url}/metrics`, ...workers.map((worker) => worker.metricsUrl!)];
  const texts = await Promise.all(urls.map(async (url) => (await fetch(url)).text()));
  for (const metrics of texts) await promtoolCheckMetrics(metrics);
  const sum = (series: string) =>
    texts
      .flatMap((metrics) => metrics.split("\n"))
      .filter((line) => line.startsWith(`${series} `))
      .reduce((total, line) => total + Number(line.split(" ")[1]), 0);
  // The split by two models, 2 of 3 images twice, and one single image.
  assert.equal(sum('cardinal_images_total{stage="predict",outcome="ok"}'), 2 * COUNTS.val + 2 + 2 + 1);
  assert.equal(sum("cardinal_train_images_total"), COUNTS.train);
  assert.equal(sum('cardinal_jobs_total{kind="train",outcome="completed"}'), 1);
  assert.equal(sum('cardinal_jobs_total{kind="predict",outcome="failed"}'), 1);
  assert.equal(sum('cardinal_jobs_total{kind="ingest",outcome="completed"}'), 2);
  assert.equal(sum('cardinal_jobs_total{kind="import",outcome="failed"}'), 2);
}
