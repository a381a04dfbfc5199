#!/usr/bin/env node
// The program: runs the command line in this process. Nothing else may end the process.
import { asPenstockError } from "../base/index.ts";
import { exitCode } from "./exit-codes.ts";
import { Output } from "./output.ts";
import { runCommandLine } from "./program.ts";
import { processTerminal } from "./terminal.ts";

const terminal = processTerminal();
const words = process.argv.slice(2);

// Whoever reads the output may stop reading (`penstock events | head`): then the work is done.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? exitCode.done : exitCode.failed);
});
process.stderr.on("error", () => undefined);

// What nobody caught is a bug. The kernel keeps what it has; this process must not go on.
process.on("uncaughtException", (thrown) => {
  new Output(terminal, "text").error(asPenstockError(thrown), words.includes("--debug"));
  process.exit(exitCode.failed);
});

process.exitCode = await runCommandLine(words, terminal);
