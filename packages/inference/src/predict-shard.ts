/** One shard of a batch prediction: its inputs in, one part object of rows out. */

import {
  CardinalError,
  type Emit,
  type ErrorRow,
  isErrorRow,
  problem,
  type Row,
  type ShardInput,
  type ShardPayload,
  shardInputSchema,
} from "@cardinal/contracts";
import { type Batch, batches } from "@cardinal/dataset";
import { layout, type ObjectStore } from "@cardinal/storage";
import { formatLines, parseLines } from "./json-lines.ts";
import type { LoadedModel, SessionPool } from "./session-pool.ts";
import { topK } from "./top-k.ts";

export interface PredictShardOptions {
  store: ObjectStore;
  payload: ShardPayload;
  models: SessionPool;
  /** Bytes of an image by digest: `blobReader`, whose `image_not_found` becomes an error row. */
  read(sha256: string): Promise<Uint8Array>;
  /** Images in one run of the network. Above 4 a CPU gains nothing, and every image in a batch takes memory. */
  batchSize: number;
  /** Batches that are read and decoded while the network runs. */
  prefetch?: number;
  /** Awaited before each run of the network: more urgent work may go first. */
  turn?(): Promise<void>;
  emit: Emit;
  signal?: AbortSignal;
}

export interface ShardResult {
  images: number;
  succeeded: number;
  failed: number;
  /** Answers that are the label, and inputs with both a label and an answer. */
  correct: number;
  labelled: number;
  /** Answers for each class that has any. */
  classCounts: { class: string; images: number }[];
  seconds: number;
}

/**
 * Predicts every input of a shard and writes its part: one row for every input, in input order. An image that cannot
 * be answered is an error row; trouble with the store or the model throws and writes nothing, and the shard can be
 * done again. Doing it again writes the same bytes. An abort throws the signal's reason.
 */
export async function predictShard(options: PredictShardOptions): Promise<ShardResult> {
  const { store, payload, models, emit } = options;
  const start = performance.now();
  const inputs = await readInputs(store, payload);
  const rows = await models.use(payload.model, (model) => predictRows(options, model, inputs), emit);
  const part = formatLines(rows);
  const writing = performance.now();
  await store.put(layout.part(payload.job, payload.shard), part, { signal: options.signal });
  emit({ type: "stage", stage: "write", seconds: (performance.now() - writing) / 1000 });
  return { ...summarise(rows, inputs), seconds: (performance.now() - start) / 1000 };
}

async function readInputs(store: ObjectStore, payload: ShardPayload): Promise<ShardInput[]> {
  const bytes = await store.read(payload.inputs);
  const inputs = parseLines(bytes).map((line) => shardInputSchema.parse(line));
  if (inputs.length === payload.images) return inputs;
  throw problem("internal_error", `${payload.inputs} has ${inputs.length} inputs, the plan says ${payload.images}`);
}

async function predictRows(options: PredictShardOptions, model: LoadedModel, inputs: ShardInput[]): Promise<Row[]> {
  const { emit, signal, batchSize, prefetch = 2, payload } = options;
  const rows: Row[] = [];
  const start = performance.now();
  const stream = batches(inputs, {
    read: (input) => options.read(input.sha256),
    transform: model.manifest.transform,
    layout: "nchw",
    batchSize,
    prefetch,
    emit,
    signal,
  });
  for await (const batch of stream) {
    await options.turn?.();
    signal?.throwIfAborted();
    rows.push(...(await predictBatch(model, batch, payload.topK, emit)));
    const done = rows.length;
    const imagesPerSecond = done / ((performance.now() - start) / 1000);
    const percent = (100 * done) / inputs.length;
    const progress = {
      done,
      total: inputs.length,
      unit: "images",
      percent,
      phase: "predicting",
      imagesPerSecond,
    } as const;
    emit({ type: "progress", progress });
  }
  return rows;
}

async function predictBatch(
  model: LoadedModel,
  batch: Batch<ShardInput>,
  k: number | "all",
  emit: Emit,
): Promise<Row[]> {
  const { classes } = model.session;
  const start = performance.now();
  const logits = batch.count > 0 ? await model.session.run(batch.data, batch.count) : new Float32Array();
  if (batch.count > 0) emit({ type: "stage", stage: "infer", seconds: (performance.now() - start) / 1000 });
  let position = 0;
  const rows = batch.entries.map(({ item, error }) => {
    if (error) return errorRow(item, error);
    const own = logits.subarray(position * classes, ++position * classes);
    return answerRow(item, own, k, model.manifest.classes);
  });
  const confidence = rows.flatMap((row) => (isErrorRow(row) ? [] : [row.probability]));
  const count = { ok: confidence.length, error: rows.length - confidence.length };
  for (const outcome of ["ok", "error"] as const) {
    if (count[outcome] > 0) emit({ type: "images", stage: "predict", outcome, count: count[outcome] });
  }
  if (confidence.length > 0) emit({ type: "confidence", values: confidence });
  return rows;
}

function answerRow(input: ShardInput, logits: Float32Array, k: number | "all", classes: readonly string[]): Row {
  try {
    const top = topK(logits, k, classes);
    const { image, sha256, label } = input;
    return { image, sha256, ...top[0]!, top, ...(label !== undefined && { label }) };
  } catch (error) {
    if (!(error instanceof CardinalError)) throw error;
    return errorRow(input, error);
  }
}

function errorRow(input: ShardInput, error: CardinalError): ErrorRow {
  return { image: input.image, code: error.code, message: error.message };
}

function summarise(rows: Row[], inputs: ShardInput[]): Omit<ShardResult, "seconds"> {
  const counts = new Map<string, number>();
  const result = { images: inputs.length, succeeded: 0, failed: 0, correct: 0, labelled: 0 };
  for (const row of rows) {
    if (isErrorRow(row)) {
      result.failed++;
      continue;
    }
    result.succeeded++;
    counts.set(row.class, (counts.get(row.class) ?? 0) + 1);
    if (row.label === undefined) continue;
    result.labelled++;
    if (row.label === row.class) result.correct++;
  }
  return { ...result, classCounts: Array.from(counts, ([name, images]) => ({ class: name, images })) };
}
