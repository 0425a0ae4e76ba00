/** Reads infra/docker/Dockerfile: what each stage starts from, copies and runs. */
import { readFileSync } from "node:fs";
import path from "node:path";
import {
  type Copy,
  type Dockerfile,
  DockerfileParser,
  type From,
  type ImageTemplate,
  type Instruction,
} from "dockerfile-ast";
import { ROOT } from "./compose-file.ts";

export interface Stage {
  name: string;
  /** A stage's name, or an image. */
  from: string;
  copies: { stage: string | undefined; sources: string[]; target: string }[];
  environment: Record<string, string>;
  user: string | undefined;
  /** CMD and HEALTHCHECK's CMD, in exec form. */
  command: string[] | undefined;
  healthcheck: string[] | undefined;
}

const parsed: Dockerfile = DockerfileParser.parse(readFileSync(path.join(ROOT, "infra/docker/Dockerfile"), "utf8"));

export const stages: ReadonlyMap<string, Stage> = new Map(
  parsed.getFROMs().map((from) => {
    const stage = readStage(from, parsed.getContainingImage(from.getRange().start) as ImageTemplate);
    return [stage.name, stage];
  }),
);

/** A stage and those that it stands on, the lowest first. */
export function chain(target: string): Stage[] {
  const stage = stages.get(target);
  return stage ? [...chain(stage.from), stage] : [];
}

/** The value that holds in the built image: that of the highest stage that has one. */
export function lastOf<K extends keyof Stage>(target: string, key: K): Stage[K] | undefined {
  return chain(target).findLast((stage) => stage[key] !== undefined)?.[key];
}

function readStage(from: From, image: ImageTemplate): Stage {
  const words = (kind: string) =>
    image
      .getInstructions()
      .filter((instruction) => instruction.getKeyword() === kind)
      .at(-1)
      ?.getArgumentsContent();
  return {
    name: from.getBuildStage() ?? "",
    from: from.getImage() ?? "",
    copies: image.getCOPYs().map(readCopy),
    environment: Object.fromEntries(
      image.getENVs().flatMap((env) => env.getProperties().map((each) => [each.getName(), each.getValue() ?? ""])),
    ),
    user: words("USER") ?? undefined,
    command: execForm(image.getCMDs().at(-1)),
    healthcheck: execForm(image.getHEALTHCHECKs().at(-1)),
  };
}

function readCopy(copy: Copy): Stage["copies"][number] {
  const all = copy.getArguments().map((argument) => argument.getValue());
  return {
    stage: copy.getFromFlag()?.getValue() ?? undefined,
    sources: all.slice(0, -1),
    target: all.at(-1) as string,
  };
}

function execForm(instruction: Instruction | undefined): string[] | undefined {
  if (!instruction) return undefined;
  // The parser keeps HEALTHCHECK's options and its word CMD among the arguments.
  const text = instruction.getArgumentsContent() ?? "";
  return JSON.parse(text.slice(text.indexOf("[")));
}
