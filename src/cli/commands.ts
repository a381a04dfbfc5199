// All commands, in the order in which the help lists them.
import type { AnyCommand } from "./command.ts";
import { agentCommand } from "./commands/agent.ts";
import { applyCommand } from "./commands/apply.ts";
import { auditListCommand } from "./commands/audit-list.ts";
import { auditVerifyCommand } from "./commands/audit-verify.ts";
import { blocksListCommand } from "./commands/blocks-list.ts";
import { blocksRemoveCommand } from "./commands/blocks-remove.ts";
import { checkCommand } from "./commands/check.ts";
import { conntrackFlushCommand } from "./commands/conntrack-flush.ts";
import { conntrackListCommand } from "./commands/conntrack-list.ts";
import { conntrackStatsCommand } from "./commands/conntrack-stats.ts";
import { countersCommand } from "./commands/counters.ts";
import { detachCommand } from "./commands/detach.ts";
import { driftCommand } from "./commands/drift.ts";
import { eventsCommand } from "./commands/events.ts";
import { explainCommand } from "./commands/explain.ts";
import { historyCommand } from "./commands/history.ts";
import { planCommand } from "./commands/plan.ts";
import { reconcileCommand } from "./commands/reconcile.ts";
import { rollbackCommand } from "./commands/rollback.ts";
import { statusCommand } from "./commands/status.ts";
import { validateCommand } from "./commands/validate.ts";
import { versionCommand } from "./commands/version.ts";

export const commands: readonly (readonly [heading: string, members: readonly AnyCommand[]])[] = [
  ["Before a change:", [checkCommand, validateCommand, planCommand, explainCommand]],
  [
    "Changing the kernel:",
    [
      agentCommand,
      applyCommand,
      reconcileCommand,
      rollbackCommand,
      conntrackFlushCommand,
      blocksRemoveCommand,
      detachCommand,
    ],
  ],
  [
    "Looking at a host:",
    [
      statusCommand,
      historyCommand,
      driftCommand,
      countersCommand,
      eventsCommand,
      conntrackListCommand,
      conntrackStatsCommand,
      blocksListCommand,
      auditListCommand,
      auditVerifyCommand,
    ],
  ],
  ["Other:", [versionCommand]],
];

/** Commands that only hold others. */
export const commandGroups: Readonly<
  Record<string, { readonly summary: string } & Pick<AnyCommand, "examples">>
> = {
  conntrack: {
    summary: "The table of connections that the datapath tracks",
    examples: [
      ["penstock conntrack list", "which connections are there?"],
      ["penstock conntrack stats", "how full is the table?"],
      ["penstock conntrack flush --address 192.0.2.7", "forget those of one host"],
    ],
  },
  blocks: {
    summary: "Sources that are blocked for a time, since they wanted more connections than a rule allows",
    examples: [
      ["penstock blocks list", "who is blocked, and for how much longer?"],
      ["penstock blocks remove 192.0.2.7", "let one in again"],
    ],
  },
  audit: {
    summary: "The audit log: one record for each attempt, in a chain that can be verified",
    examples: [
      ["penstock audit list", "what was attempted on this host"],
      ["penstock audit verify", "was the log changed since it was written?"],
    ],
  },
};
