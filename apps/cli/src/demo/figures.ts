/** What a demo run measured; `--json` writes it as it is. */
import type { Epoch } from "@cardinal/contracts";

export interface DemoFigures {
  machine: { cpu: string; cores: number; memoryGb: number; node: string };
  trainImages: number;
  valImages: number;
  architecture: string;
  epochs: Epoch[];
  /** Of the training job's validation, of the epoch that was kept. */
  valAccuracy: number;
  /** Correct rows over all rows of the batch prediction, counted from the rows themselves. */
  predictionAccuracy: number;
  predictionRows: number;
  ingestSeconds: number;
  /** Whole jobs, from their request to the end that the client saw. */
  trainJobSeconds: number;
  predictJobSeconds: number;
  /** Compute of the epochs. */
  trainSeconds: number;
  trainImagesPerSecond: number;
  /** Images of the batch job over the time from its first run to its end. */
  predictImagesPerSecond: number;
  totalSeconds: number;
  model: string;
  jobs: { ingest: string; train: string; predict: string };
}
