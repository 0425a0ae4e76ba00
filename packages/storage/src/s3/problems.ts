/** Errors of S3 and of the way to it: which can heal by themselves, and which problem of the catalogue they are. */
import { CardinalError, type ProblemCode, problem } from "@cardinal/contracts";
import { notFound } from "../pointers.ts";
import { IdleTimeout, StatusError } from "./transport.ts";

/** The network's errors: the server may not be up yet, or not any more. */
const NETWORK = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENETDOWN",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ERR_STREAM_PREMATURE_CLOSE",
]);

const FULL = new Set(["QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientCapacity"]);
const REFUSED = new Set([301, 307, 400, 401, 403, 405]);

export const statusOf = (error: unknown): number | undefined =>
  error instanceof StatusError ? error.status : undefined;

const codeOf = (error: unknown): string => String((error as { code?: unknown } | null)?.code ?? "");

/** Whether the very same request may succeed in a moment. */
export function isTransient(error: unknown): boolean {
  if (error instanceof IdleTimeout) return true;
  if (!(error instanceof StatusError)) return NETWORK.has(codeOf(error));
  if (FULL.has(error.code) || error.status === 501 || error.status === 507) return false;
  // Another conditional write of the key was under way: S3 asks to try again.
  if (error.status === 409) return error.code === "ConditionalRequestConflict" || error.code === "OperationAborted";
  return error.status >= 500 || error.status === 429 || error.status === 408;
}

/** What to throw to the caller. `key` is the object that the request was about. */
export function s3Problem(error: unknown, store: string, key?: string): unknown {
  if (error instanceof CardinalError) return error;
  if (error instanceof IdleTimeout) return problem("store_timeout", `${store}: ${error.message}`, { key }, error);
  if (!(error instanceof StatusError)) {
    if (!NETWORK.has(codeOf(error))) return error;
    return problem("store_unavailable", `${store}: ${(error as Error).message || codeOf(error)}`, { key }, error);
  }
  if (key !== undefined && error.status === 404 && error.code !== "NoSuchBucket") return notFound(key);
  const details = { key, status: error.status, s3: error.code };
  return problem(problemCode(error), `${store}: ${error.message}`, details, error);
}

function problemCode(error: StatusError): ProblemCode {
  if (FULL.has(error.code) || error.status === 507) return "store_full";
  if (error.code === "NoSuchBucket" || REFUSED.has(error.status)) return "store_misconfigured";
  return isTransient(error) ? "store_unavailable" : "internal_error";
}
