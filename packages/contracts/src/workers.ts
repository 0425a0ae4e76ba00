/** What a worker tells about itself, every few seconds. */
import { z } from "zod";
import { queueNameSchema } from "./queues.ts";

/** What a newer worker tells beside this is left out: an API reads workers of several versions. */
export const workerViewSchema = z.object({
  id: z.string(),
  kind: z.enum(["train", "predict"]),
  host: z.string(),
  pid: z.int(),
  version: z.string(),
  payloadVersion: z.int(),
  queues: z.array(queueNameSchema),
  cores: z.number(),
  memoryBytes: z.int(),
  /** What computes, by name and version: `onnxruntime 1.30.0`, `tensorflow 2.21.0`. */
  engine: z.string(),
  metricsUrl: z.string().optional(),
  startedAt: z.iso.datetime(),
  seenAt: z.iso.datetime(),
  /** Ids of the jobs (shards) that it runs now. */
  active: z.array(z.string()),
  /** What it has measured, by sort of work: units a second, or the seconds of a run (`<queue>#run`). */
  speeds: z.record(z.string(), z.number()).optional(),
});
export type WorkerView = z.infer<typeof workerViewSchema>;
