/** `cardinal models`, `model`, `import` and `alias`. */
import { readFile } from "node:fs/promises";
import type { ImportBody } from "@cardinal/client";
import { importResultSchema } from "@cardinal/contracts";
import type { Command } from "commander";
import { type ApiOptions, apiCommand, clientOf } from "../api-command.ts";
import { completed } from "../follow.ts";
import { wholeNumber } from "../number-options.ts";
import { answer, percent, table } from "../output.ts";

interface ImportOptions extends ApiOptions {
  architecture: string;
  classes?: string;
  alias?: string;
  resize?: number;
  crop?: number;
}

export function addModelCommands(program: Command): void {
  apiCommand(program, "models", "all models, newest first").action(list);
  apiCommand(program, "model <model>", "one model, by id or alias").action(
    async (name: string, options: ApiOptions) => {
      const model = await clientOf(options).model(name);
      answer(options.json, model, () => JSON.stringify(model, undefined, 2));
    },
  );
  apiCommand(program, "import <file>", "make a model of a state_dict: .pth or .safetensors, or an https address")
    .requiredOption("--architecture <name>", "such as resnext50_32x4d")
    .option("--classes <file>", "class_indices.json, or a JSON array of names in index order")
    .option("--alias <name>", "name that the model gets")
    .option("--resize <pixels>", "short side before the crop (torchvision's V2 weights: 232)", wholeNumber(1, 4096))
    .option("--crop <pixels>", "side of the crop", wholeNumber(4, 4096))
    .action(importWeights);
  const alias = program.command("alias").description("names for models: set, list");
  apiCommand(alias, "set <alias> <model>", "point a name at a model").action(
    async (name: string, model: string, options: ApiOptions) => {
      const record = await clientOf(options).setAlias(name, model);
      answer(options.json, record, () => `${record.alias} is ${record.model}`);
    },
  );
  apiCommand(alias, "list", "all names, and what they point at").action(async (options: ApiOptions) => {
    const aliases = await clientOf(options).aliases();
    const rows = aliases.map((one) => [one.alias, one.model, one.updatedAt] as const);
    answer(options.json, aliases, () => table(["ALIAS", "MODEL", "SINCE"], rows));
  });
}

async function list(options: ApiOptions): Promise<void> {
  const models = await clientOf(options).models();
  const rows = models.map(({ id, architecture, classes, metrics, createdAt }) => {
    return [id, architecture, classes.length, metrics ? percent(metrics.valAccuracy) : "imported", createdAt] as const;
  });
  answer(options.json, models, () => table(["MODEL", "ARCHITECTURE", "CLASSES", "VAL ACC", "MADE"], rows));
}

async function importWeights(file: string, options: ImportOptions): Promise<void> {
  const client = clientOf(options);
  const { architecture, alias, resize, crop } = options;
  const classes = options.classes === undefined ? undefined : JSON.parse(await readFile(options.classes, "utf8"));
  const wanted = { architecture, alias, resize, crop, classes } as Omit<ImportBody, "source">;
  const isRemote = /^https:/i.test(file);
  const submitted = isRemote ? await client.importModelFrom(file, wanted) : await client.importModel(file, wanted);
  const job = await completed(client, submitted);
  const result = importResultSchema.parse(job.result);
  answer(
    options.json,
    job,
    () => `${result.model}: ${result.architecture}, ${result.classes} classes, ${result.format}`,
  );
}
