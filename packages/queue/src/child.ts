/**
 * The child's side of a compute process: native compute blocks its thread, so it runs in a process of its own while the
 * parent renews locks and answers probes. A child serves several runs at once (a single image between two batches of
 * a shard); it ends when its parent ends.
 */
import {
  CardinalError,
  type Emit,
  fromRecord,
  type ProblemRecord,
  problem,
  toProblem,
  type WorkEvent,
} from "@cardinal/contracts";

export type ToChild =
  | { type: "run"; run: number; task: string; input: unknown }
  | { type: "stop"; run: number; why: StopReason }
  | { type: "answer"; run: number; ask: number; value?: unknown; error?: ProblemRecord };

export type FromChild =
  | { type: "ready"; pid: number }
  | { type: "events"; run: number; events: WorkEvent[] }
  | { type: "ask"; run: number; ask: number; question: string; input: unknown }
  | { type: "alive"; rssBytes: number }
  | { type: "done"; run: number; value: unknown }
  | { type: "failed"; run: number; error: ProblemRecord };

/** `cancelled`: drop the work. `drain`: save it and end soon; another worker goes on. */
export type StopReason = "cancelled" | "drain";

export interface TaskContext {
  signal: AbortSignal;
  /** Set once `signal` has aborted. */
  stopReason(): StopReason | undefined;
  emit: Emit;
  /** Asks the parent, which holds the job, a question of the task's own protocol (may I publish?). Throws its error. */
  ask(question: string, input?: unknown): Promise<unknown>;
}

export type Task = (input: unknown, context: TaskContext) => Promise<unknown>;

const ALIVE_MS = 2_000;
/** Events go to the parent in bundles: a fast network tells of more than a thousand a second. */
const BUNDLE_MS = 50;
const BUNDLE_EVENTS = 500;

class Run {
  readonly controller = new AbortController();
  readonly asks = new Map<number, PromiseWithResolvers<unknown>>();
  stopReason: StopReason | undefined;
  nextAsk = 1;
  readonly #flush: (events: WorkEvent[]) => void;
  #events: WorkEvent[] = [];
  #sentAt = performance.now();
  #timer: NodeJS.Timeout | undefined;

  constructor(flush: (events: WorkEvent[]) => void) {
    this.#flush = flush;
  }

  /** The clock is looked at, too: compute that blocks the thread would keep the timer waiting. */
  emit(event: WorkEvent): void {
    this.#events.push(event);
    if (this.#events.length >= BUNDLE_EVENTS || performance.now() - this.#sentAt >= BUNDLE_MS) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), BUNDLE_MS);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#events.length > 0) this.#flush(this.#events);
    this.#events = [];
    this.#sentAt = performance.now();
  }
}

/** Serves tasks until the parent goes away. Call once, from the child's main file. */
export function serveTasks(tasks: Record<string, Task>): void {
  if (!process.send) throw new Error("this file runs as a child process of a Cardinal worker");
  const runs = new Map<number, Run>();
  const send = (message: FromChild) => process.send?.(message, undefined, undefined, () => {});

  process.on("disconnect", () => process.exit(0));
  // The parent decides when a child ends: a Ctrl-C that reaches the whole process group must not kill work first.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => {});
  setInterval(() => send({ type: "alive", rssBytes: process.memoryUsage.rss() }), ALIVE_MS).unref();

  process.on("message", (message: ToChild) => {
    const run = runs.get(message.run);
    if (message.type === "run") {
      void execute(tasks, message, runs, send);
    } else if (message.type === "stop" && run) {
      run.stopReason ??= message.why;
      run.controller.abort(problem(message.why === "cancelled" ? "cancelled" : "shutting_down", message.why));
    } else if (message.type === "answer" && run) {
      const asked = run.asks.get(message.ask);
      if (message.error) asked?.reject(fromRecord(message.error));
      else asked?.resolve(message.value);
      run.asks.delete(message.ask);
    }
  });
  send({ type: "ready", pid: process.pid });
}

async function execute(
  tasks: Record<string, Task>,
  message: Extract<ToChild, { type: "run" }>,
  runs: Map<number, Run>,
  send: (message: FromChild) => void,
): Promise<void> {
  const id = message.run;
  const run = new Run((events) => send({ type: "events", run: id, events }));
  runs.set(id, run);
  const context: TaskContext = {
    signal: run.controller.signal,
    stopReason: () => run.stopReason,
    emit: (event) => run.emit(event),
    ask: (question, input) => {
      const ask = run.nextAsk++;
      const asked = Promise.withResolvers<unknown>();
      run.asks.set(ask, asked);
      run.flush();
      send({ type: "ask", run: id, ask, question, input });
      return asked.promise;
    },
  };
  try {
    const task = tasks[message.task];
    if (!task) throw new CardinalError("internal_error", `the child knows no task ${message.task}`);
    const value = await task(message.input, context);
    run.flush();
    send({ type: "done", run: id, value });
  } catch (error) {
    const failure = toProblem(error);
    if (failure.code === "internal_error") console.error(error);
    run.flush();
    send({ type: "failed", run: id, error: failure.toRecord() });
  } finally {
    runs.delete(id);
  }
}
