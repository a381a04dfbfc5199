// What the agent says about itself: conditions with reasons, in the words that users of GitOps tools know.
import type { Clock } from "../base/index.ts";

export type ConditionType = "Ready" | "Reconciling" | "Stalled" | "SourceReady" | "DriftFree";

export interface Condition {
  readonly type: ConditionType;
  readonly status: "True" | "False" | "Unknown";
  /** CamelCase, for machines. */
  readonly reason: string;
  /** One sentence, for people. */
  readonly message: string;
  /** RFC 3339: when `status` changed last. */
  readonly since: string;
}

/** The current conditions; each keeps the time at which its status changed. */
export class Conditions {
  readonly #clock: Clock;
  readonly #all = new Map<ConditionType, Condition>();
  #remembered: readonly Condition[] | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set(type: ConditionType, status: Condition["status"], reason: string, message: string): void {
    const before = this.#all.get(type);
    const since = before?.status === status ? before.since : new Date(this.#clock.now()).toISOString();
    this.#all.set(type, { type, status, reason, message, since });
  }

  /** Remembers what is said of the revision in force, until it is said again or something else is. */
  remember(): void {
    this.#remembered ??= (["Ready", "Stalled"] as const).flatMap((type) => this.#all.get(type) ?? []);
  }

  /** Says what was remembered; false if nothing was. */
  restore(): boolean {
    const said = this.#remembered ?? [];
    for (const { type, status, reason, message } of said) this.set(type, status, reason, message);
    this.forget();
    return said.length > 0;
  }

  forget(): void {
    this.#remembered = undefined;
  }

  list(): Condition[] {
    return [...this.#all.values()];
  }
}

/** One applied revision in the history. */
export interface HistoryEntry {
  readonly time: string;
  readonly outcome: string;
  readonly revision: string;
  readonly subject: string;
}

export interface TableUse {
  readonly table: string;
  /** When the table was read last. */
  readonly entries: number;
  readonly capacity: number;
}

export interface Status {
  readonly host: string;
  readonly version: string;
  readonly source: string;
  readonly ref: string;
  /** Full commit id of what packets are judged by. */
  readonly applied: string | undefined;
  /** Full commit id of the newest revision that was fetched. */
  readonly seen: string | undefined;
  /** Not applied again after a rollback, until the ref moves. */
  readonly held: string | undefined;
  readonly generation: number;
  readonly conditions: readonly Condition[];
  /** The last five, newest first. */
  readonly history: readonly HistoryEntry[];
  readonly tables: readonly TableUse[];
  readonly attached: readonly {
    readonly program: string;
    readonly interface: string;
    readonly mode: string;
  }[];
}
