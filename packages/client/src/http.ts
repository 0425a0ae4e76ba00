/** One call: the request, and its answer as what a schema says or as a `CardinalError`. */
import { CardinalError, isProblemCode, problem } from "@cardinal/contracts";
import type { z } from "zod";

export interface Connection {
  /** Such as `http://127.0.0.1:8080`, or with the path of a proxy: `https://host/cardinal`. */
  baseUrl: string;
  key: string;
}

export interface CallOptions {
  method?: "GET" | "POST" | "PUT" | "DELETE";
  query?: Record<string, string | number | boolean | undefined>;
  json?: unknown;
  body?: RequestInit["body"];
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** The answer's body, unread. Problem answers are thrown, `api_unreachable` when there is none. */
export async function call({ baseUrl, key }: Connection, path: string, options: CallOptions = {}): Promise<Response> {
  const url = new URL(baseUrl.replace(/\/+$/, "") + path);
  for (const [name, value] of Object.entries(options.query ?? {})) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  const { method = "GET", json, signal } = options;
  const headers: Record<string, string> = { authorization: `Bearer ${key}`, ...options.headers };
  if (json !== undefined) headers["content-type"] = "application/json";
  const body = json === undefined ? options.body : JSON.stringify(json);
  const streaming = body instanceof ReadableStream ? { duplex: "half" } : {};
  let response: Response;
  try {
    response = await fetch(url, { method, headers, body, signal, ...streaming } as RequestInit);
  } catch (error) {
    signal?.throwIfAborted();
    const cause = (error as Error).cause instanceof Error ? ((error as Error).cause as Error) : (error as Error);
    throw problem("api_unreachable", `${url.origin} cannot be reached: ${cause.message}`, undefined, error);
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** The same, with a JSON answer that is parsed by its schema. */
export async function callJson<S extends z.ZodType>(
  connection: Connection,
  schema: S,
  path: string,
  options?: CallOptions,
): Promise<z.output<S>> {
  const response = await call(connection, path, options);
  let body: unknown;
  try {
    body = await response.json();
  } catch (error) {
    options?.signal?.throwIfAborted();
    throw problem("api_unreachable", `the answer of ${response.url} broke off`, undefined, error);
  }
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue!.path.join(".") || "the body";
  throw problem("internal_error", `${response.url} answered what this client cannot read: ${where} ${issue!.message}`);
}

async function problemOf(response: Response): Promise<CardinalError> {
  const body = (await response.json().catch(() => ({}))) as { code?: unknown; detail?: string } & Record<
    string,
    unknown
  >;
  if (!isProblemCode(body.code)) {
    const { status, statusText, url } = response;
    // Of a proxy in front of an API that is away.
    if ([502, 503, 504].includes(status)) throw problem("api_unreachable", `${url} answered ${status} ${statusText}`);
    return problem("internal_error", `${url} answered ${status} ${statusText}`, { status });
  }
  const { code, detail, type: _type, title, status: _status, ...details } = body;
  return new CardinalError(code as never, detail ?? String(title), details);
}
