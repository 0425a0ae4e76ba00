/**
 * A process that answers questions, a JSON line each way on its standard input and output: a peer in Python or a child
 * of ours. It stays up between its turns, so that nothing is loaded anew.
 *
 * States: starting --its first line, which tells versions--> idle <--ask/answer--> busy; any --exit--> ended.
 * Invariants: one question at a time; when the process ends, the open question and all later ones are rejected.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export interface LineProcessOptions {
  command: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** Run on this core alone. */
  core?: number;
}

/** What a process answers: `ok`, or why it could not. */
export type Answer = { ok: unknown } | { error: string };

interface Waiter {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class LineProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #exited: Promise<unknown>;
  #waiter: Waiter | undefined;
  #ended: Error | undefined;
  #versions: Record<string, string> = {};

  private constructor(options: LineProcessOptions) {
    const { command, args, env, core } = options;
    this.#name = `${command} ${args[0] ?? ""}`;
    const [program, ...rest] = core === undefined ? [command, ...args] : ["taskset", "-c", `${core}`, command, ...args];
    this.#child = spawn(program!, rest, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "inherit"] });
    this.#exited = once(this.#child, "close").catch(() => {});
    this.#child.once("error", (error) => this.#end(`cannot be started: ${error.message}`));
    this.#child.once("close", (code, signal) => this.#end(signal ? `was ended by ${signal}` : `exited with ${code}`));
    this.#child.stdin!.on("error", () => {}); // it has ended: "close" tells
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.#onLine(line));
  }

  /** Starts a process and waits until it is ready. */
  static async start(options: LineProcessOptions): Promise<LineProcess> {
    const started = new LineProcess(options);
    started.#versions = (await started.#answer()) as Record<string, string>;
    return started;
  }

  /** What the process said of itself when it was ready. */
  get versions(): Record<string, string> {
    return this.#versions;
  }

  /** Asks for `task` with its options and gives the answer. Rejects with the process's error, or when it has ended. */
  async ask<T>(task: string, options: Record<string, unknown> = {}): Promise<T> {
    if (this.#waiter) throw new Error(`${this.#name} is busy`);
    const answer = this.#answer();
    this.#child.stdin!.write(`${JSON.stringify({ task, ...options })}\n`);
    return (await answer) as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  #answer(): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiter = { resolve, reject };
    if (this.#ended) this.#settle().reject(this.#ended);
    return promise;
  }

  #settle(): Waiter {
    const waiter = this.#waiter!;
    this.#waiter = undefined;
    return waiter;
  }

  #onLine(line: string): void {
    const answer = this.#waiter && parseAnswer(line);
    if (!answer) this.#end(`printed a line that is no answer: ${line}`);
    else if ("error" in answer) this.#settle().reject(new Error(`${this.#name}: ${answer.error}`));
    else this.#settle().resolve(answer.ok);
  }

  #end(how: string): void {
    this.#ended ??= new Error(`${this.#name} ${how}`);
    if (this.#waiter) this.#settle().reject(this.#ended);
    this.#child.kill("SIGKILL");
  }
}

function parseAnswer(line: string): Answer | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
