/** One bearer key guards everything below /v1. */
import { createHash, timingSafeEqual } from "node:crypto";
import { problem } from "@cardinal/contracts";
import type { RequestHandler } from "express";

/** Compares digests, so that neither the key's length nor its beginning shows in the time that an answer takes. */
export function requireKey(apiKey: string): RequestHandler {
  const expected = digest(apiKey);
  return (request, _response, next) => {
    const [scheme, presented] = (request.headers.authorization ?? "").split(" ");
    if (scheme?.toLowerCase() !== "bearer" || !presented) {
      throw problem("unauthorized", "send the header 'Authorization: Bearer <key>'");
    }
    if (!timingSafeEqual(digest(presented), expected)) throw problem("unauthorized", "the key is not valid");
    next();
  };
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
