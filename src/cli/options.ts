// Options that commands have of their own, each said in one place.
import { Option } from "commander";

export const commandOption = {
  detailedExitCode: () =>
    new Option(
      "--detailed-exitcode",
      "exit with 2 if changes are pending, with 3 if there is drift and no change",
    ),
  dir: (what: string) => new Option("--dir <folder>", what),
  limit: (what: string) => new Option("-n, --limit <number>", what),
  rulesMax: () => new Option("--rules-max <number>", "the agents' limits.rulesMax (default: 32768)"),
  geo: () => new Option("--geo <file>", "the agents' geo.database: a MaxMind file with countries"),
  yes: () => new Option("--yes", "do not ask"),
  follow: () => new Option("-f, --follow", "go on with each new event until interrupted"),
  anchor: () =>
    new Option(
      "--anchor <sequence:hash>",
      "the end of the log as somebody noted it down elsewhere: it must still be there",
    ),
} as const;
