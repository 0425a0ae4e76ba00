/** Giving files their names in folders that come and go. */
import fs from "node:fs/promises";
import path from "node:path";
import { errno } from "../file-problems.ts";
import type { DirectorySync } from "./directory-sync.ts";

/** A folder that is made can be removed as empty by somebody else before it is used; that often in a row it is not. */
const TRIES = 50;

export type Place = (temp: string, target: string, how: "link" | "rename") => Promise<void>;

/**
 * Gives a temp file its name, making the folders that it needs, and makes the name durable now or with the next that
 * is. `link` throws EEXIST where there is a file.
 */
export function placer(sync: DirectorySync, deferred: boolean | undefined): Place {
  return async (temp, target, how) => {
    // Names that waited come before this one, also on a disk that loses power in between.
    if (!deferred) await sync.now();
    const directory = path.dirname(target);
    const changed = [directory];
    for (let tries = 1; ; tries++) {
      try {
        await fs[how](temp, target);
        break;
      } catch (error) {
        if (errno(error) !== "ENOENT" || tries === TRIES) throw error;
        await fs.access(temp);
        changed.push(...parentsOf(await fs.mkdir(directory, { recursive: true }), directory));
      }
    }
    if (deferred) sync.later(changed);
    else await sync.now(changed);
  };
}

/** The directories whose entries changed when `made` and all below it down to `directory` were made. */
function parentsOf(made: string | undefined, directory: string): string[] {
  if (made === undefined) return [];
  const parents: string[] = [];
  for (let at = directory; at.length >= made.length; at = path.dirname(at)) parents.push(path.dirname(at));
  return parents;
}

/** Removes empty folders from `directory` up to, but without, `top`. */
export async function pruneEmpty(directory: string, top: string): Promise<void> {
  for (let at = directory; at !== top && at.startsWith(top); at = path.dirname(at)) {
    try {
      await fs.rmdir(at);
    } catch (error) {
      if (errno(error) === "ENOENT") continue;
      if (errno(error) === "ENOTEMPTY" || errno(error) === "EEXIST") return;
      throw error;
    }
  }
}
