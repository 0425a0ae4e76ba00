/**
 * Panels and dashboards as data, built with Grafana's SDK. The SDK gives panels no ids and queries neither a refId nor
 * a data source, hides legends and checks nothing: this file adds what is missing and refuses what Grafana would show
 * as a broken or empty panel.
 */
import {
  BigValueColorMode,
  BigValueGraphMode,
  LegendDisplayMode,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from "@grafana/grafana-foundation-sdk/common";
import {
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  type Panel,
  RowBuilder,
} from "@grafana/grafana-foundation-sdk/dashboard";
import { DataqueryBuilder } from "@grafana/grafana-foundation-sdk/prometheus";
import { PanelBuilder as StatBuilder } from "@grafana/grafana-foundation-sdk/stat";
import { PanelBuilder as TimeSeriesBuilder } from "@grafana/grafana-foundation-sdk/timeseries";

/** The data source's fixed uid, the same as in provisioning/datasources/prometheus.yml. */
export const DATA_SOURCE = { type: "prometheus", uid: "cardinal-prometheus" } as const;

/** Columns of Grafana's grid. */
const COLUMNS = 24;

export interface QuerySpec {
  /** PromQL; `$__rate_interval` is Grafana's, four scrape intervals or more. */
  expr: string;
  /** A series' name: text with `{{label}}`. */
  legend: string;
}

export interface PanelSpec {
  title: string;
  /** What it tells and what to make of it, in a sentence or two. */
  description: string;
  /** A unit id of Grafana: `s`, `bytes`, `percentunit`, `short`, `reqps`. */
  unit: string;
  queries: readonly QuerySpec[];
  /** `lines` unless told: a graph over time; `stack`: filled and stacked; `number`: the latest value, large. */
  look?: "lines" | "stack" | "number";
  /** The axis' upper end, such as 1 for ratios. */
  max?: number;
}

export interface RowSpec {
  title: string;
  panels: readonly PanelSpec[];
}

export interface DashboardSpec {
  /** Part of the dashboard's address; never change it. */
  uid: string;
  title: string;
  description: string;
  rows: readonly RowSpec[];
}

/** Builds the dashboard that Grafana loads. Throws when two panels share a title or a part is missing. */
export function buildDashboard(spec: DashboardSpec): Dashboard {
  const builder = new DashboardBuilder(spec.title)
    .id(null)
    .uid(spec.uid)
    .description(spec.description)
    .tags(["cardinal"])
    .readonly()
    .tooltip(DashboardCursorSync.Crosshair)
    .refresh("10s")
    .time({ from: "now-1h", to: "now" });
  const titles = new Set<string>();
  let id = 0;
  for (const row of spec.rows) {
    id += 1;
    builder.withRow(new RowBuilder(row.title).id(id));
    const width = Math.floor(COLUMNS / row.panels.length);
    if (width < 4) throw new Error(`row ${row.title}: ${row.panels.length} panels, 6 fit at most`);
    for (const panel of row.panels) {
      check(panel);
      if (titles.has(panel.title)) throw new Error(`two panels have the title ${panel.title}`);
      titles.add(panel.title);
      id += 1;
      const built = buildPanel(panel, id, width);
      builder.withPanel({ build: () => built });
    }
  }
  return builder.build();
}

function check({ title, description, unit, queries }: PanelSpec): void {
  if (queries.length === 0) throw new Error(`panel ${title} has no query`);
  const texts = [title, description, unit, ...queries.flatMap(({ expr, legend }) => [expr, legend])];
  if (texts.some((text) => text.trim() === "")) throw new Error(`panel ${title}: a text is empty`);
}

function buildPanel(spec: PanelSpec, id: number, width: number): Panel {
  const builder = spec.look === "number" ? numberPanel() : graphPanel(spec.look ?? "lines");
  builder
    .id(id)
    .title(spec.title)
    .description(spec.description)
    .datasource(DATA_SOURCE)
    .unit(spec.unit)
    .min(0)
    .span(width)
    .height(spec.look === "number" ? 4 : 8);
  if (spec.max !== undefined) builder.max(spec.max);
  for (const [index, { expr, legend }] of spec.queries.entries()) {
    builder.withTarget(
      new DataqueryBuilder()
        .refId(String.fromCharCode("A".charCodeAt(0) + index))
        .datasource(DATA_SOURCE)
        .expr(expr)
        .legendFormat(legend)
        .range(),
    );
  }
  return builder.build();
}

function numberPanel(): StatBuilder {
  return new StatBuilder()
    .graphMode(BigValueGraphMode.Area)
    .colorMode(BigValueColorMode.None)
    .decimals(0)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(["lastNotNull"]));
}

function graphPanel(look: "lines" | "stack"): TimeSeriesBuilder {
  const builder = new TimeSeriesBuilder()
    .lineWidth(1)
    .fillOpacity(look === "stack" ? 40 : 0)
    .legend(
      new VizLegendOptionsBuilder().showLegend(true).displayMode(LegendDisplayMode.Table).calcs(["lastNotNull", "max"]),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending));
  return look === "stack" ? builder.stacking(new StackingConfigBuilder().mode(StackingMode.Normal)) : builder;
}
