/**
 * Tensors out of storages, one storage at a time. Memory beyond the decoded values: one chunk, or, for storages that
 * are shared or viewed with other strides than row-major ones, a copy of the storage.
 *
 * float32 and int64 keep their bits. float16 and bfloat16 widen exactly; float64 rounds to the nearest float32.
 */
import { crc32 } from "node:zlib";
import type { Tensor } from "../safetensors.ts";
import type { ByteSource } from "./byte-source.ts";
import { elementWriter, isReadable, type ReadableType, readableTypes } from "./element-types.ts";
import { invalid, shown } from "./invalid.ts";
import { elementBytes, type StorageRef, type TensorRef } from "./pickle-values.ts";

/** Where a storage's data lies in the file. */
export interface StorageSpan {
  readonly position: number;
  readonly bytes: number;
  /** Undefined where the format has none or the writer left it out. */
  readonly crc32?: number;
}

export type LocateStorage = (storage: StorageRef) => Promise<StorageSpan>;

const CHUNK_BYTES = 4 * 2 ** 20;
/** ResNeXt-101 has 626. Bounds the memory of empty tensors. */
const MAX_TENSORS = 20_000;
/** Values that a file may have beyond one per byte: strides of 0 and shared storages let small files claim any number. */
const SPARE_VALUES = 1_000_000;

interface Part {
  readonly name: string;
  readonly ref: TensorRef;
  readonly type: ReadableType;
  /** Elements. */
  readonly count: number;
}

/**
 * Checks all tensors against their storages before any memory is allocated for them, then reads them.
 * Throws `invalid_checkpoint`, which names the tensor, for what lies outside of its storage, types that no weight has,
 * storages that are cut or whose checksum differs, and more values than the file can have.
 */
export async function decodeTensors(
  source: ByteSource,
  refs: ReadonlyMap<string, TensorRef>,
  locate: LocateStorage,
): Promise<Map<string, Tensor>> {
  if (refs.size > MAX_TENSORS) throw invalid(`the file has ${refs.size} tensors, the limit is ${MAX_TENSORS}`);
  const groups = new Map<string, Part[]>();
  let values = 0;
  for (const [name, ref] of refs) {
    const part = checkedPart(name, ref);
    values += part.count;
    const group = groups.get(ref.storage.key);
    if (group === undefined) groups.set(ref.storage.key, [part]);
    else group.push(part);
  }
  if (values > source.size + SPARE_VALUES) {
    throw invalid(`the tensors claim ${values} values, more than a file of ${source.size} bytes can hold`);
  }
  const tensors = new Map<string, Tensor | undefined>(Array.from(refs.keys(), (name) => [name, undefined]));
  const spans = await checkedSpans(source, groups, locate);
  const largest = (ofWhole: boolean): number => {
    return spans.reduce((most, { whole, span }) => (whole === ofWhole ? Math.max(most, span.bytes) : most), 0);
  };
  const scratch = new ArrayBuffer(largest(true));
  const chunk = new ArrayBuffer(Math.min(CHUNK_BYTES, largest(false)));
  for (const { parts, span, whole } of spans) {
    if (whole) {
      const bytes = new Uint8Array(scratch, 0, span.bytes);
      await source.read(bytes, span.position);
      checkSum(parts[0]!, span, crc32(bytes));
      for (const part of parts) tensors.set(part.name, gather(part, bytes));
    } else {
      tensors.set(parts[0]!.name, await stream(source, parts[0]!, span, chunk));
    }
  }
  return tensors as Map<string, Tensor>;
}

function checkedPart(name: string, ref: TensorRef): Part {
  const { storage, offset, shape, strides } = ref;
  if (!isReadable(storage.type)) {
    const types = Object.keys(readableTypes).join(", ");
    throw invalid(`${shown(name)} has the type ${storage.type}; weights are ${types}`, { tensor: shown(name) });
  }
  const count = shape.includes(0) ? 0 : shape.reduce((product, side) => product * side, 1);
  const last = shape.reduce((sum, side, axis) => sum + (side - 1) * strides[axis]!, offset);
  if (count > 0 && !(last < storage.viewCount)) {
    const where = `${shown(name)} ${shown(`[${shape}]`)} with the strides ${shown(`[${strides}]`)} from ${offset} on`;
    throw invalid(`${where} lies outside of its storage of ${storage.viewCount} values`, { tensor: shown(name) });
  }
  return { name, ref, type: storage.type, count };
}

interface Group {
  readonly parts: readonly Part[];
  readonly span: StorageSpan;
  /** Read the storage as a whole, or stream its only tensor. */
  readonly whole: boolean;
}

async function checkedSpans(
  source: ByteSource,
  groups: ReadonlyMap<string, Part[]>,
  locate: LocateStorage,
): Promise<Group[]> {
  const located: Group[] = [];
  for (const parts of groups.values()) {
    const { name, ref, type } = parts[0]!;
    const span = await locate(ref.storage);
    const needed = ref.storage.count * elementBytes[type];
    if (span.bytes !== needed) {
      const holds = `${ref.storage.count} ${type} values need ${needed}`;
      throw invalid(`the storage of ${shown(name)} has ${span.bytes} bytes, ${holds}`, { tensor: shown(name) });
    }
    if (span.position + span.bytes > source.size) {
      throw invalid(`the file is cut: the storage of ${shown(name)} ends at ${span.position + span.bytes}`);
    }
    located.push({ parts, span, whole: parts.length > 1 || !coversStorage(parts[0]!) });
  }
  return located;
}

/** Whether the tensor is its storage, value by value. */
function coversStorage(part: Part): boolean {
  const { offset, storage } = part.ref;
  return isRowMajor(part) && offset === 0 && storage.viewStart === 0 && part.count === storage.count;
}

/** Whether its values stand one behind the other. */
function isRowMajor({ ref: { shape, strides } }: Part): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

function allocate({ type, count }: Part): Tensor["data"] {
  return type === "int64" ? new BigInt64Array(count) : new Float32Array(count);
}

async function stream(source: ByteSource, part: Part, span: StorageSpan, chunk: ArrayBuffer): Promise<Tensor> {
  const data = allocate(part);
  const target = new Uint8Array(data.buffer as ArrayBuffer);
  const size = elementBytes[part.type];
  const direct = part.type === "float32" || part.type === "int64";
  let sum = 0;
  for (let at = 0; at < span.bytes; at += CHUNK_BYTES) {
    const length = Math.min(CHUNK_BYTES, span.bytes - at);
    const bytes = direct ? target.subarray(at, at + length) : new Uint8Array(chunk, 0, length);
    await source.read(bytes, span.position + at);
    sum = crc32(bytes, sum);
    if (direct) continue;
    const write = elementWriter(part.type, bytes, data);
    for (let index = 0, first = at / size; index < length / size; index++) write(index, first + index);
  }
  checkSum(part, span, sum);
  return { shape: part.ref.shape, data };
}

function checkSum({ name }: Part, span: StorageSpan, actual: number): void {
  if (span.crc32 === undefined || span.crc32 === actual) return;
  throw invalid(`the data of ${shown(name)} is damaged: its CRC-32 differs`, { tensor: shown(name) });
}

/** Walks the tensor in row-major order over a storage in memory. */
function gather(part: Part, storage: Uint8Array<ArrayBuffer>): Tensor {
  const { shape, strides, offset, storage: ref } = part.ref;
  const data = allocate(part);
  const write = elementWriter(part.type, storage, data);
  let from = ref.viewStart + offset;
  if (isRowMajor(part)) {
    for (let to = 0; to < part.count; to++) write(from + to, to);
    return { shape, data };
  }
  const index = shape.map(() => 0);
  for (let to = 0; to < part.count; to++) {
    write(from, to);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      index[axis]!++;
      if (index[axis]! < shape[axis]!) break;
      from -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return { shape, data };
}
