/** From what a training knows to its report, as figures and as a page. */
import type { Emit, ModelReport, Transform } from "@cardinal/contracts";
import type { ObjectStore } from "@cardinal/storage";
import { storedThumbnail } from "../thumbnail.ts";
import type { ReportedModel } from "./page.ts";

export interface TrainingReportOptions {
  store: ObjectStore;
  model: ReportedModel;
  /** Mistakes in it have no thumbnails yet. */
  report: ModelReport;
  exif: Transform["exif"];
  emit: Emit;
  signal: AbortSignal;
}

/**
 * Adds thumbnails of the mistakes, one at a time, and draws the page. The drawing library is loaded only now: it takes
 * 50 MB, which a process that trains for hours should not carry along. A page that cannot be drawn is none, with a
 * warning in the log: no training is lost for a picture of it. Throws the store's errors.
 */
export async function makeTrainingReport(
  options: TrainingReportOptions,
): Promise<{ report: ModelReport; html: string | undefined }> {
  const report = await withThumbnails(options);
  try {
    const { trainingReportPage } = await import("./page.ts");
    return { report, html: trainingReportPage(options.model, report) };
  } catch (error) {
    const details = { model: options.model.id, error: String((error as Error).stack ?? error) };
    options.emit({ type: "log", level: "warn", message: "the report's page could not be drawn", details });
    return { report, html: undefined };
  }
}

async function withThumbnails({ store, report, exif, signal }: TrainingReportOptions): Promise<ModelReport> {
  if (!report.evaluation) return report;
  const mistakes = [];
  for (const mistake of report.evaluation.mistakes) {
    const thumbnail = await storedThumbnail(store, mistake.sha256, exif, signal);
    mistakes.push({ ...mistake, ...(thumbnail && { thumbnail }) });
  }
  return { ...report, evaluation: { ...report.evaluation, mistakes } };
}
