/** The text of a pointer: JSON, and white space that makes it unique. */
import { randomBytes } from "node:crypto";
import { problem } from "@cardinal/contracts";

const MAX_POINTER_BYTES = 1024 * 1024;

/**
 * JSON followed by 64 random bits, written as blanks and tabs, and a line feed. S3's etag is the MD5 of the content:
 * with these bits two swaps to the same value have two etags, and a writer that has slept through both sees that.
 */
export function encodePointer(key: string, value: unknown): Buffer {
  const json = JSON.stringify(value);
  if (json === undefined) throw problem("invalid_request", `the value for ${key} has no JSON form`, { key });
  const bits = Array.from(randomBytes(8), (byte) => byte.toString(2).padStart(8, "0")).join("");
  const text = Buffer.from(`${json}${bits.replaceAll("0", " ").replaceAll("1", "\t")}\n`);
  if (text.length <= MAX_POINTER_BYTES) return text;
  throw problem("invalid_request", `the value for ${key} has ${text.length} bytes; ${MAX_POINTER_BYTES} are allowed`, {
    key,
    bytes: text.length,
  });
}

export function decodePointer(key: string, text: Buffer): unknown {
  try {
    return JSON.parse(text.toString());
  } catch (cause) {
    throw problem("internal_error", `the object ${key} is not JSON`, { key }, cause);
  }
}

export function changed(key: string): Error {
  return problem("object_changed", `${key} was changed by somebody else`, { key });
}

export function exists(key: string): Error {
  return problem("object_exists", `there is an object ${key} already`, { key });
}

export function notFound(key: string): Error {
  return problem("object_not_found", `there is no object ${key}`, { key });
}
