/**
 * A batch prediction of 1,000 JPEGs with ResNeXt-50, from the REST call to the last row read, against PyTorch in the two
 * ways that people write it, and against our own engine without queue, store and rows.
 */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { PredictBody } from "@cardinal/client";
import { isErrorRow, type ResultRow } from "@cardinal/contracts";
import { writeZip } from "@cardinal/samples";
import { inferenceEnvironment } from "../../../apps/predict-worker/src/inference-process.ts";
import type { Bench, Outcome } from "../bench.ts";
import { LineProcess } from "../line-process.ts";
import { distinctJpegs } from "../preprocess/images.ts";
import { completed, type ServedModel, serveModel, warmUp } from "../system.ts";
import { type Contestant, type Measured, median, takeTurns } from "../turns.ts";
import { PEER_IMAGES, startPeer } from "./peer.ts";

const IMAGES = 1000;
/** Images of a turn of the bare engine. */
const BARE_IMAGES = 480;
const DATASET = "photographs";
/** Images whose answers are compared with PyTorch's. */
const COMPARED = 8;
/** Of the winner's probability, of which these images differ from each other by 0.4% and more. */
const LARGEST_DIFFERENCE = 1e-3;
/** The predict-worker's default. */
const BATCH_SIZE = 4;

export const predict: Bench = {
  title: "1,000 JPEGs from the REST call to the last row, images a second, against PyTorch",
  rounds: 3,
  async run(context) {
    const workers = os.availableParallelism();
    const jpegs = await distinctJpegs(IMAGES);
    const names = jpegs.map((_, index) => `${index}`.padStart(4, "0").concat(".jpg"));
    for (const [index, jpeg] of jpegs.entries()) await writeFile(path.join(context.folder, names[index]!), jpeg);
    context.say(`a system with ${workers} predict-workers, and ${IMAGES} images in its store`);
    await using served = await serveModel(context.folder, workers);
    await ingest(served, context.folder, names, jpegs);
    await warmUp(served, jpegs[0]!, workers);
    await using engines = await startEngines(served.files.onnx, context.folder, workers);
    const files = names.slice(0, PEER_IMAGES).map((name) => path.join(context.folder, name));
    await using peer = await startPeer(context, served.files.safetensors, workers, files);
    const difference = compare(await predictSome(served, jpegs.slice(0, COMPARED)), await peer.probabilities(COMPARED));
    const contestants: Contestant[] = [
      { name: "cardinal", unit: "images/s", turn: () => timed(served) },
      peer.loader,
      { name: "cardinal's bare engine with decoding", unit: "images/s", turn: () => engines.rate(names) },
      peer.tutorial,
    ];
    context.say(
      `${context.rounds} rounds: cardinal ${IMAGES} images, its bare engine ${BARE_IMAGES}, PyTorch ${PEER_IMAGES} (its time for an image does not change)`,
    );
    const measured = await takeTurns(contestants, context.rounds);
    return outcome(measured, difference, { ...engines.versions, ...peer.versions });
  },
};

async function ingest({ client }: ServedModel, folder: string, names: string[], jpegs: Buffer[]): Promise<void> {
  const zip = path.join(folder, "images.zip");
  await writeZip(
    zip,
    names.map((name, index) => ({ name, data: jpegs[index]! })),
  );
  await completed(client, await client.uploadDataset(DATASET, zip, { labels: false }));
}

async function predictSome(served: ServedModel, jpegs: Buffer[]): Promise<ResultRow[]> {
  const images = jpegs.map((jpeg) => createHash("sha256").update(jpeg).digest("hex"));
  return rowsOf(served, { images }, images.length);
}

/** Predicts the inputs and reads all of their rows. Throws unless there is an answer for each. */
async function rowsOf(
  { client, model }: ServedModel,
  inputs: Partial<PredictBody>,
  count: number,
): Promise<ResultRow[]> {
  const job = await completed(client, await client.predict({ model, ...inputs }));
  const rows: ResultRow[] = [];
  for await (const row of client.rows(job.id)) {
    if (isErrorRow(row)) throw new Error(`${row.image}: ${row.message}`);
    rows.push(row as ResultRow);
  }
  if (rows.length !== count) throw new Error(`${rows.length} rows of ${count} images`);
  return rows;
}

async function timed(served: ServedModel): Promise<number> {
  const start = performance.now();
  await rowsOf(served, { dataset: DATASET, split: "all" }, IMAGES);
  return IMAGES / ((performance.now() - start) / 1000);
}

interface Engines extends AsyncDisposable {
  rate(names: string[]): Promise<number>;
  versions: Record<string, string>;
}

/** As many processes as the system has predict-workers, in the environment of their compute processes. */
async function startEngines(onnx: string, folder: string, count: number): Promise<Engines> {
  const file = fileURLToPath(import.meta.resolve("./engine-child.ts"));
  const env = inferenceEnvironment({ threads: 1, batchSize: BATCH_SIZE, cacheDir: "", modelMemoryMb: 500 });
  const start = () => LineProcess.start({ command: process.execPath, args: [file, onnx, folder], env });
  const children = await Promise.all(Array.from({ length: count }, start));
  return {
    versions: children[0]!.versions,
    async rate(names) {
      const share = Math.floor(BARE_IMAGES / count);
      const rates = children.map((child, index) =>
        child.ask<number>("rate", { files: names.slice(index * share, (index + 1) * share) }),
      );
      return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
    },
    async [Symbol.asyncDispose]() {
      for (const child of children) await child[Symbol.asyncDispose]();
    },
  };
}

/** Largest relative difference of the winners' probabilities. Throws when the two do not compute the same. */
function compare(rows: ResultRow[], theirs: number[][]): number {
  const differences = theirs.map((probabilities, index) => {
    const { index: winner, probability } = rows[index]!;
    const best = Math.max(...probabilities);
    return Math.max(Math.abs(probability / probabilities[winner]! - 1), best / probabilities[winner]! - 1);
  });
  const worst = Math.max(...differences);
  if (worst <= LARGEST_DIFFERENCE) return worst;
  throw new Error(`probabilities differ from PyTorch's by up to ${worst}: nothing was timed`);
}

function outcome(measured: Measured[], difference: number, versions: Record<string, string>): Outcome {
  const [ours, loader, bare, tutorial] = measured.map(({ samples }) => median(samples));
  return {
    measured: [...measured, { name: "largestDifference", unit: "of a probability", samples: [difference] }],
    ratios: {
      vsTutorial: { value: ours! / tutorial!, target: { atLeast: 1.5 } },
      vsDataLoader: { value: ours! / loader!, target: { atLeast: 1.3 } },
      overhead: { value: bare! / ours! - 1, target: { atMost: 0.08 } },
    },
    versions,
  };
}
