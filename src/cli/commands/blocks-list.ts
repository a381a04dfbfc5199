// blocks list: the sources that are blocked for having wanted too many connections.
import { defineCommand } from "../command.ts";
import { requireInstalledDatapath } from "../compose-datapath.ts";
import { exitCode } from "../exit-codes.ts";
import { describeBlocks, findBlocks, renderBlocks } from "../views/blocks.ts";

export const blocksListCommand = defineCommand({
  name: "blocks list",
  summary: "List the sources that are blocked",
  description:
    "List sources that are blocked since they wanted more connections than a rule allows: for how many more seconds, " +
    "and by which rule",
  flags: "places",
  examples: [["penstock blocks list -o json", "for machines"]],
  exits: {},
  async run(context) {
    const datapath = requireInstalledDatapath(context.settings());
    try {
      const found = await findBlocks(datapath, process.hrtime.bigint());
      const view = { blocks: await describeBlocks(datapath, found) };
      context.output.result(view, ({ blocks }, style) => renderBlocks(blocks, style));
      if (found.length === 0) context.output.note("No source is blocked");
      return exitCode.done;
    } finally {
      datapath.close();
    }
  },
});
