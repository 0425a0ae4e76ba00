/**
 * The parent's side of a compute process.
 *
 * States: none ──run──> starting ──ready──> serving ──exit──> none. The process is forked at the first run, stays warm,
 * and is forked again at the next run after it ended. Whatever ends it (a crash, the memory killer, our own kill)
 * rejects every run that it had with a code; no run is left unanswered.
 */
import { fork, type ChildProcess as NodeChild } from "node:child_process";
import { constants } from "node:os";
import { fromRecord, problem, type WorkEvent } from "@cardinal/contracts";
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
  #killedFor: Error | undefined;
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

  /** Runs a task in the child. Rejects with the task's own error, `worker_died`, `out_of_memory` or `job_stalled`. */
  async run(task: string, input: unknown, options: RunOptions = {}): Promise<unknown> {
    if (this.#killedFor) await this.#exited;
    options.signal?.throwIfAborted();
    const child = this.#child ?? this.#fork();
    const id = this.#nextRun++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const silence = setTimeout(() => this.#onSilence(task), this.#options.silenceMs);
    this.#runs.set(id, { options, resolve, reject, silence });
    let killer: NodeJS.Timeout | undefined;
    const onAbort = () => {
      const why = options.stopReason?.() ?? "cancelled";
      this.#send({ type: "stop", run: id, why });
      const grace = why === "drain" ? (options.drainGraceMs ?? 0) : this.#options.cancelGraceMs;
      killer = setTimeout(() => this.kill(problem(why === "drain" ? "shutting_down" : "cancelled", why)), grace);
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

  /** Kills the child, if there is one; its runs reject with `reason`. */
  kill(reason: Error): void {
    if (!this.#child) return;
    this.#killedFor ??= reason;
    this.#child.kill("SIGKILL");
  }

  /** Ends the child and resolves when it has ended. */
  async stop(): Promise<void> {
    this.kill(problem("shutting_down", "the worker is shutting down"));
    await this.#exited;
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
      const error = this.#killedFor ?? deathOf(child.pid, code, signal, cause);
      this.#killedFor = undefined;
      if (this.#runs.size > 0) {
        this.#options.onLog?.("compute process ended", { pid: child.pid, code, signal, runs: this.#runs.size });
      }
      for (const run of this.#runs.values()) run.reject(error);
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
    if (message.type === "events") for (const event of message.events) run.options.onEvent?.(event);
    else if (message.type === "done") run.resolve(message.value);
    else if (message.type === "failed") run.reject(fromRecord(message.error));
    else {
      const answer = (value: unknown) => this.#send({ type: "answer", run: message.run, ask: message.ask, value });
      const asked = run.options.onAsk?.(message.question, message.input) ?? Promise.resolve(undefined);
      asked.then(answer, (error) => run.reject(error));
    }
  }

  #onSilence(task: string): void {
    const seconds = Math.round(this.#options.silenceMs / 1000);
    this.kill(problem("job_stalled", `${task} made no progress for ${seconds} s and was ended`));
  }
}

function deathOf(pid: number | undefined, code: number | null, signal: NodeJS.Signals | null, cause?: Error): Error {
  if (cause) return problem("worker_died", `the compute process did not start: ${cause.message}`, undefined, cause);
  // V8 aborts (SIGABRT, exit code 134 under a shell) when its heap is full.
  if (signal === "SIGABRT" || code === 128 + constants.signals.SIGABRT) {
    return problem("out_of_memory", `compute process ${pid} was aborted, most likely for lack of memory`);
  }
  return problem("worker_died", `compute process ${pid} ended with ${signal ?? `exit code ${code}`}`);
}
