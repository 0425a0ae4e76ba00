/** Jobs as the API shows them, and what workers report while they run one. */
import { z } from "zod";
import { isProblemCode, type ProblemCode } from "./problems.ts";
import { sweepProgressSchema } from "./sweep.ts";
import { epochSchema } from "./training.ts";

export const jobKindSchema = z.enum(["ingest", "import", "train", "predict"]);
export type JobKind = z.infer<typeof jobKindSchema>;

export const jobStateSchema = z.enum(["waiting", "active", "completed", "failed", "cancelled"]);
export type JobState = z.infer<typeof jobStateSchema>;

export const END_STATES: readonly JobState[] = ["completed", "failed", "cancelled"];
export const hasEnded = (state: JobState): boolean => END_STATES.includes(state);

export const progressSchema = z.strictObject({
  /** Training counts steps of the optimiser, over all epochs. */
  done: z.number(),
  total: z.number(),
  unit: z.enum(["bytes", "images", "steps"]),
  percent: z.number(),
  etaSeconds: z.number().optional(),
  /** What the job is doing, in a word: `reading`, `extracting` (features), `training`, `validating`, `exporting`, `predicting`, `stitching`; an import `checking`, `exporting`, `proving`, `publishing`. */
  phase: z.string().optional(),
  /** Training: the epoch under way, from 1, and how many there will be at most. */
  epoch: z.int().optional(),
  totalEpochs: z.int().optional(),
  /** Training: the epochs that are finished; of a sweep, each of the head that was best at it. Lists of jobs leave them out. */
  epochs: z.array(epochSchema).optional(),
  sweep: sweepProgressSchema.optional(),
  /** Training: of the latest step. */
  loss: z.number().optional(),
  /** Training: share of right answers among the training images of the epoch so far. */
  accuracy: z.number().optional(),
  imagesPerSecond: z.number().optional(),
});
export type Progress = z.infer<typeof progressSchema>;

export const problemRecordSchema = z.strictObject({
  code: z.custom<ProblemCode>(isProblemCode),
  message: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
});

/**
 * Why a job does not move:
 * - `no_worker`: no live worker takes jobs of its queue; `worker_version`: those that do are older than its payload;
 * - `next`: a worker takes it as soon as one is free; `behind`: other jobs come first.
 * - `retry`: its last run failed with an error that may heal, and the pause before the next one is not over.
 * - `worker_silent`: the worker that ran it has died or cannot be reached; another one goes on soon.
 * - `features`: a training job whose images' features are being extracted by predict-workers.
 */
export const waitingCodeSchema = z.enum([
  "no_worker",
  "worker_version",
  "next",
  "behind",
  "retry",
  "worker_silent",
  "features",
]);

/** Why a job waits, for how long presumably. Seconds are those of a clock on the wall, at the fleet's measured speed. */
export const waitingSchema = z.strictObject({
  code: waitingCodeSchema,
  /** The same in words. */
  text: z.string(),
  /** Jobs that come before it, those that run included. */
  jobsAhead: z.int().optional(),
  /** Until the work before it is done. Absent while the speed of some of it was never measured. */
  secondsAhead: z.number().optional(),
  /** Until the job itself is done. */
  etaSeconds: z.number().optional(),
  /** With `retry`: when the next run may begin. */
  retryAt: z.iso.datetime().optional(),
});
export type Waiting = z.infer<typeof waitingSchema>;

export const jobViewSchema = z.strictObject({
  id: z.string(),
  kind: jobKindSchema,
  state: jobStateSchema,
  progress: progressSchema.optional(),
  request: z.record(z.string(), z.unknown()),
  result: z.record(z.string(), z.unknown()).optional(),
  error: problemRecordSchema.optional(),
  /** How often a worker has begun the job. */
  attempts: z.int(),
  /** How the job had ended before it was retried, oldest first. */
  history: z
    .array(
      z.strictObject({
        state: z.enum(["failed", "cancelled", "completed"]),
        finishedAt: z.iso.datetime(),
        attempts: z.int(),
        error: problemRecordSchema.optional(),
      }),
    )
    .optional(),
  /** Why the job does not move; absent while it does, and once it has ended. */
  waiting: waitingSchema.optional(),
  /** Grows with every change of the job: what `since` of a long poll compares. */
  revision: z.int(),
  createdAt: z.iso.datetime(),
  /** Name of the key that submitted it. */
  createdBy: z.string().optional(),
  startedAt: z.iso.datetime().optional(),
  finishedAt: z.iso.datetime().optional(),
  links: z.record(z.string(), z.string()),
});
export type JobView = z.infer<typeof jobViewSchema>;

export const jobListSchema = z.strictObject({ jobs: z.array(jobViewSchema), nextCursor: z.string().optional() });
export type JobList = z.infer<typeof jobListSchema>;
