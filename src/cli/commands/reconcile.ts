// reconcile: asks the agent to look at the repository now rather than at its next poll.
import { agentPaths } from "../../server/index.ts";
import { requireAgent } from "../agent-client.ts";
import { defineCommand } from "../command.ts";
import { type OutcomeView, reportOutcome } from "../views/outcome.ts";

export const reconcileCommand = defineCommand({
  name: "reconcile",
  summary: "Have the agent reconcile now",
  description:
    "Have the agent fetch the newest revision and bring the kernel to it now. Also tries again what was refused before",
  flags: "places",
  examples: [["penstock reconcile", "do not wait for the next poll"]],
  exits: { 0: "applied, or up to date already", 1: "refused or failed, or no agent runs" },
  async run(context) {
    const agent = await requireAgent(context, "without it, use penstock apply");
    const view = await agent.ask<OutcomeView>({ method: "POST", path: agentPaths.reconcile });
    return reportOutcome(view, context.output);
  },
});
