/** Prometheus' files by promtool, and every panel's query on a real Prometheus that scrapes all of Cardinal's metrics. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { findPrometheus } from "@cardinal/provision";
import { freePorts, guardLeaks, startProcess, tempDir, waitFor } from "@cardinal/testing";
import { parse, stringify } from "yaml";
import { overview } from "../grafana/overview.ts";
import { composeVariables, ROOT, readCompose } from "./compose-file.ts";
import { type SampleExporters, startSampleExporters } from "./sample-exporters.ts";

guardLeaks();

const FOLDER = path.join(ROOT, "infra/prometheus");
const config = parse(readFileSync(path.join(FOLDER, "prometheus.yml"), "utf8"));
const rules = globSync("rules/*.rules.yml", { cwd: FOLDER });

function program(name: "promtool" | "prometheus"): string {
  const found = findPrometheus(name);
  assert.ok(found, `no ${name}; run npm run setup -- --for-tests`);
  return found;
}

/** Fails with what promtool prints. */
const promtool = (...args: string[]) => promisify(execFile)(program("promtool"), args, { cwd: FOLDER });

test("promtool accepts the configuration and the rules", async () => {
  const { stdout } = await promtool("check", "config", "prometheus.yml");
  assert.match(stdout, new RegExp(`${rules.length} rule files found`));
});

test("every file of rules has tests, and each alert fires in one", async () => {
  assert.ok(rules.length > 0);
  for (const file of rules) {
    const tests = file.replace(".rules.yml", ".test.yml");
    await promtool("test", "rules", tests);
    const { groups } = parse(readFileSync(path.join(FOLDER, file), "utf8"));
    for (const { alert } of groups.flatMap((group: { rules: { alert: string }[] }) => group.rules)) {
      const text = readFileSync(path.join(FOLDER, tests), "utf8");
      assert.ok(text.includes(`alertname: ${alert}\n`), `${tests} has no firing ${alert}`);
    }
  }
});

test("every service of Cardinal in the compose file is scraped, at the port that it listens on", () => {
  const compose = readCompose(Object.fromEntries(composeVariables().required.map((name) => [name, "x"])));
  const listening = Object.entries(compose.services).flatMap(([name, { build, environment = {} }]) =>
    build ? [{ name, port: Number(environment.API_PORT ?? environment.METRICS_PORT) }] : [],
  );
  const scraped = config.scrape_configs.map(
    ({ dns_sd_configs: [dns] }: { dns_sd_configs: { names: string[]; port: number }[] }) => ({
      name: dns?.names[0],
      port: dns?.port,
    }),
  );
  assert.deepEqual(scraped, listening);
});

test("every panel's query has an answer", async () => {
  await using exporters = await startSampleExporters();
  await using folder = await tempDir("prometheus");
  const [port] = (await freePorts(1)) as [number];
  const url = `http://127.0.0.1:${port}`;
  const file = path.join(folder.path, "prometheus.yml");
  writeFileSync(file, stringify(hereConfig(exporters)));
  const server = await startProcess({
    what: "prometheus",
    program: program("prometheus"),
    args: [
      `--config.file=${file}`,
      `--storage.tsdb.path=${path.join(folder.path, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--log.level=warn",
    ],
    cwd: folder.path,
    isReady: async () => (await fetch(`${url}/-/ready`)).ok,
  });
  try {
    for (const { title, queries } of overview.rows.flatMap((row) => row.panels)) {
      for (const { expr, legend } of queries) {
        await waitFor(() => hasAnswer(url, expr), { what: `an answer for ${title} (${legend}): ${expr}` });
      }
    }
  } finally {
    await server.stop();
  }
});

/** The committed configuration with addresses of this machine in place of compose's DNS, and a quick scrape. */
function hereConfig({ addresses }: SampleExporters): unknown {
  return {
    global: { scrape_interval: "500ms", evaluation_interval: "1s" },
    rule_files: config.rule_files.map((pattern: string) => path.join(FOLDER, pattern)),
    scrape_configs: config.scrape_configs.map(
      ({ dns_sd_configs: _dns, ...job }: { dns_sd_configs: unknown; job_name: string }) => ({
        ...job,
        static_configs: [{ targets: [addresses.get(job.job_name)] }],
      }),
    ),
  };
}

/** True when the query gives series, and a number in each. An error of Prometheus' ends the wait. */
async function hasAnswer(url: string, expr: string): Promise<boolean> {
  const query = new URLSearchParams({ query: expr.replaceAll("$__rate_interval", "5s") });
  const response = await fetch(`${url}/api/v1/query?${query}`);
  const body = (await response.json()) as { data?: { result: { value: [number, string] }[] }; error?: string };
  if (!body.data) throw new Error(`${expr}: ${body.error}`);
  const values = body.data.result.map(({ value }) => Number(value[1]));
  return values.length > 0 && values.every(Number.isFinite);
}
