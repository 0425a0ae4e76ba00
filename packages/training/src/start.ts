/** The weights that a training starts from: fresh ones, or those of a base model. */
import { decodeSafetensors, fitStateDict, readModel } from "@cardinal/checkpoint";
import { CardinalError, type HeadOrigin, type ModelManifest, problem } from "@cardinal/contracts";
import { type Architecture, initHead, initParameters, type Parameters, parameterSpecs } from "@cardinal/resnext";
import { layout, type ObjectStore } from "@cardinal/storage";

export interface Start {
  parameters: Parameters;
  /** With a base: its id and classes, and where the last layer is from. */
  base: { id: string; classes: readonly string[]; head: HeadOrigin } | undefined;
}

/** The base that a request names, by its id. Throws `model_not_found`. */
export async function readBase(store: ObjectStore, id: string | undefined): Promise<ModelManifest | undefined> {
  return id === undefined ? undefined : (await readModel(store, id)).manifest;
}

/** Parameters drawn from the seed. */
export function freshStart(arch: Architecture, classes: number, seed: number): Start {
  return { parameters: initParameters(arch, classes, seed), base: undefined };
}

/**
 * The base's parameters. Where the base has another number of classes, the last layer is drawn from the seed.
 *
 * Throws `model_corrupt` when the file's bytes are not the manifest's, and `state_dict_mismatch` with names and shapes
 * when its tensors are not the architecture's.
 */
export async function startFrom(
  store: ObjectStore,
  base: ModelManifest,
  arch: Architecture,
  classes: number,
  seed: number,
): Promise<Start> {
  const { tensors } = decodeSafetensors(await readWeights(store, base));
  const isNew = base.classes.length !== classes;
  const fitted = fitStateDict(tensors, parameterSpecs(arch, classes), {
    headNames: ["fc.weight", "fc.bias"],
    ...(isNew && { newHead: initHead(arch, classes, seed) }),
  });
  return {
    parameters: fitted.tensors,
    base: { id: base.id, classes: base.classes, head: isNew ? "new" : "from base" },
  };
}

async function readWeights(store: ObjectStore, { id, files }: ModelManifest): Promise<Uint8Array> {
  const { sha256 } = files["weights.safetensors"];
  try {
    return await store.read(layout.modelFile(id, "weights.safetensors"), { sha256 });
  } catch (error) {
    if (!(error instanceof CardinalError) || error.code !== "digest_mismatch") throw error;
    throw problem("model_corrupt", `the weights of ${id} are not what its manifest says`, { model: id }, error);
  }
}
