// The reconciler over a model of the kernel: what each situation leads to, in the kernel, in the audit log and in the
// status.
import { beforeEach, describe, expect, it } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import { idRangesFor, type TableSpec } from "../../src/compile/index.ts";
import { kinds } from "../../src/kinds/index.ts";
import {
  backoffMs,
  observe,
  Reconciler,
  type ReconcilerOptions,
  readApplied,
} from "../../src/reconcile/index.ts";
import { addressSet, firewall, interfaceGroup, policyOf } from "../fixtures/firewall-documents.ts";
import { MemoryDatapath } from "../fixtures/memory-datapath.ts";
import { MemoryAttempts, MemorySource } from "../fixtures/memory-ports.ts";
import { leftovers, viewPackets } from "../fixtures/packet-view.ts";
import { policyTables } from "../fixtures/test-datapath.ts";

const office = addressSet("office", ["10.0.0.0/8"]);
const passWeb = policyOf(
  office,
  firewall("edge", [{ name: "web", match: { protocol: "tcp", destinationPorts: [80] } }], {
    default: "drop",
  }),
);
const dropWeb = policyOf(
  office,
  firewall("edge", [{ name: "web", action: "drop", match: { protocol: "tcp", destinationPorts: [80] } }], {
    default: "drop",
  }),
);
const broken = [{ path: "policies/edge.yaml", content: Buffer.from("kind: [Firewall\n") }];

let datapath: MemoryDatapath;
let source: MemorySource;
let attempts: MemoryAttempts;
let now: number;
let reconciler: Reconciler;

function makeReconciler(more: Partial<ReconcilerOptions> = {}): Reconciler {
  const quiet = { info() {}, warn() {}, error() {} };
  return new Reconciler({
    source,
    datapath,
    attempts,
    clock: { now: () => now, monotonicMs: () => now },
    log: quiet,
    kinds,
    idRanges: idRangesFor(256),
    host: "test",
    labels: {},
    selfHeal: "enabled",
    version: "0.0.0",
    sourceUrl: "memory",
    ref: "main",
    ...more,
  });
}

const spec = (name: string): TableSpec => {
  const found = policyTables.find((table) => table.name === name);
  if (found === undefined) throw new Error(name);
  return found;
};

async function appliedCommit() {
  return readApplied(await observe(datapath))?.commit;
}

async function condition(type: string) {
  const found = (await reconciler.status()).conditions.find((c) => c.type === type);
  return found === undefined ? undefined : `${found.status} ${found.reason}`;
}

/** Somebody writes the rule table behind the agent's back: the first rule that packets see becomes a drop. */
async function tamper() {
  const rules = spec("fw_rules");
  const raw = await datapath.read(rules);
  const values = Buffer.from(raw.values);
  for (const side of [0, 1]) values[rules.sideOffset + side * rules.payloadSize + rules.presenceOffset] = 2;
  await datapath.write(rules, raw.keys.subarray(0, 4), values.subarray(0, rules.valueSize));
}

beforeEach(async () => {
  datapath = new MemoryDatapath(policyTables, 4096);
  datapath.hostInterfaces = [{ name: "eth0", index: 7 }];
  source = new MemorySource();
  attempts = new MemoryAttempts();
  now = Date.parse("2027-01-01T00:00:00Z");
  reconciler = makeReconciler();
  await reconciler.start();
});

const outcomes = () => attempts.attempts.map((a) => a.outcome);

describe("bringing the kernel to a revision", () => {
  it("applies it, attaches programs and records the attempt with digests", async () => {
    const commit = source.push(passWeb);
    const outcome = await reconciler.reconcile("start");
    expect(outcome.kind).toBe("applied");
    expect(await appliedCommit()).toBe(commit);
    expect(datapath.attached().map((a) => `${a.program} ${a.index}`)).toEqual(["xdp_firewall 7"]);
    const [attempt] = attempts.attempts;
    expect(attempt).toMatchObject({
      outcome: "applied",
      generation: { before: 0, after: 1 },
      revision: { commit },
    });
    expect(attempt?.digests?.before["fw_rules"]).not.toBe(attempt?.digests?.after["fw_rules"]);
    expect(attempts.reserved).toBe(1);
    expect(await condition("Ready")).toBe("True Succeeded");
  });

  it("does nothing, and records nothing, where the kernel is current", async () => {
    source.push(passWeb);
    await reconciler.reconcile("start");
    expect((await reconciler.reconcile("command")).kind).toBe("up-to-date");
    expect(outcomes()).toEqual(["applied"]);
    expect(datapath.generation().current).toBe(1n);
    expect(await reconciler.isCurrent()).toBe(true);
  });

  it("does not take a look ahead for an attempt", async () => {
    source.push(passWeb);
    await reconciler.reconcile("start");
    source.push(dropWeb);
    expect((await reconciler.preview()).kind).toBe("plan");
    expect(await reconciler.isCurrent()).toBe(false);
    expect((await reconciler.reconcile("poll")).kind).toBe("applied");
  });

  it("calls a revision without a difference unchanged, and remembers it", async () => {
    source.push(passWeb);
    await reconciler.reconcile("start");
    const commit = source.push(passWeb);
    expect((await reconciler.reconcile("poll")).kind).toBe("unchanged");
    expect(await appliedCommit()).toBe(commit);
  });

  it("writes one entry for one changed rule", async () => {
    source.push(passWeb);
    await reconciler.reconcile("start");
    source.push(dropWeb);
    const outcome = await reconciler.reconcile("poll");
    if (outcome.kind !== "applied") throw new Error(outcome.kind);
    expect(outcome.plan.tables.filter((t) => t.writes > 0).map((t) => [t.table, t.writes])).toEqual([
      ["fw_rules", 1],
      ["applied", 1],
    ]);
    expect(outcome.changes).toMatchObject([
      { action: "change", subject: "rule edge/web", position: { line: 1 } },
    ]);
  });

  it("keeps a rule's id wherever it moves, and gives a freed id away only after a commit", async () => {
    const rule = (name: string) => ({ name, match: { protocol: "tcp" as const } });
    source.push(policyOf(firewall("edge", [rule("a"), rule("b")])));
    await reconciler.reconcile("start");
    source.push(policyOf(firewall("edge", [rule("b"), rule("c")])));
    const second = await reconciler.reconcile("poll");
    if (second.kind !== "applied") throw new Error(second.kind);
    expect(second.plan.transaction.freshRuleIds).toEqual([3]);
    source.push(policyOf(firewall("edge", [rule("b"), rule("c"), rule("d")])));
    const third = await reconciler.reconcile("poll");
    if (third.kind !== "applied") throw new Error(third.kind);
    expect(third.plan.transaction.freshRuleIds).toEqual([1]);
  });
});

describe("what is applied with a warning", () => {
  it.each([
    [
      "a name close to a group's",
      "wna",
      'there is no InterfaceGroup "wna" and no interface of that name on this host; did you mean "wan"?',
    ],
    [
      "an interface that is not there yet",
      "eth9",
      'there is no InterfaceGroup "eth9" and no interface of that name on this host; an interface is taken up when it appears',
    ],
  ])("%s", async (_, name, message) => {
    source.push(
      policyOf(interfaceGroup("wan", ["eth*"]), firewall("edge", [], { interfaces: ["eth0", name] })),
    );
    const outcome = await reconciler.reconcile("start");
    if (outcome.kind !== "applied") throw new Error(outcome.kind);
    expect(outcome.warnings).toEqual([
      expect.stringMatching(/^policies\/1\.json:1:\d+ warning unknown-interface /),
    ]);
    expect(outcome.warnings[0]).toContain(message);
  });
});

describe("what is refused or fails", () => {
  it("refuses bad policy once, with findings, and leaves the kernel alone", async () => {
    const good = source.push(passWeb);
    await reconciler.reconcile("start");
    const before = await viewPackets(datapath, {});
    source.push(broken);
    const outcome = await reconciler.reconcile("poll");
    if (outcome.kind !== "refused") throw new Error(outcome.kind);
    expect(outcome.findings[0]).toMatch(/^policies\/edge\.yaml:\d+:\d+ error yaml-syntax /);
    await reconciler.reconcile("poll");
    expect(outcomes()).toEqual(["applied", "refused"]);
    expect(await viewPackets(datapath, {})).toEqual(before);
    expect(await appliedCommit()).toBe(good);
    expect(await condition("Stalled")).toBe("True InvalidPolicy");
    source.push(dropWeb);
    expect((await reconciler.reconcile("poll")).kind).toBe("applied");
    expect(await condition("Stalled")).toBe("False Succeeded");
  });

  it("refuses what does not fit, with the numbers, before anything is written", async () => {
    datapath = new MemoryDatapath(policyTables, 3);
    reconciler = makeReconciler();
    await reconciler.start();
    source.push(policyOf(addressSet("big", ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"])));
    const outcome = await reconciler.reconcile("start");
    if (outcome.kind !== "failed") throw new Error(outcome.kind);
    expect(outcome.error).toMatchObject({
      code: "table-full",
      data: { table: "address_set_v4", wanted: 4, capacity: 3 },
    });
    expect(outcomes()).toEqual(["refused"]);
    expect(datapath.generation()).toEqual({ current: 0n, last: 0n });
  });

  it("records a source that does not answer once, and again when it changes its tone", async () => {
    source.fault = new PenstockError({
      code: "source-unreachable",
      disposition: "transient",
      message: "Cannot fetch: refused",
    });
    for (let i = 0; i < 3; i++) expect((await reconciler.reconcile("poll")).kind).toBe("failed");
    expect(outcomes()).toEqual(["failed"]);
    source.fault = undefined;
    source.push(passWeb);
    expect((await reconciler.reconcile("poll")).kind).toBe("applied");
    source.fault = new PenstockError({
      code: "source-unreachable",
      disposition: "transient",
      message: "Cannot fetch: refused",
    });
    await reconciler.reconcile("poll");
    expect(outcomes()).toEqual(["failed", "applied", "failed"]);
    expect(await condition("SourceReady")).toBe("False SourceUnreachable");
  });

  it("commits nothing that could not be recorded", async () => {
    source.push(passWeb);
    attempts.fault = new PenstockError({
      code: "audit-write-failed",
      disposition: "transient",
      message: "Cannot write: ENOSPC",
    });
    const outcome = await reconciler.reconcile("start");
    expect(outcome).toMatchObject({ kind: "failed", error: { code: "audit-write-failed" } });
    expect(datapath.generation()).toEqual({ current: 0n, last: 0n });
    attempts.fault = undefined;
    expect((await reconciler.reconcile("poll")).kind).toBe("applied");
  });
});

describe("drift", () => {
  beforeEach(async () => {
    source.push(passWeb);
    await reconciler.reconcile("start");
  });

  it("is reported in words and healed, with a record of each", async () => {
    const before = await viewPackets(datapath, {});
    await tamper();
    const scan = await reconciler.scan("schedule");
    expect(scan).toMatchObject({
      healed: true,
      drift: {
        entries: [
          { action: "change", subject: "rule edge/web", before: expect.stringContaining("drop tcp") },
        ],
      },
    });
    expect(await viewPackets(datapath, {})).toEqual(before);
    expect(outcomes()).toEqual(["applied", "drift", "healed"]);
    expect(await leftovers(datapath)).toEqual([]);
  });

  it("is reported once and left alone with selfHeal: warn", async () => {
    reconciler = makeReconciler({ selfHeal: "warn" });
    await reconciler.start();
    await tamper();
    const before = await viewPackets(datapath, {});
    for (let i = 0; i < 3; i++) expect((await reconciler.scan("schedule")).drift).toBeDefined();
    expect(outcomes()).toEqual(["applied", "drift"]);
    expect(await viewPackets(datapath, {})).toEqual(before);
    expect(await condition("DriftFree")).toBe("False DriftDetected");
  });

  it("is not looked for with selfHeal: disabled", async () => {
    reconciler = makeReconciler({ selfHeal: "disabled" });
    await reconciler.start();
    await tamper();
    expect((await reconciler.scan("schedule")).drift).toBeUndefined();
    expect(await reconciler.drift()).toBeDefined();
  });

  it("is a missing program", async () => {
    datapath.detach("xdp_firewall", 7);
    expect(await reconciler.scan("schedule")).toMatchObject({
      healed: true,
      drift: { attachments: ["xdp_firewall is not attached to eth0"] },
    });
    expect(datapath.attached()).toHaveLength(1);
  });

  it("is told from an interface that appears", async () => {
    source.push(policyOf(office, firewall("edge", [], { interfaces: ["eth0", "eth1"] })));
    await reconciler.reconcile("poll");
    datapath.hostInterfaces = [...datapath.hostInterfaces, { name: "eth1", index: 8 }];
    expect((await reconciler.scan("schedule")).drift).toBeUndefined();
    expect(datapath.attached().map((a) => a.index)).toEqual([7, 8]);
    expect(outcomes()).toEqual(["applied", "applied", "applied"]);
  });

  it("is told from a rule that reaches its last day", async () => {
    source.push(policyOf(firewall("edge", [{ name: "short", expires: "2027-01-02" }])));
    await reconciler.reconcile("poll");
    now = Date.parse("2027-01-03T00:00:00Z");
    expect((await reconciler.scan("schedule")).drift).toBeUndefined();
    expect((await viewPackets(datapath, {}))["fw_rules"]).toEqual([]);
    expect((await reconciler.scan("schedule")).drift).toBeUndefined();
    expect(outcomes()).toEqual(["applied", "applied", "applied"]);
  });
});

describe("going back", () => {
  it("rolls back to the revision before, and stays there until the ref moves", async () => {
    const first = source.push(passWeb);
    await reconciler.reconcile("start");
    const before = await viewPackets(datapath, {});
    const second = source.push(dropWeb);
    await reconciler.reconcile("poll");
    expect((await reconciler.rollback()).kind).toBe("rolled-back");
    expect(await appliedCommit()).toBe(first);
    expect((await viewPackets(datapath, {}))["fw_rules"]).toEqual(before["fw_rules"]);
    expect((await reconciler.reconcile("poll")).kind).toBe("held");
    expect((await reconciler.status()).held).toBe(second);
    const third = source.push(dropWeb, "again");
    expect((await reconciler.reconcile("poll")).kind).toBe("applied");
    expect(await appliedCommit()).toBe(third);
    expect((await reconciler.status()).held).toBeUndefined();
  });

  it("survives a restart", async () => {
    source.push(passWeb);
    await reconciler.reconcile("start");
    source.push(dropWeb);
    await reconciler.reconcile("poll");
    await reconciler.rollback();
    reconciler = makeReconciler();
    await reconciler.start();
    expect((await reconciler.reconcile("start")).kind).toBe("held");
    expect(await reconciler.drift()).toBeUndefined();
  });

  it("goes further back the second time, never forward again", async () => {
    const first = source.push(passWeb);
    await reconciler.reconcile("start");
    source.push(dropWeb);
    await reconciler.reconcile("poll");
    await reconciler.rollback();
    expect(await reconciler.rollback()).toMatchObject({
      kind: "failed",
      error: { code: "nothing-to-roll-back-to" },
    });
    expect(await appliedCommit()).toBe(first);
  });

  it("says so where there is nothing to go back to", async () => {
    source.push(passWeb);
    await reconciler.reconcile("start");
    expect(await reconciler.rollback()).toMatchObject({
      kind: "failed",
      error: { code: "nothing-to-roll-back-to" },
    });
    expect(await condition("Ready")).toBe("True Succeeded");
  });
});

describe("what fails around a commit", () => {
  const ioError = new PenstockError({
    code: "kernel-call-failed",
    disposition: "transient",
    message: "Cannot read: EIO",
  });

  it("is in force, whatever fails after the store, and is not taken for drift", async () => {
    source.push(passWeb);
    await reconciler.reconcile("start");
    const second = source.push(dropWeb);
    // Reads before the commit work; the one that confirms it does not.
    let reads = 0;
    const read = datapath.read.bind(datapath);
    const perLook = policyTables.length;
    datapath.read = async (table) => {
      if (datapath.generation().current === 2n && reads++ < perLook) throw ioError;
      return read(table);
    };
    const outcome = await reconciler.reconcile("poll");
    expect(outcome.kind).toBe("applied");
    if (outcome.kind === "applied")
      expect(outcome.warnings).toEqual([expect.stringContaining("not confirmed")]);
    reads = perLook;
    expect((await reconciler.scan("schedule")).drift).toBeUndefined();
    expect(await appliedCommit()).toBe(second);
    expect(outcomes()).toEqual(["applied", "applied"]);
  });

  it("is recorded later where the record could not be written at once", async () => {
    source.push(passWeb);
    const append = attempts.append.bind(attempts);
    attempts.append = async () => {
      throw ioError;
    };
    expect((await reconciler.reconcile("start")).kind).toBe("applied");
    expect(outcomes()).toEqual([]);
    attempts.append = append;
    await reconciler.scan("schedule");
    expect(outcomes()).toEqual(["applied"]);
  });

  it("is recorded by the next start where the agent died before the record", async () => {
    const commit = source.push(passWeb);
    attempts.append = async () => {
      throw ioError;
    };
    await reconciler.reconcile("start");
    attempts = new MemoryAttempts();
    reconciler = makeReconciler();
    await reconciler.start();
    expect(attempts.attempts).toMatchObject([
      { outcome: "applied", reason: "Recovered", revision: { commit } },
    ]);
    reconciler = makeReconciler();
    await reconciler.start();
    expect(attempts.attempts).toHaveLength(1);
  });

  it("leaves nothing that a scan takes for drift where settling failed", async () => {
    source.push(policyOf(addressSet("office", ["10.0.0.0/8", "192.0.2.0/24"])));
    await reconciler.reconcile("start");
    source.push(policyOf(addressSet("office", ["10.0.0.0/8"])));
    const remove = datapath.remove.bind(datapath);
    datapath.remove = async () => {
      throw ioError;
    };
    expect((await reconciler.reconcile("poll")).kind).toBe("applied");
    expect(await leftovers(datapath)).not.toEqual([]);
    datapath.remove = remove;
    expect((await reconciler.scan("schedule")).drift).toBeUndefined();
    expect(await leftovers(datapath)).toEqual([]);
    expect(outcomes()).toEqual(["applied", "applied"]);
  });

  it("tries again what the host refused, and not what the revision cannot be", async () => {
    source.push(passWeb);
    const attach = datapath.attach.bind(datapath);
    datapath.attach = () => {
      throw new PenstockError({ code: "xdp-occupied", disposition: "stalled", message: "Cannot attach" });
    };
    expect(await reconciler.reconcile("start")).toMatchObject({ kind: "failed", retry: true });
    expect(await leftovers(datapath)).toEqual([]);
    datapath.attach = attach;
    expect((await reconciler.reconcile("poll")).kind).toBe("applied");
  });

  it("keeps a refused revision refused when a scan finds nothing", async () => {
    source.push(passWeb);
    await reconciler.reconcile("start");
    source.push(broken);
    await reconciler.reconcile("poll");
    await reconciler.scan("schedule");
    await reconciler.reconcile("poll");
    expect(outcomes()).toEqual(["applied", "refused"]);
    expect(await condition("Ready")).toBe("False InvalidPolicy");
  });
});

describe("the bound of the rule table", () => {
  it("is drift if it hides rules, and is put right", async () => {
    source.push(passWeb);
    await reconciler.reconcile("start");
    await datapath.setEnd(spec("fw_rules"), 0);
    expect(await reconciler.scan("schedule")).toMatchObject({
      healed: true,
      drift: { attachments: [expect.stringContaining("packets walk fw_rules to slot 0")] },
    });
    expect(datapath.endOf(spec("fw_rules"))).toBeGreaterThan(0);
    expect((await reconciler.scan("schedule")).drift).toBeUndefined();
    expect(outcomes()).toEqual(["applied", "drift", "healed"]);
  });
});

describe("a host that changes", () => {
  it("is followed with selfHeal: warn, though there is drift", async () => {
    reconciler = makeReconciler({ selfHeal: "warn" });
    await reconciler.start();
    source.push(policyOf(office, firewall("edge", [{ name: "web" }], { interfaces: ["eth0", "eth1"] })));
    await reconciler.reconcile("start");
    await tamper();
    expect(reconciler.hostChanged()).toBe(false);
    datapath.hostInterfaces = [...datapath.hostInterfaces, { name: "eth1", index: 8 }];
    expect(reconciler.hostChanged()).toBe(true);
    await reconciler.scan("poll");
    expect(datapath.attached().map((a) => a.index)).toEqual([7, 8]);
    expect(reconciler.hostChanged()).toBe(false);
  });

  it("is followed by the clock with selfHeal: disabled", async () => {
    reconciler = makeReconciler({ selfHeal: "disabled" });
    await reconciler.start();
    source.push(policyOf(firewall("edge", [{ name: "short", expires: "2027-01-02" }])));
    await reconciler.reconcile("start");
    now = Date.parse("2027-01-03T00:00:00Z");
    await reconciler.scan("schedule");
    expect((await viewPackets(datapath, {}))["fw_rules"]).toEqual([]);
  });

  it("makes the policy wrong where two groups meet in a new interface, and says so once", async () => {
    const native = interfaceGroup("one", ["eth0", "eth1"], { attach: "native" });
    const generic = interfaceGroup("two", ["eth1"], { attach: "generic" });
    source.push(policyOf(native, generic, firewall("edge", [], { interfaces: ["one", "two"] })));
    expect((await reconciler.reconcile("start")).kind).toBe("applied");
    datapath.hostInterfaces = [...datapath.hostInterfaces, { name: "eth1", index: 8 }];
    await reconciler.scan("poll");
    await reconciler.scan("poll");
    expect(outcomes()).toEqual(["applied", "refused"]);
    expect(await condition("DriftFree")).toBe("Unknown InvalidPolicy");
  });
});

describe("names", () => {
  it("fit at their longest, so that nothing drifts", async () => {
    const long = "a".repeat(63);
    const sets = [addressSet("other", ["192.0.2.1"])];
    const endpoint = { prefixes: ["10.0.0.1", "10.0.0.2"] };
    source.push(
      policyOf(...sets, firewall(long, [{ name: long, match: { source: endpoint, destination: endpoint } }])),
    );
    expect((await reconciler.reconcile("start")).kind).toBe("applied");
    expect((await reconciler.scan("schedule")).drift).toBeUndefined();
  });

  it("may all change in one commit", async () => {
    const rules = (prefix: string) => Array.from({ length: 200 }, (_, i) => ({ name: `${prefix}${i}` }));
    source.push(policyOf(firewall("edge", rules("a"))));
    expect((await reconciler.reconcile("start")).kind).toBe("applied");
    source.push(policyOf(firewall("edge", rules("b"))));
    expect((await reconciler.reconcile("poll")).kind).toBe("applied");
  });
});

describe("backoff", () => {
  it("doubles and is bounded", () => {
    expect([1, 2, 3, 9, 10, 100].map(backoffMs)).toEqual([1000, 2000, 4000, 256_000, 300_000, 300_000]);
  });
});
