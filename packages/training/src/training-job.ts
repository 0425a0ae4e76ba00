/** What a training is given, and what it has made of that before its first step. */
import type { CheckpointPointer } from "@cardinal/checkpoint";
import type { Emit, FeatureCounts, Recipe, TrainPayload } from "@cardinal/contracts";
import type { Network } from "@cardinal/resnext/tfjs";
import type { ObjectStore } from "@cardinal/storage";
import type { CheckpointOptions } from "./checkpoint-store.ts";
import type { ImageFeed } from "./image-feed.ts";
import type { TrainingInputs } from "./inputs.ts";
import type { Start } from "./start.ts";
import type { TrainingSet } from "./training-set.ts";

export interface TrainingOptions {
  store: ObjectStore;
  payload: TrainPayload;
  /** Number of this run of the job, higher than those of all earlier ones: it fences them off. */
  attempt: number;
  /** Threads for ONNX Runtime. TensorFlow takes its own from TF_NUM_INTRAOP_THREADS when the process begins. */
  threads: number;
  /** Version of Cardinal, kept in the model's lineage. */
  software: string;
  emit: Emit;
  /** Aborts at the next step; why, `stopReason` says. */
  signal: AbortSignal;
  stopReason(): "cancelled" | "drain" | undefined;
  /** Asked once, when everything is ready to be published. */
  mayPublish(): Promise<boolean>;
  /** Longest time between two checkpoints, 120 s unless given. */
  checkpointSeconds?: number;
}

export interface TrainingJob extends TrainingOptions {
  pointer: CheckpointPointer;
  recipe: Recipe;
  set: TrainingSet;
  start: Start;
  /** With the weights of `start`; the job disposes it. */
  network: Network;
  feed: ImageFeed;
  /** Where the batches of an epoch end. */
  ends: readonly number[];
  /** Of all epochs. */
  steps: number;
  checkpointOptions: CheckpointOptions;
  /** Of head training: where its features came from. */
  features: FeatureCounts | undefined;
  /** Reads what is trained on; `onReading` is called before it takes a while. */
  inputs(onReading: () => void): Promise<TrainingInputs>;
}

/** Gives the seconds since its last call, at first since it was made. */
export function stopwatch(): () => number {
  let last = performance.now();
  return () => {
    const now = performance.now();
    const seconds = (now - last) / 1000;
    last = now;
    return seconds;
  };
}
