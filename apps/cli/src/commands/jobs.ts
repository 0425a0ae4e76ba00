/** `cardinal jobs`, `job`, `watch`, `logs`, `cancel`, `retry`, `results`, `errors`. */
import type { JobKind, JobState, JobView, LogLine, Waiting } from "@cardinal/contracts";
import { type Command, Option } from "commander";
import { type ApiOptions, apiCommand, clientOf } from "../api-command.ts";
import { assertCompleted, follow } from "../follow.ts";
import { wholeNumber } from "../number-options.ts";
import { answer, table } from "../output.ts";
import { writeRows } from "./predict.ts";

interface ListOptions extends ApiOptions {
  kind?: JobKind;
  state?: JobState;
  limit: number;
}

export function addJobCommands(program: Command): void {
  apiCommand(program, "jobs", "the newest jobs")
    .addOption(new Option("--kind <kind>").choices(["ingest", "import", "train", "predict"]))
    .addOption(new Option("--state <state>").choices(["waiting", "active", "completed", "failed", "cancelled"]))
    .option("--limit <n>", "at most so many", wholeNumber(1, 1000), 20)
    .action(list);
  apiCommand(program, "job <id>", "one job, as it is now").action(async (id: string, options: ApiOptions) => {
    show(await clientOf(options).job(id), options);
  });
  apiCommand(program, "watch <id>", "wait for a job's end; exit code 1 unless it completes").action(watch);
  apiCommand(program, "logs <id>", "what happened to a job")
    .option("-f, --follow", "go on until the job has ended")
    .action(logs);
  apiCommand(program, "cancel <id>", "cancel a job").action(async (id: string, options: ApiOptions) => {
    show(await clientOf(options).cancel(id), options);
  });
  apiCommand(
    program,
    "retry <id>",
    "run again a failed or cancelled job, or failed inputs: what it has is kept",
  ).action(async (id: string, options: ApiOptions) => {
    show(await clientOf(options).retry(id), options);
  });
  apiCommand(program, "results <id>", "the rows of a predict job")
    .addOption(new Option("--format <format>").choices(["jsonl", "csv"]).default("jsonl"))
    .option("-o, --output <file>", "where they go, instead of standard output")
    .action(async (id: string, options: ApiOptions & { format: "jsonl" | "csv"; output?: string }) => {
      await writeRows(clientOf(options), id, options.format, options.output);
    });
  apiCommand(program, "errors <id>", "the images of a predict job that have no answer, as JSON lines").action(
    async (id: string, options: ApiOptions) => {
      for await (const row of clientOf(options).errors(id)) console.log(JSON.stringify(row));
    },
  );
}

async function list({ kind, state, limit, ...options }: ListOptions): Promise<void> {
  const client = clientOf(options);
  const jobs: JobView[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.jobs({ kind, state, cursor, limit: Math.min(limit - jobs.length, 100) });
    jobs.push(...page.jobs);
    cursor = page.nextCursor;
  } while (cursor !== undefined && jobs.length < limit);
  const rows = jobs.map((job) => [job.id, job.state, progressOf(job), job.createdAt, job.error?.code ?? ""] as const);
  answer(options.json, jobs, () => table(["JOB", "STATE", "DONE", "MADE", ""], rows));
}

async function watch(id: string, options: ApiOptions): Promise<void> {
  const client = clientOf(options);
  const job = await follow(client, await client.job(id));
  show(job, options);
  assertCompleted(job);
}

async function logs(id: string, { follow, ...options }: ApiOptions & { follow?: boolean }): Promise<void> {
  for await (const line of clientOf(options).logs(id, { follow })) {
    console.log(options.json ? JSON.stringify(line) : logLine(line));
  }
}

const logLine = ({ time, level, message, fields = {} }: LogLine): string => {
  const shown = Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return [time, level.padEnd(5), JSON.stringify(message).slice(1, -1), ...shown].join(" ");
};

function show(job: JobView, options: ApiOptions): void {
  answer(options.json, job, () => {
    const lines = [`${job.id}  ${job.state}`];
    if (job.progress) lines.push(`progress  ${progressOf(job)} (${job.progress.phase ?? job.progress.unit})`);
    if (job.waiting) lines.push(`waits     ${waitsFor(job.waiting)}`);
    if (job.error) lines.push(`error     ${job.error.message} (${job.error.code})`);
    if (job.result) lines.push(`result    ${JSON.stringify(job.result)}`);
    return lines.join("\n");
  });
}

const waitsFor = ({ text, etaSeconds }: Waiting): string =>
  etaSeconds === undefined ? text : `${text}; done in about ${Math.ceil(etaSeconds)} s`;

const progressOf = ({ progress, state }: JobView): string =>
  state === "completed" ? "100%" : progress ? `${Math.floor(progress.percent)}%` : "";
