/** A batch of images through the network: logits to rows of classes, or features to rows of features. */
import {
  CardinalError,
  type Emit,
  type Output,
  type PredictInput,
  problem,
  type ResultRow,
  type ShardPayload,
} from "@cardinal/contracts";
import { type Batch, timed } from "@cardinal/dataset";
import { errorRow, type FeatureName, failed, type Part, type PartRow } from "./part.ts";
import type { LoadedModel } from "./session-pool.ts";
import { tellImages } from "./tell-images.ts";
import { topK } from "./top-k.ts";

export interface AnswerOptions extends Pick<ShardPayload, "topK"> {
  output: Output;
  /** Of the inputs whose bytes were read. */
  digests: ReadonlyMap<PredictInput, string>;
  emit: Emit;
}

/** A row for every entry, in order; `stages` is left empty. */
export async function answerBatch(
  model: LoadedModel,
  batch: Batch<PredictInput>,
  options: AnswerOptions,
): Promise<Part> {
  const { emit, output } = options;
  const { values, width } = await compute(model, batch, output, emit);
  const features: Float32Array[] = [];
  let position = 0;
  const rows = batch.entries.map(({ item, error }): PartRow => {
    if (error) return errorRow(item, error);
    const own = values.subarray(position * width, ++position * width);
    try {
      if (output === "classes") return answerRow(item, own, model.manifest.classes, options);
      const row = featureRow(item, own, options);
      features.push(own);
      return row;
    } catch (error) {
      if (!(error instanceof CardinalError)) throw error;
      return errorRow(item, error);
    }
  });
  tell(rows, emit);
  return { rows, features: concat(features, width), width: output === "features" ? width : 0, stages: {} };
}

async function compute(
  { session }: LoadedModel,
  { data, count }: Batch<PredictInput>,
  output: Output,
  emit: Emit,
): Promise<{ values: Float32Array; width: number }> {
  const width = output === "features" ? session.featureWidth : session.classes;
  if (count === 0) return { values: new Float32Array(), width };
  const values = await timed(emit, "infer", () =>
    output === "features" ? session.features(data, count) : session.run(data, count),
  );
  return { values, width };
}

function answerRow(
  input: PredictInput,
  logits: Float32Array,
  classes: readonly string[],
  { topK: k, digests }: AnswerOptions,
): ResultRow {
  const top = topK(logits, k, classes);
  return { ...nameOf(input, digests), ...top[0]!, top, ...labelOf(input) };
}

function featureRow(input: PredictInput, features: Float32Array, { digests }: AnswerOptions): FeatureName {
  const bad = features.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw problem("prediction_not_finite", `feature ${bad} is ${features[bad]}`);
  return { ...nameOf(input, digests), ...labelOf(input) };
}

const nameOf = (input: PredictInput, digests: AnswerOptions["digests"]) => ({
  image: input.image,
  sha256: digests.get(input)!,
});

const labelOf = (input: PredictInput) => ("label" in input && input.label !== undefined ? { label: input.label } : {});

function tell(rows: readonly PartRow[], emit: Emit): void {
  const lost = rows.filter(failed).length;
  tellImages(emit, "predict", { ok: rows.length - lost, error: lost });
  const values = rows.flatMap((row) => ("probability" in row ? [row.probability] : []));
  if (values.length > 0) emit({ type: "confidence", values });
}

function concat(rows: readonly Float32Array[], width: number): Float32Array {
  const all = new Float32Array(rows.length * width);
  rows.forEach((row, i) => {
    all.set(row, i * width);
  });
  return all;
}
