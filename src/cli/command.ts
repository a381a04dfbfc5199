// What a command is here, and how it becomes one of commander's: every command has the same common options, and a
// help that shows examples and exit codes.
import { type Command, Option } from "commander";
import type { Logger } from "../reconcile/index.ts";
import { commandLog } from "./command-log.ts";
import { Output, type OutputFormat } from "./output.ts";
import { type Flags, loadSettings, type Settings } from "./settings.ts";
import type { Terminal } from "./terminal.ts";

/** What a command runs in. */
export interface Context {
  readonly terminal: Terminal;
  readonly output: Output;
  readonly flags: Flags;
  readonly debug: boolean;
  /** For what is done alone, without an agent. */
  readonly log: Logger;
  /** The configuration; read on the first call. */
  settings(): Settings;
}

/** Which common options a command takes: none, where things are, or also which policy. */
export type FlagGroup = "none" | "places" | "source";

export interface CommandDefinition<Options> {
  /** `plan`, or `audit verify`. */
  readonly name: string;
  readonly summary: string;
  /** More, for its own help. */
  readonly description?: string;
  /** In commander's notation: `[commit]`, `<path...>`. */
  readonly arguments?: readonly (readonly [notation: string, description: string])[];
  readonly options?: readonly Option[];
  readonly flags: FlagGroup;
  readonly examples: readonly (readonly [command: string, what: string])[];
  /** Codes beside 1 and 64, with their meaning; 0 too if it means more than "done". */
  readonly exits: Readonly<Record<number, string>>;
  run(
    context: Context,
    call: { readonly words: readonly string[]; readonly options: Options },
  ): Promise<number>;
}

/** A command of any options, for the list of all. */
export type AnyCommand = CommandDefinition<Record<string, unknown>>;

/** Lets a definition have options of its own type; commander gives them as it parsed them. */
export function defineCommand<Options>(definition: CommandDefinition<Options>): AnyCommand {
  return definition as unknown as AnyCommand;
}

export interface Run {
  readonly terminal: Terminal;
  /** Takes the exit code. */
  done(code: number): void;
  /** Takes the output that the command writes to, so that an error goes there too. */
  opened(output: Output, debug: boolean): void;
}

/** Adds the command to the program. */
export function addCommand(parent: Command, definition: AnyCommand, run: Run): void {
  const name = definition.name.split(" ").at(-1) ?? "";
  const command = parent.command(name).summary(definition.summary);
  command.description(`${definition.description ?? definition.summary}.`);
  for (const [notation, description] of definition.arguments ?? []) command.argument(notation, description);
  for (const option of definition.options ?? []) command.addOption(option);
  for (const option of commonOptions(definition.flags))
    command.addOption(option.helpGroup("Common options:"));
  command.helpOption("-h, --help", "show this help");
  command.addHelpText("after", () => helpEnd(definition));
  command.action(async (...parameters: unknown[]) => {
    const options = command.opts();
    const output = new Output(run.terminal, options["output"] as OutputFormat);
    const debug = options["debug"] === true;
    run.opened(output, debug);
    const words = parameters
      .slice(0, -2)
      .flat()
      .filter((word) => typeof word === "string");
    run.done(await definition.run(makeContext(run.terminal, output, { options, debug }), { words, options }));
  });
}

function makeContext(
  terminal: Terminal,
  output: Output,
  given: { readonly options: Flags; readonly debug: boolean },
): Context {
  let settings: Settings | undefined;
  return {
    terminal,
    output,
    flags: given.options,
    debug: given.debug,
    log: commandLog(output, given.debug),
    settings() {
      if (settings === undefined) {
        settings = loadSettings(given.options);
        output.findings(settings.warnings);
      }
      return settings;
    },
  };
}

function commonOptions(group: FlagGroup): Option[] {
  const common = [
    new Option("-o, --output <format>", "what the result is written as")
      .choices(["text", "json"])
      .default("text"),
    new Option("--debug", "show where an error comes from"),
  ];
  if (group === "none") return common;
  const places = [
    new Option(
      "-c, --config <file>",
      "the agent's configuration (default: /etc/penstock/agent.yaml, if it exists)",
    ),
    new Option("--run-dir <directory>", "where the agent's socket and lock are"),
    new Option("--state-dir <directory>", "where the copy of the repository and the audit log are"),
    new Option("--pin-dir <directory>", "where maps and links are pinned"),
  ];
  if (group === "places") return [...places, ...common];
  const collect = (value: string, before: readonly string[] | undefined) => [...(before ?? []), value];
  return [
    new Option("--repo <url>", "the policy's repository: https://..., or a path of this machine"),
    new Option("--ref <ref>", "the branch, tag or commit to follow"),
    new Option("--path <folder>", "the folder in the repository that holds the policy"),
    new Option("--node-name <name>", "this host's name in records and reports"),
    new Option("--label <key=value>", "a label that documents select hosts by; may be repeated").argParser(
      collect,
    ),
    ...places,
    ...common,
  ];
}

/** What stands below the options in every help. */
export function helpEnd(definition: Pick<AnyCommand, "examples" | "exits">): string {
  const width = Math.max(...definition.examples.map(([command]) => command.length));
  const examples = definition.examples.map(([command, what]) => `  ${command.padEnd(width)}  ${what}`);
  const exits = { 0: "done, or nothing to do", 1: "failed", ...definition.exits, 64: "wrong usage" };
  const codes = Object.entries(exits).map(([code, what]) => `  ${code.padStart(2)}  ${what}`);
  return `\nExamples:\n${examples.join("\n")}\n\nExit codes:\n${codes.join("\n")}`;
}
