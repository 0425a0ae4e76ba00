/** Structured log lines on standard output, JSON by pino. */
import { type Logger, pino } from "pino";

export type { Logger } from "pino";

/** `service` is the app's name; secrets in headers never reach a line. */
export function createLogger(service: string, level: string): Logger {
  return pino({
    level,
    base: { service, pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: ["req.headers.authorization", "req.headers.cookie", "*.apiKey", "*.secretKey"], remove: true },
  });
}
