/** `cardinal train`: a training job, from options, a JSON file, or both. */
import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import type { TrainBody } from "@cardinal/client";
import { type TrainResult, trainResultSchema } from "@cardinal/contracts";
import { type Command, Option } from "commander";
import { type ApiOptions, apiCommand, clientOf } from "../api-command.ts";
import { completed } from "../follow.ts";
import { realNumber, wholeNumber } from "../number-options.ts";
import { answer, bold, percent, table } from "../output.ts";

interface TrainOptions extends ApiOptions {
  architecture?: string;
  base?: string;
  trainable?: string;
  epochs?: number;
  batchSize?: number;
  optimizer?: string;
  learningRate?: number;
  seed?: number;
  alias?: string;
  request?: string;
  wait: boolean;
}

export function addTrain(program: Command): void {
  apiCommand(program, "train [dataset]", "train a model on a data set (name or name@version)")
    .option("--architecture <name>", "such as resnext50_32x4d (the default without a base)")
    .option("--base <model>", "id or alias of the model to start from")
    .addOption(
      new Option("--trainable <part>", "what learns; the rest stays the base's").choices([
        "head",
        "layer4",
        "layer3",
        "layer2",
        "layer1",
        "all",
      ]),
    )
    .option("--epochs <n>", "", wholeNumber(1, 1000))
    .option("--batch-size <n>", "", wholeNumber(1, 1024))
    .addOption(new Option("--optimizer <name>").choices(["adam", "adamw", "sgd"]))
    .option("--learning-rate <rate>", "", realNumber(0, 1e6))
    .option("--seed <n>", "", wholeNumber(0, 2 ** 31 - 1))
    .option("--alias <name>", "name that the model gets")
    .option("--request <file>", "JSON with any field of POST /v1/train (-: standard input); options overrule it")
    .option("--no-wait", "submit only")
    .action(train);
}

async function train(dataset: string | undefined, options: TrainOptions): Promise<void> {
  const client = clientOf(options);
  const submitted = await client.train(await requestOf(dataset, options));
  if (!options.wait) {
    answer(options.json, submitted, () => submitted.id);
    return;
  }
  const job = await completed(client, submitted);
  answer(options.json, job, () => describe(trainResultSchema.parse(job.result)));
}

async function requestOf(dataset: string | undefined, options: TrainOptions): Promise<TrainBody> {
  const given = options.request === undefined ? {} : await readRequest(options.request);
  const { architecture, base, trainable, epochs, batchSize, seed, alias, optimizer: name, learningRate } = options;
  const chosen = withoutUndefined({ dataset, architecture, base, trainable, epochs, batchSize, seed, alias });
  const optimizer = withoutUndefined({ name, learningRate });
  const hasOptimizer = Object.keys(optimizer).length > 0;
  // The API checks it all, and says which field is wrong.
  return {
    ...given,
    ...chosen,
    ...(hasOptimizer && { optimizer: { ...(given.optimizer as object | undefined), ...optimizer } }),
  } as TrainBody;
}

async function readRequest(file: string): Promise<Record<string, unknown>> {
  const json = file === "-" ? await text(process.stdin) : await readFile(file, "utf8");
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new Error(`${file} is not JSON: ${(error as Error).message}`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error(`${file} must hold a JSON object`);
}

const withoutUndefined = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));

function describe(result: TrainResult): string {
  const { model, alias, epochs, bestEpoch, valAccuracy, trainSeconds } = result;
  const rows = epochs.map((epoch) => [
    epoch.epoch,
    epoch.trainLoss.toFixed(4),
    percent(epoch.trainAccuracy),
    epoch.valLoss.toFixed(4),
    percent(epoch.valAccuracy),
    epoch.epoch === bestEpoch ? "best" : "",
  ]);
  return [
    table(["EPOCH", "TRAIN LOSS", "TRAIN ACC", "VAL LOSS", "VAL ACC", ""], rows),
    "",
    `${bold(model)}${alias === undefined ? "" : `, alias ${alias}`}: ${percent(valAccuracy)} of the validation images, ${trainSeconds.toFixed(1)} s`,
  ].join("\n");
}
