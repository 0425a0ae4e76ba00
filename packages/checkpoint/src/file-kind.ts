import { HOW_TO_SAVE } from "./torch/pickle-globals.ts";

export type WeightsKind = "torch-zip" | "torch-legacy" | "safetensors";

/** Bytes from the file's start that `fileKind` looks at. */
export const KIND_BYTES = 512;

/** A header length, then the header's "{". */
const SAFETENSORS_BYTES = 9;
const MAX_SAFETENSORS_HEADER = 100_000_000n;
const TAR_MAGIC_AT = 257;
const OTHERS = "only PyTorch and safetensors weights can be imported";

/** What files of weights begin with, in hex. */
const kinds: readonly [RegExp, WeightsKind][] = [
  [/^504b/, "torch-zip"], // PK
  [/^800[2-5]/, "torch-legacy"], // a pickle's PROTO and its version
];

/** What other files begin with, in hex. */
const strangers: readonly [RegExp, string][] = [
  // ModelProto: field 1, the IR version, is a small number; then comes any other of its fields.
  [/^08[01].(12|1a|22|28|32|3a|42|72|a201)/, `an ONNX model (or another protobuf), not a state_dict; ${HOW_TO_SAVE}`],
  [/^894844460d0a/, `an HDF5 file (Keras); ${OTHERS}`],
  [/^934e554d5059/, `a NumPy array; ${OTHERS}`],
  [/^.{8}54464c33/, `a TensorFlow Lite model; ${OTHERS}`],
  [/^47475546/, `a GGUF file; ${OTHERS}`],
  [/^1f8b/, "compressed with gzip: unpack it first"],
  [/^28b52ffd/, "compressed with Zstandard: unpack it first"],
  [/^377abcaf/, "a 7z archive: unpack it first"],
];

const strangeTexts: readonly [RegExp, string][] = [
  [/^version https:\/\/git-lfs/, "a Git LFS pointer: run `git lfs pull` to get the weights themselves"],
  [/^\s*<(!|html|head|\?xml)/i, "a web page: the download gave an error or a login page instead of the file"],
  [/^\s*[[{]\s*["{[\d]/, "JSON text, not weights"],
];

/**
 * Tells from a file's first KIND_BYTES bytes and its size what reads it. For files that are no weights it gives a
 * sentence that says what they are.
 */
export function fileKind(start: Uint8Array, size: number): WeightsKind | { refusal: string } {
  if (size === 0) return { refusal: "the file is empty" };
  const bytes = Buffer.from(start.buffer, start.byteOffset, start.length);
  const hex = bytes.toString("hex");
  const kind = kinds.find(([pattern]) => pattern.test(hex));
  if (kind !== undefined) return kind[1];
  if (isSafetensors(bytes)) return "safetensors";
  const text = bytes.toString("latin1");
  const stranger =
    strangers.find(([pattern]) => pattern.test(hex)) ?? strangeTexts.find(([pattern]) => pattern.test(text));
  if (stranger !== undefined) return { refusal: `the file is ${stranger[1]}` };
  if (text.startsWith("ustar", TAR_MAGIC_AT)) return { refusal: "the file is a tar archive: unpack it first" };
  return { refusal: `the file is neither of PyTorch nor safetensors; it begins with the bytes ${hex.slice(0, 16)}` };
}

function isSafetensors(bytes: Buffer): boolean {
  if (bytes.length < SAFETENSORS_BYTES || bytes[SAFETENSORS_BYTES - 1] !== 0x7b) return false;
  return bytes.readBigUInt64LE() <= MAX_SAFETENSORS_HEADER;
}
