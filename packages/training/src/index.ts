/** The training loop: batches and parameters in, checkpoints and a published model out. */
export { EXPORT_TOLERANCE } from "./export-check.ts";
export { type PlanFeaturesOptions, planFeatures } from "./plan-features.ts";
export { evaluationTransform, learningRate, recipeOf } from "./recipe.ts";
export { runTraining } from "./run-training.ts";
export type { TrainingOptions } from "./training-job.ts";
