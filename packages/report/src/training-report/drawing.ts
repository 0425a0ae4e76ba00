/**
 * Charts by Apache ECharts on the server: SVG text without a script. Colours are the page's CSS variables, so a chart
 * follows light, dark and print.
 */
import { BarChart, CustomChart, LineChart } from "echarts/charts";
import { GridComponent, LegendComponent, MarkLineComponent } from "echarts/components";
import { type EChartsCoreOption, init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import { type Html, html, trusted } from "../html.ts";

use([BarChart, CustomChart, LineChart, GridComponent, LegendComponent, MarkLineComponent, SVGRenderer]);

export const colours = {
  ink: "var(--ink)",
  quiet: "var(--quiet)",
  rule: "var(--rule)",
  paper: "var(--paper)",
  first: "var(--first)",
  second: "var(--second)",
  bad: "var(--bad)",
} as const;

export interface ChartSize {
  /** In CSS pixels; a page makes it smaller where it has less room. */
  width: number;
  height: number;
}

/** ECharts escapes every text. `about` says in words what the chart shows, for readers who do not see it. */
export function draw(name: string, about: string, { width, height }: ChartSize, option: EChartsCoreOption): Html {
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height });
  try {
    chart.setOption({ animation: false, textStyle: { fontFamily: "inherit", color: colours.ink }, ...option });
    const svg = trusted(chart.renderToSVGString({ useViewBox: true }));
    return html`<div class="chart" data-chart="${name}" role="img" aria-label="${about}" style="max-width:${width}px">${svg}</div>`;
  } finally {
    chart.dispose(); // it holds a timer, which would keep the process alive
  }
}

/** The look of an axis; further settings come on top. */
export function axis(settings: object): object {
  return {
    axisLine: { lineStyle: { color: colours.quiet } },
    axisTick: { lineStyle: { color: colours.quiet } },
    axisLabel: { color: colours.quiet, fontSize: 11 },
    nameTextStyle: { color: colours.quiet, fontSize: 11 },
    splitLine: { lineStyle: { color: colours.rule } },
    nameLocation: "middle",
    ...settings,
  };
}

export const percent = (share: number): string => `${Number((100 * share).toFixed(1))}%`;
