/**
 * Files on their way in (or out), in the store's own file system so that link and rename work.
 *
 * A name tells its writer: `<machine>.<pid>.<start>.<random>`. Opening the store removes what dead writers of this
 * machine left, and what is a day old. `machine` is the boot and the pid name space: containers that share the
 * folder cannot judge each other's pids, and do not.
 */
import { createHash, randomUUID } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { ifPresent } from "../file-problems.ts";

const MAX_AGE_MS = 24 * 3600 * 1000;

export class TempFiles {
  readonly #folder: string;
  readonly #owner: string;

  private constructor(folder: string, owner: string) {
    this.#folder = folder;
    this.#owner = owner;
  }

  /** Makes the folder and sweeps it. */
  static async open(folder: string): Promise<TempFiles> {
    await fs.mkdir(folder, { recursive: true });
    const machine = await machineId();
    for (const name of await fs.readdir(folder)) {
      if (await isAbandoned(path.join(folder, name), name, machine)) {
        await fs.rm(path.join(folder, name), { recursive: true, force: true });
      }
    }
    return new TempFiles(folder, `${machine}.${process.pid}.${await startOf(process.pid)}`);
  }

  /** A path that nobody else uses. */
  newPath(): string {
    return path.join(this.#folder, `${this.#owner}.${randomUUID()}`);
  }

  /**
   * Writes a file and waits until its bytes are on disk. The caller gets its path and what `look` saw of it, and
   * removes it; after an error nothing is left.
   */
  async write<T>(
    chunks: AsyncIterable<Buffer> | Buffer,
    look: (handle: FileHandle) => Promise<T>,
  ): Promise<{ file: string; seen: T }> {
    const file = this.newPath();
    try {
      const handle = await fs.open(file, "wx");
      try {
        await handle.writeFile(chunks);
        await handle.datasync();
        return { file, seen: await look(handle) };
      } finally {
        await handle.close();
      }
    } catch (error) {
      await fs.rm(file, { force: true });
      throw error;
    }
  }
}

async function machineId(): Promise<string> {
  const boot = await ifPresent(fs.readFile("/proc/sys/kernel/random/boot_id", "utf8"));
  const space = await ifPresent(fs.readlink("/proc/self/ns/pid"));
  return createHash("sha256")
    .update(`${boot ?? os.hostname()} ${space}`)
    .digest("hex")
    .slice(0, 12);
}

/** Clock ticks from boot to the process' start (field 22 of proc(5) stat); `0` where there is no /proc. */
async function startOf(pid: number): Promise<string> {
  // Reading the file of a process that ends at this moment gives ESRCH.
  const stat = await fs.readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "0";
}

async function isAbandoned(file: string, name: string, machine: string): Promise<boolean> {
  const stat = await ifPresent(fs.lstat(file));
  if (stat === undefined) return false;
  if (Date.now() - stat.mtimeMs > MAX_AGE_MS) return true;
  const [owner, pid, start] = name.split(".");
  if (owner !== machine) return false;
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
  return (await startOf(Number(pid))) !== start;
}
