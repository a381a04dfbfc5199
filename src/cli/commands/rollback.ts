// rollback: goes back to an earlier revision, without asking the Git server.
import { agentPaths } from "../../server/index.ts";
import { askForAgent } from "../agent-client.ts";
import { workAlone } from "../alone.ts";
import { defineCommand } from "../command.ts";
import { parseCommit } from "../usage.ts";
import { type OutcomeView, reportOutcome, viewOutcome } from "../views/outcome.ts";

export const rollbackCommand = defineCommand({
  name: "rollback",
  summary: "Go back to an earlier revision",
  description:
    "Go back to an earlier revision, or to the one that was applied before the current one. Needs no Git server. " +
    "What was rolled back is not applied again until the ref moves",
  arguments: [["[commit]", "the revision to go back to: at least 4 digits of its commit"]],
  flags: "source",
  examples: [
    ["penstock rollback", "to the revision before this one"],
    ["penstock rollback 3f2a9c01", "to a certain revision; penstock history lists them"],
  ],
  exits: { 1: "failed; packets see what they saw before" },
  async run(context, { words }) {
    const commit = words[0] === undefined ? undefined : parseCommit(words[0]);
    const agent = await askForAgent(context);
    const view: OutcomeView =
      agent === undefined
        ? await workAlone(context, async ({ reconciler }) => viewOutcome(await reconciler.rollback(commit)))
        : await agent.ask({
            method: "POST",
            path: agentPaths.rollback,
            ...(commit === undefined ? {} : { body: { commit } }),
          });
    return reportOutcome(view, context.output);
  },
});
