/** The demo's walk: digits to a zip, a data set, a model, predictions; all over REST, as any user would do it. */
import { readFile, rm } from "node:fs/promises";
import { availableParallelism, cpus, totalmem } from "node:os";
import { join } from "node:path";
import { CardinalClient } from "@cardinal/client";
import { type Epoch, isErrorRow, type JobView, predictSummarySchema, trainResultSchema } from "@cardinal/contracts";
import { digitImages, writeDigits, writeZip } from "@cardinal/samples";
import type { EmbeddedSystem } from "../embedded/system.ts";
import { showJob } from "../progress-bar.ts";
import type { DemoFigures } from "./figures.ts";
import { epochLine, type Story } from "./story.ts";

export interface DemoSize {
  train: number;
  val: number;
  epochs: number;
}

/** All 10,000 digits. Six epochs gave 98.4% to 98.9% of the held-out ones, by seed and machine; five 98.0% to 98.6%. */
export const FULL_SIZE: DemoSize = { train: 8_500, val: 1_500, epochs: 6 };

const ARCHITECTURE = "resnext14_8x4d";
const RECIPE = {
  architecture: ARCHITECTURE,
  batchSize: 16,
  optimizer: { name: "adam", learningRate: 3e-3 },
  schedule: { name: "cosine" },
  labelSmoothing: 0.1,
  // A mirrored or cut digit is another digit or none.
  augment: { crop: "center", flip: 0 },
  seed: 1,
} as const;

/** Walks the demo; rejects soon after `signal` aborts. */
export async function runDemo(
  system: EmbeddedSystem,
  size: DemoSize,
  story: Story,
  signal: AbortSignal,
): Promise<DemoFigures> {
  const begin = performance.now();
  const client = new CardinalClient({ baseUrl: system.url, key: system.folder.apiKey });
  const walk: Walk = { client, story, signal };
  const digits = join(system.folder.path, "digits");

  story.step(`Handwritten digits: ${size.train} images to train on, ${size.val} held out`);
  await rm(digits, { recursive: true, force: true });
  await writeDigits(digits, size);
  const archive = join(system.folder.path, "digits.zip");
  await writeZip(archive, digitImages(size));
  story.line(`as PNG files in ${digits}, packed as ${archive}`);

  story.step("Upload the zip: POST /v1/datasets?name=digits");
  const ingest = await timed(walk, await client.uploadDataset("digits", archive, { signal }));
  const dataset = await client.dataset("digits");
  story.line(
    `data set digits@${dataset.version.slice(0, 12)}: ${dataset.report.images} images in ${dataset.classes.length} classes, ${ingest.seconds.toFixed(1)} s`,
  );

  story.step(`Train ${ARCHITECTURE} from scratch as a queued job: POST /v1/train`);
  const train = await trainDigits(walk, size);
  const trained = trainResultSchema.parse(train.job.result);
  story.line(`model ${trained.model}, alias digits: best epoch ${trained.bestEpoch}, ${train.seconds.toFixed(1)} s`);

  story.step(`Predict the ${size.val} held-out images as a queued job: POST /v1/predict`);
  const submitted = await client.predict({ model: "digits", dataset: "digits", split: "val" });
  const predict = await timed(walk, submitted);
  const { accuracy, rows } = await countRows(client, predict.job.id);
  const summary = predictSummarySchema.parse(predict.job.result);
  story.line(`${rows} rows, ${(100 * accuracy).toFixed(2)}% correct, ${Math.round(summary.imagesPerSecond)} images/s`);

  story.step("One image at once: POST /v1/predict/image");
  const sample = join(digits, "val/7/0000.png");
  const { top } = await client.predictImage(new Uint8Array(await readFile(sample)), {
    model: "digits",
    topK: 3,
    wait: true,
  });
  story.line(`${sample}: ${top.map((one) => `${one.class} (${(100 * one.probability).toFixed(1)}%)`).join(", ")}`);

  return {
    machine: machine(),
    trainImages: size.train,
    valImages: size.val,
    architecture: ARCHITECTURE,
    epochs: trained.epochs,
    valAccuracy: trained.valAccuracy,
    predictionAccuracy: accuracy,
    predictionRows: rows,
    ingestSeconds: ingest.seconds,
    trainJobSeconds: train.seconds,
    predictJobSeconds: predict.seconds,
    trainSeconds: trained.trainSeconds,
    trainImagesPerSecond: (size.train * trained.epochs.length) / trained.trainSeconds,
    predictImagesPerSecond: summary.imagesPerSecond,
    totalSeconds: (performance.now() - begin) / 1000,
    model: trained.model,
    jobs: { ingest: ingest.job.id, train: train.job.id, predict: predict.job.id },
  };
}

interface Walk {
  client: CardinalClient;
  story: Story;
  signal: AbortSignal;
}

interface TimedJob {
  job: JobView;
  seconds: number;
}

async function trainDigits(walk: Walk, size: DemoSize): Promise<TimedJob> {
  const { client, story } = walk;
  const submitted = await client.train({ dataset: "digits", ...RECIPE, epochs: size.epochs, alias: "digits" });
  let shown = 0;
  const tell = (epochs: Epoch[] = []) => {
    for (const epoch of epochs.slice(shown)) story.line(epochLine(epoch, size.epochs));
    shown = Math.max(shown, epochs.length);
  };
  const done = await timed(walk, submitted, (job) => tell(job.progress?.epochs));
  tell(trainResultSchema.parse(done.job.result).epochs);
  return done;
}

/** Waits for the job with a bar; a job that does not complete ends the demo with its error. */
async function timed(walk: Walk, submitted: JobView, onLook?: (job: JobView) => void): Promise<TimedJob> {
  const { client, story, signal } = walk;
  const begin = performance.now();
  let bar = story.bar();
  let epochs = 0;
  const job = await client.wait(submitted.id, {
    signal,
    onProgress: (seen) => {
      const now = seen.progress?.epochs?.length ?? 0;
      if (now > epochs) {
        // A line among a bar's: take the bar away and begin it anew below the line.
        bar.end();
        onLook?.(seen);
        bar = story.bar();
        epochs = now;
      }
      showJob(bar, seen);
    },
  });
  bar.end();
  if (job.state !== "completed") {
    throw new Error(`job ${job.id} ${job.state}: ${job.error?.code} ${job.error?.message}`);
  }
  return { job, seconds: (performance.now() - begin) / 1000 };
}

/** The prediction's accuracy, from its rows: the label of a row is the folder that its image lay in. */
async function countRows(client: CardinalClient, job: string): Promise<{ accuracy: number; rows: number }> {
  let rows = 0;
  let correct = 0;
  for await (const row of client.rows(job)) {
    rows++;
    if (!isErrorRow(row) && row.class === row.image.split("/").at(-2)) correct++;
  }
  return { accuracy: correct / rows, rows };
}

function machine(): DemoFigures["machine"] {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model ?? "unknown",
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    node: process.version,
  };
}
