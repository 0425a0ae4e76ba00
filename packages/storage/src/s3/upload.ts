/**
 * Putting an object. Nothing is sent before all of it is there and checked, so a dead source leaves no trace.
 *
 * Small bodies go in one request. Larger ones go in parts under an upload id of their own (the client's `putObject`
 * takes up any open upload of the key, so two writers would mix); the id is aborted when the put fails. What a killed
 * process leaves is swept when the store is opened, see `sweepUploads`.
 *
 * Conditions (`if-none-match`, `if-match`) are decided by the server. An answer can get lost after the server has
 * stored the object; the repeated request then fails on its own first. So every put has an id in the object's metadata,
 * and after a failed condition on a repeated request it is looked up.
 */
import { randomUUID } from "node:crypto";
import { problem } from "@cardinal/contracts";
import { XMLParser } from "fast-xml-parser";
import { type Bucket, bareEtag } from "./bucket.ts";
import { statusOf } from "./problems.ts";
import { withRetries } from "./retries.ts";
import { SMALL_BYTES, type Spooled } from "./spool.ts";

const MIB = 1024 * 1024;
const PART_BYTES = 8 * MIB;
const MAX_PARTS = 10_000;
const MAX_UPLOAD_AGE_MS = 24 * 3600 * 1000;
const xml = new XMLParser({ parseTagValue: false });

export type Condition = { "if-none-match": "*" } | { "if-match": string } | Record<string, never>;

/** Gives the new object's etag, or undefined when the condition did not hold. */
export async function upload(
  bucket: Bucket,
  key: string,
  body: Spooled,
  condition: Condition,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const putId = randomUUID();
  const headers = {
    "x-amz-meta-put": putId,
    "x-amz-meta-sha256": body.sha256,
    "content-type": "application/octet-stream",
  };
  if (body.bytes > SMALL_BYTES) return await uploadParts(bucket, key, body, headers, condition, signal);
  const whole = await body.read(Buffer.allocUnsafe(body.bytes), 0);
  return await conditional(bucket, key, putId, signal, async () => {
    const answer = await bucket.once({
      method: "PUT",
      key,
      headers: { ...headers, ...condition },
      body: whole,
      signal,
    });
    return bareEtag(answer.headers.etag);
  });
}

/** Repeats a conditional write, and finds out whether a condition failed on the write's own earlier attempt. */
async function conditional(
  bucket: Bucket,
  key: string,
  putId: string,
  signal: AbortSignal | undefined,
  write: () => Promise<string>,
): Promise<string | undefined> {
  return await withRetries(signal, async (attempt) => {
    try {
      return await write();
    } catch (error) {
      const status = statusOf(error);
      // 404: `if-match` of an object that is gone, or an upload id that an earlier attempt has completed.
      if (status !== 412 && status !== 404) throw error;
      const stored = attempt > 1 ? await bucket.stat(key, signal) : undefined;
      if (stored?.putId === putId) return stored.etag;
      if (status === 404 && (error as { code?: string }).code !== "NoSuchKey") throw error;
      return undefined;
    }
  });
}

async function uploadParts(
  bucket: Bucket,
  key: string,
  body: Spooled,
  headers: Record<string, string>,
  condition: Condition,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const uploadId = await begin(bucket, key, headers, signal);
  try {
    const partBytes = Math.max(PART_BYTES, Math.ceil(body.bytes / MAX_PARTS / MIB) * MIB);
    const room = Buffer.allocUnsafe(partBytes);
    const parts: string[] = [];
    for (let start = 0; start < body.bytes; start += partBytes) {
      const part = await body.read(room, start);
      const query = { uploadId, partNumber: String(parts.length + 1) };
      const answer = await bucket.call({ method: "PUT", key, query, body: part, signal });
      parts.push(bareEtag(answer.headers.etag));
    }
    const putId = headers["x-amz-meta-put"] as string;
    const etag = await conditional(bucket, key, putId, signal, () =>
      complete(bucket, key, uploadId, parts, condition, signal),
    );
    if (etag === undefined) await abort(bucket, key, uploadId);
    else await assertSize(bucket, key, body, etag, signal);
    return etag;
  } catch (error) {
    // The reason of the failure is what the caller must hear; an upload that stays is swept later.
    await abort(bucket, key, uploadId).catch(() => {});
    throw error;
  }
}

async function begin(
  bucket: Bucket,
  key: string,
  headers: Record<string, string>,
  signal?: AbortSignal,
): Promise<string> {
  const { body } = await bucket.call({ method: "POST", key, query: { uploads: "" }, headers, signal });
  const uploadId = xml.parse(body)?.InitiateMultipartUploadResult?.UploadId;
  if (typeof uploadId === "string" && uploadId !== "") return uploadId;
  throw problem("store_unavailable", `the answer to the begin of an upload of ${key} has no id`, { key });
}

async function complete(
  bucket: Bucket,
  key: string,
  uploadId: string,
  parts: string[],
  condition: Condition,
  signal?: AbortSignal,
): Promise<string> {
  const list = parts.map((etag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>"${etag}"</ETag></Part>`).join("");
  const body = Buffer.from(`<CompleteMultipartUpload>${list}</CompleteMultipartUpload>`);
  const answer = await bucket.once({
    method: "POST",
    key,
    query: { uploadId },
    headers: { ...condition },
    body,
    signal,
  });
  // S3 can tell an error after it has sent status 200.
  const result = xml.parse(answer.body)?.CompleteMultipartUploadResult;
  if (typeof result?.ETag === "string") return bareEtag(result.ETag.replaceAll("&quot;", '"').replaceAll("&#34;", '"'));
  const told = answer.body.toString().slice(0, 300);
  throw problem("store_unavailable", `the upload of ${key} was not completed: ${told}`, { key });
}

async function assertSize(
  bucket: Bucket,
  key: string,
  body: Spooled,
  etag: string,
  signal?: AbortSignal,
): Promise<void> {
  const stored = await bucket.stat(key, signal);
  if (stored === undefined || stored.etag !== etag || stored.bytes === body.bytes) return;
  const details = { key, expected: body.bytes, bytes: stored.bytes };
  throw problem("store_unavailable", `the store has ${stored.bytes} bytes of ${key}; ${body.bytes} were sent`, details);
}

async function abort(bucket: Bucket, key: string, uploadId: string): Promise<void> {
  try {
    await bucket.call({ method: "DELETE", key, query: { uploadId } });
  } catch (error) {
    if (statusOf(error) !== 404) throw error;
  }
}

/** Aborts uploads that were begun more than a day ago: their writers are dead. */
export async function sweepUploads(bucket: Bucket): Promise<void> {
  for await (const { key, uploadId, initiated } of bucket.client.listIncompleteUploads(bucket.name, "", true)) {
    if (uploadId && Date.now() - new Date(initiated).getTime() > MAX_UPLOAD_AGE_MS) await abort(bucket, key, uploadId);
  }
}
