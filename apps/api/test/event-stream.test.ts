import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { guardLeaks, waitFor } from "@cardinal/testing";
import express from "express";
import { EventStream } from "../src/event-stream.ts";
import { seenBy } from "../src/job-events.ts";

guardLeaks();

test("a reader that does not read holds up its own stream, and no memory; when it goes the stream ends", async () => {
  const EVENT_BYTES = 100_000;
  let sent = 0;
  let held = 0;
  const ended = Promise.withResolvers<unknown>();
  const app = express();
  app.get("/", async (_request, response) => {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    const stream = new EventStream(response, gone.signal);
    try {
      for (;;) {
        const writing = stream.send("change", "x".repeat(EVENT_BYTES));
        held = Math.max(held, response.writableLength);
        await writing;
        sent++;
      }
    } catch (error) {
      ended.resolve(error);
    }
  });
  const server = createServer(app).listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  socket.pause();
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await waitFor(() => sent > 0, { what: "the first event" });
  // The kernel's buffers fill, some megabytes, then it stands.
  await waitFor(
    async () => {
      const before = sent;
      await sleep(200);
      return sent === before;
    },
    { what: "the stream to stand" },
  );
  assert.ok(sent * EVENT_BYTES < 100e6, `${sent} events were taken for a reader that reads none`);
  assert.ok(held < 2 * EVENT_BYTES, `${held} bytes were held`);
  socket.destroy();
  assert.equal(((await ended.promise) as Error).name, "AbortError");
  server.closeAllConnections();
  server.close();
  await once(server, "close");
});

test("a Last-Event-ID that this API has not given says nothing", () => {
  assert.deepEqual(seenBy("12-3"), { revision: 12, epochs: 3, ended: false });
  assert.deepEqual(seenBy("12-3-end"), { revision: 12, epochs: 3, ended: true });
  for (const id of [undefined, "", "12", "12-", "-3", "a-b", "1-2-3", "99999999999999999999-1"]) {
    assert.equal(seenBy(id), undefined);
  }
});
