/** The registry: aliases that name models, and what the API shows and filters of models. */
import { z } from "zod";
import { modelManifestSchema } from "./models.ts";
import { aliasSchema, datasetReferenceSchema, modelReferenceSchema, nameSchema, sha256Schema } from "./names.ts";
import { architectureSchema } from "./training.ts";

/** `aliases/<alias>.json`. */
export const aliasRecordSchema = z.strictObject({
  alias: aliasSchema,
  model: nameSchema,
  updatedAt: z.iso.datetime(),
  /** Who moved it: the name of a key, or the job that asked for the alias. */
  updatedBy: z.string().optional(),
  /** How often it was moved. */
  revision: z.int().min(0).default(0),
  /** Former models, newest first, at most 100. */
  history: z.array(
    z.strictObject({
      model: nameSchema,
      updatedAt: z.iso.datetime(),
      updatedBy: z.string().optional(),
      /** A roll-back led away from it, so the next one does not lead back. */
      rolledBack: z.literal(true).optional(),
    }),
  ),
});
export type AliasRecord = z.infer<typeof aliasRecordSchema>;

export const aliasRequestSchema = z.strictObject({ model: nameSchema });
export const aliasListSchema = z.strictObject({ aliases: z.array(aliasRecordSchema) });

/** A step back in a model's lineage. */
export const ancestorSchema = z.strictObject({
  id: nameSchema,
  /** Absent when nothing is known of the model any more. */
  architecture: architectureSchema.optional(),
  createdAt: z.iso.datetime().optional(),
  job: z.string().optional(),
  createdBy: nameSchema.optional(),
  /** What it was trained on; absent for an imported model. */
  dataset: z.strictObject({ name: nameSchema, version: sha256Schema }).optional(),
  base: nameSchema.optional(),
  /** Set when the model is no longer there. */
  deletedAt: z.iso.datetime().optional(),
  deletedBy: z.string().optional(),
});
export type Ancestor = z.infer<typeof ancestorSchema>;

/** A model of the list: its manifest, and the aliases that point to it now. */
export const listedModelSchema = modelManifestSchema.extend({ aliases: z.array(aliasSchema) });
export type ListedModel = z.infer<typeof listedModelSchema>;

/** One model, with the models that it comes from: its base first. */
export const modelViewSchema = listedModelSchema.extend({ ancestors: z.array(ancestorSchema) });
export type ModelView = z.infer<typeof modelViewSchema>;

export const modelListSchema = z.strictObject({
  models: z.array(listedModelSchema),
  nextCursor: z.string().optional(),
});
export type ModelList = z.infer<typeof modelListSchema>;

/** Filters of `GET /v1/models`; every one that is given must hold. */
export const modelQuerySchema = z.strictObject({
  /** Trained on this data set, in any version or in that one: `flowers` or `flowers@<version>`. */
  dataset: datasetReferenceSchema.optional(),
  architecture: architectureSchema.optional(),
  /** Trained from this model (an id, also of a deleted model, or an alias). */
  base: modelReferenceSchema.optional(),
  /** The alias points to it now. */
  alias: aliasSchema.optional(),
  cursor: nameSchema.optional(),
  limit: z.int().min(1).max(200).default(50),
});
export type ModelQuery = z.infer<typeof modelQuerySchema>;
