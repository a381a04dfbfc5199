// Drift: where the kernel departs from the revision in force because somebody else wrote its maps or moved its
// programs. That the host changed (an interface appeared or went) is not drift.
import { interfacesTable } from "../compile/index.ts";
import type { DescribedChange, LogicalChange } from "./changes.ts";
import type { TableDiff } from "./diff.ts";
import { describePlan, makePlan, type Plan, type PlanInput } from "./plan.ts";

export interface DriftReport {
  /** Each departure in words: `add` is missing in the kernel, `remove` is there without a reason. */
  readonly entries: readonly DescribedChange[];
  /** Programs that should be attached and are not, and rules that packets do not get to. */
  readonly attachments: readonly string[];
  /** Whether, besides, interfaces came or went since. */
  readonly hostChanged: boolean;
  /** What would put it right. */
  readonly plan: Plan;
  /** Equal for equal drift. */
  readonly digest: string;
}

/** The departures of what is observed from what was applied; undefined if there are none. */
export function driftOf(input: PlanInput): DriftReport | undefined {
  const plan = makePlan(input);
  if (plan.empty) return undefined;
  const changes = plan.changes.filter((c) => c.table !== interfacesTable.name || !isHostChange(c, input));
  // A program that is missing on an interface that is bound was taken away; on one that is not bound yet, the
  // interface is new.
  const bound = new Set(boundInterfaces(input));
  const gone = plan.transaction.attach.filter((a) => bound.has(a.index));
  const attachments = [
    ...gone.map((a) => `${a.program} is not attached to ${a.interface}`),
    ...plan.transaction.diffs.flatMap((diff) => shortWalk(diff, input)),
  ];
  if (changes.length === 0 && attachments.length === 0) return undefined;
  const attachesNew = gone.length < plan.transaction.attach.length;
  return {
    entries: describePlan({ ...plan, changes }, input),
    attachments,
    hostChanged: changes.length < plan.changes.length || attachesNew,
    plan,
    digest: plan.digest,
  };
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
