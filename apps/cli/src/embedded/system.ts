/** The embedded system: Redis, the directory store, the API, a train-worker and predict-workers on this machine. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type DataFolder, openDataFolder } from "./data-folder.ts";
import { type EmbeddedRedis, startRedis } from "./redis.ts";
import { type NodeSpec, type Supervised, superviseNode } from "./supervised.ts";

export interface EmbeddedOptions {
  dataDir: string;
  /** Begin with nothing: forget what is in the data folder. */
  fresh: boolean;
  host: string;
  /** 0: any free one. */
  port: number;
  predictWorkers: number;
  /** Further variables for the processes; STORE_URL names another store than the folder's. */
  env?: NodeJS.ProcessEnv;
  /** Lines for the user: a process was started again. */
  onNotice(line: string): void;
}

export interface EmbeddedSystem {
  url: string;
  folder: DataFolder;
  redis: EmbeddedRedis;
  processes: readonly Supervised[];
  /** Ends everything in order: workers (their work is saved and waits), API, Redis. */
  stop(): Promise<void>;
}

/** Workers save what they do in this time when the system is stopped. */
const GRACE_SECONDS = 30;

const APPS = new URL("../../../", import.meta.url);

export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedSystem> {
  const folder = await openDataFolder(options.dataDir, options.fresh);
  const processes: Supervised[] = [];
  let redis: EmbeddedRedis | undefined;
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= stopAll(processes, redis, folder);
    return stopping;
  };
  try {
    redis = await startRedis(folder, (why) => options.onNotice(`Redis ${why} and is started again`));
    const common = { ...environment(folder, redis.url), ...options.env };
    const supervise = (name: string, app: string, env: NodeJS.ProcessEnv, again?: NodeSpec["again"]) =>
      superviseNode({
        name,
        again,
        module: new URL(`${app}/src/main.ts`, APPS),
        env: { ...common, ...env },
        logFile: join(folder.logs, `${name}.log`),
        onRestart: (process, why) => options.onNotice(`${process} ${why} and is started again`),
      });
    // The API comes first: it refuses a Redis or a store that cannot be used, in one clear line.
    const api = await supervise(
      "api",
      "api",
      { API_HOST: options.host, API_PORT: String(options.port), API_KEY: folder.apiKey },
      // Clients keep the address: a port that the system chose must stay the API's when it is started again.
      (url) => ({ API_PORT: new URL(url).port }),
    );
    processes.push(api);
    const started = await Promise.allSettled([
      supervise("train-worker", "train-worker", { THREADS: String(availableParallelism()) }),
      ...Array.from({ length: options.predictWorkers }, (_, index) =>
        supervise(`predict-worker-${index + 1}`, "predict-worker", { THREADS: predictThreads(options.predictWorkers) }),
      ),
    ]);
    for (const outcome of started) if (outcome.status === "fulfilled") processes.push(outcome.value);
    for (const outcome of started) if (outcome.status === "rejected") throw outcome.reason;
    return { url: api.url()!, folder, redis, processes, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const predictThreads = (workers: number): string => String(Math.max(1, Math.floor(availableParallelism() / workers)));

function environment(folder: DataFolder, redisUrl: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    REDIS_URL: redisUrl,
    STORE_URL: process.env.STORE_URL ?? pathToFileURL(folder.store).href,
    METRICS_PORT: "0",
    CACHE_DIR: folder.models,
    SHUTDOWN_GRACE_SECONDS: String(GRACE_SECONDS),
  };
}

async function stopAll(processes: Supervised[], redis: EmbeddedRedis | undefined, folder: DataFolder): Promise<void> {
  const graceMs = (GRACE_SECONDS + 15) * 1000;
  const [api, ...workers] = processes;
  await Promise.all(workers.map((worker) => worker.stop(graceMs)));
  await api?.stop(graceMs);
  await redis?.stop();
  await folder.unlock();
}
