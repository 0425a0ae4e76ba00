/** A proxy in front of the S3 server that cuts and stalls connections as a network does. */
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";

/** A stalled direction of a connection stays so. */
export type Decision = "pass" | "stall" | "cut";

export interface Rules {
  /** Asked at each piece from the server, with the number of bytes that its connection has brought. */
  downstream?: (bytes: number, piece: Buffer) => Decision;
  /** The same for bytes from the client. */
  upstream?: (bytes: number, piece: Buffer) => Decision;
}

export interface TcpProxy extends AsyncDisposable {
  endpoint: string;
  connections: number;
  rules: Rules;
}

export async function startProxy(target: string): Promise<TcpProxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<net.Socket>();
  const proxy: TcpProxy = {
    endpoint: "",
    connections: 0,
    rules: {},
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      if (server.listening) await new Promise((done) => server.close(done));
    },
  };
  const server = net.createServer((client) => {
    proxy.connections++;
    const upstream = net.connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
    }
    relay(client, upstream, (...seen) => proxy.rules.upstream?.(...seen) ?? "pass");
    relay(upstream, client, (...seen) => proxy.rules.downstream?.(...seen) ?? "pass");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return proxy;
}

function relay(from: net.Socket, to: net.Socket, decide: (bytes: number, piece: Buffer) => Decision): void {
  let bytes = 0;
  let stalled = false;
  from.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    const decision = stalled ? "stall" : decide(bytes, chunk);
    stalled = decision === "stall";
    if (stalled) return;
    if (decision === "cut") {
      from.destroy();
      to.destroy();
    } else if (!to.write(chunk)) {
      from.pause();
      to.once("drain", () => from.resume());
    }
  });
  from.on("end", () => to.end());
  from.on("close", () => to.destroy());
}
