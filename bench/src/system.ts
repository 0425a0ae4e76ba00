/** A whole system of this machine's own, as `npm start` has it, with one model in it. */
import path from "node:path";
import { CardinalClient } from "@cardinal/client";
import type { JobView } from "@cardinal/contracts";
import { startEmbedded } from "../../apps/cli/src/embedded/system.ts";
import { NETWORK, writeModel } from "./forward/model.ts";

export interface ServedModel extends AsyncDisposable {
  client: CardinalClient;
  /** Id of the model: `forward`'s ResNeXt-50, imported through the API. */
  model: string;
  /** The same network, as files. */
  files: ReturnType<typeof writeModel>;
}

/** `predictWorkers` predict-workers, which share the cores among them. */
export async function serveModel(folder: string, predictWorkers: number): Promise<ServedModel> {
  const files = writeModel(folder);
  const system = await startEmbedded({
    dataDir: path.join(folder, "data"),
    fresh: true,
    host: "127.0.0.1",
    port: 0,
    predictWorkers,
    onNotice: (line) => console.error(line),
  });
  try {
    const client = new CardinalClient({ baseUrl: system.url, key: system.folder.apiKey });
    const { result } = await completed(client, await client.importModel(files.safetensors, { architecture: NETWORK }));
    return { client, files, model: String(result!.model), [Symbol.asyncDispose]: () => system.stop() };
  } catch (error) {
    await system.stop();
    throw error;
  }
}

/** Waits for a job's end. Throws unless it is a good one. */
export async function completed(client: CardinalClient, submitted: JobView): Promise<JobView> {
  const job = await client.wait(submitted.id);
  if (job.state !== "completed") throw new Error(`${job.id} ${job.state}: ${JSON.stringify(job.error)}`);
  return job;
}

/** Has every worker load the model: single images go to whoever is free, so many at once reach all of them. */
export async function warmUp({ client, model }: ServedModel, image: Buffer, workers: number): Promise<void> {
  const bytes = new Uint8Array(image);
  for (let round = 0; round < 3; round++) {
    const calls = Array.from({ length: 8 * workers }, () => client.predictImage(bytes, { model, wait: 60 }));
    await Promise.all(calls);
  }
}
