/**
 * The cache of native parts: one folder an entry, outside the tree and outside node_modules, so that neither
 * `npm ci` nor `git clean` throws half a gigabyte of libraries away.
 *
 * States of an entry:  absent -> (built in a temp folder beside it) -> complete -> (a file lost) -> broken -> absent
 * Invariants:
 * - `<root>/<key>` appears by one rename of a finished folder, so a process that dies while building leaves only a
 *   temp folder, which a later set-up sweeps.
 * - A complete entry holds `stamp.json`, written last: the size of every file. Checking an entry is one stat a file
 *   (no hashing of 850 MB); downloads were checked by SHA-256 before they were unpacked.
 * - Two set-ups at once build twice and the first rename wins: nothing is ever half replaced and there is no lock
 *   that a killed process could leave behind.
 */
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { homedir, hostname } from "node:os";
import path from "node:path";

const STAMP = "stamp.json";
const TEMP_PREFIX = "tmp-";
const TEMP_MAX_AGE_MS = 24 * 3600 * 1000;

/** `CARDINAL_CACHE_DIR`, else `$XDG_CACHE_HOME/cardinal`, else `~/.cache/cardinal`. */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  if (env.CARDINAL_CACHE_DIR) return path.resolve(env.CARDINAL_CACHE_DIR);
  if (env.XDG_CACHE_HOME) return path.join(path.resolve(env.XDG_CACHE_HOME), "cardinal");
  return path.join(homedir(), ".cache", "cardinal");
}

/** The folder of a complete entry, or undefined when it is absent or broken. */
export function findEntry(key: string): string | undefined {
  const folder = path.join(cacheRoot(), key);
  try {
    const stamp: Record<string, number> = JSON.parse(readFileSync(path.join(folder, STAMP), "utf8"));
    for (const [name, size] of Object.entries(stamp)) {
      if (statSync(path.join(folder, name)).size !== size) return undefined;
    }
    return folder;
  } catch (error) {
    if (error instanceof SyntaxError || hasCode(error, "ENOENT") || hasCode(error, "ENOTDIR")) return undefined;
    throw error;
  }
}

/**
 * The folder of entry `key`, built by `build` (which fills the empty folder that it is given) when there is none.
 * `built` tells whether this call did the work.
 */
export async function ensureEntry(
  key: string,
  build: (folder: string) => Promise<void>,
): Promise<{ folder: string; built: boolean }> {
  const found = findEntry(key);
  if (found) return { folder: found, built: false };
  const root = cacheRoot();
  mkdirSync(root, { recursive: true });
  await sweepTemps(root);
  const temp = await mkdtemp(path.join(root, tempName()));
  try {
    await build(temp);
    writeFileSync(path.join(temp, STAMP), JSON.stringify(sizes(temp), undefined, 1));
    chmodSync(temp, 0o755); // mkdtemp makes it private; a service user may run what root set up
    return { folder: await publish(temp, key), built: true };
  } finally {
    await rm(temp, { recursive: true, force: true });
  }
}

/** Removes an entry, atomically: it is moved to a temp name first. */
export async function dropEntry(key: string): Promise<void> {
  const root = cacheRoot();
  const trash = await mkdtemp(path.join(root, tempName()));
  try {
    await rename(path.join(root, key), path.join(trash, "entry"));
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  } finally {
    await rm(trash, { recursive: true, force: true });
  }
}

async function publish(temp: string, key: string): Promise<string> {
  const target = path.join(cacheRoot(), key);
  for (let tries = 0; ; tries += 1) {
    try {
      await rename(temp, target);
      return target;
    } catch (error) {
      const taken = hasCode(error, "ENOTEMPTY") || hasCode(error, "EEXIST") || hasCode(error, "EPERM");
      if (!taken || tries === 3) throw error;
      const other = findEntry(key); // another set-up was quicker: its entry is as good as ours
      if (other) return other;
      await dropEntry(key); // a broken one is in the way
    }
  }
}

/** Sizes by relative path of every file (symbolic links by what they point to). */
function sizes(folder: string): Record<string, number> {
  const result: Record<string, number> = {};
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isDirectory()) continue;
    const file = path.join(entry.parentPath, entry.name);
    result[path.relative(folder, file)] = statSync(file).size;
  }
  return result;
}

/** Temp folders carry machine and process, so that only those of dead processes of this machine are swept early. */
function tempName(): string {
  return `${TEMP_PREFIX}${hostname()}~${process.pid}~`;
}

async function sweepTemps(root: string): Promise<void> {
  for (const name of readdirSync(root)) {
    if (!name.startsWith(TEMP_PREFIX)) continue;
    const [host, pid] = name.slice(TEMP_PREFIX.length).split("~");
    const folder = path.join(root, name);
    const age = Date.now() - (statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    const dead = host === hostname() && !isAlive(Number(pid));
    if (dead || age > TEMP_MAX_AGE_MS) await rm(folder, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, "EPERM");
  }
}

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code;
}
