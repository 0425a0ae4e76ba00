/** The lines of an answer's body, which may break off. */
import { problem } from "@cardinal/contracts";

/** The body's bytes. One that breaks off throws `api_unreachable`, an aborted one what its signal says. */
export async function* chunksOf(response: Response, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  if (!response.body) return;
  const reader = response.body.getReader();
  try {
    for (;;) {
      let next: Awaited<ReturnType<typeof reader.read>>;
      try {
        next = await reader.read();
      } catch (error) {
        signal?.throwIfAborted();
        throw problem("api_unreachable", `the answer of ${response.url} broke off`, undefined, error);
      }
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // Of a body that is no longer wanted; of one that was read to its end or broke off this does nothing.
    await reader.cancel().catch(() => {});
  }
}

export interface Line {
  /** Without its line feed. */
  text: string;
  /** With it: what to add to the place of the line to have that of the next. */
  bytes: number;
}

/** Lines of UTF-8, empty ones too; holds one chunk and the longest line. A last line without a line feed counts. */
export async function* readLines(response: Response, signal?: AbortSignal): AsyncGenerator<Line> {
  let parts: Uint8Array[] = [];
  const lineOf = (end: Uint8Array, feed: number): Line => {
    const bytes = Buffer.concat([...parts, end]);
    parts = [];
    return { text: bytes.toString("utf8"), bytes: bytes.length + feed };
  };
  for await (const chunk of chunksOf(response, signal)) {
    let start = 0;
    for (let feed = chunk.indexOf(10); feed >= 0; feed = chunk.indexOf(10, start)) {
      yield lineOf(chunk.subarray(start, feed), 1);
      start = feed + 1;
    }
    if (start < chunk.length) parts.push(chunk.subarray(start));
  }
  if (parts.length > 0) yield lineOf(new Uint8Array(), 0);
}
