/** Names and identifiers: what people may choose, and what Cardinal makes. */
import { z } from "zod";
import { problem } from "./problems.ts";

/** Data sets and aliases: lower or upper case letters, digits, `.`, `_`, `-`; starts with a letter or digit. */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/** Marks the issue of a refused name, so that an answer can say `invalid_name`. */
export const BAD_NAME = { badName: true };

/** 100 characters at most; `..` is refused even inside, so that a name can never step out of its folder. */
export const nameSchema = z
  .string()
  .regex(NAME_PATTERN, "must be 1 to 100 letters, digits, '.', '_' or '-', starting with a letter or digit")
  .refine((name) => !name.includes(".."), { error: "must not contain '..'", params: BAD_NAME });

export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hexadecimal digits");

/** `flowers` or `flowers@<version>`. */
export const datasetReferenceSchema = z.string().transform((text, context) => {
  const at = text.indexOf("@");
  const name = nameSchema.safeParse(at < 0 ? text : text.slice(0, at));
  const version = at < 0 ? undefined : sha256Schema.safeParse(text.slice(at + 1));
  if (name.success && (version === undefined || version.success)) {
    return { name: name.data, ...(version?.data !== undefined && { version: version.data }) };
  }
  context.addIssue({ code: "custom", message: "must be a data set name or name@version", params: BAD_NAME });
  return z.NEVER;
});

export type DatasetReference = z.infer<typeof datasetReferenceSchema>;

/** A model id or an alias: both are names; ids begin with `mdl-`, which an alias may not. */
export const MODEL_ID_PREFIX = "mdl-";
export const modelReferenceSchema = nameSchema;
export const aliasSchema = nameSchema.refine((name) => !name.startsWith(MODEL_ID_PREFIX), {
  error: `must not start with '${MODEL_ID_PREFIX}'`,
  params: BAD_NAME,
});

/** `train-01jd…`: the kind, then a lower-case ULID. No `:` (BullMQ) and never all digits. */
export const jobIdSchema = z.string().regex(/^(ingest|import|train|predict)-[0-9a-z]{26}$/, "is not a job id");

/** Top folders of the store that hold Cardinal's own things: none of them may be read as a folder of images. */
export const OWN_FOLDERS: readonly string[] = [
  "aliases",
  "blobs",
  "checkpoints",
  "checks",
  "datasets",
  "extractions",
  "features",
  "imports",
  "models",
  "predictions",
  "uploads",
];

/** A slash, a backslash, a dot or NUL in percent-encoding: somebody decodes it one day, and it is a way out then. */
const ENCODED = /%(2e|2f|5c|00)/i;
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for
const UNSAFE = /[\u0000-\u001f\u007f\\]/;

/** The beginning of store keys: no step out of a folder, plain or encoded; what follows the last `/` may be a part. */
export const keyPrefixSchema = z
  .string()
  .min(1)
  .max(1000)
  .refine((prefix) => prefix.isWellFormed() && !UNSAFE.test(prefix) && !ENCODED.test(prefix), {
    error: "must not hold control characters, backslashes, or an encoded dot, slash or NUL",
    params: BAD_NAME,
  })
  .refine((prefix) => prefix.split("/").every((part) => part !== "." && part !== ".." && part.length <= 254), {
    error: "must not have the segments '.' and '..', nor one of more than 254 characters",
    params: BAD_NAME,
  })
  .refine((prefix) => !prefix.startsWith("/") && !prefix.includes("//"), {
    error: "must not have an empty segment",
    params: BAD_NAME,
  });

/** Throws `prefix_not_allowed` unless every key that begins with the prefix lies in the area, a folder of the store. */
export function assertPrefixAllowed(prefix: string, area: string | undefined): void {
  if (area !== undefined && prefix.startsWith(area)) return;
  const where = area === undefined ? "and no folder is allowed here" : `which does not begin with ${area}`;
  throw problem("prefix_not_allowed", `the prefix is ${JSON.stringify(prefix)}, ${where}`, { path: "prefix", area });
}
