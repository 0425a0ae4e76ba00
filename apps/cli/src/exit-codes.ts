/** What the command's exit code tells scripts. */
export const ExitCode = {
  done: 0,
  /** A job that failed or was cancelled, or a call that was refused. */
  failed: 1,
  /** The command was not understood. */
  usage: 2,
  /** The API cannot be reached or cannot answer now: trying again may help. */
  unavailable: 3,
  /** Ctrl-C. */
  interrupted: 130,
} as const;
