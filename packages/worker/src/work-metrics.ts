/** Turns what computing code tells (`WorkEvent`) into metrics of the worker process. */
import type { WorkEvent } from "@cardinal/contracts";
import type { Metrics } from "@cardinal/service";

export class WorkMetrics {
  readonly #metrics: Metrics;
  #checkpointAt: number | undefined;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    this.endTraining();
  }

  record(event: WorkEvent): void {
    const m = this.#metrics;
    switch (event.type) {
      case "images":
        m.images.inc({ stage: event.stage, outcome: event.outcome }, event.count);
        if (event.stage === "train" && event.outcome === "ok") m.trainImages.inc(event.count);
        break;
      case "stage":
        m.stage.observe({ stage: event.stage }, event.seconds);
        break;
      case "model_loaded":
        m.modelLoad.observe(event.seconds);
        break;
      case "confidence":
        for (const value of event.values) m.predictionConfidence.observe(value);
        break;
      case "train_step":
        m.trainLoss.set(event.loss);
        m.trainEpoch.set(event.epoch);
        this.#checkpointAt ??= Date.now();
        break;
      case "epoch":
        m.trainLoss.set(event.epoch.trainLoss);
        m.trainAccuracy.set({ split: "train" }, event.epoch.trainAccuracy);
        m.trainAccuracy.set({ split: "val" }, event.epoch.valAccuracy);
        break;
      case "checkpoint":
        this.#checkpointAt = Date.now();
        break;
      case "progress":
      case "log":
        break;
    }
  }

  /** Before a scrape: the age of the running job's latest checkpoint (of its begin, before the first one). */
  update(): void {
    if (this.#checkpointAt !== undefined) this.#metrics.checkpointAge.set((Date.now() - this.#checkpointAt) / 1000);
  }

  /** Takes the gauges of the training job away, so that a dashboard does not show a job that is over. */
  endTraining(): void {
    const m = this.#metrics;
    this.#checkpointAt = undefined;
    m.trainLoss.remove();
    m.trainEpoch.remove();
    m.checkpointAge.remove();
    m.trainAccuracy.reset();
  }
}
