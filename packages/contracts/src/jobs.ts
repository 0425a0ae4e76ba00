/** Jobs as the API shows them, and what workers report while they run one. */
import { z } from "zod";
import { isProblemCode, type ProblemCode } from "./problems.ts";
import { epochSchema } from "./training.ts";

export const jobKindSchema = z.enum(["ingest", "import", "train", "predict"]);
export type JobKind = z.infer<typeof jobKindSchema>;

export const jobStateSchema = z.enum(["waiting", "active", "completed", "failed", "cancelled"]);
export type JobState = z.infer<typeof jobStateSchema>;

export const END_STATES: readonly JobState[] = ["completed", "failed", "cancelled"];
export const hasEnded = (state: JobState): boolean => END_STATES.includes(state);

export const progressSchema = z.strictObject({
  done: z.number(),
  total: z.number(),
  unit: z.enum(["bytes", "images", "steps"]),
  percent: z.number(),
  etaSeconds: z.number().optional(),
  /** What the job is doing, in a word: `reading`, `extracting` (features), `training`, `validating`, `exporting`, `predicting`, `stitching`; an import `checking`, `exporting`, `proving`, `publishing`. */
  phase: z.string().optional(),
  /** Training: the epochs that are finished. */
  epochs: z.array(epochSchema).optional(),
  loss: z.number().optional(),
  imagesPerSecond: z.number().optional(),
});
export type Progress = z.infer<typeof progressSchema>;

export const problemRecordSchema = z.strictObject({
  code: z.custom<ProblemCode>(isProblemCode),
  message: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
});

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
        state: z.enum(["failed", "cancelled"]),
        finishedAt: z.iso.datetime(),
        attempts: z.int(),
        error: problemRecordSchema.optional(),
      }),
    )
    .optional(),
  /** Why a waiting job waits. */
  waitingReason: z.string().optional(),
  createdAt: z.iso.datetime(),
  startedAt: z.iso.datetime().optional(),
  finishedAt: z.iso.datetime().optional(),
  links: z.record(z.string(), z.string()),
});
export type JobView = z.infer<typeof jobViewSchema>;

export const jobListSchema = z.strictObject({ jobs: z.array(jobViewSchema), nextCursor: z.string().optional() });
export type JobList = z.infer<typeof jobListSchema>;
