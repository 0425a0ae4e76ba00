/**
 * The README's tables that are made from the source: environment, error codes, metrics, and what a client must know of
 * each. `npm run tables` writes them between their markers; a test fails when they are not what the source says.
 */
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { problems } from "../packages/contracts/src/index.ts";
import {
  apiVariables,
  commonVariables,
  createMetrics,
  predictWorkerVariables,
  trainWorkerVariables,
  type Variable,
  workerVariables,
} from "../packages/service/src/index.ts";

export const README = path.join(import.meta.dirname, "../README.md");

type Row = readonly string[];

function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function environmentTable(): string {
  const groups: [string, Record<string, Variable<unknown>>][] = [
    ["all", commonVariables],
    ["api", apiVariables],
    ["workers", workerVariables],
    ["train-worker", trainWorkerVariables],
    ["predict-worker", predictWorkerVariables],
  ];
  const rows = groups.flatMap(([process, variables]) =>
    Object.entries(variables).map(([name, { shown, description }]) => [`\`${name}\``, process, shown, description]),
  );
  return table(["variable", "read by", "default", "what it is"], rows);
}

function errorTable(): string {
  const rows = Object.entries(problems).map(([code, { status, retryable, title }]) => [
    `\`${code}\``,
    String(status),
    retryable ? "yes" : "no",
    title,
  ]);
  return table(["code", "status", "try again", "meaning"], rows);
}

async function metricTable(): Promise<string> {
  const { registry } = createMetrics();
  const metrics = registry.getMetricsAsArray().filter(({ name }) => name.startsWith("cardinal_"));
  const rows = metrics.map((metric) => {
    // prom-client keeps a metric's label names, but its types do not say so.
    const { labelNames = [] } = metric as unknown as { labelNames?: string[] };
    const labels = labelNames.map((label) => `\`${label}\``).join(", ");
    return [`\`${metric.name}\``, String(metric.type), labels, metric.help];
  });
  return table(["metric", "type", "labels", "what it tells"], rows);
}

const makers: Record<string, () => string | Promise<string>> = {
  environment: environmentTable,
  errors: errorTable,
  metrics: metricTable,
};

/** The README's text with every table made anew. Throws when a marker is missing. */
export async function withTables(text: string): Promise<string> {
  let result = text;
  for (const [name, make] of Object.entries(makers)) {
    const begin = `<!-- table:${name} (npm run tables) -->`;
    const end = `<!-- /table:${name} -->`;
    const from = result.indexOf(begin);
    const to = result.indexOf(end);
    if (from < 0 || to < from) throw new Error(`README.md lacks the markers of the table ${name}`);
    result = `${result.slice(0, from + begin.length)}\n\n${await make()}\n\n${result.slice(to)}`;
  }
  return result;
}

if (import.meta.main) await writeFile(README, await withTables(await readFile(README, "utf8")));
