// The reconciler: brings the kernel to a revision, finds drift, goes back. One thing at a time, whoever asks;
// every attempt ends in one audit record. Knows the world only through its ports.
import {
  asPenstockError,
  type Clock,
  formatDiagnostic,
  formatRevision,
  PenstockError,
  type Revision,
} from "../base/index.ts";
import type { IdRange, IdSpace, KindDefinition } from "../compile/index.ts";
import type { PolicySet } from "../policy/index.ts";
import { readApplied, readAppliedNow } from "./applied.ts";
import { AttemptWriter } from "./attempts.ts";
import { Committer } from "./committer.ts";
import { digestObserved } from "./digest.ts";
import { Drafts, type Known } from "./drafts.ts";
import type { DriftReport } from "./drift.ts";
import { type ObservedState, observe } from "./observe.ts";
import type { Outcome, Preview, ScanOutcome } from "./outcome.ts";
import { listHistory, newestInForce, previousCommit } from "./past.ts";
import { describePlan, makePlan } from "./plan.ts";
import type { AttemptLog, AttemptOutcome, Datapath, Logger, RevisionSource, Trigger } from "./ports.ts";
import type { PolicyInput, PreparedPolicy } from "./prepare-policy.ts";
import { observerAsRecovered, type Recovery } from "./recover.ts";
import { isRefusal } from "./refusals.ts";
import { Conditions, type Status } from "./status.ts";
import { countOf, reasonOf } from "./words.ts";

export interface ReconcilerOptions {
  readonly source: RevisionSource;
  readonly datapath: Datapath;
  readonly attempts: AttemptLog;
  readonly clock: Clock;
  readonly log: Logger;
  readonly kinds: readonly KindDefinition[];
  readonly idRanges: Readonly<Record<IdSpace, IdRange>>;
  readonly host: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly selfHeal: "enabled" | "warn" | "disabled";
  readonly version: string;
  /** For people: the repository's address and the ref. */
  readonly sourceUrl: string;
  readonly ref: string;
  /** Looks, after a commit, whether the host is well; throws if not, and the commit is taken back. */
  readonly confirm?: () => Promise<void>;
  /** What else of the host policy is compiled with, as a text that is another one when that is. Cheap. */
  readonly surroundings?: () => string;
  /** Where policy is parsed and compiled; in this thread unless somebody else does it. */
  readonly prepare?: (input: PolicyInput) => Promise<PreparedPolicy>;
}

/** Brings one host's kernel to revisions and keeps it there. */
export class Reconciler {
  readonly #o: ReconcilerOptions;
  readonly #conditions: Conditions;
  readonly #writer: AttemptWriter;
  readonly #drafts: Drafts;
  readonly #committer: Committer;
  /** The revision in force, compiled as of when it was applied: what drift is measured against. */
  #inForce: Known | undefined;
  #seen: Revision | undefined;
  /** A revision that was refused, or failed in a way that only a person can mend: not tried again by itself. */
  #quarantined: { readonly commit: string; readonly code: string } | undefined;
  #lastDrift: string | undefined;
  /** Where nothing is repaired, what an interrupted transaction left behind is looked through. */
  #observe: typeof observe = observe;
  /** Entries of each table when it was read last. */
  readonly #entries = new Map<string, number>();
  /** The host when the kernel was compared with policy last: its interfaces and surroundings. */
  #host = "";
  #busy: Promise<unknown> = Promise.resolve();

  constructor(options: ReconcilerOptions) {
    this.#o = options;
    this.#conditions = new Conditions(options.clock);
    this.#drafts = new Drafts(options);
    this.#writer = new AttemptWriter(options);
    this.#committer = new Committer(options, this.#drafts, this.#writer);
  }

  /** Repairs what a crash left and finds out which revision is in force. Before anything else. */
  start(): Promise<Recovery> {
    return this.#alone(async () => {
      const recovery = await this.#committer.repair();
      this.#conditions.set("Ready", "Unknown", "Starting", "No revision has been looked at yet");
      await this.#learnInForce();
      await this.#recordWhatIsInForce();
      return recovery;
    });
  }

  /** Finds out which revision is in force and repairs nothing: enough for commands that only read. */
  learn(): Promise<void> {
    this.#observe = observerAsRecovered(this.#o.log);
    return this.#alone(() => this.#learnInForce());
  }

  /** The revision in force and its policy on this host; undefined if there is none, or it cannot be read. */
  inForce(): { readonly revision: Revision; policy(): PolicySet } | undefined {
    const revision = this.#inForce?.revision;
    return revision && { revision, policy: () => this.#drafts.policyOf(revision) };
  }

  /** Brings the kernel to the newest revision. `command` tries again what was refused before. */
  reconcile(trigger: Trigger): Promise<Outcome> {
    return this.#alone(async () => {
      if (trigger === "command" || trigger === "push") this.#quarantined = undefined;
      const revision = await this.#fetch(trigger);
      return revision instanceof PenstockError
        ? { kind: "failed", revision: undefined, error: revision, retry: true }
        : this.#bringTo(revision, trigger);
    });
  }

  /** True if a poll found nothing that the last attempt did not see. Cheap. */
  async isCurrent(): Promise<boolean> {
    const { commit } = await this.#o.source.poll();
    this.#conditions.set("SourceReady", "True", "Succeeded", `${this.#o.ref} is at ${commit.slice(0, 12)}`);
    // Not "has it moved since the last fetch": a look ahead fetches too.
    return commit === this.#seen?.commit;
  }

  /** True if interfaces came or went, or the surroundings changed, since the kernel was compared with policy last. Cheap. */
  hostChanged(): boolean {
    return this.#inForce !== undefined && this.#host !== this.#describeHost();
  }

  /** Goes back to an earlier revision; without a commit, to the one applied before the current one. */
  rollback(commit?: string): Promise<Outcome> {
    return this.#alone(async () => {
      try {
        const target = commit ?? (await this.#previous());
        const revision = await this.#o.source.revision(target);
        const tip = this.#seen?.commit ?? this.#inForce?.revision.commit;
        const held = tip === revision.commit ? undefined : tip;
        return await this.#apply(revision, "command", { held, rollback: true });
      } catch (error) {
        return await this.#failCommand(asPenstockError(error));
      }
    });
  }

  /** Compares the kernel with the revision in force and, if so configured, puts it right. */
  scan(trigger: Trigger): Promise<ScanOutcome> {
    return this.#alone(async () => {
      try {
        return await this.#scan(trigger);
      } catch (error) {
        this.#conditions.remember();
        const failed = await this.#fail(this.#inForce?.revision, trigger, asPenstockError(error));
        return { drift: undefined, healed: false, error: failed.error };
      }
    });
  }

  /** The kernel against the revision in force; changes nothing and records nothing. */
  drift(): Promise<DriftReport | undefined> {
    return this.#alone(async () => this.#findDrift((await this.#look()).observed));
  }

  /** What applying the newest revision, or the given one, would do. */
  preview(commit?: string): Promise<Preview> {
    return this.#alone(async () => {
      const revision =
        commit === undefined ? await this.#o.source.fetch() : await this.#o.source.revision(commit);
      const { observed, now } = await this.#look();
      const prepared = await this.#drafts.prepare(revision, observed, now);
      const findings = prepared.diagnostics.map(formatDiagnostic);
      if (!prepared.ok) return { kind: "refused", revision, findings };
      // That the clock has moved is nothing that applying would write.
      const before = readApplied(observed);
      const at = before?.commit === revision.commit ? before.timeS * 1000 : now;
      const input = this.#drafts.planInput(
        prepared.desired,
        observed,
        this.#drafts.appliedFor(revision, undefined, at),
      );
      const plan = await makePlan(input);
      return {
        kind: "plan",
        revision,
        plan,
        changes: describePlan(plan, input),
        digest: await plan.digest(),
        drift: await this.#findDrift(observed),
        warnings: findings,
      };
    });
  }

  async status(): Promise<Status> {
    const { datapath, host, version, sourceUrl, ref } = this.#o;
    // Not in turn: whoever asks while a fetch hangs has to be told that. What a generation shows stays readable.
    const applied = await readAppliedNow(datapath);
    return {
      host,
      version,
      source: sourceUrl,
      ref,
      applied: applied?.commit,
      seen: this.#seen?.commit,
      held: applied?.held,
      generation: Number(datapath.generation().current),
      conditions: this.#conditions.list(),
      history: await listHistory(this.#o.attempts, 5),
      tables: datapath.tables.map((spec) => ({
        table: spec.name,
        entries: this.#entries.get(spec.name) ?? 0,
        capacity: datapath.capacityOf(spec),
      })),
      attached: datapath.attached().map(({ program, interface: name, index, mode }) => ({
        program,
        interface: name ?? `index ${index}`,
        mode,
      })),
    };
  }

  /** Waits until nothing is under way. */
  idle = (): Promise<void> => this.#alone(async () => undefined);

  async #fetch(trigger: Trigger): Promise<Revision | PenstockError> {
    try {
      const revision = await this.#o.source.fetch();
      this.#seen = revision;
      this.#conditions.set("SourceReady", "True", "Succeeded", `Fetched ${formatRevision(revision)}`);
      return revision;
    } catch (thrown) {
      const error = asPenstockError(thrown);
      this.#conditions.set("SourceReady", "False", reasonOf(error), error.message);
      return (await this.#fail(undefined, trigger, error)).error;
    }
  }

  async #bringTo(revision: Revision, trigger: Trigger): Promise<Outcome> {
    const quarantined = this.#quarantined;
    if (quarantined?.commit === revision.commit) {
      this.#o.log.info({ commit: revision.commit, code: quarantined.code }, "Revision stays in quarantine");
      return {
        kind: "refused",
        revision,
        findings: [`${revision.commit} stays refused: ${quarantined.code}`],
      };
    }
    const held = (await readAppliedNow(this.#o.datapath))?.held;
    if (held === revision.commit) {
      const message = `${formatRevision(revision)} was rolled back and is not applied again until ${revision.ref} moves`;
      this.#conditions.set("Ready", "True", "Held", message);
      return { kind: "held", revision };
    }
    return this.#apply(revision, trigger, { held: undefined, rollback: false });
  }

  async #apply(
    revision: Revision,
    trigger: Trigger,
    how: { readonly held: string | undefined; readonly rollback: boolean },
  ): Promise<Outcome> {
    this.#conditions.set("Reconciling", "True", "Progressing", `Applying ${formatRevision(revision)}`);
    try {
      await this.#committer.tidy();
      const { observed, host, now } = await this.#look();
      const prepared = await this.#drafts.prepare(revision, observed, now);
      this.#conditions.forget();
      if (!prepared.ok) return await this.#refuse(revision, trigger, prepared);
      const again = readApplied(observed)?.commit === revision.commit && !how.rollback;
      const heal = again && (await this.#findDrift(observed)) !== undefined;
      const outcome = await this.#committer.commit({
        revision,
        prepared,
        observed,
        now,
        trigger,
        ...how,
        heal,
      });
      this.#takeInForce({ revision, desired: prepared.desired }, { host, outcome });
      this.#becomeReady(revision);
      return outcome;
    } catch (error) {
      return await this.#fail(revision, trigger, asPenstockError(error));
    } finally {
      this.#conditions.set("Reconciling", "False", "Idle", "Nothing is under way");
    }
  }

  /** What there is, and when it was looked at: what appears later is news to the next look. */
  async #look() {
    const host = this.#describeHost();
    const now = this.#o.clock.now();
    const observed = await this.#observe(this.#o.datapath);
    for (const [name, { count }] of observed.tables) this.#entries.set(name, count);
    return { host, now, observed };
  }

  async #scan(trigger: Trigger): Promise<ScanOutcome> {
    const inForce = this.#inForce;
    if (inForce === undefined) return quiet;
    await this.#committer.tidy();
    const { revision } = inForce;
    const { selfHeal } = this.#o;
    const { observed, host, now } = await this.#look();
    const found = await this.#drafts.compare(inForce, observed);
    const drift = selfHeal === "disabled" && trigger !== "command" ? undefined : found.drift;
    await this.#noteDrift(drift, { revision, trigger, observed });
    const heal = selfHeal === "enabled" && drift !== undefined;
    // Without drift there may still be work: an interface has appeared, a rule has reached its last day,
    // a database is newer. A commit
    // brings the kernel to the whole of what is wanted, so it puts drift right too.
    const moved = found.hostChanged || host !== this.#host || now >= inForce.desired.validUntil;
    if (!heal && !moved) return this.#scanned({ drift, healed: false, error: undefined });
    const prepared = await this.#drafts.prepare(revision, observed, now);
    if (!prepared.ok) {
      // The host has changed so that what was right is not right any more: two groups meet in a new interface, say.
      const message = "The revision in force does not fit this host";
      this.#conditions.set("DriftFree", "Unknown", "InvalidPolicy", message);
      this.#conditions.remember();
      if (this.#quarantined?.commit !== revision.commit) await this.#refuse(revision, trigger, prepared);
      return { drift, healed: false, error: undefined };
    }
    const held = readApplied(observed)?.held;
    const work = { revision, prepared, observed, now, trigger, held, rollback: false, heal };
    const outcome = await this.#committer.commit(work);
    this.#takeInForce({ revision, desired: prepared.desired }, { host, outcome });
    if (drift !== undefined && outcome.kind !== "up-to-date") {
      this.#lastDrift = undefined;
      this.#conditions.set("DriftFree", "True", "Healed", `${countOf(drift.count, "departure")} put right`);
    }
    return this.#scanned({ drift, healed: outcome.kind === "healed", error: undefined });
  }

  /** A scan went well: what an earlier one said of the revision in force because it failed is over. */
  #scanned(outcome: ScanOutcome): ScanOutcome {
    const isOver = this.#conditions.restore();
    if (isOver && this.#quarantined?.commit === this.#inForce?.revision.commit) this.#quarantined = undefined;
    return outcome;
  }

  async #noteDrift(drift: DriftReport | undefined, about: Seen): Promise<void> {
    if (drift !== undefined) return this.#reportDrift(drift, about);
    this.#lastDrift = undefined;
    if (this.#o.selfHeal === "disabled" && about.trigger !== "command") return;
    this.#conditions.set("DriftFree", "True", "Succeeded", "The kernel holds what was applied");
  }

  async #reportDrift(drift: DriftReport, { revision, trigger, observed }: Seen): Promise<void> {
    const places = countOf(drift.count, "place");
    const message = `The kernel departs from ${formatRevision(revision)} in ${places}`;
    this.#conditions.set("DriftFree", "False", "DriftDetected", message);
    if (this.#lastDrift === drift.digest) return;
    this.#lastDrift = drift.digest;
    const digests = await digestObserved(observed);
    await this.#writer.write({
      outcome: "drift",
      reason: "DriftDetected",
      message,
      revision,
      trigger,
      plan: drift.plan,
      digests: { before: digests, after: digests },
      diagnostics: [
        ...drift.attachments,
        ...drift.entries.items.map(
          ({ action, subject, owner }) => `${action} ${subject}${owner === "git" ? "" : ` (${owner}'s)`}`,
        ),
      ].slice(0, departuresMost),
    });
  }

  async #learnInForce(): Promise<void> {
    const { observed, host } = await this.#look();
    const applied = readApplied(observed);
    if (applied === undefined) return;
    this.#host = host;
    try {
      const revision = await this.#o.source.revision(applied.commit);
      const prepared = await this.#drafts.prepare(revision, observed, applied.timeS * 1000);
      if (prepared.ok) this.#inForce = { revision, desired: prepared.desired };
      else {
        const message = `${formatRevision(revision)} is in force and does not fit this host any more`;
        this.#conditions.set("DriftFree", "Unknown", "InvalidPolicy", message);
        this.#o.log.warn({ commit: applied.commit }, `${message}; drift is unknown`);
      }
    } catch (error) {
      const { message } = asPenstockError(error);
      this.#o.log.warn(
        { commit: applied.commit, error: message },
        "Cannot read the revision in force; drift is unknown",
      );
      this.#conditions.set("DriftFree", "Unknown", "RevisionUnavailable", message);
    }
  }

  /** Audit and kernel agree: a process that ended between the commit and its record left the record to us. */
  async #recordWhatIsInForce(): Promise<void> {
    const applied = await readAppliedNow(this.#o.datapath);
    if (applied === undefined) return;
    const newest = await newestInForce(this.#o.attempts);
    if (newest?.revision?.commit === applied.commit) return;
    const revision = this.#inForce?.revision;
    const name = revision === undefined ? applied.commit.slice(0, 12) : formatRevision(revision);
    await this.#writer.write({
      outcome: "applied",
      reason: "Recovered",
      message: `Found ${name} in force without a record: the agent ended between the commit and its record`,
      revision,
      trigger: "start",
    });
  }

  async #findDrift(observed: ObservedState): Promise<DriftReport | undefined> {
    return this.#inForce && (await this.#drafts.compare(this.#inForce, observed)).drift;
  }

  #describeHost(): string {
    const interfaces = this.#o.datapath.interfaces().map(({ name, index }) => `${index} ${name}`);
    return [this.#o.surroundings?.() ?? "", ...interfaces].join("\n");
  }

  #takeInForce(known: Known, at: { readonly host: string; readonly outcome: Outcome }): void {
    this.#inForce = known;
    this.#host = at.host;
    if (!("plan" in at.outcome)) return;
    for (const { table, entriesAfter, others } of at.outcome.plan.tables)
      this.#entries.set(table, entriesAfter + others);
  }

  #becomeReady(revision: Revision): void {
    this.#quarantined = undefined;
    this.#conditions.forget();
    const message = `Applied revision: ${formatRevision(revision)}`;
    this.#conditions.set("Ready", "True", "Succeeded", message);
    this.#conditions.set("Stalled", "False", "Succeeded", message);
  }

  async #refuse(revision: Revision, trigger: Trigger, prepared: PreparedPolicy): Promise<Outcome> {
    const findings = prepared.diagnostics.map(formatDiagnostic);
    const errors = prepared.diagnostics.filter((d) => d.severity === "error").length;
    const message = `Refused ${formatRevision(revision)}: ${countOf(errors, "error")} in the policy`;
    this.#quarantined = { commit: revision.commit, code: "invalid-policy" };
    this.#conditions.set("Ready", "False", "InvalidPolicy", message);
    this.#conditions.set("Stalled", "True", "InvalidPolicy", message);
    await this.#writer.write({
      outcome: "refused",
      reason: "InvalidPolicy",
      message,
      revision,
      trigger,
      diagnostics: findings,
    });
    return { kind: "refused", revision, findings };
  }

  async #fail(
    revision: Revision | undefined,
    trigger: Trigger,
    error: PenstockError,
  ): Promise<Outcome & { readonly kind: "failed" }> {
    const outcome: AttemptOutcome = isRefusal(error) ? "refused" : "failed";
    this.#conditions.set("Ready", "False", reasonOf(error), error.message);
    if (error.disposition !== "transient") {
      this.#conditions.set("Stalled", "True", reasonOf(error), error.message);
    }
    // Only what lies in the revision itself stays as it is until the revision changes: a program that is in the way
    // on an interface may go, a server may let us in again.
    const final = isRefusal(error) || error.code === "reverted" || error.disposition === "bug";
    if (final && revision !== undefined) this.#quarantined = { commit: revision.commit, code: error.code };
    await this.#writer.writeFailure({ outcome, error, revision, trigger });
    return { kind: "failed", revision, error, retry: !final };
  }

  /** A command that could not even begin says nothing about what is in force. */
  async #failCommand(error: PenstockError): Promise<Outcome> {
    await this.#writer.writeFailure({ outcome: "failed", error, revision: undefined, trigger: "command" });
    return { kind: "failed", revision: undefined, error, retry: false };
  }

  async #previous(): Promise<string> {
    return previousCommit(this.#o.attempts, await readAppliedNow(this.#o.datapath));
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#busy.then(work, work);
    this.#busy = turn.catch(() => undefined);
    return turn;
  }
}

const quiet: ScanOutcome = { drift: undefined, healed: false, error: undefined };

/** Departures that a record lists. */
const departuresMost = 1000;

/** What was looked at, and why. */
interface Seen {
  readonly revision: Revision;
  readonly trigger: Trigger;
  readonly observed: ObservedState;
}
