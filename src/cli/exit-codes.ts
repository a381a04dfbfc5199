// What the command line's exit codes mean; docs/cli.md and every --help say the same.

export const exitCode = {
  /** Done, or nothing to do. */
  done: 0,
  failed: 1,
  /** `plan --detailed-exitcode`: applying would change something. */
  changes: 2,
  /** `drift`; `plan --detailed-exitcode` where there is drift and no change. */
  drift: 3,
  /** Wrong usage (EX_USAGE of sysexits.h). */
  usage: 64,
} as const;
