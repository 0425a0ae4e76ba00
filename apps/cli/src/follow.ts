/** Waits for a job with a bar on standard error. */
import type { CardinalClient } from "@cardinal/client";
import type { JobView } from "@cardinal/contracts";
import { ExitCode } from "./exit-codes.ts";
import { note } from "./output.ts";
import { makeBar, showJob } from "./progress-bar.ts";

/** The ended job, whatever its end. Ctrl-C ends the command, not the job, and says so. */
export async function follow(client: CardinalClient, submitted: JobView): Promise<JobView> {
  const bar = makeBar(process.stderr);
  const interrupted = () => {
    bar.end();
    note(`\nThe job goes on: cardinal watch ${submitted.id}, cardinal cancel ${submitted.id}`);
    process.exit(ExitCode.interrupted);
  };
  process.once("SIGINT", interrupted);
  try {
    note(`${submitted.kind} job ${submitted.id}`);
    return await client.wait(submitted.id, { onProgress: (job) => showJob(bar, job) });
  } finally {
    process.off("SIGINT", interrupted);
    bar.end();
  }
}

/** Throws unless the job completed. */
export function assertCompleted(job: JobView): void {
  if (job.state === "completed") return;
  const why = job.error ? `: ${job.error.message} (${job.error.code})` : "";
  throw new Error(`job ${job.id} ${job.state}${why}`);
}

/** The same with what a command that submits does at its end. */
export async function completed(client: CardinalClient, submitted: JobView): Promise<JobView> {
  const job = await follow(client, submitted);
  assertCompleted(job);
  return job;
}
