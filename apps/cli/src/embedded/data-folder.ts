/**
 * The data folder of the embedded system: everything that must be there again at the next start.
 *
 *   redis/    the append-only file of Redis           store/    the directory object store
 *   logs/     one file a process                      models/   the workers' cache of models
 *   api-key   the bearer key, mode 600                lock      process id of the system that uses the folder
 */
import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";

export interface DataFolder {
  path: string;
  redis: string;
  store: string;
  logs: string;
  models: string;
  apiKey: string;
  apiKeyFile: string;
  /** True when the key was made just now. */
  keyIsNew: boolean;
  /** Password of the embedded Redis: other users of the machine can reach its port. */
  redisPassword: string;
  unlock(): Promise<void>;
}

/** Folders of the system itself. */
const OWN = ["redis", "store", "logs", "models"];
/** What a fresh start empties; the demo writes its images to `digits`. */
const EMPTIED = [...OWN, "digits"];

/** A folder that cannot be used; the message is for the user. */
export class DataFolderError extends Error {
  override readonly name = "DataFolderError";
}

/**
 * Makes what is missing and locks the folder; refuses one that a live system uses. `fresh` empties what the system
 * itself has made; whatever else lies in the folder stays, and a folder that is not the system's is refused before
 * anything in it is lost.
 */
export async function openDataFolder(path: string, fresh: boolean): Promise<DataFolder> {
  const root = resolve(path);
  await mkdir(root, { recursive: true, mode: 0o700 });
  if (fresh) await refuseForeign(root);
  const unlock = await lock(join(root, "lock"), root);
  const folder = (name: string) => join(root, name);
  for (const name of OWN) {
    if (fresh) await rm(folder(name), { recursive: true, force: true });
    await mkdir(folder(name), { recursive: true });
  }
  const key = await secret(folder("api-key"));
  const password = await secret(folder("redis-password"));
  return {
    path: root,
    redis: folder("redis"),
    store: folder("store"),
    logs: folder("logs"),
    models: folder("models"),
    apiKey: key.value,
    apiKeyFile: folder("api-key"),
    keyIsNew: key.isNew,
    redisPassword: password.value,
    unlock,
  };
}

/** A folder with the names of ours but without our key holds somebody else's data. */
async function refuseForeign(root: string): Promise<void> {
  const there = await readdir(root);
  if (there.includes("api-key")) return;
  for (const name of EMPTIED.filter((name) => there.includes(name))) {
    const content = await readdir(join(root, name)).catch(() => ["a file"]);
    if (content.length === 0) continue;
    throw new DataFolderError(
      `${root} has a folder ${name} that Cardinal did not make and would empty: give another --data-dir`,
    );
  }
}

async function secret(file: string): Promise<{ value: string; isNew: boolean }> {
  try {
    const value = (await readFile(file, "utf8")).trim();
    if (value !== "") return { value, isNew: false };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const value = randomBytes(24).toString("base64url");
  await writeFile(file, `${value}\n`, { mode: 0o600 });
  return { value, isNew: true };
}

/** Folders that this very process has locked. */
const ours = new Set<string>();

async function lock(file: string, root: string): Promise<() => Promise<void>> {
  for (let tries = 0; tries < 3; tries++) {
    try {
      await writeFile(file, `${process.pid} ${await startOf(process.pid)}\n`, { flag: "wx" });
      ours.add(root);
      return async () => {
        await rm(file, { force: true });
        ours.delete(root);
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const owner = await readFile(file, "utf8").catch(() => "");
    if (ours.has(root) || (await isRunning(owner))) {
      throw new DataFolderError(
        `${root} is in use by process ${owner.split(" ")[0]}: stop that one, or give another --data-dir`,
      );
    }
    // Left by a system that was killed.
    await rm(file, { force: true });
  }
  throw new DataFolderError(`${root} cannot be locked: another process takes it again and again`);
}

/** Process ids are used again, after a reboot or in a container even at once: the time of the start tells them apart. */
async function isRunning(owner: string): Promise<boolean> {
  const [pid, start] = owner.trim().split(" ");
  return pid !== undefined && Number(pid) > 0 && (await startOf(Number(pid))) === start;
}

/** When a process began, in the kernel's clock ticks since boot; elsewhere only whether it runs; `none` if it does not. */
async function startOf(pid: number): Promise<string> {
  if (process.platform === "linux") {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
    // "pid (name) state …": the name may hold spaces and brackets; the start is field 22.
    return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "none";
  }
  try {
    process.kill(pid, 0);
    return "running";
  } catch {
    return "none";
  }
}
