/**
 * What computing code tells about its work. Rooms that compute emit these; the process around them turns them into
 * progress, log lines and metrics. They cross from a child process to its parent as they are.
 */
import type { Progress } from "./jobs.ts";
import type { Epoch } from "./training.ts";

/** Stages of the work on an image, and of a job; the label `stage` of metrics. */
export type Stage =
  | "read"
  | "decode"
  | "transform"
  | "infer"
  | "train_step"
  | "validate"
  | "checkpoint"
  | "export"
  | "ingest"
  | "write";

export type WorkEvent =
  /** So many images passed a stage. */
  | {
      type: "images";
      stage: "ingest" | "train" | "validate" | "predict" | "extract";
      outcome: "ok" | "error";
      count: number;
    }
  /** A piece of work of a stage took so long. */
  | { type: "stage"; stage: Stage; seconds: number }
  | { type: "model_loaded"; model: string; seconds: number; bytes: number }
  /** Probabilities of the winning class, for the confidence histogram. */
  | { type: "confidence"; values: number[] }
  | { type: "train_step"; epoch: number; step: number; steps: number; loss: number; images: number }
  | { type: "epoch"; epoch: Epoch }
  | { type: "checkpoint"; step: number; bytes: number; seconds: number }
  | { type: "progress"; progress: Progress }
  | { type: "log"; level: "info" | "warn"; message: string; details?: Record<string, unknown> };

export type Emit = (event: WorkEvent) => void;
