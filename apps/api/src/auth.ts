/** One bearer key guards everything below /v1. */
import { createHash, timingSafeEqual } from "node:crypto";
import { problem } from "@cardinal/contracts";
import type { RequestHandler, Response } from "express";

/** Who calls, by the name of the key; for records and log lines. */
export function callerOf(response: Response): string {
  return (response.locals.caller as string | undefined) ?? "nobody";
}

/** Compares digests, so that neither the key's length nor its beginning shows in the time that an answer takes. */
export function requireKey(apiKey: string): RequestHandler {
  const expected = digest(apiKey);
  return (request, response, next) => {
    const [scheme, presented] = (request.headers.authorization ?? "").split(" ");
    if (scheme?.toLowerCase() !== "bearer" || !presented) {
      throw problem("unauthorized", "send the header 'Authorization: Bearer <key>'");
    }
    if (!timingSafeEqual(digest(presented), expected)) throw problem("unauthorized", "the key is not valid");
    response.locals.caller = "bootstrap";
    next();
  };
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
