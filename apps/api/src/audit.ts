/** A log line for every change: who, what, and the answer. Made in one place, so that no route can forget it. */
import type { RequestHandler } from "express";
import { callerOf, isRead } from "./auth.ts";

/** Asks a worker something and leaves nothing behind. */
const QUESTIONS = new Set(["/v1/predict/image"]);

export const auditChanges: RequestHandler = (request, response, next) => {
  const path = `${request.baseUrl}${request.path}`;
  if (!isRead(request.method) && !QUESTIONS.has(path.toLowerCase().replace(/\/$/, ""))) {
    response.once("finish", () => {
      if (response.statusCode >= 400) return;
      const location = response.get("Location");
      const line = {
        audit: true,
        by: callerOf(response).name,
        method: request.method,
        path,
        status: response.statusCode,
      };
      request.log.info({ ...line, ...(location !== undefined && { location }) }, "change");
    });
  }
  next();
};
