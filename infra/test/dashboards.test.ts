/** Dashboards and alerts as code: the committed JSON is what the source makes, and it asks for metrics that exist. */
import assert from "node:assert/strict";
import { globSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { createMetrics } from "@cardinal/service";
import { parse } from "yaml";
import { dashboardFiles } from "../grafana/make.ts";
import { overview } from "../grafana/overview.ts";
import { buildDashboard, DATA_SOURCE } from "../grafana/panels.ts";
import { composeVariables, ROOT, readCompose } from "./compose-file.ts";
import { parseExpression } from "./promql.ts";

const INFRA = path.join(ROOT, "infra");
const folder = path.join(INFRA, "grafana/dashboards");

interface PanelJson {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; w: number };
  datasource?: unknown;
  targets?: { refId: string; expr: string; legendFormat: string; datasource: unknown }[];
}

const committed = readdirSync(folder).map((name) => ({
  name,
  json: JSON.parse(readFileSync(path.join(folder, name), "utf8")) as { id: null; uid: string; panels: PanelJson[] },
}));
const panels = committed.flatMap(({ json }) => json.panels.filter(({ type }) => type !== "row"));

test("the committed dashboards are what npm run dashboards makes", () => {
  const files = dashboardFiles();
  assert.deepEqual(
    committed.map(({ name }) => path.join(folder, name)),
    [...files.keys()],
  );
  for (const [file, content] of files) {
    assert.equal(readFileSync(file, "utf8"), content, `${file} is out of date: npm run dashboards`);
  }
});

test("dashboards load by provisioning: no id, a fixed uid and data source, no inputs to ask for", () => {
  const provisioned = parse(readFileSync(path.join(INFRA, "grafana/provisioning/datasources/prometheus.yml"), "utf8"));
  assert.deepEqual(
    provisioned.datasources.map(({ uid, type }: Record<string, string>) => ({ uid, type })),
    [DATA_SOURCE],
  );
  const scrape = parse(readFileSync(path.join(INFRA, "prometheus/prometheus.yml"), "utf8")).global.scrape_interval;
  assert.equal(provisioned.datasources[0].jsonData.timeInterval, scrape);
  for (const { name, json } of committed) {
    assert.equal(json.id, null);
    assert.match(json.uid, /^cardinal-[a-z-]+$/);
    assert.ok(!readFileSync(path.join(folder, name), "utf8").includes("${DS_"));
    const ids = json.panels.map(({ id }) => id);
    assert.deepEqual(ids, [...new Set(ids)]);
    for (const { gridPos, title } of json.panels) assert.ok(gridPos.x + gridPos.w <= 24, title);
  }
  for (const { targets = [], title, datasource } of panels) {
    assert.deepEqual(datasource, DATA_SOURCE, title);
    assert.ok(targets.length > 0, title);
    assert.deepEqual(
      targets.map(({ refId }) => refId),
      [..."ABCDEFGH"].slice(0, targets.length),
    );
    for (const target of targets) assert.deepEqual(target.datasource, DATA_SOURCE, title);
  }
});

test("compose gives Grafana the folders that the provisioning files name", () => {
  const compose = readCompose(Object.fromEntries(composeVariables().required.map((name) => [name, "x"])));
  const mounts = (compose.services.grafana?.volumes ?? []).map((volume) => volume.split(":"));
  const provider = parse(readFileSync(path.join(INFRA, "grafana/provisioning/dashboards/cardinal.yml"), "utf8"));
  const inside: string = provider.providers[0].options.path;
  assert.deepEqual(
    mounts.filter(([, target]) => target === inside),
    [["./infra/grafana/dashboards", inside, "ro"]],
  );
  const home = compose.services.grafana?.environment?.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH ?? "";
  assert.ok(home.startsWith(`${inside}/`) && committed.some(({ name }) => home.endsWith(`/${name}`)), home);
  assert.ok(mounts.some(([, target]) => target === "/etc/grafana/provisioning"));
});

/** Every series' name that Cardinal exposes, with its labels. */
function exposedSeries(): Map<string, string[]> {
  const series = new Map<string, string[]>();
  for (const metric of createMetrics().registry.getMetricsAsArray()) {
    const { name, type, labelNames = [] } = metric as unknown as { name: string; type: string; labelNames?: string[] };
    const labels = [...labelNames, "job", "instance"];
    if (type !== "histogram") series.set(name, labels);
    else {
      series.set(`${name}_bucket`, [...labels, "le"]);
      for (const suffix of ["_sum", "_count"]) series.set(name + suffix, labels);
    }
  }
  return series;
}

const alerts = globSync("prometheus/rules/*.rules.yml", { cwd: INFRA })
  .flatMap((file) => parse(readFileSync(path.join(INFRA, file), "utf8")).groups)
  .flatMap(({ rules }: { rules: { alert: string; expr: string }[] }) => rules);
const queries = panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr, legendFormat }) => ({ title, expr, legendFormat })),
);

test("every expression of a panel or an alert is PromQL over metrics and labels that exist", () => {
  const series = exposedSeries();
  assert.ok(queries.length > 20 && alerts.length > 0);
  for (const { title, expr } of [...queries, ...alerts.map((rule) => ({ title: rule.alert, expr: rule.expr }))]) {
    const { metrics, grouping } = parseExpression(expr);
    for (const { name, labels } of metrics) {
      const known = series.get(name);
      assert.ok(known, `${title}: there is no metric ${name}`);
      for (const label of labels) assert.ok(known.includes(label), `${title}: ${name} has no label ${label}`);
    }
    const all = metrics.flatMap(({ name }) => series.get(name) ?? []);
    for (const label of grouping) assert.ok(all.includes(label), `${title}: no metric here has the label ${label}`);
  }
});

test("legends name labels that the expression keeps", () => {
  for (const { title, expr, legendFormat } of queries) {
    const used = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label as string);
    const aggregated = /\b(sum|max)\b/.test(expr);
    for (const label of used) {
      assert.ok(!aggregated || parseExpression(expr).grouping.includes(label), `${title}: ${label} is not kept`);
    }
  }
});

test("the wrapper around the SDK refuses what Grafana would show broken", () => {
  const panel = overview.rows[0]?.panels[0];
  assert.ok(panel);
  const build = (...some: (typeof panel)[]) => buildDashboard({ ...overview, rows: [{ title: "row", panels: some }] });
  assert.throws(() => build(panel, panel), /two panels have the title/);
  assert.throws(() => build({ ...panel, queries: [] }), /has no query/);
  assert.throws(() => build({ ...panel, unit: "" }), /a text is empty/);
  assert.throws(() => parseExpression("sum(rate(x[1m])"), /not PromQL/);
});
