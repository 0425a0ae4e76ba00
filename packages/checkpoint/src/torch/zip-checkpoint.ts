/**
 * The format of torch.save since 1.6: a zip with one top folder that has `data.pkl`, the storages as `data/<key>`, and,
 * by version, `byteorder`, `version` and other small records.
 */
import { crc32 } from "node:zlib";
import { type ByteSource, readRange } from "./byte-source.ts";
import type { LocateStorage } from "./decode-tensors.ts";
import { invalid, shown } from "./invalid.ts";
import { HOW_TO_SAVE } from "./pickle-globals.ts";
import type { PickleValue } from "./pickle-values.ts";
import { MAX_PICKLE_BYTES, unpickle } from "./unpickler.ts";
import { readZipDirectory, recordPosition, type ZipRecord } from "./zip-records.ts";

export interface Container {
  readonly value: PickleValue;
  readonly locate: LocateStorage;
  readonly notes: readonly string[];
}

const PICKLE = "data.pkl";
const MAX_BYTEORDER_BYTES = 16;

/** Throws `invalid_checkpoint` for other zip archives, TorchScript, big-endian files and damaged or cut ones. */
export async function openZipCheckpoint(source: ByteSource): Promise<Container> {
  const records = await readZipDirectory(source);
  const folder = topFolder(records);
  if (records.has(`${folder}constants.pkl`)) {
    throw invalid(`the file is a TorchScript archive, not a state_dict; ${HOW_TO_SAVE}`);
  }
  await refuseBigEndian(source, records.get(`${folder}byteorder`));
  const pickle = records.get(folder + PICKLE)!;
  const { value } = unpickle(await recordBytes(source, pickle, MAX_PICKLE_BYTES));
  const locate: LocateStorage = async ({ key }) => {
    const record = records.get(`${folder}data/${key}`);
    if (record === undefined) throw invalid(`the zip archive lacks the storage data/${shown(key)}`);
    const position = await recordPosition(source, record);
    return { position, bytes: record.bytes, ...(record.crc32 !== 0 && { crc32: record.crc32 }) };
  };
  const notes = pickle.crc32 === 0 ? ["the file was written without checksums: damage would not be noticed"] : [];
  return { value, locate, notes };
}

/** The folder of data.pkl with its slash; torch gives it the file's name. */
function topFolder(records: ReadonlyMap<string, ZipRecord>): string {
  const pickles = [...records.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  const [pickle] = pickles;
  if (pickles.length === 1 && pickle !== undefined) return pickle.slice(0, -PICKLE.length);
  const first = records.keys().next().value;
  const contents = first === undefined ? "it is empty" : `its first entry is ${shown(first)}`;
  throw invalid(`the file is a zip archive, but not of torch.save: it has ${pickles.length} data.pkl, ${contents}`);
}

async function refuseBigEndian(source: ByteSource, record: ZipRecord | undefined): Promise<void> {
  if (record === undefined) return; // before torch 2.1
  const order = (await recordBytes(source, record, MAX_BYTEORDER_BYTES)).toString("latin1");
  if (order === "little") return;
  const what = order === "big" ? "big-endian" : `of the byte order ${shown(order)}`;
  throw invalid(`the file is ${what}; on a little-endian machine, torch.load and torch.save it again`);
}

async function recordBytes(source: ByteSource, record: ZipRecord, limit: number): Promise<Buffer> {
  if (record.bytes > limit) throw invalid(`${shown(record.name)} has ${record.bytes} bytes, the limit is ${limit}`);
  const bytes = await readRange(source, await recordPosition(source, record), record.bytes);
  if (record.crc32 !== 0 && record.crc32 !== crc32(bytes)) {
    throw invalid(`${shown(record.name)} in the zip is damaged: its CRC-32 differs`);
  }
  return bytes;
}
