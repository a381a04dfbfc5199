// Drift: where the kernel departs from the revision in force because somebody else wrote its maps or moved its
// programs. That the host changed (an interface appeared or went) is not drift.
import { createHash } from "node:crypto";
import { interfacesTable } from "../compile/index.ts";
import type { DescribedChanges, LogicalChange } from "./changes.ts";
import type { TableDiff } from "./diff.ts";
import { describePlan, makePlan, type Plan, type PlanInput } from "./plan.ts";

export interface DriftReport {
  /** Each departure in words: `add` is missing in the kernel, `remove` is there without a reason. */
  readonly entries: DescribedChanges;
  /** Programs that should be attached and are not, and rules that packets do not get to. */
  readonly attachments: readonly string[];
  /** How many departures these are. */
  readonly count: number;
  /** What would put it right. */
  readonly plan: Plan;
  /** Equal for equal drift. */
  readonly digest: string;
}

/** What is observed against what was applied. */
export interface Comparison {
  /** Undefined if nothing has departed. */
  readonly drift: DriftReport | undefined;
  /** Whether there is something to do that is no drift: interfaces came or went since. */
  readonly hostChanged: boolean;
}

/** The departures of what is observed from what was applied. */
export async function compareToApplied(input: PlanInput): Promise<Comparison> {
  const plan = await makePlan(input);
  if (plan.empty) return { drift: undefined, hostChanged: false };
  const { attach, detach, diffs } = plan.transaction;
  let hostChanged = detach.length > 0;
  const entries = describePlan(plan, input, {
    core: true,
    only: (change) => {
      const isHosts = change.table === interfacesTable.name && isHostChange(change, input);
      hostChanged ||= isHosts;
      return !isHosts;
    },
  });
  // A program that is missing on an interface that is bound was taken away; on one that is not bound yet, the
  // interface is new.
  const bound = new Set(boundInterfaces(input));
  const gone = attach.filter((a) => bound.has(a.index));
  hostChanged ||= gone.length < attach.length;
  const attachments = [
    ...gone.map((a) => `${a.program} is not attached to ${a.interface}`),
    ...diffs.flatMap((diff) => shortWalk(diff, input)),
  ];
  const { add, change, remove } = entries.more;
  const count = entries.items.length + add + change + remove + attachments.length;
  if (count === 0) return { drift: undefined, hostChanged };
  const digest = createHash("sha256")
    .update([await plan.digest(), ...attachments].join("\n"))
    .digest("hex");
  return { drift: { entries, attachments, count, plan, digest }, hostChanged };
}

/** A bound below the last rule hides rules from packets. */
function shortWalk({ spec, endBefore }: TableDiff, input: PlanInput): string[] {
  const end = spec.shape === "ordered" ? input.datapath.endOf(spec) : endBefore;
  return end < endBefore
    ? [`packets walk ${spec.name} to slot ${end}, and rules stand up to slot ${endBefore}`]
    : [];
}

function isHostChange(change: LogicalChange, input: PlanInput): boolean {
  const index = indexOf(change.key);
  if (change.action === "add") return !input.observed.attached.some((a) => a.index === index);
  if (change.action === "remove") return !input.interfaces.some((i) => i.index === index);
  return false;
}

function boundInterfaces(input: PlanInput): number[] {
  const raw = input.observed.tables.get(interfacesTable.name);
  if (raw === undefined) return [];
  return Array.from({ length: raw.count }, (_, i) => indexOf(raw.keys.subarray(i * 4, i * 4 + 4)));
}

function indexOf(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(0, true);
}
