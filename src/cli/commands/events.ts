// events: packets that rules log, that an audit-mode rule would have stopped, or that are malformed.
import { askForAgent } from "../agent-client.ts";
import { type Context, defineCommand } from "../command.ts";
import { requireInstalledDatapath } from "../compose-datapath.ts";
import { eventsKept, openEventReader } from "../event-reader.ts";
import { exitCode } from "../exit-codes.ts";
import { untilInterrupted } from "../interrupt.ts";
import { commandOption } from "../options.ts";
import { parseNumber } from "../usage.ts";
import { type EventView, renderEvent } from "../views/event.ts";

interface EventOptions {
  readonly follow?: boolean;
  readonly limit?: string;
}

interface Wanted {
  readonly follow: boolean;
  readonly limit: number;
  readonly signal: AbortSignal;
}

export const eventsCommand = defineCommand<EventOptions>({
  name: "events",
  summary: "Show packets that rules log",
  description:
    "Show packets that rules log, that rules in audit mode would have judged, or that are malformed. The agent keeps " +
    "the last 1,000; without an agent, what waits in the kernel is read, and is gone then. With -o json, one object a line",
  options: [
    commandOption.follow(),
    commandOption.limit("how many events of the past (default: 1000, with --follow 10)"),
  ],
  flags: "places",
  examples: [
    ["penstock events", "what the agent has kept"],
    ["penstock events --follow", "what happens now"],
    ["penstock events -f -n 0 -o json | jq .source", "only new ones, for machines"],
  ],
  exits: { 0: "done, or interrupted" },
  async run(context, { options }) {
    const follow = options.follow === true;
    const bounds = { min: 0, max: eventsKept };
    const limit = parseNumber(options.limit ?? (follow ? "10" : String(eventsKept)), "--limit", bounds);
    const interrupt = untilInterrupted();
    try {
      const wanted = { follow, limit, signal: interrupt.signal };
      const agent = await askForAgent(context);
      if (agent === undefined) await readAlone(context, wanted);
      else for await (const event of agent.events<EventView>(wanted)) context.output.item(event, renderEvent);
    } finally {
      interrupt.end();
    }
    return exitCode.done;
  },
});

async function readAlone(context: Context, wanted: Wanted): Promise<void> {
  const settings = context.settings();
  const datapath = requireInstalledDatapath(settings);
  const reader = openEventReader(datapath, settings.runDirectory);
  try {
    while ((await reader.take()) > 0) {
      // Until the ring is empty; what is more than is kept falls out.
    }
    for (const event of reader.recent(wanted.limit)) context.output.item(event, renderEvent);
    if (!wanted.follow) return;
    reader.follow((event) => context.output.item(event, renderEvent));
    await reader.run(wanted.signal);
  } finally {
    reader.close();
    datapath.close();
  }
}
