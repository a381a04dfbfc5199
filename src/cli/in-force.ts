// The revision in force, for commands that cannot go on without it.
import { formatRevision, PenstockError, type Revision } from "../base/index.ts";
import type { KernelDatapath, MapSource } from "../bpf/index.ts";
import type { PolicySet } from "../policy/index.ts";
import { type Reconciler, readAppliedNow } from "../reconcile/index.ts";
import type { PlanBase } from "./views/plan.ts";

export interface InForce {
  readonly name: string;
  readonly revision: Revision;
  policy(): PolicySet;
}

/** Throws `nothing-in-force` if nothing was applied, or if what was applied cannot be read. */
export function requireInForce(reconciler: Reconciler): InForce {
  const known = reconciler.inForce();
  if (known !== undefined) return { ...known, name: formatRevision(known.revision) };
  throw new PenstockError({
    code: "nothing-in-force",
    disposition: "stalled",
    message: "Cannot tell what should be in force: nothing was applied on this host, or it cannot be read",
    remedy: "Look at penstock status; apply a revision with penstock apply",
  });
}

/** What plans are made against, where there is a kernel to ask. */
export function kernelBase(reconciler: Reconciler, datapath: KernelDatapath<MapSource>): PlanBase {
  return {
    kind: "kernel",
    generation: Number(datapath.generation().current),
    applied: nameInForce(reconciler) ?? null,
  };
}

/** The commit that was rolled back and stays out; undefined if there is none. */
export async function readHeld(datapath: KernelDatapath<MapSource>): Promise<string | undefined> {
  return (await readAppliedNow(datapath))?.held;
}

export function nameInForce(reconciler: Reconciler): string | undefined {
  const known = reconciler.inForce();
  return known && formatRevision(known.revision);
}
