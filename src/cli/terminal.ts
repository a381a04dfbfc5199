// The world of the command line: streams, environment, the person at the keyboard. Everything else in this folder
// sees it through this interface, so that tests can stand in for it.
import { createInterface } from "node:readline/promises";

export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether a person reads stdout, and stderr. */
  readonly outIsTerminal: boolean;
  readonly errIsTerminal: boolean;
  /** Whether a person can be asked. */
  readonly canAsk: boolean;
  writeOut(text: string): void;
  writeErr(text: string): void;
  /** Asks for a line; the empty string at the end of the input. */
  ask(question: string): Promise<string>;
}

/** True if colours are wanted on a stream: see https://no-color.org. */
export function wantsColour(terminal: Terminal, stream: "out" | "err"): boolean {
  const isTerminal = stream === "out" ? terminal.outIsTerminal : terminal.errIsTerminal;
  const { NO_COLOR: noColour, TERM: kind } = terminal.env;
  return isTerminal && (noColour === undefined || noColour === "") && kind !== "dumb";
}

/** This process's own terminal. */
export function processTerminal(): Terminal {
  return {
    env: process.env,
    outIsTerminal: process.stdout.isTTY === true,
    errIsTerminal: process.stderr.isTTY === true,
    canAsk: process.stdin.isTTY === true && process.stderr.isTTY === true,
    writeOut: (text) => {
      process.stdout.write(text);
    },
    writeErr: (text) => {
      process.stderr.write(text);
    },
    async ask(question) {
      const lines = createInterface({ input: process.stdin, output: process.stderr });
      try {
        return await lines.question(question);
      } finally {
        lines.close();
      }
    },
  };
}
