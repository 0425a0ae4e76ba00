/** What goes wrong: confusions, confident mistakes, images in both splits. */
import type { ConfusedPair, Mistake, ModelReport, SplitDuplicates } from "@cardinal/contracts";
import { percent } from "../format.ts";
import { type Html, html } from "../html.ts";
import { named } from "../page.ts";
import { picture } from "../picture.ts";
import { matrixChart, shownClasses } from "./matrix.ts";

const SHOWN_PAIRS = 20;

export function confusionSection(report: ModelReport): Html | undefined {
  const { confusion, classes, evaluation } = report;
  if (!evaluation) return undefined;
  const pairs = evaluation.confusedPairs.slice(0, SHOWN_PAIRS);
  return html`<section id="confusion"><h2>Confusion</h2>
<p class="quiet">Rows are true classes, columns predicted ones; a colour is as strong as its share of the row.</p>
${confusion.length > 0 ? matrix(report) : html`<p class="warn" data-bounded="matrix">With ${classes.length.toLocaleString("en-US")} classes there is no matrix: the most frequent confusions are below.</p>`}
<h3>Most frequent confusions</h3>
${pairs.length === 0 ? html`<p>There are none: every answer was right.</p>` : pairTable(pairs)}
</section>`;
}

function matrix(report: ModelReport): Html {
  const { confusion, classes } = report;
  const shown = shownClasses(report);
  const counts = shown.map((row) => shown.map((column) => confusion[row]![column]!));
  const chart = matrixChart(
    shown.map((index) => classes[index]!.class),
    counts,
    shown.map((index) => classes[index]!.images),
  );
  const isPart = shown.length < classes.length;
  return html`${isPart && html`<p class="warn" data-bounded="matrix">Shown are the ${shown.length} of ${classes.length.toLocaleString("en-US")} classes that are confused most; <code>report.json</code> has the whole matrix.</p>`}
<div class="scroll">${chart}</div>`;
}

function pairTable(pairs: readonly ConfusedPair[]): Html {
  return html`<div class="scroll"><table>
<thead><tr><th>true class</th><th>predicted</th><th class="number">images</th><th class="number">of the class</th></tr></thead>
<tbody>${pairs.map(
    (
      pair,
    ) => html`<tr><td>${named(pair.class)}</td><td>${named(pair.predicted)}</td><td class="number">${pair.images.toLocaleString("en-US")}</td><td class="number">${percent(pair.share)}</td></tr>
`,
  )}</tbody></table></div>`;
}

export function mistakesSection({ evaluation }: ModelReport): Html | undefined {
  if (!evaluation) return undefined;
  const { mistakes } = evaluation;
  if (mistakes.length === 0) return html`<section id="mistakes"><h2>Mistakes</h2><p>There are none.</p></section>`;
  return html`<section id="mistakes"><h2>The ${mistakes.length} most confident mistakes</h2>
<p class="quiet">Where the network was surest and wrong: often a wrong label, or two classes that look alike.</p>
<ul class="grid">${mistakes.map(mistakeCell)}</ul></section>`;
}

function mistakeCell(mistake: Mistake): Html {
  return html`<li class="cell">${picture(mistake.thumbnail, mistake.image, "no picture")}
<span class="wrong"><b>${named(mistake.predicted)}</b> ${percent(mistake.probability)}</span>
<small>is ${named(mistake.class)} (${percent(mistake.classProbability)})</small>
<small><code>${named(mistake.image)}</code></small></li>
`;
}

export function duplicatesSection({ duplicates }: ModelReport): Html | undefined {
  if (!duplicates) return undefined;
  return html`<section id="duplicates"><h2>Duplicates between splits</h2>
${duplicates.contents === 0 ? html`<p>No image of the validation split is in the training split (compared by SHA-256 of the files).</p>` : duplicateTable(duplicates)}
</section>`;
}

function duplicateTable({ contents, validationImages, otherClass, examples }: SplitDuplicates): Html {
  const paths = (list: readonly string[]) => list.map((path) => html`<div><code>${named(path)}</code></div>`);
  return html`<p class="warn">${validationImages} validation images are in the training split, too (${contents} different files by
SHA-256${otherClass > 0 && html`, ${otherClass} of them with another class there`}): the network has seen them, so the figures are too good.</p>
<div class="scroll"><table><thead><tr><th>training</th><th>validation</th><th>class</th></tr></thead>
<tbody>${examples.map(
    ({
      train,
      val,
      sameClass,
    }) => html`<tr><td>${paths(train)}</td><td>${paths(val)}</td><td>${sameClass ? "same" : "another"}</td></tr>
`,
  )}</tbody></table></div>
${examples.length < contents && html`<p class="quiet">The first ${examples.length} of ${contents}.</p>`}`;
}
