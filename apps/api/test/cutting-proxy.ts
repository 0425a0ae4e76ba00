/** A proxy as it stands before an API, under a path of its own, that cuts answers off. */
import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

export interface CuttingProxy extends AsyncDisposable {
  /** With the path. */
  url: string;
  /** How many answers are cut off from now on, each after so many bytes of its body. */
  cut(answers: number, afterBytes: number): void;
  /** Paths that were asked for, with their query. */
  asked: string[];
}

export async function cuttingProxy(target: string, prefix: string): Promise<CuttingProxy> {
  let cuts = 0;
  let afterBytes = 0;
  const asked: string[] = [];
  const server = createServer((incoming, outgoing) => {
    if (!incoming.url?.startsWith(`${prefix}/`)) {
      outgoing.writeHead(404).end();
      return;
    }
    const path = incoming.url.slice(prefix.length);
    asked.push(path);
    const { port } = new URL(target);
    const { method, headers } = incoming;
    const upstream = request({ host: "127.0.0.1", port, path, method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode!, answer.headers);
      let left = cuts > 0 ? afterBytes : Number.POSITIVE_INFINITY;
      if (cuts > 0) cuts--;
      answer.on("data", (chunk: Buffer) => {
        if (left <= 0) return;
        const part = chunk.subarray(0, Math.min(chunk.length, left));
        left -= part.length;
        // What was written must arrive: the connection ends, rather than being reset.
        outgoing.write(part, () => left <= 0 && outgoing.socket?.end());
      });
      answer.on("end", () => left > 0 && outgoing.end());
      answer.on("error", () => outgoing.destroy());
    });
    upstream.on("error", () => outgoing.destroy());
    outgoing.on("close", () => upstream.destroy());
    incoming.pipe(upstream);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${prefix}/`,
    asked,
    cut(answers, bytes) {
      cuts = answers;
      afterBytes = bytes;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
