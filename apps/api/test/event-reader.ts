/** Reads an event stream with fetch, as any program would. */
import type { JobEvent } from "@cardinal/contracts";

export interface SeenEvent {
  name: string;
  id: string | undefined;
  data: JobEvent["data"] & Record<string, unknown>;
}

export interface EventReader {
  response: Response;
  /** All that came so far. */
  events: SeenEvent[];
  /** Comments and other fields, as they came. */
  lines: string[];
  /** Resolves when the stream has ended; rejects when it broke off. */
  done: Promise<void>;
  close(): void;
}

export async function readEvents(url: string, key: string, lastEventId?: string): Promise<EventReader> {
  const gone = new AbortController();
  const headers = {
    authorization: `Bearer ${key}`,
    ...(lastEventId !== undefined && { "last-event-id": lastEventId }),
  };
  const response = await fetch(url, { headers, signal: gone.signal });
  const events: SeenEvent[] = [];
  const lines: string[] = [];
  const done = read(response, events, lines);
  done.catch(() => {});
  return { response, events, lines, done, close: () => gone.abort() };
}

async function read(response: Response, events: SeenEvent[], lines: string[]): Promise<void> {
  let rest = "";
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const fields = new Map(block.split("\n").map((line) => line.split(/: (.*)/, 2) as [string, string]));
      const data = fields.get("data");
      if (data === undefined) lines.push(...block.split("\n"));
      else events.push({ name: fields.get("event")!, id: fields.get("id"), data: JSON.parse(data) });
    }
  }
}
