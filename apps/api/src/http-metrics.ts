/** Counts answers by route pattern, never by path, so that the number of series does not grow with what people ask. */
import type { Metrics } from "@cardinal/service";
import type { Request, RequestHandler } from "express";

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]);

export function countRequests(metrics: Metrics): RequestHandler {
  return (request, response, next) => {
    const begin = performance.now();
    response.once("close", () => {
      const labels = { route: routeOf(request), method: METHODS.has(request.method) ? request.method : "other" };
      const isStream = response.locals.isStream === true;
      // A client that went away before the answer: nginx' code for it. A stream's reader goes when it likes.
      const status = response.writableFinished || isStream ? response.statusCode : 499;
      metrics.httpRequests.inc({ ...labels, status: String(status) });
      if (!isStream) metrics.httpDuration.observe(labels, (performance.now() - begin) / 1000);
    });
    next();
  };
}

function routeOf(request: Request): string {
  const path: unknown = request.route?.path;
  if (typeof path !== "string") return "unmatched";
  // Routes match in any case, and the base is as it was asked for.
  return `${request.baseUrl.toLowerCase()}${path === "/" ? "" : path}`;
}
