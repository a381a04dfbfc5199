// counters: how many packets each rule decided, and for which reasons packets passed or were dropped.
import { agentPaths } from "../../server/index.ts";
import { askForAgent } from "../agent-client.ts";
import { type Context, defineCommand } from "../command.ts";
import { requireInstalledDatapath } from "../compose-datapath.ts";
import { exitCode } from "../exit-codes.ts";
import { type CountersView, readCounters, renderCounters } from "../views/counters.ts";

export const countersCommand = defineCommand({
  name: "counters",
  summary: "Show hit counters by rule and by reason",
  description:
    "Show how many packets and bytes met each rule, and each reason to pass or drop; every packet has one reason",
  flags: "places",
  examples: [
    ["penstock counters", "most hit rules first"],
    ["penstock counters -o json", "for machines"],
  ],
  exits: {},
  async run(context) {
    const agent = await askForAgent(context);
    const view: CountersView =
      agent === undefined
        ? await readAlone(context)
        : await agent.ask({ method: "GET", path: agentPaths.counters });
    context.output.result(view, renderCounters);
    return exitCode.done;
  },
});

async function readAlone(context: Context): Promise<CountersView> {
  const datapath = requireInstalledDatapath(context.settings());
  try {
    return await readCounters(datapath);
  } finally {
    datapath.close();
  }
}
