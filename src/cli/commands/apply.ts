// apply: brings the kernel to the newest revision, once; through the agent if one runs.
import { PenstockError } from "../../base/index.ts";
import { type AgentClient, agentPaths } from "../../server/index.ts";
import { askForAgent } from "../agent-client.ts";
import { workAlone } from "../alone.ts";
import { type Context, defineCommand } from "../command.ts";
import { type OutcomeView, reportOutcome, viewOutcome } from "../views/outcome.ts";
import type { StatusView } from "../views/status.ts";

export const applyCommand = defineCommand({
  name: "apply",
  summary: "Bring the kernel to the newest revision, once",
  description:
    "Fetch the newest revision and bring the kernel to it in one atomic step. What was applied stays in force " +
    "without any process. Goes through the agent if one runs",
  flags: "source",
  examples: [
    ["penstock apply", "with the repository that the configuration names"],
    ["penstock apply --repo https://git.example.org/policy.git", "without a configuration file"],
  ],
  exits: { 0: "applied, or up to date already", 1: "refused or failed; packets see what they saw before" },
  async run(context) {
    const agent = await askForAgent(context);
    const view: OutcomeView =
      agent === undefined
        ? await workAlone(context, async ({ reconciler }) =>
            viewOutcome(await reconciler.reconcile("command")),
          )
        : await applyThrough(agent, context);
    return reportOutcome(view, context.output);
  },
});

/** The agent follows its own configuration: what was asked for must be the same. */
async function applyThrough(agent: AgentClient, context: Context): Promise<OutcomeView> {
  const { repo, ref, path, label, nodeName } = context.flags;
  const status = await agent.ask<StatusView>({ method: "GET", path: agentPaths.status });
  const source = context.settings().source;
  const isSame =
    (repo === undefined || source?.url === status.source) &&
    (ref === undefined || source?.ref === status.ref);
  if (!isSame || path !== undefined || label !== undefined || nodeName !== undefined) {
    throw new PenstockError({
      code: "agent-follows-other",
      disposition: "stalled",
      message: `Cannot apply this: an agent runs, and follows ${status.source ?? "its own repository"}, ref ${status.ref ?? "?"}`,
      remedy: "Leave out the options, or stop the agent first",
    });
  }
  return agent.ask({ method: "POST", path: agentPaths.reconcile });
}
