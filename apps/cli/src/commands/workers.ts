/** `cardinal workers`. */
import type { Command } from "commander";
import { type ApiOptions, apiCommand, clientOf } from "../api-command.ts";
import { answer, table } from "../output.ts";

export function addWorkers(program: Command): void {
  apiCommand(program, "workers", "who works, on what").action(async (options: ApiOptions) => {
    const workers = await clientOf(options).workers();
    const rows = workers.map(({ kind, host, pid, cores, memoryBytes, engine, active }) => {
      return [kind, host, pid, cores, `${(memoryBytes / 2 ** 30).toFixed(1)} GiB`, engine, active.join(" ")] as const;
    });
    answer(options.json, workers, () => table(["KIND", "HOST", "PID", "CORES", "MEMORY", "ENGINE", "WORKS ON"], rows));
  });
}
