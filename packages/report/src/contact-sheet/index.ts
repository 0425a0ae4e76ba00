/** The contact sheet of a batch prediction as a page: pictures with class and probability, as a printed one has. */
import { type ContactCell, contactCellSchema, type ErrorRow, isErrorRow, type ResultRow } from "@cardinal/contracts";
import { percent } from "../format.ts";
import { type Html, html } from "../html.ts";
import { named, page } from "../page.ts";
import { picture } from "../picture.ts";

export { PAGE_POLICY } from "../page.ts";

/** The cells of `contact-sheet.jsonl`. */
export function parseContactSheet(bytes: Buffer): ContactCell[] {
  const lines = bytes.toString().split("\n").slice(0, -1);
  return lines.map((line) => contactCellSchema.parse(JSON.parse(line)));
}

export interface ContactSheet {
  job: string;
  model: string;
  /** Rows of the job. */
  rows: number;
  /** Share of right answers, when the inputs have labels. */
  accuracy?: number;
  /** Those that have a picture. */
  cells: readonly ContactCell[];
  /** What of `cells` the page shows. */
  offset: number;
  limit: number;
}

export function contactSheetPage({ job, model, rows, accuracy, cells, offset, limit }: ContactSheet): string {
  const shown = cells.slice(offset, offset + limit);
  const count = (value: number) => value.toLocaleString("en-US");
  const range = shown.length === 0 ? "none" : `${count(offset + 1)} to ${count(offset + shown.length)}`;
  const body = html`<header>
<h1>Predictions</h1>
<p>Job <code>${job}</code>, model <code>${model}</code></p>
<p class="quiet" id="range">Rows ${range} of ${count(rows)}${accuracy !== undefined && `, ${percent(accuracy)} of all are right`}.
${cells.length < rows && html`Pictures are kept of the first ${count(cells.length)}.`}</p>
</header>
<main><ul class="grid">${shown.map(({ row, thumbnail }) => (isErrorRow(row) ? failedCell(row) : answeredCell(row, thumbnail)))}</ul></main>`;
  return page(`Predictions of ${job}`, body);
}

function answeredCell(row: ResultRow, thumbnail: ContactCell["thumbnail"]): Html {
  const isWrong = row.label !== undefined && row.label !== row.class;
  return html`<li class="cell">${picture(thumbnail, row.image, "no picture")}
<span${isWrong && html` class="wrong"`}><b>${named(row.class)}</b> ${percent(row.probability)}</span>
${isWrong && html`<small>is ${named(row.label!)}</small>`}
<small><code>${named(row.image)}</code></small></li>
`;
}

function failedCell({ image, code, message }: ErrorRow): Html {
  return html`<li class="cell failed">${picture(undefined, image, code)}
<span class="wrong">${message}</span>
<small><code>${named(image)}</code></small></li>
`;
}
