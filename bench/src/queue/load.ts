/**
 * HTTP/1.1 connections that each send one request after the other. Written on sockets: a client with all that a client
 * has would take as much of the machine as the server that is measured.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

export interface Load {
  /** Of the answers that were not `expected`, the first one. */
  failure: string | undefined;
  /** Of each request, from its first byte sent to the last of its answer. */
  milliseconds: number[];
  seconds: number;
}

export interface LoadOptions {
  url: string;
  connections: number;
  requests: number;
  /** Status that every answer should have. */
  expected: number;
  /** A whole request, head and body. */
  request(index: number): string;
}

export async function load(options: LoadOptions): Promise<Load> {
  const { hostname, port } = new URL(options.url);
  const sockets = Array.from({ length: options.connections }, () => connect(Number(port), hostname).setNoDelay(true));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  const outcome: Load = { failure: undefined, milliseconds: [], seconds: 0 };
  let next = 0;
  const start = performance.now();
  const drive = async (socket: Socket) => {
    const answers = new Answers(socket);
    while (next < options.requests) {
      const request = options.request(next++);
      const sent = performance.now();
      socket.write(request);
      const { status, text } = await answers.next();
      outcome.milliseconds.push(performance.now() - sent);
      if (status !== options.expected) outcome.failure ??= text;
    }
    socket.destroy();
  };
  await Promise.all(sockets.map(drive));
  outcome.seconds = (performance.now() - start) / 1000;
  return outcome;
}

/** Answers with a Content-Length, one at a time. */
class Answers {
  #bytes: Buffer = Buffer.alloc(0);
  #waiter: PromiseWithResolvers<{ status: number; text: string }> | undefined;

  constructor(socket: Socket) {
    socket.on("data", (chunk: Buffer) => {
      this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
      this.#settle();
    });
    socket.on("close", () => this.#waiter?.reject(new Error("the connection was closed before the answer")));
    socket.on("error", (error) => this.#waiter?.reject(error));
  }

  next(): Promise<{ status: number; text: string }> {
    this.#waiter = Promise.withResolvers();
    return this.#waiter.promise;
  }

  #settle(): void {
    const end = this.#bytes.indexOf("\r\n\r\n");
    if (end < 0) return;
    const head = this.#bytes.subarray(0, end).toString("latin1");
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    const total = end + 4 + length;
    if (this.#bytes.length < total) return;
    const text = this.#bytes.subarray(0, total).toString();
    this.#bytes = this.#bytes.subarray(total);
    this.#waiter?.resolve({ status: Number(head.slice(9, 12)), text });
  }
}
