/** A train-worker: takes one training job at a time and runs it in a compute process. */
import { createWorker } from "@cardinal/queue";
import { runMain, trainWorkerVariables } from "@cardinal/service";
import { openWorkerShell } from "@cardinal/worker";
import { type RunTask, trainJob } from "./train-job.ts";

await runMain(async () => {
  const shell = await openWorkerShell("train", "tensorflow (tfjs-node)", trainWorkerVariables);
  const { env, consumer, events, logger, work } = shell;

  const compute = shell.compute(new URL("./child.ts", import.meta.url), {
    TF_NUM_INTRAOP_THREADS: String(env.THREADS),
    TF_NUM_INTEROP_THREADS: "1",
    OMP_NUM_THREADS: String(env.THREADS),
    TF_CPP_MIN_LOG_LEVEL: "2",
    // Large pages for large tensors, where the C library is glibc: 3 to 6% of a step on a busy machine, nothing on an
    // idle one (ResNeXt-50, batch 16).
    GLIBC_TUNABLES: "glibc.malloc.hugetlb=1",
    THREADS: String(env.THREADS),
  });

  const runTask: RunTask = (task, input, run) =>
    compute.run(task, input, {
      signal: run.signal,
      stopReason: run.stopReason,
      drainGraceMs: env.SHUTDOWN_GRACE_SECONDS * 1000,
      onEvent: (event) => {
        shell.record(event, run.payload.job);
        if (event.type === "progress") run.progress(event.progress).catch(events.error);
      },
      onAsk: () => run.seal(),
    });

  const worker = createWorker(consumer, {
    kind: "train",
    concurrency: 1,
    events,
    handle: async (run) => {
      try {
        return await trainJob(run, runTask, env.CHECKPOINT_SECONDS);
      } finally {
        work.endTraining();
      }
    },
  });

  await shell.start(["train"], [worker]);
  logger.debug("ready");
});
