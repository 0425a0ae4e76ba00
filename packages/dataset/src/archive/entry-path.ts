/** Names of archive entries: how their bytes become text, and which of them are refused. */
import { problem } from "@cardinal/contracts";
import { getFileNameLowLevel } from "yauzl";
import { shownEntry } from "./archive.ts";
import type { RawEntry } from "./yauzl-types.ts";

const UTF8_FLAG = 0x800;

/**
 * The name of an entry. UTF-8 when its flag says so or the Unicode extra field holds it; else, as macOS and some Linux
 * tools write UTF-8 without the flag, UTF-8 when the bytes are valid as such (text in code page 437 practically never
 * is), and code page 437 when they are not. Backslashes, which some Windows tools write, become slashes.
 */
export function entryName(entry: RawEntry): string {
  const utf8 = (entry.generalPurposeBitFlag & UTF8_FLAG) !== 0 || isUtf8(entry.fileNameRaw);
  return getFileNameLowLevel(utf8 ? UTF8_FLAG : 0, entry.fileNameRaw, entry.extraFields, false);
}

function isUtf8(bytes: Buffer): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/**
 * The path that an entry's name stands for, without empty and `.` segments; empty for the archive's own folder.
 * Throws `unsafe_archive_entry` for what would leave the folder or is not plain: absolute paths, drive letters, `..`
 * segments, NUL. `..foo.jpg` is an ordinary name.
 */
export function safePath(name: string): string {
  if (name.includes("\0")) throw unsafe(name, "has a NUL character");
  if (name.startsWith("/")) throw unsafe(name, "is an absolute path");
  if (/^[a-z]:/i.test(name)) throw unsafe(name, "begins with a drive letter");
  const segments = name.split("/").filter((segment) => segment !== "" && segment !== ".");
  if (segments.includes("..")) throw unsafe(name, "has a segment '..'");
  return segments.join("/");
}

const FILE_TYPE = 0o170000;
const REGULAR = 0o100000;
const FOLDER = 0o040000;

/** Throws `unsafe_archive_entry` for symbolic links, devices and the like: Unix modes stand in the upper 16 bits. */
export function assertPlain(name: string, externalFileAttributes: number): void {
  const type = (externalFileAttributes >>> 16) & FILE_TYPE;
  if (type === 0 || type === REGULAR || type === FOLDER) return;
  throw unsafe(name, type === 0o120000 ? "is a symbolic link" : "is neither a file nor a folder");
}

export function unsafe(name: string, why: string) {
  return problem("unsafe_archive_entry", `${shownEntry(name)} ${why}`, { entry: name.slice(0, 200) });
}
