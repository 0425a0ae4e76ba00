/** Files of torch.save that hold a state_dict, read without executing anything of them. */
import type { Tensor } from "../safetensors.ts";
import { type ByteSource, readRange } from "./byte-source.ts";
import { decodeTensors } from "./decode-tensors.ts";
import { openLegacyCheckpoint } from "./legacy-checkpoint.ts";
import { findStateDict } from "./state-dict.ts";
import { openZipCheckpoint } from "./zip-checkpoint.ts";

export interface TorchCheckpoint {
  readonly format: "torch-zip" | "torch-legacy";
  /** In the state_dict's order, under its names. Each has its own memory, also where the file shares storages. */
  readonly tensors: Map<string, Tensor>;
  /** What the user should know, one sentence each: which entry was taken, which types were converted. */
  readonly notes: string[];
}

const ZIP_SIGNATURE = "PK";

/**
 * Reads a .pth file (zip since torch 1.6, or legacy). float16, bfloat16 and float64 become float32; int64 stays.
 * Beyond the values' memory it needs the largest shared or strided storage and at most 64 MB.
 * Throws `invalid_checkpoint` for everything else, with the name of what a state_dict does not have.
 */
export async function readTorchCheckpoint(source: ByteSource): Promise<TorchCheckpoint> {
  const signature = await readRange(source, 0, Math.min(source.size, ZIP_SIGNATURE.length));
  const zip = signature.toString("latin1") === ZIP_SIGNATURE;
  const container = zip ? await openZipCheckpoint(source) : await openLegacyCheckpoint(source);
  const dict = findStateDict(container.value);
  const tensors = await decodeTensors(source, dict.tensors, container.locate);
  const converted = new Map<string, number>();
  for (const { storage } of dict.tensors.values()) converted.set(storage.type, (converted.get(storage.type) ?? 0) + 1);
  const notes = [...container.notes, ...dict.notes];
  for (const type of ["float16", "bfloat16", "float64"]) {
    const count = converted.get(type);
    if (count !== undefined) notes.push(`converted from ${type} to float32: ${count} of ${tensors.size} tensors`);
  }
  return { format: zip ? "torch-zip" : "torch-legacy", tensors, notes };
}
