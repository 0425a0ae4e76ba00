/** Errors of the file system as problems of the catalogue. */
import { CardinalError, type ProblemCode, problem } from "@cardinal/contracts";

const CODES: Record<string, ProblemCode> = {
  ENOSPC: "store_full",
  EDQUOT: "store_full",
  EFBIG: "store_full",
  EACCES: "store_misconfigured",
  EPERM: "store_misconfigured",
  ENOTDIR: "store_misconfigured",
  EROFS: "store_misconfigured",
  EXDEV: "store_misconfigured",
  EIO: "store_unavailable",
  ENODEV: "store_unavailable",
  ENXIO: "store_unavailable",
  ESTALE: "store_unavailable",
  ENOTCONN: "store_unavailable",
  EMFILE: "store_unavailable",
  ENFILE: "store_unavailable",
  ENOENT: "store_unavailable",
};

/** `ENOENT` and the like, of any thrown value. */
export function errno(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/** What to throw to the caller for what the file system threw; anything that is not its error stays what it is. */
export function fileProblem(error: unknown, store: string): unknown {
  if (error instanceof CardinalError) return error;
  const code = CODES[errno(error) ?? ""];
  if (code === undefined) return error;
  return problem(code, `${store}: ${(error as Error).message}`, { errno: errno(error) }, error);
}

/** Resolves to undefined where the file system says that there is nothing. */
export async function ifPresent<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (errno(error) === "ENOENT") return undefined;
    throw error;
  }
}
