/** The one door for files of weights that people bring. */
import { open } from "node:fs/promises";
import { fileKind, KIND_BYTES, type WeightsKind } from "./file-kind.ts";
import { decodeSafetensors, type Tensor } from "./safetensors.ts";
import { type ByteSource, fileSource, readRange } from "./torch/byte-source.ts";
import { invalid } from "./torch/invalid.ts";
import { readTorchCheckpoint } from "./torch/read-torch-checkpoint.ts";

export interface WeightsFile {
  readonly format: WeightsKind;
  /** In the file's order; Float32Array, or BigInt64Array for int64 (num_batches_tracked). */
  readonly tensors: Map<string, Tensor>;
  /** What was converted, renamed or left aside, one sentence each; may be shown to users. */
  readonly notes: string[];
}

/** What DataParallel and DistributedDataParallel, and torch.compile, put before every name. */
const WRAPPER_PREFIXES = ["module.", "_orig_mod."];

/**
 * Reads a state_dict out of a .pth (zip or legacy) or a safetensors file, told apart by their content.
 *
 * Prefixes of wrappers are taken off when all names have them. Nothing of the file is executed. Memory: the values as
 * float32, at most once the file, and 64 MB. Throws `invalid_checkpoint` for all that is not a plain state_dict,
 * with the name of what it is instead; errors of the file system pass through.
 */
export async function readWeightsFile(path: string): Promise<WeightsFile> {
  await using handle = await open(path, "r");
  return await readWeights(await fileSource(handle));
}

/** As `readWeightsFile`, for bytes anywhere. */
export async function readWeights(source: ByteSource): Promise<WeightsFile> {
  const kind = fileKind(await readRange(source, 0, Math.min(source.size, KIND_BYTES)), source.size);
  if (typeof kind !== "string") throw invalid(kind.refusal);
  const read = kind === "safetensors" ? await readSafetensors(source) : await readTorchCheckpoint(source);
  return withoutPrefixes({ format: kind, ...read });
}

async function readSafetensors(source: ByteSource): Promise<{ tensors: Map<string, Tensor>; notes: string[] }> {
  const { tensors } = decodeSafetensors(await readRange(source, 0, source.size));
  if (tensors.size === 0) throw invalid("the safetensors file has no tensors");
  return { tensors, notes: [] };
}

function withoutPrefixes({ format, tensors, notes }: WeightsFile): WeightsFile {
  const names = [...tensors.keys()];
  const prefix = WRAPPER_PREFIXES.find((candidate) => names.every((name) => name.startsWith(candidate)));
  if (prefix === undefined) return { format, tensors, notes };
  const renamed = new Map(Array.from(tensors, ([name, tensor]) => [name.slice(prefix.length), tensor]));
  return withoutPrefixes({
    format,
    tensors: renamed,
    notes: [...notes, `the prefix ${prefix} was taken off all names`],
  });
}
