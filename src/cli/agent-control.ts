// What a running agent answers over its socket: the reconciler's words, as the views that commands print.
import { PenstockError, systemClock } from "../base/index.ts";
import type { AgentControl, Answer } from "../server/index.ts";
import type { Parts } from "./compose.ts";
import { readRecords } from "./compose-audit.ts";
import type { EventReader } from "./event-reader.ts";
import { explainInForce } from "./explain.ts";
import { kernelBase, nameInForce, readHeld, requireInForce } from "./in-force.ts";
import { parseQuestion, readWords } from "./question.ts";
import { readCounters } from "./views/counters.ts";
import { viewDrift } from "./views/drift.ts";
import { collectHistory } from "./views/history.ts";
import { viewOutcome } from "./views/outcome.ts";
import { viewPreview } from "./views/plan.ts";
import { type AgentView, viewStatus } from "./views/status.ts";

export interface AgentControlParts extends Pick<Parts, "settings" | "datapath" | "reconciler"> {
  readonly agent: AgentView;
  /** Undefined while another process reads the ring. */
  events(): EventReader | undefined;
}

/** Answers from the parts of a running agent. */
export function agentControl(parts: AgentControlParts): AgentControl {
  const { settings, datapath, reconciler, agent } = parts;
  return {
    status: async () => viewStatus(await reconciler.status(), { agent, installed: true }),
    history: (limit) => collectHistory(readRecords(settings, Number.POSITIVE_INFINITY), limit),
    async plan(commit) {
      const preview = await reconciler.preview(commit);
      return viewPreview(preview, {
        base: kernelBase(reconciler, datapath),
        inForce: nameInForce(reconciler) ?? "",
        held: await readHeld(datapath),
      });
    },
    async drift() {
      const { name } = requireInForce(reconciler);
      return viewDrift(name, await reconciler.drift());
    },
    counters: () => readCounters(datapath),
    async explain(question) {
      return explainInForce(parseQuestion(readWords(question)), {
        reconciler,
        datapath,
        now: systemClock.now(),
        settings,
      });
    },
    reconcile: async () => viewOutcome(await reconciler.reconcile("command")),
    rollback: async (commit) => viewOutcome(await reconciler.rollback(commit)),
    recentEvents: async (limit) => requireEvents(parts).recent(limit) as readonly Answer[],
    followEvents: (onEvent) => requireEvents(parts).follow(onEvent),
  };
}

function requireEvents(parts: AgentControlParts): EventReader {
  const reader = parts.events();
  if (reader !== undefined) return reader;
  throw new PenstockError({
    code: "events-taken",
    disposition: "transient",
    message: "Cannot give packet events: another process reads them",
    remedy: "Stop the penstock events that runs without the agent",
  });
}
