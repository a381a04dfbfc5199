// The process whose memory is measured: a reconciler over the real kernel that brings a million prefixes into force and
// then scans, as the agent does. Runs the compiled code, and says what it found as one line of JSON.
import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { type Revision, systemClock } from "../src/base/index.ts";
import { datapathObjects, openDatapath, returnLargeBuffers } from "../src/bpf/index.ts";
import { prepareElsewhere } from "../src/cli/prepare-elsewhere.ts";
import { idRangesFor } from "../src/compile/index.ts";
import { capacitiesFor, kinds, policyTables } from "../src/kinds/index.ts";
import { Reconciler, type RevisionSource } from "../src/reconcile/index.ts";
import { MemoryAttempts } from "../test/fixtures/memory-ports.ts";

/** Figures of one run, in MiB and milliseconds. */
export interface MemoryFigures {
  readonly residentMib: number;
  /** The same after `gc()`, which the agent never calls. */
  readonly residentAfterGcMib: number;
  readonly peakMib: number;
  readonly reconcileMs: number;
  readonly scanMs: number;
  readonly delayP99Ms: number;
  readonly delayMostMs: number;
}

const settleMs = 5000;
const rulesMax = 1024;
const [policyPath = "", objectDirectory = "", pinDirectory = "", addressesMax = ""] = process.argv.slice(2);

returnLargeBuffers();
const datapath = await openDatapath({
  objects: datapathObjects(objectDirectory),
  pinDirectory,
  tables: policyTables,
  maxEntries: capacitiesFor({
    rulesMax,
    addressesMax: Number(addressesMax),
    interfacesMax: 64,
    connectionsMax: 1024,
  }),
  eventsPerSecondMax: 1000,
  rejectsPerSecondMax: 1000,
});
try {
  console.log(JSON.stringify(await measure()));
} finally {
  datapath.uninstall();
  datapath.close();
}

async function measure(): Promise<MemoryFigures> {
  const reconciler = new Reconciler({
    source: oneRevision(),
    datapath,
    attempts: new MemoryAttempts(),
    clock: systemClock,
    log: { info() {}, warn() {}, error() {} },
    kinds,
    idRanges: idRangesFor(rulesMax),
    host: "bench",
    labels: {},
    selfHeal: "enabled",
    version: "0.0.0",
    sourceUrl: "memory",
    ref: "main",
    prepare: prepareElsewhere(),
  });
  await reconciler.start();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const started = performance.now();
  const { kind } = await reconciler.reconcile("start");
  const reconcileMs = performance.now() - started;
  delay.disable();
  if (kind !== "applied") throw new Error(`The policy was not applied: ${kind}`);
  let scanMs = 0;
  for (let i = 0; i < 3; i++) {
    const from = performance.now();
    const { drift, error } = await reconciler.scan("schedule");
    scanMs = performance.now() - from;
    if (drift !== undefined || error !== undefined)
      throw new Error(`The scan found ${drift?.count} ${error}`);
  }
  await sleep(settleMs);
  const resident = statusMib("VmRSS");
  globalThis.gc?.();
  await sleep(settleMs);
  return {
    residentMib: resident,
    residentAfterGcMib: statusMib("VmRSS"),
    peakMib: statusMib("VmHWM"),
    reconcileMs,
    scanMs,
    delayP99Ms: delay.percentile(99) / 1e6,
    delayMostMs: delay.max / 1e6,
  };
}

/** A repository with one commit. */
function oneRevision(): RevisionSource {
  const person = { name: "A. Author", email: "a@example.org", timestampS: 1_700_000_000 };
  const commit = "c".repeat(40);
  const revision: Revision = {
    commit,
    ref: "main",
    tree: "d".repeat(40),
    author: person,
    committer: person,
    subject: "list addresses",
    files: [
      {
        path: `policies/${policyPath.slice(policyPath.lastIndexOf("/") + 1)}`,
        content: readFileSync(policyPath),
      },
    ],
  };
  return {
    fetch: async () => revision,
    poll: async () => ({ commit, changed: false }),
    revision: async () => revision,
  };
}

function statusMib(field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"));
  return Math.round(Number(line?.[1]) / 1024);
}
