/** The rows of a predict job as a stream that goes on where its connection broke off. */
import { problem, type Row, rowSchema } from "@cardinal/contracts";
import { type Connection, call } from "./http.ts";
import { readLines } from "./lines.ts";
import { Patience } from "./patience.ts";

/**
 * Each row once, in order. After a break the rest is asked for as a range of the same file; throws `object_changed` when
 * it is another one by then (the job was retried), and `api_unreachable` when the API stays away for a minute.
 */
export async function* readRows(connection: Connection, path: string): AsyncGenerator<Row> {
  const patience = new Patience();
  let etag: string | null = null;
  let place = 0;
  for (;;) {
    try {
      const isRest = place > 0 && etag !== null;
      // Only plain bytes can be gone on with.
      const plain = { "accept-encoding": "identity" };
      const headers = isRest ? { ...plain, range: `bytes=${place}-`, "if-range": etag! } : plain;
      const response = await call(connection, path, { headers });
      if (isRest && response.status !== 206) {
        await response.body?.cancel();
        throw problem("object_changed", `${path} has changed while it was read`);
      }
      etag = response.headers.get("etag");
      for await (const { text, bytes } of readLines(response)) {
        place += bytes;
        patience.good();
        if (text !== "") yield rowSchema.parse(JSON.parse(text));
      }
      return;
    } catch (error) {
      await patience.after(error);
    }
  }
}
