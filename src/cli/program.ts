// The command line as a whole: parses, runs one command, and turns whatever comes of it into an exit code. This is
// the one place where that mapping is made.
import { Command, CommanderError } from "commander";
import { asPenstockError } from "../base/index.ts";
import { type AnyCommand, addCommand, helpEnd, type Run } from "./command.ts";
import { commandGroups, commands } from "./commands.ts";
import { exitCode } from "./exit-codes.ts";
import { Output } from "./output.ts";
import { version } from "./places.ts";
import type { Terminal } from "./terminal.ts";
import { UsageError } from "./usage.ts";

/** Runs one command line (without the program's name) and says how the process shall exit. Never throws. */
export async function runCommandLine(words: readonly string[], terminal: Terminal): Promise<number> {
  let code: number = exitCode.done;
  let output = new Output(terminal, "text");
  let debug = words.includes("--debug");
  const program = buildProgram({
    terminal,
    done: (found) => {
      code = found;
    },
    opened: (opened, withDebug) => {
      output = opened;
      debug = withDebug;
    },
  });
  try {
    await program.parseAsync([...words], { from: "user" });
    return code;
  } catch (thrown) {
    // Commander has said what is wrong; it exits with 0 for help and version.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCode.done : exitCode.usage;
    const error = asPenstockError(thrown);
    const { findings } = error.data;
    if (Array.isArray(findings) && output.format === "text") output.findings(findings);
    output.error(error, debug);
    return error instanceof UsageError ? exitCode.usage : exitCode.failed;
  }
}

/** All commands, ready to parse. */
export function buildProgram(run: Run): Command {
  const { terminal } = run;
  const program = new Command("penstock")
    .description("The gate between a Git repository and the Linux kernel's datapath.")
    .usage("<command> [options]")
    .helpOption("-h, --help", "show help for the program, or for a command")
    .version(version, "-V, --version", "show the version")
    .showSuggestionAfterError(true)
    .showHelpAfterError("Run penstock --help, or penstock <command> --help, for what can be written")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.writeOut(text),
      writeErr: (text) => terminal.writeErr(text),
      outputError: (text, write) =>
        write(text.replace(/^error: (.)/, (_, first) => `Error: ${first.toUpperCase()}`)),
    })
    .configureHelp({ subcommandTerm: termOf })
    .addHelpText("after", programHelpEnd);
  for (const [heading, members] of commands) {
    program.commandsGroup(heading);
    for (const definition of members) addCommand(parentOf(program, definition), definition, run);
  }
  return program.helpCommand("help [command]", "Show help for a command");
}

/** A command in a list of commands: its name and what it takes, without "[options]", which all of them have. */
function termOf(command: Command): string {
  const words = command.registeredArguments.map((a) => {
    const name = a.variadic ? `${a.name()}...` : a.name();
    return a.required ? `<${name}>` : `[${name}]`;
  });
  return [command.name(), ...words].join(" ");
}

/** `audit verify` goes below a command `audit`, made when its first part is. */
function parentOf(program: Command, definition: AnyCommand): Command {
  const [first = "", second] = definition.name.split(" ");
  if (second === undefined) return program;
  const known = program.commands.find((command) => command.name() === first);
  return known ?? addGroup(program, first);
}

function addGroup(program: Command, name: string): Command {
  const { summary, examples } = commandGroups[name] ?? { summary: name, examples: [] };
  return program
    .command(name)
    .usage("<command> [options]")
    .description(`${summary}.`)
    .summary(summary)
    .helpCommand(false)
    .addHelpText("after", helpEnd({ examples, exits: {} }));
}

const programHelpEnd = `
Examples:
  penstock check                              does this host carry the datapath?
  penstock validate policies                  is this policy right? (needs no kernel)
  penstock plan --repo URL                    what would change?
  penstock agent                              follow the repository from now on
  penstock status                             what is in force, and since when?

Exit codes:
   0  done, or nothing to do
   1  failed
   2  changes pending (plan --detailed-exitcode)
   3  drift (drift; plan --detailed-exitcode)
  64  wrong usage`;
