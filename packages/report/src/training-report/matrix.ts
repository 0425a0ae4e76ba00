/** The confusion matrix as a chart, bounded to what a page can show and a person can read. */
import type { ModelReport } from "@cardinal/contracts";
import type { Html } from "../html.ts";
import { axis, colours, draw, percent } from "./drawing.ts";

/** More rows than these are not read. */
export const SHOWN_CLASSES = 30;
/** In pixels, for names: cut to what fits, and slanted above the columns, so that the last one reaches to the right. */
const MARGIN = { left: 150, top: 96, right: 52 };
/** Side of a cell in pixels: smaller where there are more of them. */
const CELL = { most: 56, least: 24, side: 640 };
/** Shares below are drawn as strong as this, so that a single mistake among thousands is seen. */
const FAINTEST = 0.12;

/** Class indices that the matrix shows, ascending: all, or those with the most confusions as class or as answer. */
export function shownClasses(report: Pick<ModelReport, "confusion" | "classes" | "evaluation">): number[] {
  const { classes } = report;
  if (classes.length <= SHOWN_CLASSES) return classes.map((_, index) => index);
  const wrong = new Map<string, number>();
  const count = (name: string, images: number) => wrong.set(name, (wrong.get(name) ?? 0) + images);
  for (const pair of report.evaluation?.confusedPairs ?? []) {
    count(pair.class, pair.images);
    count(pair.predicted, pair.images);
  }
  const order = classes.map((_, index) => index);
  order.sort((a, b) => (wrong.get(classes[b]!.class) ?? 0) - (wrong.get(classes[a]!.class) ?? 0) || a - b);
  return order.slice(0, SHOWN_CLASSES).sort((a, b) => a - b);
}

/** Rows are true classes, columns predicted ones. `counts[i][j]` belongs to the i-th and j-th of `names`. */
export function matrixChart(
  names: readonly string[],
  counts: readonly (readonly number[])[],
  images: readonly number[],
) {
  const cell = Math.max(CELL.least, Math.min(CELL.most, Math.floor(CELL.side / names.length)));
  const side = cell * names.length;
  const size = { width: MARGIN.left + side + MARGIN.right, height: MARGIN.top + side + 12 };
  const label = { color: colours.quiet, fontSize: 11, interval: 0, overflow: "truncate" };
  const common = { type: "category", data: names, splitLine: { show: false }, axisTick: { show: false } };
  const data = counts.flatMap((row, y) => row.map((count, x) => [x, y, count, share(count, images[y]!)]));
  const about = `Confusion matrix of ${names.length} classes; the table below it names the pairs that are confused most`;
  return draw("confusion", about, size, {
    grid: { left: MARGIN.left, top: MARGIN.top, width: side, height: side },
    xAxis: axis({ ...common, position: "top", axisLabel: { ...label, rotate: -60, width: 76, align: "left" } }),
    yAxis: axis({ ...common, inverse: true, axisLabel: { ...label, width: 104 } }),
    series: [{ type: "custom", silent: true, data, renderItem: cellItem(cell, Math.min(13, Math.floor(cell * 0.4))) }],
  }) satisfies Html;
}

const share = (count: number, images: number): number => (images === 0 ? 0 : count / images);

interface ItemApi {
  value(dimension: number): number;
  coord(point: readonly [number, number]): [number, number];
}

function cellItem(side: number, fontSize: number) {
  return (_params: unknown, api: ItemApi) => {
    const [x, y, count, part] = [0, 1, 2, 3].map((dimension) => api.value(dimension)) as [
      number,
      number,
      number,
      number,
    ];
    const [centreX, centreY] = api.coord([x, y]);
    const strength = count === 0 ? 0 : FAINTEST + (1 - FAINTEST) * part;
    const shape = { x: centreX - side / 2 + 0.5, y: centreY - side / 2 + 0.5, width: side - 1, height: side - 1, r: 2 };
    const fill = count === 0 ? colours.rule : x === y ? colours.first : colours.bad;
    const square = { type: "rect", shape, style: { fill, opacity: count === 0 ? 0.35 : strength } };
    if (count === 0) return { type: "group", children: [square] };
    const text = count < 10_000 ? String(count) : percent(part);
    const style = { text, x: centreX, y: centreY, align: "center", verticalAlign: "middle", fontSize };
    return {
      type: "group",
      children: [square, { type: "text", style: { ...style, fill: strength > 0.55 ? colours.paper : colours.ink } }],
    };
  };
}
