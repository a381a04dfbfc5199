// blocks remove: ends the block of a source before its time.
import { formatAddress, parseAddress } from "../../base/index.ts";
import { defineCommand } from "../command.ts";
import { requireInstalledDatapath } from "../compose-datapath.ts";
import { exitCode } from "../exit-codes.ts";
import { UsageError } from "../usage.ts";
import { findBlocks } from "../views/blocks.ts";

export const blocksRemoveCommand = defineCommand({
  name: "blocks remove",
  summary: "End the block of a source",
  description:
    "End the block of a source before its time. The next connection that it wants beyond the limit blocks it again",
  arguments: [["<address>", "the source, as penstock blocks list shows it"]],
  flags: "places",
  examples: [["penstock blocks remove 192.0.2.7", "let it in again"]],
  exits: { 1: "failed, or the source is not blocked" },
  async run(context, { words: [text = ""] }) {
    const address = parseAddress(text);
    if (!address.ok)
      throw new UsageError(
        `Cannot remove a block: ${address.message}`,
        "Write one address, without a prefix length",
      );
    const source = formatAddress(address.value);
    const datapath = requireInstalledDatapath(context.settings());
    try {
      const found = await findBlocks(datapath, process.hrtime.bigint());
      const block = found.find((each) => formatAddress(each.source) === source);
      const removed = block !== undefined && datapath.object.map("fw_blocked").remove(block.key);
      context.output.result({ source, removed }, () => (removed ? [`${source} is blocked no more`] : []));
      if (!removed) context.output.note(`${source} is not blocked`);
      return removed ? exitCode.done : exitCode.failed;
    } finally {
      datapath.close();
    }
  },
});
