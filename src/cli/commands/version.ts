// version: what is installed here, and what the agent runs, if one does.
import { defineCommand } from "../command.ts";
import { exitCode } from "../exit-codes.ts";
import { version } from "../places.ts";

export const versionCommand = defineCommand({
  name: "version",
  summary: "Show the version",
  flags: "none",
  examples: [
    ["penstock version", "Penstock's version and Node's"],
    ["penstock version -o json", "for machines"],
  ],
  exits: {},
  async run({ output }) {
    output.result({ penstock: version, node: process.versions.node }, ({ penstock, node }) => [
      `penstock ${penstock} (Node ${node})`,
    ]);
    return exitCode.done;
  },
});
