/** `cardinal demo` (npm run demo): the whole system once through, on real images. */
import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import type { Command } from "commander";
import type { DemoFigures } from "../demo/figures.ts";
import { type DemoSize, FULL_SIZE, runDemo } from "../demo/run-demo.ts";
import { Story } from "../demo/story.ts";
import { type EmbeddedSystem, startEmbedded } from "../embedded/system.ts";
import { ExitCode } from "../exit-codes.ts";
import { wholeNumber } from "../number-options.ts";
import { describe, stopSignal } from "./up.ts";

interface DemoOptions extends DemoSize {
  keep?: boolean;
  json?: string;
  dataDir: string;
  port: number;
}

export function addDemo(program: Command): void {
  program
    .command("demo")
    .description("bring the embedded system up, train on 8,500 handwritten digits and predict 1,500 others")
    .option("--keep", "leave the system up when it is done (Ctrl-C stops it)")
    .option("--json <file>", "write the figures as JSON")
    .option("--data-dir <dir>", "where everything goes; emptied first", ".cardinal/demo")
    .option("--port <port>", "port of the API; 0: any free one", wholeNumber(0, 65_535), 0)
    .option("--train <n>", "digits to train on", wholeNumber(20, 10_000), FULL_SIZE.train)
    .option("--val <n>", "digits to hold out", wholeNumber(10, 10_000), FULL_SIZE.val)
    .option("--epochs <n>", "epochs", wholeNumber(1, 1000), FULL_SIZE.epochs)
    .action(async (options: DemoOptions) => {
      process.exitCode = await demo(options);
    });
}

async function demo({ dataDir, port, keep = false, json, ...size }: DemoOptions): Promise<number> {
  console.log("Cardinal demo: train and predict on real images, on this machine, with nothing but its CPU.");
  const system = await startEmbedded({
    dataDir,
    fresh: true,
    host: "127.0.0.1",
    port,
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
      if (json !== undefined) await writeFile(json, `${JSON.stringify(figures, undefined, 2)}\n`);
      account(figures, system, keep, dataDir, json);
      if (keep) await interrupted;
    } else {
      console.log("\nInterrupted.");
    }
  } finally {
    await system.stop();
    if (keep || !completed) console.log("Stopped.");
  }
  return completed ? ExitCode.done : ExitCode.interrupted;
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
