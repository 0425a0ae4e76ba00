/** API keys: who may call, what, and how much. */
import { z } from "zod";
import { BAD_NAME, nameSchema } from "./names.ts";

/** Each may what those before it may: look; submit, cancel and retry work, move aliases; delete, and manage keys. */
export const scopeSchema = z.enum(["read", "submit", "admin"]);
export type Scope = z.infer<typeof scopeSchema>;

export const includesScope = (has: Scope, needed: Scope): boolean =>
  scopeSchema.options.indexOf(has) >= scopeSchema.options.indexOf(needed);

/** The key of the environment (`API_KEY`), which no other key may be called like. */
export const BOOTSTRAP_KEY = "bootstrap";

const limit = z.int().min(1).max(1_000_000_000).optional();

/** What is not given is not limited. */
export const keyLimitsSchema = z.strictObject({
  requestsPerMinute: limit,
  /** Jobs that have not ended. */
  openJobs: limit,
  /** Images of predictions, in batches and single. */
  imagesPerDay: limit,
});

export const keyRequestSchema = z.strictObject({
  name: nameSchema.refine((name) => name !== BOOTSTRAP_KEY, {
    error: `must not be '${BOOTSTRAP_KEY}', which is the key of the environment`,
    params: BAD_NAME,
  }),
  scope: scopeSchema,
  limits: keyLimitsSchema.default({}),
});
export type KeyRequest = z.infer<typeof keyRequestSchema>;

/** A key as it is listed: never the secret. */
export const keyViewSchema = z.strictObject({
  name: nameSchema,
  scope: scopeSchema,
  limits: keyLimitsSchema,
  createdAt: z.iso.datetime(),
  createdBy: nameSchema,
  /** To the minute. */
  lastUsedAt: z.iso.datetime().optional(),
});
export type KeyView = z.infer<typeof keyViewSchema>;

/** The one answer that holds the secret. */
export const newKeySchema = keyViewSchema.extend({ key: z.string() });
export type NewKey = z.infer<typeof newKeySchema>;

export const keyListSchema = z.strictObject({ keys: z.array(keyViewSchema) });
