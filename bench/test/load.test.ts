import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { load } from "../src/queue/load.ts";

let answer = (_index: number, response: ServerResponse) => void response.end("{}");
let served = 0;
const server = createServer((request, response) => {
  request.resume().on("end", () => answer(served++, response));
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
after(() => server.close());
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const request = () => "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";

test("every request is sent once and timed, on the connections asked for", async () => {
  served = 0;
  const outcome = await load({ url, connections: 4, requests: 50, expected: 200, request });
  assert.equal(served, 50);
  assert.equal(outcome.milliseconds.length, 50);
  assert.equal(outcome.failure, undefined);
  assert.ok(outcome.seconds > 0);
});

test("an answer that is not expected is kept; a long one in pieces is read whole", async () => {
  served = 0;
  answer = (index, response) => {
    if (index === 7) response.statusCode = 503;
    response.setHeader("Content-Length", 100_000);
    response.write("x".repeat(50_000));
    setTimeout(() => response.end("y".repeat(50_000)), 1);
  };
  const outcome = await load({ url, connections: 2, requests: 20, expected: 200, request });
  assert.equal(served, 20);
  assert.match(outcome.failure!, /^HTTP\/1.1 503/);
});

test("a connection that is cut is an error, not an endless wait", async () => {
  answer = (_index, response) => void response.destroy();
  await assert.rejects(load({ url, connections: 1, requests: 1, expected: 200, request }), /closed before the answer/);
});
