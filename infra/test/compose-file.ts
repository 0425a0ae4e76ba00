/** Reads docker-compose.yml as compose does: YAML with merge keys, then variables out of an environment. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { parse } from "yaml";

export const ROOT = path.join(import.meta.dirname, "../..");

export interface ComposeService {
  image: string;
  build?: { context: string; dockerfile: string; target: string };
  command?: string[];
  environment?: Record<string, string>;
  ports?: string[];
  volumes?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
  stop_grace_period?: string;
  [key: string]: unknown;
}

export interface ComposeFile {
  services: Record<string, ComposeService>;
  volumes: Record<string, unknown>;
}

const text = readFileSync(path.join(ROOT, "docker-compose.yml"), "utf8");

/** `$$`, `${NAME:-default}` and `${NAME:?message}`: the forms that the file uses. */
const VARIABLE = /\$(?:(\$)|\{(\w+):([-?])([^}]*)\})/g;

/** The file with its variables replaced; throws as compose does when a required one is not set. */
export function readCompose(env: Record<string, string | undefined>): ComposeFile {
  return interpolate(parse(text, { merge: true }), env) as ComposeFile;
}

/** Names of the variables that the file reads: those that must be set, and those that have a default. */
export function composeVariables(): { required: string[]; optional: string[] } {
  const names = (kind: string) => [
    ...new Set([...text.matchAll(VARIABLE)].flatMap((match) => (match[3] === kind ? [match[2] as string] : []))),
  ];
  return { required: names("?"), optional: names("-") };
}

function interpolate(value: unknown, env: Record<string, string | undefined>): unknown {
  if (typeof value === "string") {
    const result = value.replace(VARIABLE, (_all, dollar, name, kind, rest) => {
      if (dollar) return "$";
      const given = env[name];
      if (given) return given;
      if (kind === "?") throw new Error(`required variable ${name} is missing a value: ${rest}`);
      return rest;
    });
    if (/\$\{|\$\w/.test(result.replaceAll("$$", "")))
      throw new Error(`a form of variable that is not known: ${value}`);
    return result;
  }
  if (Array.isArray(value)) return value.map((item) => interpolate(item, env));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, interpolate(item, env)]));
}
