/** What a job asks for, made definite: the data, the recipe, and the weights that it starts from. */
import type { ModelManifest, Recipe, TrainPayload } from "@cardinal/contracts";
import { architecture } from "@cardinal/resnext";
import type { ObjectStore } from "@cardinal/storage";
import { recipeOf } from "./recipe.ts";
import { freshStart, readBase, type Start, startFrom } from "./start.ts";
import { classCounts, readTrainingSet, type TrainingSet } from "./training-set.ts";

export interface Prepared {
  recipe: Recipe;
  set: TrainingSet;
  start: Start;
  base: ModelManifest | undefined;
}

/** The same for the same payload, in whichever process. Throws what `readTrainingSet`, `recipeOf` and `startFrom` do. */
export async function prepare(store: ObjectStore, { request }: TrainPayload): Promise<Prepared> {
  const set = await readTrainingSet(store, request.dataset);
  const base = await readBase(store, request.base);
  const recipe = recipeOf(request, classCounts(set), base);
  const arch = architecture(recipe.architecture);
  const [classes, seed] = [set.classes.length, recipe.seed];
  const start = base ? await startFrom(store, base, arch, classes, seed) : freshStart(arch, classes, seed);
  return { recipe, set, start, base };
}
