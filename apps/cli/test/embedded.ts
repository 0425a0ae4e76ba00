/** The embedded system for tests: the same processes and commands as `npm start`, in a folder of the test's own. */
import { CardinalClient } from "@cardinal/client";
import type { JobView, TrainResult } from "@cardinal/contracts";
import { tempDir } from "@cardinal/testing";
import { type EmbeddedOptions, type EmbeddedSystem, startEmbedded } from "../src/embedded/system.ts";

export const ARCHITECTURE = "resnext14_8x4d";

/** Small and quick: what is learnt does not matter to these tests. */
export const RECIPE = {
  architecture: ARCHITECTURE,
  epochs: 1,
  batchSize: 32,
  optimizer: { learningRate: 3e-3 },
  augment: { crop: "center", flip: 0 },
} as const;

export interface System extends AsyncDisposable {
  system: EmbeddedSystem;
  client: CardinalClient;
  notices: string[];
  dataDir: string;
}

export async function startSystem(options: Partial<EmbeddedOptions> = {}): Promise<System> {
  const folder = options.dataDir === undefined ? await tempDir("system") : undefined;
  const dataDir = options.dataDir ?? folder!.path;
  const notices: string[] = [];
  const system = await startEmbedded({
    dataDir,
    fresh: false,
    host: "127.0.0.1",
    port: 0,
    predictWorkers: 2,
    onNotice: (line) => notices.push(line),
    ...options,
  });
  return {
    system,
    notices,
    dataDir,
    client: new CardinalClient({ baseUrl: system.url, key: system.folder.apiKey }),
    async [Symbol.asyncDispose]() {
      await system.stop();
      await folder?.[Symbol.asyncDispose]();
    },
  };
}

/** Waits for a job's end and throws its error unless it completed. */
export async function completed(client: CardinalClient, submitted: JobView): Promise<JobView> {
  const job = await client.wait(submitted.id);
  if (job.state !== "completed") throw new Error(`${job.id} ${job.state}: ${JSON.stringify(job.error)}`);
  return job;
}

export const trainResult = (job: JobView): TrainResult => job.result as unknown as TrainResult;

export function pidOf(system: EmbeddedSystem, name: string): number {
  return system.processes.find((process) => process.name === name)!.pid()!;
}
