// A terminal for tests of the command line: keeps what is written, and answers what is asked.
import { runCommandLine } from "../../src/cli/program.ts";
import type { Terminal } from "../../src/cli/terminal.ts";

export interface TestTerminal extends Terminal {
  out: string;
  err: string;
}

export function testTerminal(options: Partial<Terminal> & { readonly answer?: string } = {}): TestTerminal {
  const terminal: TestTerminal = {
    env: {},
    outIsTerminal: false,
    errIsTerminal: false,
    canAsk: false,
    out: "",
    err: "",
    writeOut: (text) => {
      terminal.out += text;
    },
    writeErr: (text) => {
      terminal.err += text;
    },
    ask: async () => options.answer ?? "",
    ...options,
  };
  return terminal;
}

/** Runs a command line in this process. */
export async function runCli(
  words: readonly string[],
  options: Partial<Terminal> & { readonly answer?: string } = {},
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const terminal = testTerminal(options);
  const code = await runCommandLine(words, terminal);
  return { code, out: terminal.out, err: terminal.err };
}
