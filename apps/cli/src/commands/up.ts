/** `cardinal up` (npm start): the embedded system, staying up until SIGINT or SIGTERM. */
import { availableParallelism } from "node:os";
import type { Command } from "commander";
import { type EmbeddedSystem, startEmbedded } from "../embedded/system.ts";
import { wholeNumber } from "../number-options.ts";

interface UpOptions {
  dataDir: string;
  host: string;
  port: number;
  predictWorkers: number;
}

export function addUp(program: Command): void {
  program
    .command("up")
    .description("run the whole system on this machine until Ctrl-C")
    .option("--data-dir <dir>", "where everything is kept", ".cardinal/data")
    .option("--host <address>", "address of the API", "127.0.0.1")
    .option("--port <port>", "port of the API; 0: any free one", wholeNumber(0, 65_535), 8080)
    .option("--predict-workers <n>", "predict-workers", wholeNumber(1, 256), availableParallelism())
    .action(up);
}

async function up(options: UpOptions): Promise<void> {
  const stop = stopSignal();
  const system = await startEmbedded({ ...options, fresh: false, onNotice: (line) => console.log(line) });
  describe(system);
  console.log("\nCtrl-C stops it; the next start finds everything again.");
  await stop;
  console.log("\nStopping: running work is saved and goes on at the next start.");
  await system.stop();
  console.log("Stopped.");
}

/** Where the system is and how to talk to it. The key is shown once, when it is made. */
export function describe(system: EmbeddedSystem): void {
  const { url, folder, redis, processes } = system;
  console.log(`Cardinal is up.

  API        ${url}/v1
  Metrics    ${url}/metrics, and one address a worker: GET ${url}/v1/workers
  Redis      ${redis.description}
  Data       ${folder.path}
  Logs       ${folder.logs}
  Processes  ${processes.map(({ name }) => name).join(", ")}
  Key        ${folder.keyIsNew ? `${folder.apiKey} (shown this once; kept in ${folder.apiKeyFile})` : `in ${folder.apiKeyFile}`}`);
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends this process, and its children with it. */
export function stopSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  let seen = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (seen) process.exit(130);
      seen = true;
      resolve(signal);
    });
  }
  return promise;
}
