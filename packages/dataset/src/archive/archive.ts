/** What an ingest needs of an archive, of whatever kind, and the bounds within which one is accepted. */
import { type CardinalError, problem } from "@cardinal/contracts";

export interface ArchiveEntry {
  path: string;
  folder: boolean;
  /** Unpacked, as declared; reading checks it. */
  bytes: number;
}

export interface ArchiveLimits {
  /** An archive of so many entries or more is refused. */
  entries: number;
  /** Bytes that all entries together may unpack to. */
  unpackedBytes: number;
  /** How often the size of the packed bytes an entry, or the whole archive, may unpack to, from `ratioFrom` bytes on. */
  ratio: number;
  ratioFrom: number;
}

/** Photographs do not shrink in an archive; deflate itself ends at a ratio of 1,032. */
export const ARCHIVE_LIMITS: ArchiveLimits = {
  entries: 200_000,
  unpackedBytes: 64 * 2 ** 30,
  ratio: 100,
  ratioFrom: 32 * 2 ** 20,
};

export interface Archive<E extends ArchiveEntry = ArchiveEntry> extends AsyncDisposable {
  /** In the order of the archive, without its own root. */
  entries: E[];
  /** An entry's bytes, checked against what the archive tells of them: `invalid_archive`, `archive_too_large`. */
  read(entry: E): Promise<Buffer>;
}

export interface OpenOptions {
  limits: ArchiveLimits;
  signal?: AbortSignal;
  /** Hears of packed bytes as they are read, where opening reads the whole archive. */
  onRead?(bytes: number): void;
}

/** An entry as messages call it. */
export const shownEntry = (path: string): string => `the archive entry ${JSON.stringify(path.slice(0, 200))}`;

export function tooManyEntries(entries: number, limit: number): CardinalError {
  return problem("archive_too_large", `the archive has ${entries} entries; ${limit} are too many`, { entries, limit });
}

export function tooLarge(what: string, bytes: number, limit: number): CardinalError {
  return problem("archive_too_large", `${what} unpacks to ${bytes} bytes; the limit is ${limit}`, { bytes, limit });
}

export function assertRatio(what: string, bytes: number, packed: number, limits: ArchiveLimits): void {
  if (bytes < limits.ratioFrom || bytes <= limits.ratio * packed) return;
  throw problem(
    "archive_too_large",
    `${what} would unpack ${packed} bytes to ${bytes}, more than ${limits.ratio} times`,
    { bytes, packed },
  );
}

export function nameTwice(path: string): CardinalError {
  return problem("invalid_archive", `the archive has two entries named ${JSON.stringify(path)}`);
}

/** A defect of the archive as a problem; errors of the file system (`ENOENT`, `EIO`) stay what they are. */
export function invalid(error: unknown, entry?: string): unknown {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (code !== undefined && syscall !== undefined) return error;
  const where = entry === undefined ? "the archive" : shownEntry(entry);
  return problem("invalid_archive", `${where} cannot be read: ${message}`, undefined, error);
}
