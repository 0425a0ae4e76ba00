/** What all commands that talk to an API have in common: where it is, the key, JSON or text. */
import { readFileSync } from "node:fs";
import { CardinalClient } from "@cardinal/client";
import { type Command, InvalidArgumentError } from "commander";

export interface ApiOptions {
  url: string;
  key?: string;
  json?: boolean;
}

const DEFAULT_URL = "http://127.0.0.1:8080";
/** Where `cardinal up` keeps the key, unless --data-dir says otherwise. */
const KEY_FILE = ".cardinal/data/api-key";

/** A command with the options of the API. */
export function apiCommand(parent: Command, nameAndArguments: string, description: string): Command {
  return parent
    .command(nameAndArguments)
    .description(description)
    .option("--url <url>", "address of the API", httpAddress, process.env.CARDINAL_URL ?? DEFAULT_URL)
    .option("--key <key>", "key of the API")
    .option("--json", "JSON to standard output");
}

/** Throws when there is no key. */
export function clientOf({ url, key }: ApiOptions): CardinalClient {
  return new CardinalClient({ baseUrl: url, key: key ?? process.env.CARDINAL_KEY ?? keyOfEmbedded() });
}

function keyOfEmbedded(): string {
  try {
    return readFileSync(KEY_FILE, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new Error(`no key: give --key, set CARDINAL_KEY, or run in the folder that has ${KEY_FILE}`);
  }
}

function httpAddress(text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text;
  throw new InvalidArgumentError("It must be an http or https address.");
}
