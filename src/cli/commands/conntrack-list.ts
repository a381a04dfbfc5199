// conntrack list: the connections that the datapath knows.
import { defineCommand } from "../command.ts";
import { requireInstalledDatapath } from "../compose-datapath.ts";
import { type FilterWords, filterOptions, parseFilter } from "../connection-filter.ts";
import { exitCode } from "../exit-codes.ts";
import { commandOption } from "../options.ts";
import { countOf } from "../text.ts";
import { parseNumber } from "../usage.ts";
import { describeConnections, findConnections, renderConnections } from "../views/connections.ts";

export const conntrackListCommand = defineCommand<FilterWords & { readonly limit?: string }>({
  name: "conntrack list",
  summary: "List the connections that are known",
  description:
    "List connections: who opened each, its state, the packets that each end sent, and the rule that let it through. " +
    "Where several options are given, all must fit",
  options: [...filterOptions, commandOption.limit("how many at most (default: 100)")],
  flags: "places",
  examples: [
    ["penstock conntrack list", "the first 100"],
    ["penstock conntrack list --protocol tcp --port 443 --state established", "some of them"],
    ["penstock conntrack list -n 1000000 -o json", "all, for machines"],
  ],
  exits: {},
  async run(context, { options }) {
    const limit = parseNumber(options.limit ?? "100", "--limit", { min: 0, max: 100_000_000 });
    const filter = parseFilter(options);
    const datapath = requireInstalledDatapath(context.settings());
    try {
      const found = await findConnections(datapath, filter);
      const shown = await describeConnections(datapath, found.slice(0, limit), process.hrtime.bigint());
      const view = { total: found.length, connections: shown };
      context.output.result(view, ({ connections }, style) => renderConnections(connections, style));
      if (found.length === 0) context.output.note("No connection fits");
      else if (found.length > limit)
        context.output.note(`${countOf(found.length - limit, "more connection")} not shown; see --limit`);
      return exitCode.done;
    } finally {
      datapath.close();
    }
  },
});
