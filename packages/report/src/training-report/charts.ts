/** The charts of a training report. */
import type { Calibration, Epoch } from "@cardinal/contracts";
import type { Html } from "../html.ts";
import { axis, colours, draw, percent } from "./drawing.ts";

const CURVE = { width: 540, height: 270 };
const SQUARE = { width: 400, height: 380 };
const FLAT = { width: 400, height: 150 };
/** With more epochs than these, points would touch. */
const MAX_POINTS = 60;
const LEGEND = {
  ...{ top: 0, itemHeight: 8, itemWidth: 18, itemGap: 18, selectedMode: false },
  textStyle: { color: colours.ink },
};

export interface Curve {
  name: string;
  values: readonly number[];
  colour: "first" | "second";
}

export interface CurveOptions {
  name: string;
  about: string;
  /** How a value of the vertical axis is written. */
  format: (value: number) => string;
  bestEpoch: number | undefined;
}

/** One or two figures by epoch. */
export function curveChart(epochs: readonly Epoch[], curves: readonly Curve[], options: CurveOptions): Html {
  const { name, about, format, bestEpoch } = options;
  const unit = unitOf(curves.flatMap(({ values }) => values));
  const formatter = (value: number) => format(value * unit);
  return draw(name, about, CURVE, {
    grid: { left: 62, right: 18, top: 34, bottom: 42 },
    legend: { ...LEGEND, left: 54 },
    xAxis: axis({
      type: "category",
      data: epochs.map(({ epoch }) => String(epoch)),
      boundaryGap: epochs.length === 1,
      name: "epoch",
      nameGap: 26,
    }),
    yAxis: axis({ type: "value", scale: true, axisLabel: { color: colours.quiet, fontSize: 11, formatter } }),
    series: curves.map((curve, index) => ({
      ...{
        type: "line",
        name: curve.name,
        data: curve.values.map((value) => value / unit),
        silent: true,
        symbol: "circle",
        symbolSize: 6,
      },
      showSymbol: epochs.length <= MAX_POINTS,
      lineStyle: { color: colours[curve.colour], width: 2 },
      itemStyle: { color: colours[curve.colour] },
      ...(index === 0 && bestEpoch !== undefined && { markLine: bestMark(bestEpoch) }),
    })),
  });
}

/** What values are drawn in: ECharts rounds to 20 decimals, in which a learning rate of 1e-30 would be none. */
function unitOf(values: readonly number[]): number {
  const largest = Math.max(...values.map(Math.abs));
  return largest > 0 && Number.isFinite(largest) ? 10 ** Math.floor(Math.log10(largest)) : 1;
}

function bestMark(epoch: number): object {
  return {
    silent: true,
    symbol: "none",
    lineStyle: { color: colours.quiet, type: "dashed", width: 1 },
    label: { formatter: "kept", color: colours.quiet, fontSize: 11 },
    data: [{ xAxis: String(epoch) }],
  };
}

/** Accuracy of each bin against its confidence; the diagonal is where both are the same. */
export function reliabilityChart({ bins, ece }: Calibration): Html {
  const about = `Reliability diagram; the expected calibration error is ${percent(ece)}`;
  const label = { color: colours.quiet, fontSize: 11, formatter: percent };
  const shares = { type: "value", min: 0, max: 1, interval: 0.2, axisLabel: label };
  const filled = bins.flatMap(({ from, to, accuracy, confidence }) =>
    accuracy === undefined || confidence === undefined ? [] : [{ from, to, accuracy, confidence }],
  );
  type Bin = (typeof filled)[number];
  const bars = (name: string, colour: string, low: (bin: Bin) => number, high: (bin: Bin) => number) => ({
    ...{ type: "custom", name, silent: true, renderItem: barItem(colour), itemStyle: { color: colour } },
    data: filled.filter((bin) => high(bin) > low(bin)).map((bin) => [bin.from, bin.to, low(bin), high(bin)]),
  });
  return draw("reliability", about, SQUARE, {
    grid: { left: 58, right: 18, top: 34, bottom: 42 },
    legend: { ...LEGEND, left: 50 },
    xAxis: axis({ name: "confidence", nameGap: 26, ...shares }),
    yAxis: axis({ name: "accuracy", nameGap: 42, ...shares }),
    series: [
      bars("accuracy", colours.first, () => 0, ({ accuracy, confidence }) => Math.min(accuracy, confidence)), // biome-ignore format: one each
      bars("too sure", colours.bad, ({ accuracy }) => accuracy, ({ confidence }) => confidence), // biome-ignore format: one each
      bars("not sure enough", colours.second, ({ confidence }) => confidence, ({ accuracy }) => accuracy), // biome-ignore format: one each
      {
        ...{ type: "line", silent: true, symbol: "none", lineStyle: { color: colours.ink, type: "dashed", width: 1 } },
        data: [0, 1].map((end) => [end, end]),
      },
    ],
  });
}

/** How many images are in each bin of confidence. */
export function confidenceChart({ bins }: Calibration): Html {
  const total = bins.reduce((sum, { images }) => sum + images, 0);
  const data = bins.map(({ from, to, images }) => [from, to, 0, total === 0 ? 0 : images / total]);
  const label = { color: colours.quiet, fontSize: 11, formatter: percent };
  return draw("confidence", "Share of the images in each bin of confidence", FLAT, {
    grid: { left: 58, right: 18, top: 12, bottom: 42 },
    xAxis: axis({ type: "value", min: 0, max: 1, interval: 0.2, name: "confidence", nameGap: 26, axisLabel: label }),
    yAxis: axis({ type: "value", splitNumber: 2, name: "images", nameGap: 42, axisLabel: label }),
    series: [{ type: "custom", silent: true, data, renderItem: barItem(colours.second) }],
  });
}

interface ItemApi {
  value(dimension: number): number;
  coord(point: readonly [number, number]): [number, number];
}

/** A bar from data [left, right, low, high] on two axes of values. */
function barItem(fill: string) {
  return (_params: unknown, api: ItemApi) => {
    const [left, right, low, high] = [0, 1, 2, 3].map((dimension) => api.value(dimension)) as [
      number,
      number,
      number,
      number,
    ];
    const [x, top] = api.coord([left, Math.max(low, high)]);
    const [end, bottom] = api.coord([right, Math.min(low, high)]);
    const shape = { x: x + 0.5, y: top, width: Math.max(0, end - x - 1), height: bottom - top };
    return { type: "rect", shape, style: { fill, opacity: 0.85 } };
  };
}
