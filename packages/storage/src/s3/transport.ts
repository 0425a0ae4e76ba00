/**
 * The HTTP below the S3 client: what it lacks is added here.
 *
 * - A request or answer without a byte for the idle timeout ends with `IdleTimeout`; the client waits for ever.
 * - An abort signal reaches the socket; the client takes none. It travels by AsyncLocalStorage (`runWith`).
 * - Any status but 2xx becomes a `StatusError` whose body has been read; the client makes a plain Error of 5xx without
 *   reading the body, which keeps the socket busy, and writes to the console.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import http from "node:http";
import https from "node:https";
import { text } from "node:stream/consumers";
import { XMLParser } from "fast-xml-parser";

const xml = new XMLParser({ parseTagValue: false });
const MAX_SOCKETS = 64;

export class IdleTimeout extends Error {
  override readonly name = "IdleTimeout";
  constructor(idleTimeoutMs: number) {
    super(`no byte for ${idleTimeoutMs} ms`);
  }
}

/** An answer that is no success. `code` is S3's, such as `NoSuchKey`, or empty when the answer had none. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super([status, code, message].filter(Boolean).join(" "));
    this.status = status;
    this.code = code;
  }
}

export class Transport {
  readonly agent: http.Agent;
  readonly idleTimeoutMs: number;
  readonly #http: typeof http | typeof https;
  readonly #signals = new AsyncLocalStorage<AbortSignal | undefined>();

  constructor(secure: boolean, idleTimeoutMs: number) {
    this.#http = secure ? https : http;
    this.agent = new this.#http.Agent({ keepAlive: true, maxSockets: MAX_SOCKETS });
    this.idleTimeoutMs = idleTimeoutMs;
  }

  /** All requests that `work` makes end when the signal does. */
  runWith<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    return this.#signals.run(signal, work);
  }

  /** Stands for `http.request` in the client. */
  request = (options: http.RequestOptions, onAnswer: (answer: http.IncomingMessage) => void): http.ClientRequest => {
    let answer: http.IncomingMessage | undefined;
    const request = this.#http.request({ ...options, signal: this.#signals.getStore() }, (received) => {
      answer = received;
      const status = received.statusCode ?? 0;
      if (status >= 200 && status < 300) onAnswer(received);
      else statusErrorOf(received).then((error) => request.emit("error", error));
    });
    request.setTimeout(this.idleTimeoutMs, () => (answer ?? request).destroy(new IdleTimeout(this.idleTimeoutMs)));
    return request;
  };

  close(): void {
    this.agent.destroy();
  }
}

/** The error that an answer tells, or the one that came while it was read. */
async function statusErrorOf(answer: http.IncomingMessage): Promise<Error> {
  try {
    const body = await text(answer);
    return new StatusError(answer.statusCode ?? 0, ...codeAndMessage(body));
  } catch (error) {
    return error as Error;
  }
}

function codeAndMessage(body: string): [string, string] {
  try {
    const { Error: told } = xml.parse(body) as { Error?: { Code?: unknown; Message?: unknown } };
    return [String(told?.Code ?? ""), String(told?.Message ?? "")];
  } catch {
    return ["", body.slice(0, 200)];
  }
}
