/** A sweep: many recipes for one head, trained together, of which the best becomes the model. */
import { z } from "zod";
import { optimizerNameSchema, usedOptimizerSchema } from "./optimizer.ts";
import { isProblemCode, type ProblemCode, problem } from "./problems.ts";

export const MAX_SWEEP_HEADS = 256;
/** Heads times epochs: each of them leaves an entry in the checkpoints and in the report. */
export const MAX_SWEEP_EPOCHS = 25_600;
/** Heads times classes. At 2,048 features a head's column, its two moments and its best state take 32 kB. */
export const MAX_SWEEP_COLUMNS = 16_384;

function listOf<T extends z.ZodType>(value: T) {
  return z
    .array(value)
    .min(1)
    .max(MAX_SWEEP_HEADS)
    .refine((values) => new Set(values).size === values.length, { error: "has a value twice" });
}

/**
 * Every list takes the place of the field of `optimizer` that it is named after; what has none keeps the request's.
 *
 * Without `samples` it is a grid: every combination, the optimizer changing slowest and the weight decay fastest. With
 * `samples`, that many random draws (from the request's seed): the learning rate log-uniform between the smallest and
 * the largest of its list, the weight decay too, or uniform where its smallest is 0, the optimizer one of its list.
 */
export const sweepSchema = z
  .strictObject({
    optimizer: listOf(optimizerNameSchema).optional(),
    learningRate: listOf(z.number().min(1e-12).max(1e6)).optional(),
    weightDecay: listOf(z.number().min(0).max(1e3)).optional(),
    samples: z.int().min(1).max(MAX_SWEEP_HEADS).optional(),
  })
  .superRefine((sweep, context) => {
    const issue = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
    const { samples, learningRate, weightDecay } = sweep;
    if (!sweep.optimizer && !learningRate && !weightDecay) {
      issue([], "needs a list: learningRate, weightDecay or optimizer");
    } else if (samples === undefined && sweepSize(sweep) > MAX_SWEEP_HEADS) {
      issue([], `has ${sweepSize(sweep)} combinations, ${MAX_SWEEP_HEADS} are allowed; 'samples' draws some of them`);
    } else if (samples !== undefined && Math.max(learningRate?.length ?? 1, weightDecay?.length ?? 1) === 1) {
      issue(["samples"], "needs a range to draw from: two values of learningRate or weightDecay");
    }
  });
export type Sweep = z.infer<typeof sweepSchema>;

/** How many heads the sweep trains. */
export function sweepSize({ samples, optimizer, learningRate, weightDecay }: Sweep): number {
  return samples ?? (optimizer?.length ?? 1) * (learningRate?.length ?? 1) * (weightDecay?.length ?? 1);
}

/** Throws `invalid_request` for more heads than memory is meant to hold with so many classes. */
export function refuseSweepSize(sweep: Sweep, classes: number): void {
  const heads = sweepSize(sweep);
  if (heads * classes <= MAX_SWEEP_COLUMNS) return;
  const most = Math.floor(MAX_SWEEP_COLUMNS / classes);
  const message = `sweep: ${heads} heads of ${classes} classes are more than ${MAX_SWEEP_COLUMNS} outputs; at most ${most} heads`;
  throw problem("invalid_request", message, { path: "sweep", heads, classes, mostHeads: most });
}

/** What became of one head. Everything else that it was trained with is the recipe of the job's result. */
export const sweepHeadSchema = z.strictObject({
  /** Its number in the grid, or the draw, from 0. */
  head: z.int(),
  state: z.enum(["completed", "failed"]),
  optimizer: usedOptimizerSchema,
  /** Finished epochs. */
  epochs: z.int(),
  /** Absent in a head that failed in its first epoch. */
  bestEpoch: z.int().optional(),
  valAccuracy: z.number().optional(),
  valLoss: z.number().optional(),
  endedBy: z.enum(["epochs", "early-stopping", "max-runtime"]).optional(),
  /** Of a failed one. */
  error: z
    .strictObject({
      code: z.custom<ProblemCode>(isProblemCode),
      message: z.string(),
      details: z.record(z.string(), z.unknown()).optional(),
    })
    .optional(),
});
export type SweepHead = z.infer<typeof sweepHeadSchema>;

/** How many heads there are, still learn, and failed; which leads. Part of a running job's progress. */
export const sweepProgressSchema = z.strictObject({
  heads: z.int(),
  running: z.int(),
  failed: z.int(),
  /** Of the heads that have not failed, by their best epochs; absent before the first one has ended. */
  leader: z.strictObject({ head: z.int(), bestEpoch: z.int(), valAccuracy: z.number() }).optional(),
});
