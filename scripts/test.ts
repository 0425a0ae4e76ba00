/**
 * The test runner behind `npm test`: every test file of the tree, each in a process of its own, two at a time.
 *
 *   npm test                                    everything, lint and types included
 *   npm test -- packages/storage redis          files whose path contains one of the words
 *   npm test -- --test-name-pattern=resume      tests whose name matches
 *
 * Output is the spec reporter's. Its counting lines come last, after the details of failed tests.
 */
import { globSync } from "node:fs";
import path from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { parseArgs } from "node:util";
import { isS3Skipped } from "../packages/provision/src/index.ts";

const ROOT = path.join(import.meta.dirname, "..");
/** In the order of running: the long end-to-end tests of apps/ before the many short ones. */
const PATTERNS = [
  "scripts/test/*.test.ts",
  "apps/*/test/**/*.test.ts",
  "packages/*/test/**/*.test.ts",
  "{bench,infra}/**/*.test.ts",
];
/** A file that takes longer hangs: it is ended by test/watchdog.ts, so that the rest still runs. */
const FILE_TIMEOUT_S = 10 * 60;
/** Tests mostly wait for servers and children; more than two at once would disturb each other on two cores. */
const FILES_AT_ONCE = 2;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { "test-name-pattern": { type: "string", multiple: true } },
});

function testFiles(words: string[]): string[] {
  const all = PATTERNS.flatMap((pattern) => globSync(pattern, { cwd: ROOT }).sort());
  const wanted = words.map((word) => path.normalize(word));
  return wanted.length === 0 ? all : all.filter((file) => wanted.some((word) => file.includes(word)));
}

async function main(): Promise<void> {
  const files = testFiles(positionals);
  if (files.length === 0) {
    console.error(`no test file's path contains ${positionals.join(" or ")}`);
    process.exitCode = 1;
    return;
  }
  process.env.WATCHDOG_SECONDS ??= String(FILE_TIMEOUT_S);
  const patterns = values["test-name-pattern"];
  const tests = run({
    cwd: ROOT,
    files: files.map((file) => path.join(ROOT, file)),
    concurrency: FILES_AT_ONCE,
    execArgv: [`--import=${path.join(ROOT, "scripts/test/watchdog.ts")}`],
    ...(patterns && { testNamePatterns: patterns.map((pattern) => new RegExp(pattern)) }),
  });
  const counts: string[] = [];
  tests.on("test:fail", ({ todo }) => {
    if (todo === undefined || todo === false) process.exitCode = 1;
  });
  await pipeline(tests, withoutCounts(counts), new spec(), process.stdout, { end: false });
  if (isS3Skipped()) console.log("\nWARNING: ALLOW_SKIP_S3=1, so the tests on the S3 server were LEFT OUT");
  console.log(`\n${counts.map((line) => `ℹ ${line}`).join("\n")}`);
}

/** Takes the closing counts ("tests 12", "pass 12", …) out of the stream of events and into `counts`. */
function withoutCounts(counts: string[]): Transform {
  return new Transform({
    objectMode: true,
    transform(event, _encoding, done) {
      const isCount = event.type === "test:diagnostic" && event.data.nesting === 0 && event.data.file === undefined;
      if (isCount) counts.push(event.data.message);
      done(null, isCount ? undefined : event);
    },
  });
}

await main();
