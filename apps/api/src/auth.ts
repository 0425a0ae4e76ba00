/**
 * Who calls, and whether they may: everything below /v1 asks for a bearer key. `API_KEY` of the environment is the
 * bootstrap key, which may everything and needs no Redis; the others are made by `POST /v1/keys`.
 *
 * What a call needs is told by its method, and where that is not enough by its route (`requireScope`): reading needs
 * `read`, deleting `admin` (but for cancelling a job), the rest `submit`.
 */
import { timingSafeEqual } from "node:crypto";
import { type ApiKeys, type Caller, digest, type RateLimits } from "@cardinal/access";
import { BOOTSTRAP_KEY, includesScope, problem, type Scope } from "@cardinal/contracts";
import type { Request, RequestHandler, Response } from "express";

/** How often a call that lasts looks whether its key is still valid. */
const LOOK_MS = 500;

const READS = new Set(["GET", "HEAD", "OPTIONS"]);
export const isRead = (method: string): boolean => READS.has(method);

const CANCEL = /^\/jobs\/[^/]+\/?$/i;

export interface AuthOptions {
  apiKey: string;
  keys: ApiKeys;
  rates: RateLimits;
}

/** Throws `unauthorized`, `forbidden`, `rate_limited`. */
export function requireKey({ apiKey, keys, rates }: AuthOptions): RequestHandler {
  const bootstrap = digest(apiKey);
  return async (request, response, next) => {
    const key = bearerOf(request);
    // Digests are compared, so that neither a key's length nor its beginning shows in the time that an answer takes.
    const isBootstrap = timingSafeEqual(digest(key), bootstrap);
    const caller: Caller | undefined = isBootstrap
      ? { name: BOOTSTRAP_KEY, scope: "admin", limits: {} }
      : await keys.find(key);
    if (!caller) throw problem("unauthorized", "the key is not valid");
    response.locals.caller = caller;
    requireScope(response, neededScope(request));
    await rates.request(caller);
    if (!isBootstrap) endWhenRevoked(keys, key, response);
    next();
  };
}

function bearerOf(request: Request): string {
  const [scheme, key] = (request.headers.authorization ?? "").split(" ");
  if (scheme?.toLowerCase() === "bearer" && key) return key;
  throw problem("unauthorized", "send the header 'Authorization: Bearer <key>'");
}

function neededScope({ method, path }: Request): Scope {
  if (isRead(method)) return "read";
  return method === "DELETE" && !CANCEL.test(path) ? "admin" : "submit";
}

/** Who calls; only below `requireKey`. */
export function callerOf(response: Response): Caller {
  const { caller } = response.locals;
  if (!caller) throw problem("unauthorized", "nobody has said who calls");
  return caller as Caller;
}

/** Throws `forbidden` unless the caller's key has the scope. */
export function requireScope(response: Response, needed: Scope): void {
  const { name, scope } = callerOf(response);
  if (includesScope(scope, needed)) return;
  throw problem("forbidden", `the key ${name} has the scope ${scope}; this needs ${needed}`, { scope, needed });
}

/** A stream of events or an upload can outlast its key by half a second. */
function endWhenRevoked(keys: ApiKeys, key: string, response: Response): void {
  // A client that left while its key was looked up: the close has been told, and would not be heard any more.
  if (response.destroyed) return;
  const timer = setInterval(async () => {
    // Where Redis does not answer nothing is known of the key.
    const isValid = await keys.find(key).catch(() => true);
    if (!isValid) response.destroy();
  }, LOOK_MS);
  response.once("close", () => clearInterval(timer));
}
