/** `report.html`: the page that shows how a model was trained and how it does. */
import type { ModelReport, Recipe } from "@cardinal/contracts";
import { type Html, html } from "../html.ts";
import { named, page } from "../page.ts";
import { calibrationSection, curvesSection } from "./chart-sections.ts";
import { confusionSection, duplicatesSection, mistakesSection } from "./error-sections.ts";
import { classesSection, phasesSection, recipeSection, tiles } from "./table-sections.ts";

/** What the page says of the model beside its report. */
export interface ReportedModel {
  id: string;
  job: string;
  createdAt: string;
  architecture: string;
  dataset: { name: string; version: string };
  base?: string;
  /** Whose weights were kept, from 1. */
  bestEpoch: number;
  recipe: Recipe;
  software: string;
}

/** The page, some 150 kB with 20 photographs. Whatever the report has not, the page leaves out. */
export function trainingReportPage(model: ReportedModel, report: ModelReport): string {
  const body = html`${head(model, report)}
<main>
${tiles(report, model.bestEpoch)}
${curvesSection(report, model.bestEpoch)}
${confusionSection(report)}
${classesSection(report)}
${calibrationSection(report)}
${mistakesSection(report)}
${duplicatesSection(report)}
${phasesSection(report)}
${recipeSection(model)}
</main>`;
  return page(`Training report of ${model.id}`, body);
}

function head({ id, job, createdAt, architecture, dataset, base, software }: ReportedModel, report: ModelReport): Html {
  const images = report.evaluation?.images;
  const standIn = report.training?.evaluatedOn === "train";
  return html`<header>
<h1>Training report</h1>
<p><code>${id}</code>, a ${architecture} of ${report.classes.length} classes, trained on ${named(dataset.name)}
<small>version <code>${dataset.version.slice(0, 12)}</code></small>${base !== undefined && html` from <code>${base}</code>`}</p>
<p class="quiet"><small>${createdAt.slice(0, 16).replace("T", " ")} UTC, job <code>${job}</code>, ${software}</small></p>
${images !== undefined && html`<p class="quiet"><small>All figures are of the kept weights on ${images.toLocaleString("en-US")} ${standIn ? "training" : "validation"} images, in the centre view.</small></p>`}
${standIn && html`<p class="warn">The data set has no validation images: the figures are of the images that the model was trained on, and say little about others.</p>`}
</header>`;
}
