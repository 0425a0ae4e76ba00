/** `cardinal demo` (npm run demo): the whole system once through, on real images. */
import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import type { DemoFigures } from "../demo/figures.ts";
import { FULL_SIZE, runDemo } from "../demo/run-demo.ts";
import { Story } from "../demo/story.ts";
import { type EmbeddedSystem, startEmbedded } from "../embedded/system.ts";
import { parseOptions, wholeNumber } from "../usage.ts";
import { describe, stopSignal } from "./up.ts";

const HELP = `Usage: cardinal demo [options]

Brings the embedded system up, trains a small ResNeXt on 8,500 handwritten digits and predicts 1,500 others.

  --keep           leave the system up when it is done (Ctrl-C stops it)
  --json FILE      write the figures as JSON
  --data-dir DIR   where everything goes; emptied first      (.cardinal/demo)
  --port PORT      port of the API; 0: any free one          (0)
  --train N        digits to train on                        (${FULL_SIZE.train})
  --val N          digits to hold out                        (${FULL_SIZE.val})
  --epochs N                                                 (${FULL_SIZE.epochs})
  --help`;

export async function demo(args: string[]): Promise<number> {
  const options = parseOptions(args, {
    keep: { type: "boolean", default: false },
    json: { type: "string" },
    "data-dir": { type: "string", default: ".cardinal/demo" },
    port: { type: "string", default: "0" },
    train: { type: "string", default: String(FULL_SIZE.train) },
    val: { type: "string", default: String(FULL_SIZE.val) },
    epochs: { type: "string", default: String(FULL_SIZE.epochs) },
    help: { type: "boolean", default: false },
  });
  if (options.help) {
    console.log(HELP);
    return 0;
  }
  const size = {
    train: wholeNumber(options.train, "train", 20, 10_000),
    val: wholeNumber(options.val, "val", 10, 10_000),
    epochs: wholeNumber(options.epochs, "epochs", 1, 1000),
  };
  const dataDir = options["data-dir"];
  console.log("Cardinal demo: train and predict on real images, on this machine, with nothing but its CPU.");
  const system = await startEmbedded({
    dataDir,
    fresh: true,
    host: "127.0.0.1",
    port: wholeNumber(options.port, "port", 0, 65_535),
    predictWorkers: availableParallelism(),
    onNotice: (line) => console.log(`  ! ${line}`),
  });
  const interrupted = stopSignal();
  let completed = false;
  try {
    console.log(`\nUp: API ${system.url}, ${system.redis.description}, ${system.processes.length} processes.`);
    const stop = new AbortController();
    const run = runDemo(system, size, new Story(), stop.signal);
    const figures = await Promise.race([run, interrupted.then(() => undefined)]);
    // Its waits would go on asking for a minute after the API is gone.
    stop.abort();
    run.catch(() => {});
    if (figures) {
      completed = true;
      if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(figures, undefined, 2)}\n`);
      account(figures, system, options.keep, dataDir, options.json);
      if (options.keep) await interrupted;
    } else {
      console.log("\nInterrupted.");
    }
  } finally {
    await system.stop();
    if (options.keep || !completed) console.log("Stopped.");
  }
  return completed ? 0 : 130;
}

function account(figures: DemoFigures, system: EmbeddedSystem, keep: boolean, dataDir: string, json?: string): void {
  const { jobs, machine, model } = figures;
  const percent = (ratio: number) => `${(100 * ratio).toFixed(2)}%`;
  console.log(`
Done in ${figures.totalSeconds.toFixed(0)} s on ${machine.cores} cores (${machine.cpu}).

  Training     ${figures.trainImages} images, ${figures.epochs.length} epochs in ${figures.trainSeconds.toFixed(1)} s, ${Math.round(figures.trainImagesPerSecond)} images/s
  Validation   ${percent(figures.valAccuracy)} in the best epoch
  Prediction   ${percent(figures.predictionAccuracy)} of ${figures.predictionRows} held-out images right, ${Math.round(figures.predictImagesPerSecond)} images/s with queue and store`);
  if (keep) {
    describe(system);
    console.log(`
Look at
  curl -H "Authorization: Bearer $(cat ${system.folder.apiKeyFile})" ${system.url}/v1/jobs/${jobs.train}
  curl -H "Authorization: Bearer $(cat ${system.folder.apiKeyFile})" ${system.url}/v1/jobs/${jobs.predict}/results?format=csv
  curl ${system.url}/metrics

Ctrl-C stops it.`);
    return;
  }
  console.log(`
Everything is stopped; the data stays in ${dataDir}. To look around, start it again:

  npm start -- --data-dir ${dataDir}
  export KEY=$(cat ${system.folder.apiKeyFile})
  curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/v1/jobs/${jobs.train}
  curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/v1/jobs/${jobs.predict}/results?format=csv
  curl -H "Authorization: Bearer $KEY" -O http://127.0.0.1:8080/v1/models/${model}/files/model.onnx
  curl http://127.0.0.1:8080/metrics
${json === undefined ? "" : `\nThe figures are in ${json}.`}`);
}
