/** Bytes behind an https address of an allowed host. */
import { problem } from "@cardinal/contracts";

const MAX_REDIRECTS = 3;

export interface HttpsOptions {
  /** `host` or `host:port`, as in an address. */
  allowedHosts: readonly string[];
  /** Longest time without a byte, in milliseconds. */
  idleMs: number;
  signal: AbortSignal;
}

export interface HttpsSource {
  /** Size in bytes as the server tells it; 0 when it does not. */
  total: number;
  /** Read it once. An end that comes too early, and a silence of `idleMs`, is `source_unavailable`. */
  body: AsyncIterable<Uint8Array>;
}

/**
 * Follows redirects itself: each hop must be https and an allowed host, or an allowed host could point anywhere.
 * Throws `source_not_allowed`, `source_unavailable` and the signal's reason.
 */
export async function openHttps(address: string, options: HttpsOptions): Promise<HttpsSource> {
  let url = URL.parse(address);
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    if (url?.protocol !== "https:" || !options.allowedHosts.includes(url.host)) {
      const where = url ? `${url.protocol}//${url.host}` : "what is no address";
      throw problem("source_not_allowed", `weights may not be fetched from ${where}`);
    }
    const silence = new Silence(url.host, options);
    let response: Response;
    try {
      // As it is: a length then is that of the file, not of its compressed form.
      const headers = { "accept-encoding": "identity" };
      response = await fetch(url, { redirect: "manual", headers, signal: silence.signal });
    } catch (error) {
      throw silence.explain(error, "cannot be reached");
    } finally {
      silence.pause();
    }
    const location = response.headers.get("location");
    if (response.status >= 300 && response.status < 400 && location !== null) {
      await response.body?.cancel();
      url = URL.parse(location, url.href);
      continue;
    }
    if (!response.ok || !response.body) {
      await response.body?.cancel();
      throw problem("source_unavailable", `${url.host} answered ${response.status}`, { status: response.status });
    }
    const total = Number(response.headers.get("content-length") ?? 0);
    return { total, body: read(response.body as ReadableStream<Uint8Array>, silence) };
  }
  throw problem("source_unavailable", `${address} redirects more than ${MAX_REDIRECTS} times`);
}

async function* read(body: ReadableStream<Uint8Array>, silence: Silence): AsyncGenerator<Uint8Array> {
  try {
    silence.listen();
    for await (const chunk of body) {
      silence.pause(); // what the reader does with it is not the server's time
      yield chunk;
      silence.listen();
    }
  } catch (error) {
    throw silence.explain(error, "ended before the file was complete");
  } finally {
    silence.pause();
  }
}

/** Ends a request of which nothing is heard for too long; listening from the start. */
class Silence {
  readonly #host: string;
  readonly #options: HttpsOptions;
  readonly #tooLong = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(host: string, options: HttpsOptions) {
    this.#host = host;
    this.#options = options;
    this.listen();
  }

  /** For the request: aborted by the silence and by the caller. */
  get signal(): AbortSignal {
    return AbortSignal.any([this.#options.signal, this.#tooLong.signal]);
  }

  listen(): void {
    this.#timer = setTimeout(() => this.#tooLong.abort(), this.#options.idleMs);
  }

  pause(): void {
    clearTimeout(this.#timer);
  }

  /** The error to throw for one that the request ended with. */
  explain(error: unknown, otherwise: string): unknown {
    const { signal, idleMs } = this.#options;
    if (signal.aborted) return signal.reason;
    const what = this.#tooLong.signal.aborted ? `sent nothing for ${idleMs / 1000} s` : otherwise;
    return problem("source_unavailable", `${this.#host} ${what}`, undefined, error);
  }
}
