/** Figures as tiles and tables. */
import type { ModelReport, TrainingPhase } from "@cardinal/contracts";
import { duration, number, percent } from "../format.ts";
import { type Html, html } from "../html.ts";
import { named } from "../page.ts";
import type { ReportedModel } from "./page.ts";

/** Longer tables are not read: the classes that do worst are what counts. */
const SHOWN_CLASSES = 100;

export function tiles({ evaluation, epochs }: ModelReport, bestEpoch: number): Html | undefined {
  if (!evaluation) return undefined;
  const { top1, top5, loss, averages, calibration } = evaluation;
  const figures: [string, string][] = [
    ["top-1 accuracy", percent(top1)],
    ["top-5 accuracy", percent(top5)],
    ["macro F1", percent(averages.macro.f1)],
    ["calibration error", percent(calibration.ece)],
    ["loss", number(loss)],
    ["kept epoch", `${bestEpoch} of ${epochs.length}`],
  ];
  const tile = ([name, value]: [string, string]) => html`<div class="tile"><b>${value}</b><span>${name}</span></div>`;
  return html`<div class="tiles" id="tiles">${figures.map(tile)}</div>`;
}

export function classesSection({ classes, evaluation }: ModelReport): Html {
  const isPart = classes.length > SHOWN_CLASSES;
  const shown = isPart ? classes.toSorted((a, b) => a.f1 - b.f1).slice(0, SHOWN_CLASSES) : classes;
  const { macro, weighted } = evaluation?.averages ?? {};
  const row = (name: Html, figures: { precision: number; recall: number; f1: number }, images: string) =>
    html`<tr><td>${name}</td><td class="number">${percent(figures.precision)}</td><td class="number">${percent(figures.recall)}</td>
<td class="number">${percent(figures.f1)} <meter min="0" max="1" value="${figures.f1.toFixed(4)}"></meter></td><td class="number">${images}</td></tr>
`;
  return html`<section id="classes"><h2>Classes</h2>
${isPart && html`<p class="warn" data-bounded="classes">Shown are the ${SHOWN_CLASSES} of ${classes.length.toLocaleString("en-US")} classes with the lowest F1; <code>report.json</code> has all.</p>`}
<div class="scroll"><table>
<thead><tr><th>class</th><th class="number">precision</th><th class="number">recall</th><th class="number">F1</th><th class="number">support</th></tr></thead>
<tbody>${shown.map((figures) => row(named(figures.class), figures, figures.images.toLocaleString("en-US")))}</tbody>
<tfoot>${macro && row(html`<i>macro average</i>`, macro, "")}${weighted && row(html`<i>average weighted by support</i>`, weighted, "")}</tfoot>
</table></div></section>`;
}

const PHASE_NAMES: Record<TrainingPhase["phase"], string> = {
  prepare: "before the first epoch",
  train: "training",
  validate: "validation after each epoch",
  judge: "judging the kept weights",
  export: "export to ONNX and its check",
};

export function phasesSection({ phases, training }: ModelReport): Html | undefined {
  if (!phases) return undefined;
  const total = phases.reduce((sum, { seconds }) => sum + seconds, 0);
  const row = ({ phase, seconds, images, imagesPerSecond }: TrainingPhase) =>
    html`<tr><td>${PHASE_NAMES[phase]}</td><td class="number">${duration(seconds)}</td><td class="number">${percent(total === 0 ? 0 : seconds / total)}</td>
<td class="number">${images?.toLocaleString("en-US")}</td><td class="number">${imagesPerSecond !== undefined && number(imagesPerSecond)}</td></tr>
`;
  const resumed = training?.resumedFromStep;
  return html`<section id="phases"><h2>Time</h2>
<div class="scroll"><table>
<thead><tr><th>phase</th><th class="number">time</th><th class="number">share</th><th class="number">images</th><th class="number">images/s</th></tr></thead>
<tbody>${phases.map(row)}</tbody></table></div>
${resumed !== undefined && html`<p class="quiet">The job was resumed after step ${resumed.toLocaleString("en-US")}; what was done over is not counted.</p>`}</section>`;
}

export function recipeSection({ recipe }: ReportedModel): Html {
  const row = ([name, value]: [string, string]) => html`<tr><td>${name}</td><td><code>${value}</code></td></tr>
`;
  return html`<section id="recipe"><h2>Recipe</h2><div class="scroll"><table><tbody>${settings(recipe).map(row)}</tbody></table></div></section>`;
}

/** Every effective value, names with dots for what is nested. Long lists are cut. */
function settings(values: object, prefix = ""): [string, string][] {
  return Object.entries(values).flatMap(([name, value]): [string, string][] => {
    if (value === undefined) return [];
    if (typeof value === "object" && !Array.isArray(value)) return settings(value, `${prefix}${name}.`);
    return [
      [prefix + name, shortened(Array.isArray(value) ? value.map(Number).map(number).join(", ") : String(value))],
    ];
  });
}

const shortened = (text: string): string => (text.length <= 300 ? text : `${text.slice(0, 300)}…`);
