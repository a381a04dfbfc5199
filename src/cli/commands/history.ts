// history: the revisions that were applied on this host.
import { agentPaths } from "../../server/index.ts";
import { askForAgent } from "../agent-client.ts";
import { defineCommand } from "../command.ts";
import { readRecords } from "../compose-audit.ts";
import { exitCode } from "../exit-codes.ts";
import { commandOption } from "../options.ts";
import { parseNumber } from "../usage.ts";
import { collectHistory, type HistoryView, renderHistory } from "../views/history.ts";

export const historyCommand = defineCommand<{ readonly limit?: string }>({
  name: "history",
  summary: "List the revisions that were applied on this host",
  description: "List the revisions that were applied on this host, newest first",
  options: [commandOption.limit("how many revisions at most (default: 20)")],
  flags: "places",
  examples: [
    ["penstock history", "the last 20"],
    ["penstock history -n 1", "the last one"],
  ],
  exits: {},
  async run(context, { options }) {
    const limit = parseNumber(options.limit ?? "20", "--limit", { min: 0, max: 1000 });
    const agent = await askForAgent(context);
    const view: HistoryView =
      agent === undefined
        ? await collectHistory(readRecords(context.settings(), Number.POSITIVE_INFINITY), limit)
        : await agent.ask({ method: "GET", path: agentPaths.history, query: { limit: String(limit) } });
    context.output.result(view, ({ revisions }, style) => renderHistory(revisions, style));
    if (view.revisions.length === 0) context.output.note("Nothing was applied on this host yet");
    return exitCode.done;
  },
});
