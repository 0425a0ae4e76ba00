import assert from "node:assert/strict";
import { Agent, createServer, get, type Server } from "node:http";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { closeServer, listen } from "../src/index.ts";

guardLeaks();

/** One request on a connection that is kept; gives the answer's text. */
function ask(port: number, agent: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ port, agent, host: "127.0.0.1" }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () => resolve(text)).on("error", reject);
    }).on("error", reject);
  });
}

async function answering(work: () => Promise<unknown>): Promise<{ server: Server; port: number; begun(): number }> {
  let begun = 0;
  const server = createServer(async (_request, response) => {
    begun++;
    response.write("begun ");
    await work();
    response.end("done");
  });
  return { server, port: await listen(server, 0, "127.0.0.1"), begun: () => begun };
}

test("the answer under way is whole, and a client that asks again and again does not keep the server open", async () => {
  const { server, port, begun } = await answering(() => sleep(150));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const first = ask(port, agent);
  await waitFor(() => begun() === 1, { what: "the request" });
  const asking = (async () => {
    await first;
    for (;;) await ask(port, agent);
  })();
  const refused = assert.rejects(asking, { code: /ECONNREFUSED|ECONNRESET/ });
  const begin = performance.now();
  await closeServer(server, 20_000);
  assert.ok(performance.now() - begin < 5_000);
  assert.equal(await first, "begun done");
  await refused;
  agent.destroy();
});

test("an answer that does not end is cut after the grace", async () => {
  const { server, port, begun } = await answering(() => new Promise(() => {}));
  const agent = new Agent();
  const cut = assert.rejects(ask(port, agent));
  await waitFor(() => begun() === 1, { what: "the request" });
  await closeServer(server, 200);
  await cut;
  agent.destroy();
});
