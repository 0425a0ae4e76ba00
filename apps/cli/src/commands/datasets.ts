/** `cardinal dataset push|list|show`. */
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { CardinalClient } from "@cardinal/client";
import type { DatasetVersion, JobView } from "@cardinal/contracts";
import type { Command } from "commander";
import { type ApiOptions, apiCommand, clientOf } from "../api-command.ts";
import { archiveOf } from "../folder-archive.ts";
import { completed } from "../follow.ts";
import { realNumber, wholeNumber } from "../number-options.ts";
import { answer, bold, note, table } from "../output.ts";
import { makeBar } from "../progress-bar.ts";

interface PushOptions extends ApiOptions {
  valFraction?: number;
  seed?: number;
  labels: boolean;
}

export function addDatasetCommands(program: Command): void {
  const dataset = program.command("dataset").description("data sets: push a folder or an archive, list, show");
  apiCommand(dataset, "push <name> <path>", "upload a folder of images, or a zip or tar.gz archive, and ingest it")
    .option("--val-fraction <share>", "share of each class that becomes val when there is none", realNumber(0, 1))
    .option("--seed <n>", "seed of that draw", wholeNumber(0, 2 ** 31 - 1))
    .option("--no-labels", "folders are no classes: every image goes to the split all")
    .action(push);
  apiCommand(dataset, "list", "the latest version of every data set").action(list);
  apiCommand(dataset, "show <name> [version]", "classes, counts and what the ingest left out").action(show);
}

async function push(name: string, path: string, options: PushOptions): Promise<void> {
  const client = clientOf(options);
  const job = await completed(client, await upload(client, name, path, options));
  const version = await client.dataset(name, String(job.result!.version));
  answer(options.json, version, () => describe(version));
}

/** Uploads with a bar; gives the ingest job. */
export async function upload(
  client: CardinalClient,
  name: string,
  path: string,
  { valFraction, seed, labels }: Pick<PushOptions, "valFraction" | "seed" | "labels">,
): Promise<JobView> {
  const isFolder = (await stat(path)).isDirectory();
  const archive = isFolder ? await archiveOf(path) : path;
  note(`${isFolder ? `${(archive as { files: number }).files} files of ` : ""}${basename(path)} to data set ${name}`);
  const bar = makeBar(process.stderr);
  const mb = (bytes: number) => (bytes / 1e6).toFixed(1);
  const onProgress = (sent: number, total: number) => bar.show(sent, total, `${mb(sent)} of ${mb(total)} MB sent`);
  try {
    return await client.uploadDataset(name, archive, { valFraction, seed, labels, onProgress });
  } finally {
    bar.end();
  }
}

async function list(options: ApiOptions): Promise<void> {
  const datasets = await clientOf(options).datasets();
  const rows = datasets.map(({ name, version, classes, report, createdAt }) => {
    return [name, version.slice(0, 12), report.images, classes.length, createdAt] as const;
  });
  answer(options.json, datasets, () => table(["NAME", "VERSION", "IMAGES", "CLASSES", "MADE"], rows));
}

async function show(name: string, version: string | undefined, options: ApiOptions): Promise<void> {
  const found = await clientOf(options).dataset(name, version);
  answer(options.json, found, () => describe(found));
}

function describe({ name, version, report, classes }: DatasetVersion): string {
  const splits = Object.entries(report.splits).map(([split, images]) => `${images} ${split}`);
  const lines = [bold(`${name}@${version.slice(0, 12)}`), `${report.images} images: ${splits.join(", ")}`];
  if (classes.length > 0) {
    const rows = report.classes.map((one) => [one.class, one.train, one.val] as const);
    lines.push("", table(["CLASS", "TRAIN", "VAL"], rows));
  }
  if (report.skipped.count > 0) {
    lines.push("", `${report.skipped.count} images cannot be read and are left out:`);
    for (const { path, message } of report.skipped.examples) lines.push(`  ${path}: ${message}`);
  }
  for (const warning of report.warnings) lines.push("", warning);
  return lines.join("\n");
}
