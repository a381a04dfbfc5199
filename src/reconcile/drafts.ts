// From a revision and what was observed to what a plan is made of. Reads the host's interfaces and the clock through
// ports; changes nothing.
import type { Clock, Revision } from "../base/index.ts";
import type { Applied, DesiredState, IdRange, IdSpace, KindDefinition } from "../compile/index.ts";
import { type PolicySet, parsePolicy, selectForNode } from "../policy/index.ts";
import { appliedEntries, readApplied } from "./applied.ts";
import { type Comparison, compareToApplied } from "./drift.ts";
import { knownIds } from "./names.ts";
import type { ObservedState } from "./observe.ts";
import type { PlanInput } from "./plan.ts";
import type { Datapath } from "./ports.ts";
import { type PolicyInput, type PreparedPolicy, preparePolicy } from "./prepare-policy.ts";

export interface DraftOptions {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly kinds: readonly KindDefinition[];
  readonly idRanges: Readonly<Record<IdSpace, IdRange>>;
  /** The host's labels. */
  readonly labels: Readonly<Record<string, string>>;
  /** Where policy is parsed and compiled; in this thread unless somebody else does it. */
  readonly prepare?: (input: PolicyInput) => Promise<PreparedPolicy>;
}

/**
 * A revision and what it means on this host, as of the time that it was applied: what drift is measured against. The
 * documents themselves are not kept: of a million prefixes they would be most of the agent's memory.
 */
export interface Known {
  readonly revision: Revision;
  readonly desired: DesiredState;
}

export class Drafts {
  readonly #o: DraftOptions;

  constructor(options: DraftOptions) {
    this.#o = options;
  }

  /** What the revision means on this host at `now` (milliseconds since the epoch), or what is wrong with it. */
  async prepare(revision: Revision, observed: ObservedState, now: number): Promise<PreparedPolicy> {
    const { kinds, labels, datapath, idRanges } = this.#o;
    const prepare = this.#o.prepare ?? preparePolicy;
    return prepare({
      files: revision.files,
      labels,
      kinds,
      interfaces: datapath.interfaces(),
      knownIds: knownIds(observed),
      idRanges,
      now,
    });
  }

  planInput(desired: DesiredState, observed: ObservedState, applied: Applied): PlanInput {
    const { datapath, kinds } = this.#o;
    return {
      desired,
      observed,
      datapath,
      kinds,
      applied: appliedEntries(applied),
      interfaces: datapath.interfaces(),
    };
  }

  /** The record that says what is applied: what the policy says at `timeS` is written. */
  appliedFor(revision: Revision, held: string | undefined, now: number): Applied {
    return { commit: revision.commit, held, timeS: Math.floor(now / 1000) };
  }

  /** Where the kernel departs from what was applied. */
  compare(inForce: Known, observed: ObservedState): Promise<Comparison> {
    const applied = readApplied(observed);
    const timeS = applied?.timeS ?? Math.floor(this.#o.clock.now() / 1000);
    const record: Applied = { commit: inForce.revision.commit, held: applied?.held, timeS };
    return compareToApplied(this.planInput(inForce.desired, observed, record));
  }

  /** The documents of a revision that are in force on this host. */
  policyOf(revision: Revision): PolicySet {
    return selectForNode(parsePolicy(revision.files).checkable, this.#o.labels);
  }
}
