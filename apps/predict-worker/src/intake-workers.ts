/** The queues that bring things in: archives become data sets, weights become models. Each has a process of its own. */
import { importResultSchema } from "@cardinal/contracts";
import { type ComputeProcess, createWorker, type JobRun, type QueueWorker } from "@cardinal/queue";
import type { WorkerShell } from "@cardinal/worker";

export interface IntakeOptions {
  // biome-ignore lint/complexity/noBannedTypes: the shell of any worker, whatever further variables it reads
  shell: Pick<WorkerShell<{}>, "compute" | "consumer" | "events" | "record">;
  threads: number;
  drainGraceMs: number;
  /** Hosts that weights may be fetched from. */
  importHosts: readonly string[];
  /** Longest silence of such a host, in milliseconds. */
  importIdleMs: number;
}

export function createIntakeWorkers(options: IntakeOptions): QueueWorker[] {
  const { shell, importHosts, importIdleMs } = options;
  const { consumer, events } = shell;
  const ingest = shell.compute(new URL("./ingest-child.ts", import.meta.url), {});
  const weights = shell.compute(new URL("./import-child.ts", import.meta.url), { THREADS: String(options.threads) });
  return [
    createWorker(consumer, {
      kind: "ingest",
      concurrency: 1,
      events,
      handle: async (run) => {
        await consumer.whenIngestsMayWrite(run.signal);
        // The archive stays until the job has ended, or a run that comes after a death would lack it: housekeeping
        // removes it, and what was uploaded for an import.
        return { result: (await runInChild(options, ingest, "ingest", run, run.payload)) as Record<string, unknown> };
      },
    }),
    createWorker(consumer, {
      kind: "import",
      concurrency: 1,
      events,
      handle: async (run) => {
        const input = { payload: run.payload, fence: run.fence, allowedHosts: importHosts, idleMs: importIdleMs };
        return { result: importResultSchema.parse(await runInChild(options, weights, "import", run, input)) };
      },
    }),
  ];
}

function runInChild(
  { shell, drainGraceMs }: IntakeOptions,
  child: ComputeProcess,
  task: string,
  run: JobRun<"ingest"> | JobRun<"import">,
  input: unknown,
): Promise<unknown> {
  return child.run(task, input, {
    signal: run.signal,
    stopReason: run.stopReason,
    drainGraceMs,
    onEvent: (event) => {
      shell.record(event, run.payload.job);
      if (event.type === "progress") run.progress(event.progress).catch(shell.events.error);
    },
    onAsk: () => run.seal(),
  });
}
