/** Names and identifiers: what people may choose, and what Cardinal makes. */
import { z } from "zod";

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
