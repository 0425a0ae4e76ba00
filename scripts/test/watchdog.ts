/**
 * Loaded into every test process: ends it when it has not ended by itself after WATCHDOG_SECONDS, so that one file
 * that hangs does not hold up the whole run. A thread of its own, as native code may block the main one for ever.
 */
import { isMainThread, Worker } from "node:worker_threads";

const seconds = Number(process.env.WATCHDOG_SECONDS);

const THREAD = `
  const { writeSync } = require("node:fs");
  setTimeout(() => {
    writeSync(2, "watchdog: this test file has run for ${seconds} s and is ended\\n");
    process.kill(process.pid, "SIGKILL");
  }, ${seconds * 1000});
`;

if (isMainThread && seconds > 0) new Worker(THREAD, { eval: true, execArgv: [] }).unref();
