/** Errors as RFC 9457 problem details: what was thrown becomes a code of the catalogue, never a stack. */
import { CardinalError, type ProblemCode, problem, problems, toProblem } from "@cardinal/contracts";
import type { ErrorRequestHandler, RequestHandler } from "express";
import { ZodError, type z } from "zod";

/** Fields that hold names: a bad one is `invalid_name` rather than `invalid_request`. */
const NAME_FIELDS = new Set(["name", "dataset", "model", "base", "alias", "prefix"]);

/** A body that a schema refuses, with the path of each bad field. */
export function fromZod(error: ZodError): CardinalError {
  const errors = error.issues
    .flatMap(expandIssue)
    .map(({ path, message, input }) => ({ path: path.join("."), message, input }));
  const named = error.issues.every(isBadName);
  const first = errors[0]!;
  const shown = errors.map(({ path, message }) => ({ path, message }));
  return problem(
    named ? "invalid_name" : "invalid_request",
    first.path ? `${first.path}: ${first.message}` : first.message,
    { errors: shown },
  );
}

function isBadName(issue: z.core.$ZodIssue): boolean {
  if (issue.code === "custom") return issue.params?.badName === true;
  return issue.code === "invalid_format" && NAME_FIELDS.has(String(issue.path[0]));
}

/** An unknown field is reported under its own path rather than its parent's. */
function expandIssue(issue: z.core.$ZodIssue) {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ path: [...issue.path, key], message: "is not a known field", input: undefined }));
  }
  return [{ path: issue.path, message: issue.message, input: issue.input }];
}

/** What Express and its body parsers throw. */
const BODY_PARSER_CODES: Record<string, ProblemCode> = {
  "entity.too.large": "body_too_large",
  "entity.parse.failed": "invalid_json",
  "entity.verify.failed": "invalid_json",
  "encoding.unsupported": "unsupported_media_type",
  "charset.unsupported": "unsupported_media_type",
  "request.aborted": "upload_failed",
  "request.size.invalid": "upload_failed",
};

export function problemOf(error: unknown): CardinalError {
  if (error instanceof CardinalError) return error;
  if (error instanceof ZodError) return fromZod(error);
  const { type, status } = (error ?? {}) as { type?: string; status?: number };
  const code = type && BODY_PARSER_CODES[type];
  if (code) return problem(code, problems[code].title);
  // A path that is no valid percent-encoding.
  if (error instanceof URIError || status === 400) return problem("invalid_request", "the request cannot be parsed");
  return toProblem(error);
}

/** Seconds after which a client may try again. */
const RETRY_AFTER_SECONDS = 2;

export const notFound: RequestHandler = (request) => {
  throw problem("not_found", `there is nothing at ${request.method} ${request.path}`);
};

export const answerProblems: ErrorRequestHandler = (error, request, response, _next) => {
  // The client went away in the middle of an answer: nobody is left to tell, and nothing is wrong here.
  if (response.headersSent && response.closed) return;
  const failure = problemOf(error);
  if (failure.status >= 500) request.log.error({ err: failure.cause ?? failure, code: failure.code }, "request failed");
  if (response.headersSent) {
    // The body has begun: cutting the connection is the only way left to say that it is not whole.
    response.destroy();
    return;
  }
  const { retryAfterSeconds } = failure.details ?? {};
  if (typeof retryAfterSeconds === "number") response.setHeader("Retry-After", retryAfterSeconds);
  else if (failure.status === 503) response.setHeader("Retry-After", RETRY_AFTER_SECONDS);
  if (failure.status === 401) response.setHeader("WWW-Authenticate", "Bearer");
  // An upload may still be arriving: closing the connection stops it.
  const hasBody = request.get("Transfer-Encoding") !== undefined || Number(request.get("Content-Length") ?? 0) > 0;
  if (hasBody && !request.complete) response.setHeader("Connection", "close");
  response
    .status(failure.status)
    .type("application/problem+json")
    .send(
      JSON.stringify({
        type: `urn:cardinal:problem:${failure.code}`,
        title: problems[failure.code].title,
        status: failure.status,
        code: failure.code,
        detail: failure.code === "internal_error" ? "see the log of the API" : failure.message,
        ...failure.details,
      }),
    );
};
