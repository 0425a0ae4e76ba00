/** A child's side of `LineProcess`: tells its versions, then answers one task a line until its input ends. */
import { createInterface } from "node:readline";
import type { Answer } from "./line-process.ts";

/** Its options come as JSON, so what they are is for the caller to know. */
export type Task = (options: never) => unknown;

/** `tasks` by name; their options and results travel as JSON. */
export async function answerLines(versions: Record<string, string>, tasks: Record<string, Task>): Promise<void> {
  reply({ ok: versions });
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      const { task, ...options } = JSON.parse(line);
      const run = tasks[task];
      if (!run) throw new Error(`no task ${task}`);
      reply({ ok: (await run(options as never)) ?? null });
    } catch (error) {
      reply({ error: String((error as Error).stack ?? error) });
    }
  }
}

function reply(answer: Answer): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

/**
 * Calls `work`, which does `images` images, again and again for at least `seconds`; images a second. The caller runs
 * it in several processes at once and adds up their rates: each counts its own time, so none waits for another's end.
 */
export async function imagesPerSecond(seconds: number, work: () => Promise<number>): Promise<number> {
  const start = performance.now();
  let images = 0;
  for (;;) {
    images += await work();
    const elapsed = (performance.now() - start) / 1000;
    if (elapsed >= seconds) return images / elapsed;
  }
}
