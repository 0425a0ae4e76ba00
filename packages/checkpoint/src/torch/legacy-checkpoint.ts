/**
 * The format of torch.save before 1.6, and since then with `_use_new_zipfile_serialization=False`: five pickles (a
 * magic number, the protocol version, facts about the machine, the object, the storages' keys), then for each key the
 * number of elements as int64 and the elements. Little-endian whatever the machine was. It has no checksums.
 */
import { type ByteSource, readRange } from "./byte-source.ts";
import type { StorageSpan } from "./decode-tensors.ts";
import { invalid, shown } from "./invalid.ts";
import { HOW_TO_SAVE } from "./pickle-globals.ts";
import { described, elementBytes, type PickleValue, type StorageRef } from "./pickle-values.ts";
import { MAX_PICKLE_BYTES, unpickle } from "./unpickler.ts";
import type { Container } from "./zip-checkpoint.ts";

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
const COUNT_BYTES = 8;

/** Throws `invalid_checkpoint` for other pickles and for files that are cut or go on after the last storage. */
export async function openLegacyCheckpoint(source: ByteSource): Promise<Container> {
  const head = await readRange(source, 0, Math.min(source.size, MAX_PICKLE_BYTES));
  const magic = unpickle(head);
  if (magic.value !== MAGIC) {
    throw invalid(`the file is a pickle of ${described(magic.value)}, not a file of torch.save; ${HOW_TO_SAVE}`);
  }
  const protocol = unpickle(head, magic.end);
  if (protocol.value !== PROTOCOL) {
    throw invalid(`the file has the legacy protocol ${described(protocol.value)}, torch wrote only ${PROTOCOL}`);
  }
  const system = unpickle(head, protocol.end);
  const object = unpickle(head, system.end);
  const keys = unpickle(head, object.end);
  const spans = await storageSpans(source, keys.end, keys.value, object.storages);
  const locate = async ({ key }: StorageRef): Promise<StorageSpan> => {
    const span = spans.get(key);
    if (span === undefined) throw invalid(`the file lacks the storage ${shown(key)}`);
    return span;
  };
  return { value: object.value, locate, notes: [] };
}

/** Follows the storages through the file: where one begins depends on the size of all before it. */
async function storageSpans(
  source: ByteSource,
  start: number,
  keys: PickleValue,
  storages: ReadonlyMap<string, StorageRef>,
): Promise<Map<string, StorageSpan>> {
  if (!Array.isArray(keys)) throw invalid(`the list of storages is ${described(keys)}`);
  const spans = new Map<string, StorageSpan>();
  let at = start;
  for (const key of keys) {
    const storage = typeof key === "string" ? storages.get(key) : undefined;
    if (storage === undefined) throw invalid(`the list of storages has ${described(key)}, which no tensor uses`);
    if (spans.has(storage.key)) throw invalid(`the storage ${shown(storage.key)} is listed twice`);
    const count = (await readRange(source, at, COUNT_BYTES)).readBigInt64LE();
    if (count !== BigInt(storage.count)) {
      throw invalid(`the storage ${shown(storage.key)} has ${count} values, its tensors need ${storage.count}`);
    }
    const bytes = storage.count * elementBytes[storage.type];
    spans.set(storage.key, { position: at + COUNT_BYTES, bytes });
    at += COUNT_BYTES + bytes;
  }
  if (at > source.size) throw invalid(`the file is cut: it has ${source.size} bytes, its storages end at ${at}`);
  if (at < source.size) throw invalid(`${source.size - at} bytes follow the last storage`);
  return spans;
}
