/**
 * Set-up: gets the native parts that npm does not carry onto this machine, in one idempotent step.
 *
 * `npm run setup` gets what the embedded system needs; `--for-tests` also the servers and tools that tests run
 * against. One line a part says what is used and why; a part that cannot be had names the ways to get it, and set-up
 * ends with exit code 1. A second run only looks: well under two seconds.
 */
import path from "node:path";
import {
  ensureBrowser,
  ensurePromtool,
  ensureRedis,
  ensureRedisForTests,
  ensureS3Server,
  ensureTensorflow,
  type Part,
  ProvisionError,
} from "../packages/provision/src/index.ts";

const ROOT = path.join(import.meta.dirname, "..");

/** The steps; they run at the same time, as one waits for the network while another compiles. */
type Step = () => Promise<Part | Part[]>;

function steps(forTests: boolean): Record<string, Step> {
  const tensorflow = () => ensureTensorflow(ROOT);
  if (!forTests) return { tensorflow, redis: ensureRedis };
  return {
    tensorflow,
    redis: async () => [await ensureRedis(), ...(await ensureRedisForTests())],
    promtool: ensurePromtool,
    browser: ensureBrowser,
    "s3 server": () => ensureS3Server((line) => say("s3 server", line)),
  };
}

export async function main(args: readonly string[]): Promise<void> {
  const unknown = args.find((argument) => argument !== "--for-tests");
  if (unknown !== undefined) {
    say("setup", `unknown argument ${unknown}; the only one is --for-tests`);
    process.exitCode = 1;
    return;
  }
  say("node", `${process.versions.node} (${process.execPath})`);
  const all = Object.entries(steps(args.includes("--for-tests")));
  const done = await Promise.all(all.map(([name, step]) => runStep(name, step)));
  if (done.includes(false)) process.exitCode = 1;
}

async function runStep(name: string, step: Step): Promise<boolean> {
  const started = performance.now();
  try {
    for (const part of [await step()].flat()) {
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      say(part.name, part.worked ? `${part.detail}, ready after ${seconds} s` : part.detail);
    }
    return true;
  } catch (error) {
    if (!(error instanceof ProvisionError)) throw error;
    say(name, `MISSING: ${error.message}`);
    return false;
  }
}

function say(name: string, line: string): void {
  console.log(`${name.padEnd(12)} ${line}`);
}
