/** The account of a batch prediction, counted row by row. */
import { CONFIDENCE_BINS, type JobRow, type Output, type PredictSummary } from "@cardinal/contracts";
import { failed, numbered, type Part } from "./part.ts";

const TOP = 5;

export interface AccountOptions {
  /** Id of the model that answered; its class names fix the order of `classCounts`. */
  model: string;
  classes: readonly string[];
  /** As the job asked for it. */
  topK: number | "all";
  output: Output;
  /** When the job began, in milliseconds since the epoch: `seconds` of the summary counts from here. */
  startedAt: number;
}

export class Tally {
  readonly #options: AccountOptions;
  readonly shardsWithErrors = new Set<number>();
  succeeded = 0;
  /** Values in a row of features. */
  width = 0;
  #failed = 0;
  #labelled = 0;
  #correct = 0;
  #correctTop = 0;
  readonly #byClass = new Map<string, number>();
  readonly #confidence = new Array<number>(CONFIDENCE_BINS).fill(0);
  readonly #stages: Record<string, number> = {};

  constructor(options: AccountOptions) {
    this.#options = options;
  }

  /** Counts a part and gives its rows as the job shows them. */
  add(part: Part, shard: number): JobRow[] {
    const rows = numbered(part.rows, this.succeeded);
    this.width = Math.max(this.width, part.width);
    for (const [stage, seconds] of Object.entries(part.stages)) {
      this.#stages[stage] = (this.#stages[stage] ?? 0) + seconds;
    }
    for (const row of rows) this.#count(row, shard);
    return rows;
  }

  #count(row: JobRow, shard: number): void {
    if (failed(row)) {
      this.#failed++;
      this.shardsWithErrors.add(shard);
      return;
    }
    this.succeeded++;
    if (!("class" in row)) return;
    this.#byClass.set(row.class, (this.#byClass.get(row.class) ?? 0) + 1);
    this.#confidence[Math.min(CONFIDENCE_BINS - 1, Math.floor(row.probability * CONFIDENCE_BINS))]!++;
    if (row.label === undefined) return;
    this.#labelled++;
    if (row.label === row.class) this.#correct++;
    if (row.top.slice(0, TOP).some((answer) => answer.class === row.label)) this.#correctTop++;
  }

  summary(shards: number): PredictSummary {
    const { model, classes, startedAt, topK, output } = this.#options;
    const images = this.succeeded + this.#failed;
    const seconds = Math.max((Date.now() - startedAt) / 1000, 0.001);
    const hasTop = topK === "all" || topK >= Math.min(TOP, classes.length);
    const ofClasses = {
      ...(this.#labelled > 0 && { accuracy: this.#correct / this.#labelled }),
      ...(this.#labelled > 0 && hasTop && { accuracyTop5: this.#correctTop / this.#labelled }),
      confidence: this.#confidence,
    };
    return {
      model,
      images,
      succeeded: this.succeeded,
      failed: this.#failed,
      ...(output === "classes" ? ofClasses : { featureWidth: this.width }),
      classCounts:
        output === "classes"
          ? [...new Set(classes)].map((name) => ({ class: name, images: this.#byClass.get(name) ?? 0 }))
          : [],
      stageSeconds: Object.fromEntries(
        Object.entries(this.#stages).map(([stage, sum]) => [stage, Math.round(sum * 1000) / 1000]),
      ),
      seconds,
      imagesPerSecond: images / seconds,
      shards,
    };
  }
}
