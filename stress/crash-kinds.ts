// The kinds of transaction during which an agent is killed. Each says how a host gets to where it begins, what is
// ordered then, and how the host gets to where it ends.
import type { Order } from "./crash-agent.ts";
import type { CrashRun } from "./crash-run.ts";

export interface Kind {
  readonly name: string;
  /** Brings the host to the state in which the transaction finds it. */
  begin(run: CrashRun): Promise<void>;
  /** The transaction, by a process that works already or, if it is a start, by one that does not yet. */
  readonly order: Pick<Order, "work" | "fault" | "refuse">;
  /** Brings the host to the state that the transaction is for, from wherever it is; with an agent that has started. */
  finish(run: CrashRun): Promise<void>;
  /** A scan brings the host to the new state too. */
  readonly scanFinishes?: boolean;
  /** The new process comes with another build of the program. */
  readonly otherBuild?: boolean;
}

const bringToOld = (run: CrashRun) => run.bringTo("old");

async function beginApply(run: CrashRun): Promise<void> {
  await run.bringTo("old");
  run.host.pointTo("new");
}

const apply: Kind = {
  name: "apply",
  begin: beginApply,
  order: { work: "reconcile" },
  finish: (run) => run.bringTo("new"),
};

/** Killed while it takes back what was prepared: the fault is met when everything was. */
const abort: Kind = { ...apply, name: "abort", order: { work: "reconcile", fault: "lookup" } };

const heal: Kind = {
  name: "heal",
  async begin(run) {
    await run.bringTo("old");
    await run.give({ work: "tamper" }, ["tampered"]);
  },
  order: { work: "scan" },
  finish: (run) => run.give({ work: "scan" }, ["healed", "quiet"]),
  scanFinishes: true,
};

/** Killed while it finds, after the commit, that the host is not well, and takes the commit back. */
const revert: Kind = { ...apply, name: "revert", order: { work: "reconcile", refuse: true } };

const rollback: Kind = {
  name: "rollback",
  async begin(run) {
    await run.bringTo("old");
    await run.bringTo("new");
  },
  order: { work: "rollback" },
  async finish(run) {
    if ((await run.host.look())?.applied === "new") await run.give({ work: "rollback" }, ["rolled-back"]);
  },
};

/** Killed while it starts with another build of the program over what is in force. */
const upgrade: Kind = {
  name: "upgrade",
  begin: bringToOld,
  order: { work: "open" },
  finish: (run) => run.bringTo("new"),
  otherBuild: true,
};

/** Killed while it starts for the first time. */
const install: Kind = {
  name: "install",
  async begin(run) {
    await run.stop();
    run.host.uninstall();
  },
  order: { work: "open" },
  finish: bringToOld,
};

/** Killed while it starts after one that was killed at the given point of `apply`. */
export function recoveryFrom(killAt: number, point: string): Kind {
  return {
    name: `recovery, first killed ${point}`,
    async begin(run) {
      await beginApply(run);
      await run.killDuring({ work: "reconcile", killAt });
    },
    order: { work: "open" },
    finish: (run) => run.bringTo("new"),
  };
}

/** All but recoveries, which need to know at which points `apply` can be killed. */
export const kinds: readonly Kind[] = [apply, abort, heal, revert, rollback, upgrade, install];
