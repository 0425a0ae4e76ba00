/**
 * The parent's side of a compute process.
 *
 * States: none ──run──> starting ──ready──> serving ──exit──> none; stopped after `stop`, for good. The process is
 * forked at the first run, stays warm, and is forked again at the next run after it ended. Whatever ends it (a crash,
 * the memory killer, our own kill) rejects every run that it had with a code; no run is left unanswered. A kill for the
 * sake of one run (cancelled, silent) is `worker_died` to the others, which can be tried again.
 */
import { fork, type ChildProcess as NodeChild } from "node:child_process";
import { constants } from "node:os";
import { fromRecord, problem, toProblem, type WorkEvent } from "@cardinal/contracts";
import type { FromChild, StopReason, ToChild } from "./child.ts";

export interface ComputeProcessOptions {
  /** The child's main file. */
  module: string;
  env: NodeJS.ProcessEnv;
  /** A run that tells nothing for so long has its child killed (`job_stalled`). */
  silenceMs: number;
  /** How long a cancelled run may take to end before its child is killed. */
  cancelGraceMs: number;
  onLog?: (message: string, details: Record<string, unknown>) => void;
}

export interface RunOptions {
  signal?: AbortSignal;
  /** Why `signal` aborted. */
  stopReason?: () => StopReason | undefined;
  /** How long a draining run may take; the cancel grace otherwise. */
  drainGraceMs?: number;
  onEvent?: (event: WorkEvent) => void;
  onAsk?: (question: string, input: unknown) => Promise<unknown>;
}

interface OpenRun {
  options: RunOptions;
  resolve(value: unknown): void;
  reject(error: Error): void;
  silence: NodeJS.Timeout;
}

export class ComputeProcess {
  readonly #options: ComputeProcessOptions;
  readonly #runs = new Map<number, OpenRun>();
  #child: NodeChild | undefined;
  #exited: Promise<void> = Promise.resolve();
  #nextRun = 1;
  #killedFor: { error: Error; run: number | undefined } | undefined;
  #stopped = false;
  #rssBytes = 0;

  constructor(options: ComputeProcessOptions) {
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resident memory, as the child last told; 0 without a child. */
  get rssBytes(): number {
    return this.#child ? this.#rssBytes : 0;
  }

  /**
   * Runs a task in the child. Rejects with the task's own error, `worker_died`, `out_of_memory` or `job_stalled`; with
   * `shutting_down` after `stop`.
   */
  async run(task: string, input: unknown, options: RunOptions = {}): Promise<unknown> {
    if (this.#killedFor) await this.#exited;
    options.signal?.throwIfAborted();
    if (this.#stopped) throw shuttingDown();
    const child = this.#child ?? this.#fork();
    const id = this.#nextRun++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const silence = setTimeout(() => this.#onSilence(task, id), this.#options.silenceMs);
    this.#runs.set(id, { options, resolve, reject, silence });
    let killer: NodeJS.Timeout | undefined;
    const onAbort = () => {
      const why = options.stopReason?.() ?? "cancelled";
      this.#send({ type: "stop", run: id, why });
      const grace = why === "drain" ? (options.drainGraceMs ?? 0) : this.#options.cancelGraceMs;
      const error = problem(why === "drain" ? "shutting_down" : "cancelled", why);
      killer = setTimeout(() => this.#kill(error, id), grace);
    };
    options.signal?.addEventListener("abort", onAbort, { once: true });
    this.#send({ type: "run", run: id, task, input });
    child.ref();
    try {
      return await promise;
    } finally {
      clearTimeout(silence);
      clearTimeout(killer);
      options.signal?.removeEventListener("abort", onAbort);
      this.#runs.delete(id);
    }
  }

  /** Ends the child, whose runs reject with `shutting_down`, and resolves when it has ended. No further run is taken. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#kill(shuttingDown());
    await this.#exited;
  }

  /** Kills the child, if there is one, for the sake of one run or of all. */
  #kill(error: Error, run?: number): void {
    if (!this.#child) return;
    this.#killedFor ??= { error, run };
    this.#child.kill("SIGKILL");
  }

  #fork(): NodeChild {
    const child = fork(this.#options.module, {
      env: this.#options.env,
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child = child;
    this.#killedFor = undefined;
    child.on("message", (message: FromChild) => this.#onMessage(message));
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#exited = promise;
    let ended = false;
    const onEnd = (code: number | null, signal: NodeJS.Signals | null, cause?: Error) => {
      if (ended) return;
      ended = true;
      this.#child = undefined;
      const killed = this.#killedFor;
      const death = killed?.error ?? deathOf(child.pid, code, signal, cause);
      this.#killedFor = undefined;
      if (this.#runs.size > 0) {
        this.#options.onLog?.("compute process ended", { pid: child.pid, code, signal, runs: this.#runs.size });
      }
      for (const [id, run] of this.#runs) {
        const isBystander = killed?.run !== undefined && killed.run !== id;
        run.reject(isBystander ? problem("worker_died", "the compute process was ended for another run") : death);
      }
      resolve();
    };
    child.once("exit", (code, signal) => onEnd(code, signal));
    child.once("error", (error) => onEnd(null, null, error));
    return child;
  }

  #send(message: ToChild): void {
    // An error means that the child is ending; its exit rejects the run.
    if (this.#child?.connected) this.#child.send(message, () => {});
  }

  #onMessage(message: FromChild): void {
    if (message.type === "ready") return;
    if (message.type === "alive") {
      this.#rssBytes = message.rssBytes;
      return;
    }
    const run = this.#runs.get(message.run);
    if (!run) return;
    run.silence.refresh();
    if (message.type === "events") this.#tell(run, message.events);
    else if (message.type === "done") run.resolve(message.value);
    else if (message.type === "failed") run.reject(fromRecord(message.error));
    else {
      const head = { type: "answer", run: message.run, ask: message.ask } as const;
      const asked = run.options.onAsk?.(message.question, message.input) ?? Promise.resolve(undefined);
      // The task itself must hear of a failure, or it would wait in the warm child for ever.
      asked.then(
        (value) => this.#send({ ...head, value }),
        (error) => this.#send({ ...head, error: toProblem(error).toRecord() }),
      );
    }
  }

  /** What listens to events (metrics, log lines) is no reason to lose work, let alone the process. */
  #tell(run: OpenRun, events: WorkEvent[]): void {
    for (const event of events) {
      try {
        run.options.onEvent?.(event);
      } catch (error) {
        this.#options.onLog?.("an event of the compute process was not taken", { type: event.type, err: error });
      }
    }
  }

  #onSilence(task: string, run: number): void {
    const seconds = Math.round(this.#options.silenceMs / 1000);
    this.#kill(problem("job_stalled", `${task} made no progress for ${seconds} s and was ended`), run);
  }
}

const shuttingDown = () => problem("shutting_down", "the worker is shutting down");

function deathOf(pid: number | undefined, code: number | null, signal: NodeJS.Signals | null, cause?: Error): Error {
  if (cause) return problem("worker_died", `the compute process did not start: ${cause.message}`, undefined, cause);
  // V8 aborts (SIGABRT, exit code 134 under a shell) when its heap is full.
  if (signal === "SIGABRT" || code === 128 + constants.signals.SIGABRT) {
    return problem("out_of_memory", `compute process ${pid} was aborted, most likely for lack of memory`);
  }
  return problem("worker_died", `compute process ${pid} ended with ${signal ?? `exit code ${code}`}`);
}
