/** What an ingest says about an archive, for the person who made it. Lists of examples are bounded. */
import type { IngestReport, ManifestRow } from "@cardinal/contracts";
import type { Layout, Skipped } from "./layout.ts";

const EXAMPLES = 20;

export function makeReport(
  layout: Layout,
  rows: readonly ManifestRow[],
  skipped: readonly Skipped[],
  valDrawn: boolean,
): IngestReport {
  const count = (split: string, name?: string) =>
    rows.filter((row) => row.split === split && (name === undefined || row.class === name)).length;
  const splits = (["train", "val", "all"] as const).map((split) => [split, count(split)] as const);
  return {
    images: rows.length,
    bytes: rows.reduce((sum, row) => sum + row.bytes, 0),
    splits: Object.fromEntries(splits.filter(([, images]) => images > 0)),
    classes: classCounts(layout, rows),
    junk: { count: layout.junk.length, examples: layout.junk.slice(0, EXAMPLES) },
    skipped: {
      count: skipped.length,
      examples: skipped.slice(0, EXAMPLES).map(({ path, code, message }) => ({ path, code, message })),
    },
    duplicates: findDuplicates(rows),
    warnings: [...layout.warnings, ...warningsOf(layout, rows, skipped, valDrawn)],
    valDrawn,
  };
}

function classCounts(layout: Layout, rows: readonly ManifestRow[]): IngestReport["classes"] {
  const counts = new Map(layout.classes.map((name) => [name, { class: name, train: 0, val: 0 }]));
  for (const row of rows) {
    if (row.class !== undefined && row.split !== "all") counts.get(row.class)![row.split]++;
  }
  return [...counts.values()];
}

/** Groups of paths with the same bytes. Across splits they make the validation accuracy look better than it is. */
function findDuplicates(rows: readonly ManifestRow[]): IngestReport["duplicates"] {
  const groups = new Map<string, ManifestRow[]>();
  for (const row of rows) {
    const group = groups.get(row.sha256);
    if (group) group.push(row);
    else groups.set(row.sha256, [row]);
  }
  const duplicates = [...groups.values()].filter((group) => group.length > 1);
  return {
    count: duplicates.length,
    acrossSplits: duplicates.filter((group) => new Set(group.map(({ split }) => split)).size > 1).length,
    examples: duplicates.slice(0, EXAMPLES).map((group) => group.slice(0, EXAMPLES).map(({ path }) => path)),
  };
}

function warningsOf(
  layout: Layout,
  rows: readonly ManifestRow[],
  skipped: readonly Skipped[],
  valDrawn: boolean,
): string[] {
  const warnings: string[] = [];
  if (layout.classes.length === 1) {
    warnings.push(`there is only one class, ${layout.classes[0]}: a classifier cannot be trained on it`);
  }
  if (skipped.length > 0) warnings.push(`${skipped.length} files cannot be read as images and are left out`);
  const across = findDuplicates(rows).acrossSplits;
  if (across > 0) warnings.push(`${across} images are in train and in val: the validation accuracy is too good`);
  if (valDrawn && !rows.some((row) => row.split === "val")) {
    warnings.push("every class has only one image, so there is no val split");
  }
  return warnings;
}
