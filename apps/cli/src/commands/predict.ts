/** `cardinal predict`: one image at once, a folder or an archive by way of a data set, or a data set. */
import { createWriteStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { CardinalClient } from "@cardinal/client";
import { type PredictRequest, type PredictSummary, predictSummarySchema, type Split } from "@cardinal/contracts";
import { type Command, Option } from "commander";
import { ulid } from "ulid";
import { type ApiOptions, apiCommand, clientOf } from "../api-command.ts";
import { completed } from "../follow.ts";
import { wholeNumber } from "../number-options.ts";
import { answer, note, percent, table } from "../output.ts";
import { upload } from "./datasets.ts";

interface PredictOptions extends ApiOptions {
  model: string;
  dataset?: string;
  split?: Split;
  topK?: PredictRequest["topK"];
  format: "jsonl" | "csv";
  output?: string;
}

/** Up to so many classes all are shown, as the tutorial's script does. */
const ALL_CLASSES_UP_TO = 10;
const DEFAULT_TOP_K = 5;

export function addPredict(program: Command): void {
  apiCommand(program, "predict [path]", "classify an image, a folder or archive of images, or a data set")
    .requiredOption("--model <model>", "id or alias")
    .option("--dataset <name>", "predict a data set's images, instead of a path")
    .addOption(
      new Option("--split <split>", "of the data set (val, or what there is)").choices(["train", "val", "all"]),
    )
    .option("--top-k <n>", "classes of an answer, or all (all up to 10 classes, else 5)", topK)
    .addOption(new Option("--format <format>", "of the rows").choices(["jsonl", "csv"]).default("jsonl"))
    .option("-o, --output <file>", "where the rows go, instead of standard output")
    .action(predict);
}

const topK = (text: string): PredictRequest["topK"] => (text === "all" ? "all" : wholeNumber(1, 100_000)(text));

async function predict(path: string | undefined, options: PredictOptions, command: Command): Promise<void> {
  if ((path === undefined) === (options.dataset === undefined)) command.error("error: give a path or --dataset");
  const client = clientOf(options);
  const topK = options.topK ?? (await defaultTopK(client, options.model));
  if (path === undefined) {
    await predictDataset(client, options.dataset!, options.split, topK, options);
  } else if (await isImage(path)) {
    await predictImage(client, path, topK, options);
  } else {
    await predictFolder(client, path, topK, options);
  }
}

async function defaultTopK(client: CardinalClient, model: string): Promise<PredictRequest["topK"]> {
  const { classes } = await client.model(model);
  return classes.length <= ALL_CLASSES_UP_TO ? "all" : DEFAULT_TOP_K;
}

/** Whether the path is a single image: a file that is no archive by its name. */
async function isImage(path: string): Promise<boolean> {
  return (await stat(path)).isFile() && !/\.(zip|tar|tgz|tar\.gz)$/i.test(path);
}

async function predictImage(
  client: CardinalClient,
  path: string,
  topK: PredictRequest["topK"],
  { model, json }: PredictOptions,
): Promise<void> {
  const found = await client.predictImage(new Uint8Array(await readFile(path)), { model, topK, wait: true });
  const rows = found.top.map((one) => [one.class, percent(one.probability)] as const);
  answer(json, { image: path, ...found }, () => table(["CLASS", "PROBABILITY"], rows));
}

/** The images become a data set without labels, named after nothing that anybody else uses. */
async function predictFolder(
  client: CardinalClient,
  path: string,
  topK: PredictRequest["topK"],
  options: PredictOptions,
): Promise<void> {
  const name = `predict-${ulid().toLowerCase()}`;
  await completed(client, await upload(client, name, path, { labels: false }));
  await predictDataset(client, name, "all", topK, options);
}

async function predictDataset(
  client: CardinalClient,
  dataset: string,
  split: Split | undefined,
  topK: PredictRequest["topK"],
  options: PredictOptions,
): Promise<void> {
  const job = await completed(client, await client.predict({ model: options.model, dataset, split, topK }));
  await writeRows(client, job.id, options.format, options.output);
  tell(predictSummarySchema.parse(job.result), options.output);
}

/** The rows of a job to a file, or to standard output. */
export async function writeRows(
  client: CardinalClient,
  job: string,
  format: "jsonl" | "csv",
  output: string | undefined,
): Promise<void> {
  const rows = Readable.fromWeb((await client.results(job, format)) as never);
  if (output === undefined) await pipeline(rows, process.stdout, { end: false });
  else await pipeline(rows, createWriteStream(output));
}

function tell(summary: PredictSummary, output: string | undefined): void {
  const { images, failed, accuracy, seconds, imagesPerSecond } = summary;
  const parts = [
    `${images} images in ${seconds.toFixed(1)} s (${Math.round(imagesPerSecond)} images/s)`,
    failed > 0 && `${failed} without an answer`,
    accuracy !== undefined && `${percent(accuracy)} right`,
    output !== undefined && `rows in ${output}`,
  ];
  note(parts.filter(Boolean).join(", "));
}
