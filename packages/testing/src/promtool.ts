import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { findPrometheus } from "@cardinal/provision";

/** Fails unless `promtool check metrics` accepts a page of metrics: syntax, names, units and help texts. */
export async function promtoolCheckMetrics(metrics: string): Promise<void> {
  const promtool = findPrometheus("promtool");
  if (!promtool) throw new Error("no promtool; run npm run setup -- --for-tests");
  const child = spawn(promtool, ["check", "metrics"], { stdio: "pipe" });
  child.stdin.on("error", () => undefined); // EPIPE when it gives up early: its exit code tells
  child.stdin.end(metrics);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  assert.equal(code, 0, `promtool check metrics:\n${stdout}${stderr}`);
}
