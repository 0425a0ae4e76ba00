/**
 * Ending a process: SIGTERM or SIGINT runs the closers, in the reverse order of their registration; a second signal or
 * the end of the grace period ends the process at once.
 */
import { ConfigError } from "./config.ts";
import type { Logger } from "./logger.ts";

export interface Shutdown {
  /** Registers what to close; the last registered is closed first. */
  onClose(what: string, close: () => Promise<unknown> | unknown): void;
  /** True once the process is ending. */
  isClosing(): boolean;
  /** Ends the process with this exit code after all closers have run. */
  close(reason: string, exitCode?: number): Promise<void>;
}

export function handleShutdown(logger: Logger, graceSeconds: number): Shutdown {
  const closers: { what: string; close: () => Promise<unknown> | unknown }[] = [];
  let closing = false;

  const close = async (reason: string, exitCode = 0) => {
    if (closing) return;
    closing = true;
    logger.info({ reason }, "shutting down");
    // The drain itself keeps to its grace; closing connections comes on top.
    const timer = setTimeout(
      () => {
        logger.error("shutdown took too long");
        process.exit(1);
      },
      graceSeconds * 1_000 + 10_000,
    );
    for (const { what, close } of closers.reverse()) {
      try {
        await close();
      } catch (error) {
        logger.error({ err: error, what }, "could not close");
      }
    }
    clearTimeout(timer);
    logger.info("stopped");
    process.exit(exitCode);
  };

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (closing) {
        logger.warn("a second signal: ending at once");
        process.exit(130);
      }
      void close(signal);
    });
  }
  // A process of the embedded system ends with the one that started it.
  if (process.channel) process.once("disconnect", () => void close("the parent process is gone"));
  process.on("uncaughtException", (error) => {
    logger.fatal({ err: error }, "uncaught error");
    void close("uncaught error", 1);
  });
  process.on("unhandledRejection", (error) => {
    logger.fatal({ err: error }, "unhandled rejection");
    void close("unhandled rejection", 1);
  });
  return {
    onClose: (what, closer) => closers.push({ what, close: closer }),
    isClosing: () => closing,
    close,
  };
}

/** Runs a process' wiring; what it throws (a bad environment, no Redis) ends the process with one line and code 1. */
export async function runMain(wire: () => Promise<void>): Promise<void> {
  try {
    await wire();
  } catch (error) {
    const { code, message, stack } = error as { code?: string; message: string; stack?: string };
    const isExpected = error instanceof ConfigError || code !== undefined;
    console.error(isExpected ? `cannot start: ${code ? `${code}: ` : ""}${message}` : `cannot start: ${stack}`);
    process.exit(1);
  }
}
