/**
 * A training job. One that trains a head is run twice: first it is planned (the features that the cache lacks become
 * shards for predict-workers), then, when all shards have ended, the head is trained. Meanwhile it holds no worker.
 */
import {
  CardinalError,
  type FeatureShardPayload,
  featureShardPayloadSchema,
  isProblemCode,
  problem,
  problems,
  type TrainPayload,
  trainResultSchema,
} from "@cardinal/contracts";
import type { JobRun, Outcome, ShardFailure } from "@cardinal/queue";
import { z } from "zod";

/** Runs a task of the compute process for the job. */
export type RunTask = (
  task: "plan" | "train",
  input: Record<string, unknown>,
  run: JobRun<"train">,
) => Promise<unknown>;

/** Throws what the tasks throw; `shards_failed`, or the code of an image, when features could not be extracted. */
export async function trainJob(run: JobRun<"train">, runTask: RunTask, checkpointSeconds: number): Promise<Outcome> {
  const { payload, fence, shardsDone } = run;
  if (!shardsDone && payload.request.trainable === "head") {
    const shards = z.array(featureShardPayloadSchema).parse(await runTask("plan", { payload }, run));
    if (shards.length > 0) return extraction(payload, shards);
  }
  try {
    return { result: trainResultSchema.parse(await runTask("train", { payload, fence, checkpointSeconds }, run)) };
  } catch (error) {
    const isMissing = error instanceof CardinalError && error.code === "features_missing";
    throw isMissing && shardsDone?.length ? failureOf(shardsDone) : error;
  }
}

function extraction({ request }: TrainPayload, shards: FeatureShardPayload[]): Outcome {
  const images = shards.reduce((sum, shard) => sum + shard.images, 0);
  return { shards, images, priority: request.priority };
}

/** Shards shown in an error's details; all of them stand in the log. */
const SHOWN = 20;

/** The error of an image, which trying again would not heal, as the job's own; else that shards failed, and why. */
function failureOf(failures: ShardFailure[]): CardinalError {
  for (const { shard, reason } of failures) {
    const [, code, message] = /^([a-z_]+): (.*)$/s.exec(reason) ?? [];
    if (isProblemCode(code) && !problems[code].retryable && code !== "job_lost") {
      return problem(code, message!, { shard, failedShards: failures.length });
    }
  }
  return problem(
    "shards_failed",
    `${failures.length} shards of the feature extraction failed, the first with ${failures[0]!.reason}`,
    { shards: failures.length, failures: failures.slice(0, SHOWN) },
  );
}
