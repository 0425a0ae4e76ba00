/**
 * The safetensors file format (huggingface/safetensors): a little-endian uint64 header length, a JSON header
 * `{"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {string: string}}`, and the tensors'
 * bytes, little-endian and row-major. The rules are those of its reference reader: the header is at most 100 MB of
 * UTF-8 and starts with "{", names are unique, and the ranges cover the data exactly, without holes or overlaps.
 */
import { type CardinalError, problem } from "@cardinal/contracts";
import { topLevelKeys } from "./json-keys.ts";

export interface Tensor {
  /** Row-major sides; [] is a scalar. */
  readonly shape: readonly number[];
  /** float32 (F32) or int64 (I64). */
  readonly data: Float32Array | BigInt64Array;
}

export interface SafetensorsFile {
  /** In the header's order. */
  readonly tensors: Map<string, Tensor>;
  readonly metadata: Record<string, string>;
}

const METADATA = "__metadata__";
const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;
/** Bytes of an element. */
const dtypes = { F32: 4, I64: 8 } as const;
type Dtype = keyof typeof dtypes;

const invalid = (why: string, details?: Record<string, unknown>): CardinalError =>
  problem("invalid_checkpoint", `safetensors: ${why}`, details);

/**
 * The file's bytes, in one piece; the same input gives the same bytes. The header keeps the order of the map; the data
 * has the int64 tensors first, so that every tensor is aligned to its type.
 * Throws `invalid_checkpoint` for a name that the format reserves, or data of another length than the shape's.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const starts = new Map<string, number>();
  let end = 0;
  for (const dtype of ["I64", "F32"] as const) {
    for (const [name, tensor] of tensors) {
      if (dtypeOf(tensor) !== dtype) continue;
      starts.set(name, end);
      end += checkedBytes(name, tensor);
    }
  }
  const entries = [...tensors].map(([name, tensor]): [string, unknown] => {
    const begin = starts.get(name)!;
    const offsets = [begin, begin + tensor.data.byteLength];
    return [name, { dtype: dtypeOf(tensor), shape: tensor.shape, data_offsets: offsets }];
  });
  const header = encodeHeader(entries, metadata);
  const file = new Uint8Array(LENGTH_BYTES + header.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, LENGTH_BYTES);
  for (const [name, { data }] of tensors) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    file.set(bytes, LENGTH_BYTES + header.length + starts.get(name)!);
  }
  return file;
}

function dtypeOf(tensor: Tensor): Dtype {
  return tensor.data instanceof BigInt64Array ? "I64" : "F32";
}

function checkedBytes(name: string, { shape, data }: Tensor): number {
  if (name === METADATA) throw invalid(`a tensor cannot be named ${METADATA}`);
  const count = shape.reduce((product, side) => product * side, 1);
  if (data.length !== count) throw invalid(`${name} has ${data.length} values, its shape [${shape}] needs ${count}`);
  return data.byteLength;
}

/** Padded with spaces so that the data starts at a multiple of 8. Written by hand: an object would reorder "10", "2". */
function encodeHeader(entries: [string, unknown][], metadata: Readonly<Record<string, string>>): Uint8Array {
  const all: [string, unknown][] = Object.keys(metadata).length > 0 ? [[METADATA, metadata], ...entries] : entries;
  const json = `{${all.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
  const bytes = Buffer.from(json, "utf8");
  if (bytes.length > MAX_HEADER_BYTES) throw invalid(`a header of ${bytes.length} bytes exceeds ${MAX_HEADER_BYTES}`);
  const padding = (8 - (bytes.length % 8)) % 8;
  return Buffer.concat([bytes, Buffer.alloc(padding, " ")]);
}

/**
 * Reads a file held in memory. The tensors are views of `bytes` where these are aligned to the type, else copies.
 * Throws `invalid_checkpoint`, which names the tensor and the numbers, for anything that the format does not allow
 * and for element types other than F32 and I64.
 */
export function decodeSafetensors(bytes: Uint8Array): SafetensorsFile {
  const { header, dataStart } = decodeHeader(bytes);
  const data = bytes.subarray(dataStart);
  const tensors = new Map<string, Tensor>();
  const ranges: Range[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, entry] of header) {
    if (name === METADATA) {
      metadata = checkMetadata(entry);
      continue;
    }
    const { dtype, shape, begin, end } = checkEntry(name, entry);
    ranges.push({ name, begin, end });
    if (end <= data.length) tensors.set(name, { shape, data: view(data, dtype, begin, end) });
  }
  checkCoverage(ranges, data.length);
  return { tensors, metadata };
}

/** Entries in the file's order: a parsed object would put integer-like names first. */
function decodeHeader(bytes: Uint8Array): { header: Map<string, unknown>; dataStart: number } {
  if (bytes.length < LENGTH_BYTES) throw invalid(`${bytes.length} bytes are no file, its header length alone has 8`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES);
  const length = view.getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) throw invalid(`a header of ${length} bytes exceeds ${MAX_HEADER_BYTES}`);
  const dataStart = LENGTH_BYTES + Number(length);
  if (dataStart > bytes.length) {
    throw invalid(`the file ends after ${bytes.length} bytes, inside of its header of ${length} bytes`);
  }
  let text: string;
  let parsed: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(LENGTH_BYTES, dataStart));
    parsed = JSON.parse(text);
  } catch (error) {
    throw problem("invalid_checkpoint", "safetensors: the header is not JSON in UTF-8", undefined, error);
  }
  if (!text.startsWith("{") || !isObject(parsed)) throw invalid('the header does not start with "{"');
  const header = new Map<string, unknown>();
  for (const key of topLevelKeys(text)) {
    if (header.has(key)) throw invalid(`${key} stands twice in the header`, { tensor: key });
    header.set(key, parsed[key]);
  }
  return { header, dataStart };
}

function checkMetadata(entry: unknown): Record<string, string> {
  if (!isObject(entry) || !Object.values(entry).every((value) => typeof value === "string")) {
    throw invalid(`${METADATA} must map strings to strings`);
  }
  return entry as Record<string, string>;
}

interface Range {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function checkEntry(name: string, entry: unknown): Range & { dtype: Dtype; shape: number[] } {
  if (!isObject(entry)) throw invalid(`${name} has no description`, { tensor: name });
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(dtypes, dtype)) {
    throw invalid(`${name} has the type ${dtype}; F32 and I64 can be read`, { tensor: name });
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw invalid(`${name} has the shape ${JSON.stringify(shape)}`, { tensor: name });
  }
  const [begin = -1, end = -1] = Array.isArray(offsets) && offsets.length === 2 ? offsets : [];
  if (!isCount(begin) || !isCount(end) || begin > end) {
    throw invalid(`${name} has the data_offsets ${JSON.stringify(offsets)}`, { tensor: name });
  }
  const needed = shape.reduce((product, side) => product * side, dtypes[dtype as Dtype] as number);
  if (end - begin !== needed) {
    throw invalid(`${name} has ${end - begin} bytes, ${dtype} [${shape}] needs ${needed}`, { tensor: name });
  }
  return { name, dtype: dtype as Dtype, shape, begin, end };
}

function checkCoverage(ranges: Range[], length: number): void {
  let covered = 0;
  for (const { name, begin, end } of ranges.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered) {
      const what = begin < covered ? "overlaps the tensor before it" : "leaves a hole before it";
      throw invalid(`${name} starts at ${begin}, not ${covered}, and ${what}`, { tensor: name });
    }
    covered = end;
  }
  if (covered > length) throw invalid(`the file is cut: ${length} bytes of data, its tensors have ${covered}`);
  if (covered < length) throw invalid(`${length - covered} bytes follow the last tensor`);
}

function view(data: Uint8Array, dtype: Dtype, begin: number, end: number): Tensor["data"] {
  const size = dtypes[dtype];
  const aligned = (data.byteOffset + begin) % size === 0;
  const source = aligned ? data.subarray(begin, end) : Uint8Array.from(data.subarray(begin, end));
  const array = dtype === "F32" ? Float32Array : BigInt64Array;
  return new array(source.buffer as ArrayBuffer, source.byteOffset, source.length / size);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
