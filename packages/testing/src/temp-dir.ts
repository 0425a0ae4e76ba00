import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

export interface TempDir extends AsyncDisposable {
  /** Full path of a fresh, empty folder. */
  path: string;
}

/** A folder of the test's own, removed with all its content at the end of the `await using` scope. */
export async function tempDir(name = "test"): Promise<TempDir> {
  const folder = await mkdtemp(path.join(tmpdir(), `cardinal-${name}-`));
  return {
    path: folder,
    // A process that was just killed may still be closing files in it: rm tries again on ENOTEMPTY and EBUSY.
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 }),
  };
}
