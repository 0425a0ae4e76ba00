/**
 * A batch prediction, run twice: first it is planned (inputs become shards), then, when all shards have ended, their
 * parts are stitched into the job's rows.
 */
import { readModel } from "@cardinal/checkpoint";
import { type ContactSheetTask, PAYLOAD_VERSION, type ProblemRecord, toProblem } from "@cardinal/contracts";
import {
  checkFailureRate,
  type MissingShard,
  planShards,
  stitchParts,
  unfinishedShards,
} from "@cardinal/inference/batch";
import type { JobRun, Outcome, ShardFailure } from "@cardinal/queue";
import type { Metrics } from "@cardinal/service";
import type { ObjectStore } from "@cardinal/storage";

export interface BatchPredictionOptions {
  store: ObjectStore;
  metrics: Metrics;
  maxShardImages: number;
  /** Folder that prefixes must lie in. */
  prefixArea: string;
  /** Makes the job's contact sheet of its rows; absent: jobs get none. */
  contactSheet?(task: Omit<ContactSheetTask, "images">, signal: AbortSignal): Promise<void>;
}

export function batchPrediction(options: BatchPredictionOptions) {
  return (run: JobRun<"predict">): Promise<Outcome> =>
    run.shardsDone ? stitch(options, run, run.shardsDone) : plan(options, run);
}

async function plan(options: BatchPredictionOptions, run: JobRun<"predict">): Promise<Outcome> {
  const { store, maxShardImages: maxImages, prefixArea } = options;
  const { payload, signal, fence } = run;
  const planned = await planShards({ store, payload, cut: `run-${fence}`, prefixArea, maxImages, signal });
  const left = await unfinishedShards(store, payload.job, planned.shards, run.isRetry);
  const { job, model, topK, output, priority } = payload;
  const shards = left.map((shard) => ({ v: PAYLOAD_VERSION, job, model, topK, output, ...shard }) as const);
  return { shards, images: planned.images, priority };
}

async function stitch(
  { store, metrics, contactSheet }: BatchPredictionOptions,
  run: JobRun<"predict">,
  failures: ShardFailure[],
): Promise<Outcome> {
  const { payload, signal } = run;
  const { job, model, topK, output = "classes" } = payload;
  const { manifest } = await readModel(store, model);
  const { summary, missing } = await stitchParts({
    store,
    job,
    model,
    classes: manifest.classes,
    topK,
    output,
    startedAt: run.startedAt.getTime(),
    failures: new Map(failures.map(({ shard, reason }) => [shard, reason])),
    signal,
  });
  if (output === "classes") await contactSheet?.({ job, exif: manifest.transform.exif }, signal);
  if (summary.accuracy !== undefined) metrics.predictAccuracy.set(summary.accuracy);
  const failure =
    failureOf(missing, failures) ?? tooManyFailures(() => checkFailureRate(summary, payload.maxFailureRate));
  // Parts and inputs stay until the result is recorded: housekeeping removes them.
  return failure ? { failure, result: summary } : { result: summary };
}

/** Shards shown in an error's details; all of them stand in the log. */
const SHOWN = 20;

/** A shard's part in the store is what counts: one that was written by a shard whose end was not heard is fine. */
function failureOf(missing: MissingShard[], failures: ShardFailure[]): ProblemRecord | undefined {
  if (missing.length === 0) return undefined;
  const reasons = new Map(failures.map(({ shard, reason }) => [shard, reason]));
  const images = missing.reduce((sum, { images }) => sum + images, 0);
  return {
    code: "shards_failed",
    message: `${missing.length} shards with ${images} images have no answer`,
    details: {
      shards: missing.length,
      images,
      missing: missing.slice(0, SHOWN).map((shard) => ({ ...shard, reason: reasons.get(shard.shard) ?? shard.reason })),
    },
  };
}

function tooManyFailures(check: () => void): ProblemRecord | undefined {
  try {
    check();
  } catch (error) {
    return toProblem(error).toRecord();
  }
}
