/** The objects below a folder in key order. One folder's names are in memory at a time for each level of depth. */
import fs from "node:fs/promises";
import path from "node:path";
import { ifPresent } from "../file-problems.ts";
import { compareKeys } from "../keys.ts";
import type { ObjectInfo } from "../object-store.ts";
import { type Entry, entryOf, folderPath } from "./paths.ts";

/** Files whose metadata is asked for at once. */
const STAT_BATCH = 64;

export interface Look {
  bytes: number;
  etag: string;
  modifiedAt: Date;
}

/**
 * What identifies a content: objects are never written in place, and two files have the same inode only one after the
 * other, at different times.
 */
export function lookAt(stat: { ino: bigint; mtimeNs: bigint; size: bigint; mtime: Date }): Look {
  const etag = [stat.ino, stat.mtimeNs, stat.size].map((n) => n.toString(36)).join("-");
  return { bytes: Number(stat.size), etag, modifiedAt: stat.mtime };
}

/** Objects that begin with `prefix` and come after `after`. What disappears meanwhile is left out. */
export async function* walk(root: string, prefix: string, after: string | undefined): AsyncGenerator<ObjectInfo> {
  const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  yield* walkFolder(path.join(root, folderPath(folder)), folder, prefix.slice(folder.length), after);
}

async function* walkFolder(
  directory: string,
  folder: string,
  start: string,
  after: string | undefined,
): AsyncGenerator<ObjectInfo> {
  let files: { key: string; file: string }[] = [];
  for (const { name, kind, fileName } of await entriesOf(directory, start)) {
    const key = folder + name;
    if (kind === "object") {
      if (after === undefined || compareKeys(key, after) > 0) files.push({ key, file: path.join(directory, fileName) });
      if (files.length < STAT_BATCH) continue;
    }
    yield* looks(files);
    files = [];
    if (kind === "folder" && !isBefore(`${key}/`, after)) {
      yield* walkFolder(path.join(directory, fileName), `${key}/`, "", after);
    }
  }
  yield* looks(files);
}

async function* looks(files: { key: string; file: string }[]): AsyncGenerator<ObjectInfo> {
  const stats = await Promise.all(files.map(({ file }) => ifPresent(fs.lstat(file, { bigint: true }))));
  for (const [i, stat] of stats.entries()) {
    if (stat !== undefined) yield { key: files[i]!.key, ...lookAt(stat) };
  }
}

/** Whether all keys of a folder come before `after`. */
function isBefore(folder: string, after: string | undefined): boolean {
  return after !== undefined && !after.startsWith(folder) && compareKeys(folder, after) < 0;
}

/** The names of a directory that begin with `start`, a folder sorted by its name with the slash. */
async function entriesOf(directory: string, start: string): Promise<(Entry & { fileName: string })[]> {
  const names = (await ifPresent(fs.readdir(directory))) ?? [];
  return names
    .map((fileName) => ({ ...entryOf(fileName), fileName }))
    .filter(({ name }) => name.startsWith(start))
    .map((entry) => ({ entry, key: entry.kind === "folder" ? `${entry.name}/` : entry.name }))
    .sort((a, b) => compareKeys(a.key, b.key))
    .map(({ entry }) => entry);
}

/** The folders directly below a prefix that hold an object at any depth. */
export async function* folders(root: string, prefix: string): AsyncGenerator<string> {
  const directory = path.join(root, folderPath(prefix));
  for (const { kind, name, fileName } of await entriesOf(directory, "")) {
    if (kind === "folder" && (await hasObject(path.join(directory, fileName)))) yield name;
  }
}

async function hasObject(directory: string): Promise<boolean> {
  const names = ((await ifPresent(fs.readdir(directory))) ?? []).map((fileName) => ({
    ...entryOf(fileName),
    fileName,
  }));
  if (names.some(({ kind }) => kind === "object")) return true;
  for (const { fileName } of names) if (await hasObject(path.join(directory, fileName))) return true;
  return false;
}

/** How many objects lie in a directory. */
export async function countObjects(directory: string): Promise<number> {
  let count = 0;
  for (const { kind, fileName } of await entriesOf(directory, "")) {
    count += kind === "object" ? 1 : await countObjects(path.join(directory, fileName));
  }
  return count;
}
