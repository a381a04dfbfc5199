// conntrack flush: forgets connections, so that their next packets meet the rules again.
import type { RunnableProgram } from "../../bpf/index.ts";
import { createTestRunner, tcCommands } from "../../bpf/index.ts";
import { type Context, defineCommand } from "../command.ts";
import { requireInstalledDatapath } from "../compose-datapath.ts";
import { type FilterWords, filterOptions, parseFilter } from "../connection-filter.ts";
import { exitCode } from "../exit-codes.ts";
import { commandOption } from "../options.ts";
import { countOf } from "../text.ts";
import { UsageError } from "../usage.ts";
import { type FoundConnection, findConnections } from "../views/connections.ts";

interface FlushView {
  readonly flushed: number;
}

export const conntrackFlushCommand = defineCommand<FilterWords & { readonly yes?: boolean }>({
  name: "conntrack flush",
  summary: "Forget connections",
  description:
    "Forget connections: their next packets meet the rules again, and where nothing takes up a connection in its " +
    "middle they are invalid. Without options all connections are meant, and the command asks first",
  options: [...filterOptions, commandOption.yes()],
  flags: "places",
  examples: [
    ["penstock conntrack flush --address 192.0.2.7", "those of one host"],
    ["penstock conntrack flush --yes", "all, for scripts"],
  ],
  exits: { 1: "failed, or not wanted after all" },
  async run(context, { options }) {
    const { yes, ...words } = options;
    const filter = parseFilter(words);
    const datapath = requireInstalledDatapath(context.settings());
    try {
      const isAll = Object.values(words).every((word) => word === undefined);
      if (isAll && yes !== true && !(await isWanted(context))) return exitCode.failed;
      const found = await findConnections(datapath, filter);
      const view: FlushView = { flushed: endConnections(datapath.program(tcCommands.end), found) };
      context.output.result(view, ({ flushed }) => [`Forgot ${countOf(flushed, "connection")}`]);
      return exitCode.done;
    } finally {
      datapath.close();
    }
  },
});

/** Bytes before the first key of a frame: see the program. */
const headerBytes = 16;
/** The kernel takes frames of less than a page. */
const keysPerFrame = 64;

/** Has the kernel end connections, so that whatever was counted for them is taken back. Returns how many were there. */
function endConnections(program: RunnableProgram, found: readonly FoundConnection[]): number {
  const runner = createTestRunner(program);
  let ended = 0;
  for (let from = 0; from < found.length; from += keysPerFrame) {
    const keys = found.slice(from, from + keysPerFrame).map(({ key }) => key);
    ended += runner.run(Buffer.concat([new Uint8Array(headerBytes), ...keys])).verdict;
  }
  return ended;
}

async function isWanted({ terminal, output }: Context): Promise<boolean> {
  output.warn("This forgets every connection; what rules do not let through again is cut");
  if (!terminal.canAsk) {
    throw new UsageError("Cannot ask whether to flush: this is not a terminal", "Say so with --yes");
  }
  const answer = await terminal.ask("Flush? Type yes to go on: ");
  if (answer.trim() === "yes") return true;
  output.note("Nothing was changed");
  return false;
}
