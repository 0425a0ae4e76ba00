/** Running other programs: output is kept for the error text, never printed unless the program fails. */
import { spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import path from "node:path";

/** A native part cannot be had; the message is one line that names what is missing and the ways to get it. */
export class ProvisionError extends Error {
  override name = "ProvisionError";
}

export interface RunOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Through a shell: Windows' npm is a script, not a program. */
  shell?: boolean;
}

/**
 * Runs a program to its end and returns its standard output.
 * @throws ProvisionError when it cannot be started, is killed or exits non-zero, with the last lines that it printed.
 */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let all = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    all += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    all += text;
  });
  child.once("error", (error) => reject(new ProvisionError(`${program} cannot be started: ${error.message}`)));
  child.once("close", (code, signal) => {
    if (code === 0) return resolve(output);
    const how = signal ? `was ended by ${signal}` : `exited with ${code}`;
    reject(new ProvisionError(`${[program, ...args].join(" ")} ${how}:\n${lastLines(all, 12)}`));
  });
  return promise;
}

function lastLines(text: string, count: number): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}

/** The full path of an executable on PATH, or undefined. */
export function which(program: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const endings = process.platform === "win32" ? [".exe", ".cmd", ""] : [""];
  for (const folder of (env.PATH ?? "").split(path.delimiter)) {
    if (folder === "") continue;
    for (const ending of endings) {
      const candidate = path.join(folder, program + ending);
      if (isExecutable(candidate)) return candidate;
    }
  }
  return undefined;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
