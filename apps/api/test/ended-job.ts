/** What a worker would have left of a predict job. */
import assert from "node:assert/strict";
import { createWorker, JobQueue, QueueConsumer } from "@cardinal/queue";
import { layout } from "@cardinal/storage";
import { waitFor } from "@cardinal/testing";
import type { ApiUnderTest } from "./api-under-test.ts";

type Files = Partial<Record<"rows" | "rowsCsv" | "featureMatrix" | "featureNames" | "contactSheet", Buffer>>;

/** A predict job that has ended with these files. */
export async function endedJob(api: ApiUnderTest, output: "classes" | "features", files: Files, result: object = {}) {
  const consumer = await QueueConsumer.open(api.config, (error) => assert.fail(error));
  const worker = createWorker(consumer, {
    kind: "predict",
    concurrency: 1,
    events: { error: (error) => assert.fail(error) },
    handle: async () => ({ result: { ...result } }),
  });
  const job = JobQueue.newId("predict");
  for (const [file, bytes] of Object.entries(files)) await api.store.put(layout[file as keyof Files](job), bytes);
  const payload = {
    v: 1,
    job,
    model: "mdl-x",
    imageList: "x",
    topK: 5,
    output,
    maxFailureRate: 1,
    priority: 1,
  } as const;
  await api.queue.enqueue("predict", payload, { request: {}, priority: 1 });
  await waitFor(async () => (await api.queue.get(job)).finishedAt, { what: "the job's end" });
  await worker.close();
  await consumer.close();
  return job;
}
