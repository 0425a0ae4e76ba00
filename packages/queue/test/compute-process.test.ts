import assert from "node:assert/strict";
import { test } from "node:test";
import { problem } from "@cardinal/contracts";
import { guardLeaks, waitFor } from "@cardinal/testing";
import { ComputeProcess } from "../src/index.ts";

guardLeaks();

const open = (silenceMs = 10_000, cancelGraceMs = 500) =>
  new ComputeProcess({
    module: new URL("./fixtures/compute-child.ts", import.meta.url).pathname,
    env: process.env,
    silenceMs,
    cancelGraceMs,
  });

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test("runs tasks in one warm process, several at once", async () => {
  const compute = open();
  assert.equal(await compute.run("add", { a: 1, b: 2 }), 3);
  const { pid } = compute;
  const stop = new AbortController();
  const working = compute.run("work", {}, { signal: stop.signal, stopReason: () => "drain", drainGraceMs: 5_000 });
  assert.equal(await compute.run("add", { a: 2, b: 3 }), 5);
  assert.equal(compute.pid, pid);
  stop.abort();
  assert.equal(((await working) as { why: string }).why, "drain");
  await compute.stop();
  assert.equal(isAlive(pid!), false);
});

test("errors keep their code and details; the process stays", async () => {
  const compute = open();
  await assert.rejects(compute.run("fail", {}), { code: "empty_class", details: { classes: ["c"] } });
  await assert.rejects(compute.run("nothing", {}), { code: "internal_error" });
  assert.equal(await compute.run("ask", {}, { onAsk: async (question) => `${question}: yes` }), "mayPublish: yes");
  await compute.stop();
});

test("a process that dies answers every run with a code, and the next run gets a new one", async () => {
  const compute = open();
  const other = compute.run("work", {});
  await assert.rejects(Promise.all([other, compute.run("exit", {})]), { code: "worker_died" });
  await assert.rejects(other, { code: "worker_died", message: /exit code 7/ });
  await assert.rejects(compute.run("abort", {}), { code: "out_of_memory" });
  assert.equal(await compute.run("add", { a: 1, b: 1 }), 2);
  await compute.stop();
});

test("a kill for the sake of one run is worker_died to the others", async () => {
  const compute = open();
  const stop = new AbortController();
  const bystander = assert.rejects(compute.run("work", {}), { code: "worker_died" });
  const hanging = assert.rejects(compute.run("hang", {}, { signal: stop.signal }), { code: "cancelled" });
  stop.abort();
  await Promise.all([bystander, hanging]);
  await compute.stop();
});

test("a question that cannot be answered fails the task, in the child, too", async () => {
  const compute = open();
  const onAsk = async () => {
    throw problem("queue_unavailable", "Redis is full");
  };
  await assert.rejects(compute.run("ask", {}, { onAsk }), { code: "queue_unavailable" });
  assert.equal(await compute.run("openAsks", {}), 0);
  await compute.stop();
});

test("a listener that throws costs neither the run nor the process", async () => {
  const compute = open();
  const stop = new AbortController();
  let events = 0;
  const onEvent = () => {
    events++;
    throw new TypeError("Value is not a valid number: NaN");
  };
  const working = compute.run("work", {}, { signal: stop.signal, stopReason: () => "cancelled", onEvent });
  await waitFor(() => events > 2, { what: "some events" });
  stop.abort();
  assert.equal(((await working) as { why: string }).why, "cancelled");
  await compute.stop();
});

test("after stop no run starts a process", async () => {
  const compute = open();
  const hanging = assert.rejects(compute.run("hang", {}), { code: "shutting_down" });
  const stopped = compute.stop();
  const late = assert.rejects(compute.run("add", { a: 1, b: 1 }), { code: "shutting_down" });
  await Promise.all([hanging, stopped, late]);
  await assert.rejects(compute.run("add", { a: 1, b: 1 }), { code: "shutting_down" });
  assert.equal(compute.pid, undefined);
});

test("a native hang is ended after the time of silence, a run that tells something is not", async () => {
  const compute = open(1_500);
  await assert.rejects(compute.run("hang", {}), { code: "job_stalled" });
  const stop = new AbortController();
  let events = 0;
  const working = compute.run("work", {}, { signal: stop.signal, onEvent: () => events++ });
  await waitFor(() => events > 200, { what: "events beyond the time of silence" });
  stop.abort();
  await working;
  await compute.stop();
});

test("a cancelled run that does not end is killed after the grace", async () => {
  const compute = open();
  const stop = new AbortController();
  const hanging = compute.run("hang", {}, { signal: stop.signal });
  await waitFor(() => compute.pid, { what: "the child" });
  const pid = compute.pid!;
  stop.abort();
  await assert.rejects(hanging, { code: "cancelled" });
  assert.equal(isAlive(pid), false);
  assert.equal(await compute.run("add", { a: 1, b: 1 }), 2);
  await compute.stop();
});
