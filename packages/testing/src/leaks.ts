/** A test file must leave nothing behind: no child process, and nothing that keeps its own process alive. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

/** What somebody opened and should have closed. Pipes to the test runner and file requests are not among them. */
const OWNED = ["TCPSocketWrap", "TCPServerWrap", "UDPWrap", "ProcessWrap", "FSEventWrap"];
/** Sockets and children need some turns of the loop to be gone after they were closed. */
const SETTLE_MS = 2000;
/** A file that is through but does not end (a worker thread, an interval) would hold up the whole run. */
const EXIT_AFTER_MS = 3000;

/**
 * Call it once at the top of a test file. After all tests and root hooks the file fails when child processes,
 * sockets, servers or file watchers are left that were not there at the call, or when it does not end by itself.
 */
export function guardLeaks(): void {
  const atStart = ownedResources();
  // Root hooks run in the order of their registration, and this one must come after those that close things: it is
  // registered when the file's own top level has run.
  queueMicrotask(() => after(() => assertNothingLeft(atStart)));
}

async function assertNothingLeft(atStart: string[]): Promise<void> {
  const left = () => [...childProcesses(), ...without(ownedResources(), atStart)];
  const deadline = performance.now() + SETTLE_MS;
  do await sleep(20);
  while (left().length > 0 && performance.now() < deadline);
  // Unreferenced, so it only fires in a process that something else keeps alive.
  setTimeout(exitLoudly, EXIT_AFTER_MS).unref();
  assert.equal(left().join(", "), "", "left behind by this test file");
}

function exitLoudly(): void {
  console.error(`still running ${EXIT_AFTER_MS / 1000} s after the last test: ${process.getActiveResourcesInfo()}`);
  process.exit(1);
}

function ownedResources(): string[] {
  return process.getActiveResourcesInfo().filter((name) => OWNED.includes(name));
}

function without(all: string[], some: string[]): string[] {
  const rest = [...all];
  for (const one of some) {
    const at = rest.indexOf(one);
    if (at >= 0) rest.splice(at, 1);
  }
  return rest;
}

/** Children of this process by /proc, as `name (pid)`; none on systems without it. */
function childProcesses(): string[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    const stat = readStat(pid);
    // "pid (name) state ppid …"; the name may hold spaces and brackets
    const [, name, parent] = /^\d+ \((.*)\) \S (\d+) /s.exec(stat) ?? [];
    return Number(parent) === process.pid ? [`${name} (${pid})`] : [];
  });
}

function readStat(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return ""; // it ended meanwhile
  }
}
