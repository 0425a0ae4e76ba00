/** Opens an archive by what its bytes say it is: zip, tar, or tar packed by gzip. Its name does not count. */
import { open } from "node:fs/promises";
import { ARCHIVE_LIMITS, type Archive, type ArchiveLimits, type OpenOptions } from "./archive.ts";
import { openTar } from "./tar-archive.ts";
import { openZip } from "./zip-archive.ts";

const TAR_MAGIC_AT = 257;

/**
 * Throws `invalid_archive` (none of these kinds, damaged, a name twice), `unsafe_archive_entry` or `archive_too_large`.
 * Of a tar the images are unpacked to a file beside the archive, which goes with it when it is disposed of.
 */
export async function openArchive(
  path: string,
  options: Partial<Omit<OpenOptions, "limits">> & { limits?: Partial<ArchiveLimits> } = {},
): Promise<Archive> {
  const filled = { ...options, limits: { ...ARCHIVE_LIMITS, ...options.limits } };
  const head = await headOf(path);
  if (head[0] === 0x1f && head[1] === 0x8b) return openTar(path, { ...filled, gzip: true });
  if (head.toString("latin1", TAR_MAGIC_AT, TAR_MAGIC_AT + 5) === "ustar") {
    return openTar(path, { ...filled, gzip: false });
  }
  return openZip(path, filled.limits) as Promise<Archive>;
}

async function headOf(path: string): Promise<Buffer> {
  await using file = await open(path);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(512), 0, 512, 0);
  return buffer.subarray(0, bytesRead);
}
