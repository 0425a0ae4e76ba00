/** One shard of a feature extraction: images in, segments of the feature cache out. */
import {
  CardinalError,
  type Emit,
  type FeatureShardPayload,
  type FeatureView,
  type PredictInput,
  problem,
  type ShardInput,
  type Transform,
} from "@cardinal/contracts";
import {
  type Batch,
  type BatchOptions,
  batches,
  randomResizedCrop,
  resizeAndCrop,
  seededRandom,
  timed,
} from "@cardinal/dataset";
import { viewDigest, writeFeatures } from "@cardinal/features";
import type { ObjectStore } from "@cardinal/storage";
import { readInputs } from "./plan.ts";
import type { OnnxSession } from "./session.ts";
import type { SessionPool } from "./session-pool.ts";
import { tellImages } from "./tell-images.ts";

export interface ExtractShardOptions {
  store: ObjectStore;
  payload: FeatureShardPayload;
  models: SessionPool;
  /** Bytes of an image by digest: `blobReader`. */
  read(sha256: string): Promise<Uint8Array>;
  /** Images (views) in one run of the network, at most. */
  batchSize: number;
  /** Awaited before each batch: single images may go first. */
  turn?(): Promise<void>;
  emit: Emit;
  signal?: AbortSignal;
}

export interface ExtractResult {
  images: number;
  views: number;
  seconds: number;
}

/**
 * Computes the features of every view of a shard's images, float32 by ONNX Runtime, and adds them to the cache: one
 * segment for each view. Doing it again adds nothing.
 *
 * An image that cannot be read or decoded fails the shard with the image's own code and path, once the features of all
 * others are written. Throws `model_corrupt` for a network that does not fit the transform, `prediction_not_finite`,
 * the store's errors, and the signal's reason; nothing is written then.
 */
export async function extractShard(options: ExtractShardOptions): Promise<ExtractResult> {
  const { store, payload, models, emit } = options;
  const start = performance.now();
  const inputs = (await readInputs(store, payload, options.signal)).map(byDigest);
  const found = await models.useNetwork(payload.network, (session) => extract(options, session, inputs), emit);
  await timed(emit, "write", async () => {
    for (const [index, view] of payload.views.entries()) {
      const place = { backbone: payload.backbone, view: viewDigest(payload.transform, view) };
      await writeFeatures({ store, place, signal: options.signal }, found.images, rowsOfView(found, index));
    }
  });
  if (found.failure) throw unreadable(found.failure);
  return { images: inputs.length, views: payload.views.length, seconds: (performance.now() - start) / 1000 };
}

function byDigest(input: PredictInput): ShardInput {
  if ("sha256" in input) return input;
  throw problem("internal_error", `${input.image} of a feature extraction has no digest`);
}

interface Extracted {
  /** Digests. */
  images: string[];
  views: number;
  channels: number;
  /** [images, views, channels] in pieces. */
  pieces: Float32Array[];
  failure?: { input: ShardInput; error: CardinalError };
}

async function extract(options: ExtractShardOptions, session: OnnxSession, inputs: ShardInput[]): Promise<Extracted> {
  const { payload, batchSize, emit, signal } = options;
  const { transform, views } = payload;
  if (session.side !== transform.crop) {
    const message = `the network takes ${session.side} pixels and the transform gives ${transform.crop}`;
    throw problem("model_corrupt", message, { key: payload.network.key });
  }
  const found: Extracted = { images: [], views: views.length, channels: session.featureWidth, pieces: [] };
  const stream = batches(inputs, {
    read: (input) => encoded(options, input),
    transform,
    layout: "nchw",
    batchSize: Math.max(1, Math.floor(batchSize / views.length)),
    crops: views.map((view) => cropOf(view, transform)),
    emit,
    signal,
  });
  for await (const batch of stream) {
    await options.turn?.();
    signal?.throwIfAborted();
    found.pieces.push(...(await compute(session, batch, views.length, batchSize, emit)));
    for (const { item, error } of batch.entries) {
      if (error) found.failure ??= { input: item, error };
      else found.images.push(item.sha256);
    }
    tellImages(emit, "extract", { ok: batch.count, error: batch.entries.length - batch.count });
  }
  return found;
}

/** The bytes of an image. An image that was damaged since its ingest is named, too; the store may heal, so it is thrown. */
async function encoded({ read }: ExtractShardOptions, input: ShardInput): Promise<Uint8Array> {
  try {
    return await read(input.sha256);
  } catch (error) {
    throw error instanceof CardinalError && error.code === "digest_mismatch" ? unreadable({ input, error }) : error;
  }
}

/** The rows of a batch, at most `most` of which go through the network at once: one image may have more views. */
async function compute(
  session: OnnxSession,
  { count, data }: Batch<ShardInput>,
  views: number,
  most: number,
  emit: Emit,
): Promise<Float32Array[]> {
  const pieces: Float32Array[] = [];
  const size = 3 * session.side ** 2;
  for (let row = 0; row < count * views; row += most) {
    const rows = Math.min(most, count * views - row);
    const part = data.subarray(row * size, (row + rows) * size);
    const features = await timed(emit, "infer", () => session.features(part, rows));
    if (!features.every(Number.isFinite)) {
      throw problem("prediction_not_finite", "the backbone gives features that are infinite or no numbers");
    }
    pieces.push(features);
  }
  return pieces;
}

type Crop = NonNullable<BatchOptions<ShardInput>["crops"]>[number];

/** Random views depend on the image's content and not on its place: the same image gives the same view in any shard. */
function cropOf(view: FeatureView, transform: Transform): Crop {
  if (view === "center") return (image) => resizeAndCrop(image, transform);
  const { augment, seed, number } = view;
  return (image, { sha256 }) => {
    const words = Array.from({ length: 8 }, (_, word) => Number.parseInt(sha256.slice(8 * word, 8 * word + 8), 16));
    return randomResizedCrop(image, transform, augment, seededRandom(seed, number, ...words));
  };
}

/** [images, channels] of one view. */
function rowsOfView({ images, views, channels, pieces }: Extracted, view: number): Float32Array {
  const rows = new Float32Array(images.length * channels);
  let row = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += channels, row++) {
      if (row % views === view) rows.set(piece.subarray(at, at + channels), Math.floor(row / views) * channels);
    }
  }
  return rows;
}

function unreadable({ input, error }: NonNullable<Extracted["failure"]>): CardinalError {
  return problem(error.code, `${input.image}: ${error.message}`, { image: input.image, sha256: input.sha256 }, error);
}
