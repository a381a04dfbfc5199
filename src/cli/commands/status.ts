// status: what is in force on this host, and what the agent says of itself.
import { agentPaths } from "../../server/index.ts";
import { askForAgent } from "../agent-client.ts";
import { lookAlone } from "../alone.ts";
import { defineCommand } from "../command.ts";
import { exitCode } from "../exit-codes.ts";
import { renderStatus, type StatusView, viewStatus } from "../views/status.ts";

export const statusCommand = defineCommand({
  name: "status",
  summary: "Show what is in force on this host",
  description:
    "Show what is in force on this host, and what the agent says of itself; without an agent, what the kernel holds",
  flags: "places",
  examples: [
    ["penstock status", "for people"],
    ["penstock status -o json", "for machines"],
  ],
  exits: {},
  async run(context) {
    const agent = await askForAgent(context);
    const view: StatusView =
      agent === undefined
        ? await lookAlone(context, async ({ reconciler, datapath }) =>
            viewStatus(await reconciler.status(), { agent: null, installed: datapath !== undefined }),
          )
        : await agent.ask({ method: "GET", path: agentPaths.status });
    context.output.result(view, (status, style) => renderStatus(status, style, Date.now()));
    return exitCode.done;
  },
});
