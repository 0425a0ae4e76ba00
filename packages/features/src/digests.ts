/** The two digests that name a place in the cache. */
import { createHash } from "node:crypto";
import type { FeatureView, Transform } from "@cardinal/contracts";

/** Part of both digests: raised when the same input would give other features (another decoder, another resampler). */
const EDITION = 1;

/** A tensor of a state_dict: `Tensor` of the room checkpoint, `ParameterTensor` of the room resnext. */
interface StateTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | BigInt64Array;
}

/**
 * Digest of what computes features: the architecture's name and every tensor but the last layer's (`fc.*`) and
 * BatchNorm's step counters, which no forward pass reads. Models that share a backbone share it, whatever their heads.
 * About 0.1 s for a ResNeXt-50 (92 MB).
 */
export function backboneDigest(architecture: string, state: ReadonlyMap<string, StateTensor>): string {
  const hash = createHash("sha256").update(`backbone ${EDITION} ${architecture}\n`);
  for (const name of [...state.keys()].sort()) {
    if (name.startsWith("fc.") || name.endsWith(".num_batches_tracked")) continue;
    const { shape, data } = state.get(name)!;
    hash.update(`${name} ${shape.join("x")}\n`);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest("hex");
}

/** Digest of how an image becomes the network's input: the transform, and the augmentation of a random view. */
export function viewDigest(transform: Transform, view: FeatureView): string {
  return createHash("sha256")
    .update(`view ${EDITION} ${canonical({ transform, view })}`)
    .digest("hex");
}

/** JSON with the keys of every object sorted, so that it does not depend on who made the object. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part) =>
    part !== null && typeof part === "object" && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
