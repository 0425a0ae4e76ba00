/** `cardinal up` (npm start): the embedded system, staying up until SIGINT or SIGTERM. */
import { availableParallelism } from "node:os";
import { type EmbeddedSystem, startEmbedded } from "../embedded/system.ts";
import { parseOptions, wholeNumber } from "../usage.ts";

const HELP = `Usage: cardinal up [options]

Runs Redis, the object store, the API, a train-worker and predict-workers on this machine until Ctrl-C.

  --data-dir DIR         where everything is kept            (.cardinal/data)
  --host ADDRESS         address of the API                  (127.0.0.1)
  --port PORT            port of the API; 0: any free one    (8080)
  --predict-workers N    predict-workers                     (one a core)
  --help`;

export async function up(args: string[]): Promise<number> {
  const options = parseOptions(args, {
    "data-dir": { type: "string", default: ".cardinal/data" },
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "8080" },
    "predict-workers": { type: "string", default: String(availableParallelism()) },
    help: { type: "boolean", default: false },
  });
  if (options.help) {
    console.log(HELP);
    return 0;
  }
  const stop = stopSignal();
  const system = await startEmbedded({
    dataDir: options["data-dir"],
    fresh: false,
    host: options.host,
    port: wholeNumber(options.port, "port", 0, 65_535),
    predictWorkers: wholeNumber(options["predict-workers"], "predict-workers", 1, 256),
    onNotice: (line) => console.log(line),
  });
  describe(system);
  console.log("\nCtrl-C stops it; the next start finds everything again.");
  await stop;
  console.log("\nStopping: running work is saved and goes on at the next start.");
  await system.stop();
  console.log("Stopped.");
  return 0;
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
