/** What routes take from a request, parsed. */
import { jobIdSchema, nameSchema, problem, sha256Schema } from "@cardinal/contracts";
import type { Request } from "express";
import type { z } from "zod";

/** A name in the path or the query; `invalid_name` when it is not one. */
export function nameOf(value: unknown, what: string): string {
  const parsed = nameSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw problem("invalid_name", `${what} ${parsed.error.issues[0]!.message}`);
}

export function versionOf(value: unknown): string {
  const parsed = sha256Schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw problem("invalid_name", `the version ${parsed.error.issues[0]!.message}`);
}

/** `job_not_found` for what cannot be an id. */
export function jobIdOf(request: Request): string {
  const parsed = jobIdSchema.safeParse(request.params.id);
  if (parsed.success) return parsed.data;
  throw problem("job_not_found", "there is no such job");
}

/** A JSON body, by its schema. */
export function bodyOf<S extends z.ZodType>(request: Request, schema: S): z.output<S> {
  if (!request.is("application/json")) {
    throw problem("unsupported_media_type", "send JSON with the header 'Content-Type: application/json'");
  }
  return schema.parse(request.body);
}

/** Values in a query are texts: turns those of the named fields into numbers, true and false where they are some. */
export function queryOf<S extends z.ZodType>(request: Request, schema: S, typed: readonly string[]): z.output<S> {
  const query: Record<string, unknown> = { ...request.query };
  for (const field of typed) {
    const value = query[field];
    if (typeof value !== "string") continue;
    if (/^-?\d+(\.\d+)?$/.test(value)) query[field] = Number(value);
    else if (value === "true" || value === "false") query[field] = value === "true";
  }
  return schema.parse(query);
}

/** 1 to 200 visible characters, or nothing. */
export function idempotencyKeyOf(request: Request): string | undefined {
  const key = request.get("Idempotency-Key");
  if (key === undefined) return undefined;
  if (/^[\x21-\x7e]{1,200}$/.test(key)) return key;
  throw problem("invalid_request", "Idempotency-Key must be 1 to 200 visible ASCII characters");
}
