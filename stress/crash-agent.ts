// The process that is killed: an agent's real parts over one host, doing what its parent orders, one thing at a time.
// An order may name the point at which the process kills itself; one that is carried out to its end is answered.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { openAuditLog } from "../src/audit/index.ts";
import { diskIo } from "../src/audit/io.ts";
import { PenstockError, systemClock } from "../src/base/index.ts";
import { acquireLock, datapathObjects, type KernelDatapath, openDatapath } from "../src/bpf/index.ts";
import { libbpf } from "../src/bpf/libbpf.ts";
import { attemptLog, auditDirectory } from "../src/cli/compose-audit.ts";
import { openConfiguredRepository } from "../src/cli/compose-source.ts";
import { loadSettings, type Settings } from "../src/cli/settings.ts";
import { idRangesFor } from "../src/compile/index.ts";
import { capacitiesFor, kinds, policyTables } from "../src/kinds/index.ts";
import { type Datapath, type Outcome, Reconciler, sealValue } from "../src/reconcile/index.ts";
import { KillPoints, watch, watchDisk } from "./kill-points.ts";
import { tamper } from "./tamper.ts";

/** What an agent brings along. */
export interface Build {
  /** Where the compiled programs are. */
  readonly objectDirectory: string;
  /** Limits that differ from those of the configuration file. */
  readonly limits?: Partial<Settings["limits"]>;
}

/** What is done to the host. */
export interface Order {
  /** `open` starts the agent, with everything that a start does; the others need one that was started. */
  readonly work: "open" | "reconcile" | "rollback" | "scan" | "tamper";
  /** The configuration file; for `open`. */
  readonly config?: string;
  /** For `open`. */
  readonly build?: Build;
  /** The number of the point at which to die; without it the order is carried out. */
  readonly killAt?: number;
  /** The host turns out not to be well after the commit. */
  readonly refuse?: boolean;
  /** Makes the kernel's next operation of this name fail; points count from then on. */
  readonly fault?: keyof Datapath;
}

/** The answer to an order. */
export interface Answer {
  /** What came of it: an outcome's kind, or an error's code and message. */
  readonly outcome: string;
  /** The points that were passed, by name. */
  readonly points: readonly string[];
  /** Open file descriptors by what they lead to, and mappings of kernel objects. */
  readonly descriptors: Readonly<Record<string, number>>;
  /** Warnings and errors of the agent's log. */
  readonly log: readonly string[];
}

/** What only looks at the kernel. A method that is not named here counts as one that changes something. */
const looks: readonly (keyof KernelDatapath)[] = [
  ...(["attached", "capacityOf", "endOf", "generation", "interfaces", "lookup", "read"] as const),
];
const points = new KillPoints();
let log: string[] = [];
let fault: Order["fault"];
let killAt: number | undefined;
let refuse = false;
let parts: { readonly datapath: KernelDatapath; readonly reconciler: Reconciler } | undefined;

watchKernelCalls();
watchFileCalls();
process.on("message", (order: Order) => {
  void answer(order).then((said) => process.send?.(said));
});
process.on("disconnect", () => process.exit());
process.send?.("ready");

async function answer(order: Order): Promise<Answer> {
  log = [];
  fault = order.fault;
  killAt = order.killAt;
  refuse = order.refuse === true;
  let outcome: string;
  if (fault === undefined) points.arm(killAt);
  try {
    outcome = await carryOut(order);
  } catch (error) {
    outcome = describe(error);
  }
  return { outcome, points: points.disarm(), descriptors: listDescriptors(), log };
}

async function carryOut({ work, config = "", build }: Order): Promise<string> {
  if (work === "open" && build !== undefined) {
    parts = await open(config, build);
    return "open";
  }
  if (parts === undefined) return "not open";
  if (work === "reconcile") return outcomeOf(await parts.reconciler.reconcile("command"));
  if (work === "rollback") return outcomeOf(await parts.reconciler.rollback());
  if (work === "tamper") return tamper(parts.datapath);
  const { drift, healed, error } = await parts.reconciler.scan("schedule");
  if (error !== undefined) return describe(error);
  return healed ? "healed" : drift === undefined ? "quiet" : "drift";
}

/** As the command line composes an agent, with points around what changes the kernel or the audit log. */
async function open(config: string, { objectDirectory, limits: ownLimits }: Build) {
  const settings = loadSettings({ config });
  const limits = { ...settings.limits, ...ownLimits };
  const note = (facts: object, message: string) => {
    log.push(`${message} ${JSON.stringify(facts)}`);
  };
  const logger = { info() {}, warn: note, error: note };
  acquireLock(settings.lockPath);
  const source = openConfiguredRepository(settings, { env: {}, log: logger });
  const audit = await openAuditLog({
    directory: auditDirectory(settings),
    clock: systemClock,
    io: watchDisk(diskIo, points),
  });
  const datapath = await openDatapath({
    objects: datapathObjects(objectDirectory),
    pinDirectory: settings.pinDirectory,
    tables: policyTables,
    maxEntries: capacitiesFor(limits),
    eventsPerSecondMax: settings.events.perSecondMax,
    rejectsPerSecondMax: settings.rejects.perSecondMax,
    reseal: sealValue,
  });
  const reconciler = new Reconciler({
    source,
    datapath: failing(watch(datapath, { points, looks })),
    attempts: watch(attemptLog(audit), { points, looks: ["recent"] }),
    clock: systemClock,
    confirm: async () => {
      if (refuse) throw injected("keep the commit");
    },
    log: logger,
    kinds,
    idRanges: idRangesFor(limits.rulesMax),
    host: settings.host,
    labels: {},
    selfHeal: "enabled",
    version: "0.0.0",
    sourceUrl: settings.source?.url ?? "",
    ref: settings.source?.ref ?? "",
  });
  await reconciler.start();
  return { datapath, reconciler };
}

/** The operation that an order names fails once, and what follows is where points count. */
function failing(datapath: Datapath): Datapath {
  return new Proxy(datapath, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (name !== fault || typeof value !== "function") return value;
      return () => {
        fault = undefined;
        points.arm(killAt);
        throw injected(name);
      };
    },
  });
}

function injected(what: string): PenstockError {
  return new PenstockError({
    code: "injected",
    disposition: "transient",
    message: `Cannot ${what}: injected`,
  });
}

/** Opening and attaching make several calls in one operation: each one that changes the kernel is a point. */
function watchKernelCalls(): void {
  const plain = /__(?!load$)|lookup|_get|query|probe|version|cpus|test_run/;
  const functions = libbpf() as unknown as Record<string, (...args: unknown[]) => unknown>;
  for (const [name, bound] of Object.entries(functions)) {
    if (plain.test(name)) continue;
    functions[name] = new Proxy(bound, {
      apply: (target, _, args: unknown[]) => points.around(name, () => target(...args)),
      // The form that runs on a worker thread; its last argument is told the result.
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property, target);
        if (property !== "async" || typeof value !== "function") return value;
        return (...args: unknown[]) =>
          points.around(name, () => Reflect.apply(value, target, args) as unknown);
      },
    });
  }
}

/** Pins and sockets are names in file systems. */
function watchFileCalls(): void {
  const watched = watch(fs, { points, looks: [] });
  const { mkdirSync, renameSync, rmdirSync, unlinkSync } = watched;
  Object.assign(fs, { mkdirSync, renameSync, rmdirSync, unlinkSync });
  syncBuiltinESMExports();
}

function outcomeOf(outcome: Outcome): string {
  return outcome.kind === "failed" ? describe(outcome.error) : outcome.kind;
}

function describe(error: unknown): string {
  return error instanceof PenstockError ? `${error.code}: ${error.message}` : String(error);
}

function listDescriptors(): Record<string, number> {
  const counts: Record<string, number> = {};
  const count = (what: string) => {
    counts[what] = (counts[what] ?? 0) + 1;
  };
  for (const fd of fs.readdirSync("/proc/self/fd")) {
    try {
      const target = fs.readlinkSync(`/proc/self/fd/${fd}`);
      // Sockets and pipes belong to the runtime and to how orders come.
      if (!/^(socket|pipe):/.test(target)) count(target);
    } catch {
      // The descriptor with which the folder itself was read.
    }
  }
  for (const line of fs.readFileSync("/proc/self/maps", "utf8").split("\n")) {
    const [kernelObject] = /anon_inode:bpf\S*/.exec(line) ?? [];
    if (kernelObject !== undefined) count(`mapping of ${kernelObject}`);
  }
  return counts;
}
