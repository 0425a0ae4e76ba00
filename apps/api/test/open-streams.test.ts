/** A client that leaves while its request is still being looked at. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { test } from "node:test";
import { createMetrics } from "@cardinal/service";
import { guardLeaks } from "@cardinal/testing";
import express, { type Response } from "express";
import { OpenStreams } from "../src/open-streams.ts";

guardLeaks();

test("a stream that is opened after its client has left is aborted at once", async () => {
  const asked = Promise.withResolvers<Response>();
  const app = express();
  app.get("/", (_request, response) => asked.resolve(response));
  const server = createServer(app).listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const response = await asked.promise;
  const left = once(response, "close");
  socket.destroy();
  await left;
  using stream = new OpenStreams(1, createMetrics()).open(response);
  assert.equal(stream.signal.aborted, true);
  server.close();
});
