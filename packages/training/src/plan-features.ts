/**
 * Before a head is trained: which features the cache lacks, as shards for predict-workers. They run the base's own
 * .onnx file; for another image size than the base's it is written again for that size, since a file has one size.
 */
import { readCheckpoint } from "@cardinal/checkpoint";
import { type Emit, type FeatureShardPayload, PAYLOAD_VERSION, type TrainPayload } from "@cardinal/contracts";
import { backboneDigest, planExtraction } from "@cardinal/features";
import { architecture } from "@cardinal/resnext";
import { exportOnnx } from "@cardinal/resnext/onnx";
import { layout, type ObjectStore } from "@cardinal/storage";
import { differentImages, featureNeeds, trainingViews } from "./labelled-features.ts";
import { type Prepared, prepare } from "./prepare.ts";

export interface PlanFeaturesOptions {
  store: ObjectStore;
  payload: TrainPayload;
  emit: Emit;
  signal?: AbortSignal;
}

/**
 * The shards of a training job; none when the job trains more than a head, when everything is in the cache, and when
 * an earlier attempt has announced its model. The same shards again while they are at work (see `planExtraction`).
 * Throws what `runTraining` throws before its first step, `too_many_features`, and the signal's reason.
 */
export async function planFeatures(options: PlanFeaturesOptions): Promise<FeatureShardPayload[]> {
  const { store, payload, emit, signal } = options;
  const { job, request } = payload;
  if (request.trainable !== "head" || (await readCheckpoint(store, job))?.publish) return [];
  const prepared = await prepare(store, payload);
  const { recipe, start } = prepared;
  signal?.throwIfAborted();
  const { transform } = recipe;
  const backbone = backboneDigest(recipe.architecture, start.parameters);
  const { shards } = await planExtraction({ store, job, backbone, transform, needs: featureNeeds(prepared), signal });
  const images = differentImages(prepared.set);
  const views = trainingViews(recipe).length;
  const left = shards.reduce((sum, shard) => sum + shard.images, 0);
  const message = `features: ${images - left} of ${images} images are in the cache`;
  emit({ type: "log", level: "info", message, details: { images, views, left, shards: shards.length, backbone } });
  if (shards.length === 0) return [];
  const network = await networkFile(store, job, prepared, signal);
  return shards.map((shard) => {
    return { v: PAYLOAD_VERSION, task: "features", job, ...shard, network, backbone, transform };
  });
}

async function networkFile(store: ObjectStore, job: string, { recipe, start, base }: Prepared, signal?: AbortSignal) {
  const imageSize = recipe.transform.crop;
  if (base?.transform.crop === imageSize) {
    return { key: layout.modelFile(base.id, "model.onnx"), sha256: base.files["model.onnx"].sha256 };
  }
  const onnx = exportOnnx(architecture(recipe.architecture), start.parameters, { imageSize });
  const { key, sha256 } = await store.put(layout.extractionNetwork(job), onnx, { signal });
  return { key, sha256 };
}
