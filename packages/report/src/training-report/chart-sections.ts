/** Curves over the epochs, and calibration. */
import type { Epoch, ModelReport } from "@cardinal/contracts";
import { number, percent } from "../format.ts";
import { type Html, html } from "../html.ts";
import { type Curve, confidenceChart, curveChart, reliabilityChart } from "./charts.ts";
import { percent as shortPercent } from "./drawing.ts";

const figure = (caption: string, chart: Html): Html =>
  html`<figure><figcaption>${caption}</figcaption>${chart}</figure>`;

export function curvesSection({ epochs }: ModelReport, bestEpoch: number): Html | undefined {
  if (epochs.length === 0) return undefined;
  const of = (pick: (epoch: Epoch) => number) => epochs.map(pick);
  const pair = (train: Curve["values"], val: Curve["values"]): Curve[] => [
    { name: "training", values: train, colour: "first" },
    { name: "validation", values: val, colour: "second" },
  ];
  const loss = pair(of(({ trainLoss }) => trainLoss), of(({ valLoss }) => valLoss)); // biome-ignore format: pairs
  const accuracy = pair(of(({ trainAccuracy }) => trainAccuracy), of(({ valAccuracy }) => valAccuracy)); // biome-ignore format: pairs
  const rate: Curve[] = [{ name: "learning rate", values: of(({ learningRate }) => learningRate), colour: "first" }];
  const speed: Curve[] = [{ name: "training", values: of(({ imagesPerSecond }) => imagesPerSecond), colour: "first" }];
  const axis = (name: string, what: string, format: (value: number) => string) => ({
    ...{ name, format, bestEpoch, about: `${what} in each of ${epochs.length} epochs` },
  });
  return html`<section id="curves"><h2>Curves</h2>
<p class="quiet">Training figures are means over an epoch while the weights change, on augmented images; validation is at its end.
The dashed line is the epoch whose weights were kept.</p>
<div class="row">
${figure("Loss", curveChart(epochs, loss, axis("loss", "Training and validation loss", number)))}
${figure("Accuracy", curveChart(epochs, accuracy, axis("accuracy", "Training and validation accuracy", shortPercent)))}
${figure("Learning rate", curveChart(epochs, rate, axis("learning-rate", "Learning rate", number)))}
${figure("Images a second", curveChart(epochs, speed, axis("speed", "Training images a second", number)))}
</div></section>`;
}

export function calibrationSection({ evaluation }: ModelReport): Html | undefined {
  if (!evaluation) return undefined;
  const { calibration, images } = evaluation;
  return html`<section id="calibration"><h2>Calibration</h2>
<p>Expected calibration error: <b>${percent(calibration.ece)}</b> in ${calibration.bins.length} bins of equal width (Guo et al. 2017).
<span class="quiet">A network that is 80% sure should be right in 80% of such answers: the nearer the bars are to the dashed line, the
better. Beside it, how many of the ${images.toLocaleString("en-US")} images are in each bin.</span></p>
<div class="row">
${figure("Reliability", reliabilityChart(calibration))}
${figure("Images by confidence", confidenceChart(calibration))}
</div></section>`;
}
