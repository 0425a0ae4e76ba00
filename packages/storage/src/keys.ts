/** Which keys are legal, and their order. Both stores take exactly these, so an object can move between them. */
import { problem } from "@cardinal/contracts";

/** Bytes of UTF-8, as in S3. */
export const MAX_KEY_BYTES = 1024;
/** Bytes of UTF-8 between two slashes: the 255 of Linux file systems less one, see `directory/paths.ts`. */
export const MAX_SEGMENT_BYTES = 254;

/** Control characters cannot stand in the XML of S3's listings. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/;

function refuse(what: string, text: string, why: string): never {
  throw problem("invalid_name", `${what} ${JSON.stringify(text.slice(0, 200))} ${why}`, { [what]: text.slice(0, 200) });
}

function assertText(what: string, text: string): void {
  if (!text.isWellFormed()) refuse(what, text, "is not well-formed Unicode");
  if (CONTROL.test(text)) refuse(what, text, "has a control character");
  // SeaweedFS takes it for a slash, so that two keys would be one object.
  if (text.includes("\\")) refuse(what, text, "has a backslash");
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_KEY_BYTES) refuse(what, text, `has ${bytes} bytes of UTF-8; ${MAX_KEY_BYTES} are allowed`);
}

function assertSegment(what: string, text: string, segment: string): void {
  if (segment === "") refuse(what, text, "has an empty segment");
  if (segment === "." || segment === "..") refuse(what, text, `has a segment '${segment}'`);
  const bytes = Buffer.byteLength(segment);
  if (bytes > MAX_SEGMENT_BYTES)
    refuse(what, text, `has a segment of ${bytes} bytes; ${MAX_SEGMENT_BYTES} are allowed`);
}

/** Throws `invalid_name` unless the key is legal in every store. */
export function assertKey(key: string): void {
  assertText("key", key);
  for (const segment of key.split("/")) assertSegment("key", key, segment);
}

/** Throws `invalid_name` unless some legal key can begin with the prefix; its last segment may be a part of one. */
export function assertPrefix(prefix: string): void {
  assertText("prefix", prefix);
  for (const segment of prefix.split("/").slice(0, -1)) assertSegment("prefix", prefix, segment);
}

/** Throws `invalid_name` unless the prefix is empty (where allowed) or ends with `/`. */
export function assertFolder(prefix: string, allowEmpty: boolean): void {
  if (prefix === "" && allowEmpty) return;
  assertPrefix(prefix);
  if (!prefix.endsWith("/")) refuse("prefix", prefix, "does not end with '/'");
}

/** Order of the keys' UTF-8 bytes. JavaScript's own `<` compares UTF-16 units and puts 😀 before Ａ. */
export function compareKeys(a: string, b: string): number {
  for (let i = 0; ; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    if (Number.isNaN(x)) return Number.isNaN(y) ? 0 : -1;
    if (Number.isNaN(y)) return 1;
    return rank(x) - rank(y);
  }
}

/** Surrogates stand for code points above all others. */
const rank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);
