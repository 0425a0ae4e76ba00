/** Figures of a trained model, and pages that people look at: training report, contact sheet. */
export { type ContactSheetOptions, writeContactSheet } from "./contact-sheet/write.ts";
export { splitDuplicates } from "./duplicates.ts";
export { Judge, type JudgedImage } from "./judge.ts";
export { type PhaseTimes, trainingPhases } from "./phases.ts";
export { makeTrainingReport, type TrainingReportOptions } from "./training-report/make.ts";
export type { ReportedModel } from "./training-report/page.ts";
