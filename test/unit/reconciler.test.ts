// The reconciler over a model of the kernel: what each situation leads to, in the kernel, in the audit log and in the
// status.
import { beforeEach, describe, expect, it } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import { policyTables } from "../../src/kinds/index.ts";
import { backoffMs, policyTooCostly } from "../../src/reconcile/index.ts";
import { addressSet, firewall, interfaceGroup, policyOf } from "../fixtures/firewall-documents.ts";
import { MemoryDatapath } from "../fixtures/memory-datapath.ts";
import { leftovers, viewPackets } from "../fixtures/packet-view.ts";
import { broken, dropWeb, office, passWeb, ReconcilerWorld } from "../fixtures/reconciler-world.ts";

let world: ReconcilerWorld;

beforeEach(async () => {
  world = await ReconcilerWorld.make();
});

describe("bringing the kernel to a revision", () => {
  it("applies it, attaches programs and records the attempt with digests", async () => {
    const commit = world.source.push(passWeb);
    const outcome = await world.reconciler.reconcile("start");
    expect(outcome.kind).toBe("applied");
    expect(await world.appliedCommit()).toBe(commit);
    expect(world.datapath.attached().map((a) => `${a.program} ${a.index}`)).toEqual(["xdp_firewall 7"]);
    const [attempt] = world.attempts.attempts;
    expect(attempt).toMatchObject({
      outcome: "applied",
      generation: { before: 0, after: 1 },
      revision: { commit },
    });
    expect(attempt?.digests?.before["fw_rules"]).not.toBe(attempt?.digests?.after["fw_rules"]);
    expect(world.attempts.reserved).toBe(1);
    expect(await world.condition("Ready")).toBe("True Succeeded");
  });

  it("does nothing, and records nothing, where the kernel is current", async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    expect((await world.reconciler.reconcile("command")).kind).toBe("up-to-date");
    expect(world.outcomes()).toEqual(["applied"]);
    expect(world.datapath.generation().current).toBe(1n);
    expect(await world.reconciler.isCurrent()).toBe(true);
  });

  it("does not take a look ahead for an attempt", async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    world.source.push(dropWeb);
    expect((await world.reconciler.preview()).kind).toBe("plan");
    expect(await world.reconciler.isCurrent()).toBe(false);
    expect((await world.reconciler.reconcile("poll")).kind).toBe("applied");
  });

  it("calls a revision without a difference unchanged, and remembers it", async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    const commit = world.source.push(passWeb);
    expect((await world.reconciler.reconcile("poll")).kind).toBe("unchanged");
    expect(await world.appliedCommit()).toBe(commit);
  });

  it("writes one entry for one changed rule", async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    world.source.push(dropWeb);
    const outcome = await world.reconciler.reconcile("poll");
    if (outcome.kind !== "applied") throw new Error(outcome.kind);
    expect(outcome.plan.tables.filter((t) => t.writes > 0).map((t) => [t.table, t.writes])).toEqual([
      ["fw_rules", 1],
      ["applied", 1],
    ]);
    expect(outcome.changes.items).toMatchObject([
      { action: "change", subject: "rule edge/web", position: { line: 1 }, owner: "git" },
    ]);
  });

  it("keeps a rule's id wherever it moves, and gives a freed id away only after a commit", async () => {
    const rule = (name: string) => ({ name, match: { protocol: "tcp" as const } });
    world.source.push(policyOf(firewall("edge", [rule("a"), rule("b")])));
    await world.reconciler.reconcile("start");
    world.source.push(policyOf(firewall("edge", [rule("b"), rule("c")])));
    const second = await world.reconciler.reconcile("poll");
    if (second.kind !== "applied") throw new Error(second.kind);
    expect(second.plan.transaction.freshRuleIds).toEqual([3]);
    world.source.push(policyOf(firewall("edge", [rule("b"), rule("c"), rule("d")])));
    const third = await world.reconciler.reconcile("poll");
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
    world.source.push(
      policyOf(interfaceGroup("wan", ["eth*"]), firewall("edge", [], { interfaces: ["eth0", name] })),
    );
    const outcome = await world.reconciler.reconcile("start");
    if (outcome.kind !== "applied") throw new Error(outcome.kind);
    expect(outcome.warnings).toEqual([
      expect.stringMatching(/^policies\/1\.json:1:\d+ warning unknown-interface /),
    ]);
    expect(outcome.warnings[0]).toContain(message);
  });
});

describe("what is refused or fails", () => {
  it("refuses bad policy once, with findings, and leaves the kernel alone", async () => {
    const good = world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    const before = await viewPackets(world.datapath, {});
    world.source.push(broken);
    const outcome = await world.reconciler.reconcile("poll");
    if (outcome.kind !== "refused") throw new Error(outcome.kind);
    expect(outcome.findings[0]).toMatch(/^policies\/edge\.yaml:\d+:\d+ error yaml-syntax /);
    await world.reconciler.reconcile("poll");
    expect(world.outcomes()).toEqual(["applied", "refused"]);
    expect(await viewPackets(world.datapath, {})).toEqual(before);
    expect(await world.appliedCommit()).toBe(good);
    expect(await world.condition("Stalled")).toBe("True InvalidPolicy");
    world.source.push(dropWeb);
    expect((await world.reconciler.reconcile("poll")).kind).toBe("applied");
    expect(await world.condition("Stalled")).toBe("False Succeeded");
  });

  it.each([
    ["address_set_v4", ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]],
    ["address_set_v6", ["::1", "::2", "::3", "::4"]],
  ])("refuses what does not fit %s, with the numbers, before anything is written", async (table, members) => {
    world.datapath = new MemoryDatapath(policyTables, 3);
    world.reconciler = world.makeReconciler();
    await world.reconciler.start();
    world.source.push(policyOf(addressSet("big", members)));
    const outcome = await world.reconciler.reconcile("start");
    if (outcome.kind !== "failed") throw new Error(outcome.kind);
    expect(outcome.error).toMatchObject({
      code: "table-full",
      remedy: "Raise limits.addressesMax in the agent's configuration, or make the policy smaller",
      data: { table, wanted: 4, capacity: 3 },
    });
    expect(world.outcomes()).toEqual(["refused"]);
    expect(world.datapath.generation()).toEqual({ current: 0n, last: 0n });
  });

  it("does not try a policy that costs too much again by itself", async () => {
    let attempts = 0;
    const prepare = async () => {
      attempts++;
      throw policyTooCostly({ message: "Cannot prepare the policy: it takes more than 1 MiB of memory" });
    };
    world.reconciler = world.makeReconciler({ prepare });
    await world.reconciler.start();
    world.source.push(passWeb);
    expect(await world.reconciler.reconcile("poll")).toMatchObject({ kind: "failed", retry: false });
    expect(await world.reconciler.reconcile("poll")).toMatchObject({ kind: "refused" });
    expect(attempts).toBe(1);
    expect(await world.reconciler.reconcile("command")).toMatchObject({ kind: "failed" });
    expect(attempts).toBe(2);
    expect(world.outcomes()[0]).toBe("refused");
    expect(await world.condition("Stalled")).toBe("True PolicyTooCostly");
  });

  it("records a world.source that does not answer once, and again when it changes its tone", async () => {
    world.source.fault = new PenstockError({
      code: "source-unreachable",
      disposition: "transient",
      message: "Cannot fetch: refused",
    });
    for (let i = 0; i < 3; i++) expect((await world.reconciler.reconcile("poll")).kind).toBe("failed");
    expect(world.outcomes()).toEqual(["failed"]);
    world.source.fault = undefined;
    world.source.push(passWeb);
    expect((await world.reconciler.reconcile("poll")).kind).toBe("applied");
    world.source.fault = new PenstockError({
      code: "source-unreachable",
      disposition: "transient",
      message: "Cannot fetch: refused",
    });
    await world.reconciler.reconcile("poll");
    expect(world.outcomes()).toEqual(["failed", "applied", "failed"]);
    expect(await world.condition("SourceReady")).toBe("False SourceUnreachable");
  });

  it("commits nothing that could not be recorded", async () => {
    world.source.push(passWeb);
    world.attempts.fault = new PenstockError({
      code: "audit-write-failed",
      disposition: "transient",
      message: "Cannot write: ENOSPC",
    });
    const outcome = await world.reconciler.reconcile("start");
    expect(outcome).toMatchObject({ kind: "failed", error: { code: "audit-write-failed" } });
    expect(world.datapath.generation()).toEqual({ current: 0n, last: 0n });
    world.attempts.fault = undefined;
    expect((await world.reconciler.reconcile("poll")).kind).toBe("applied");
  });
});

describe("drift", () => {
  beforeEach(async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
  });

  it("is reported in words and healed, with a record of each", async () => {
    const before = await viewPackets(world.datapath, {});
    await world.tamper();
    const scan = await world.reconciler.scan("schedule");
    expect(scan).toMatchObject({
      healed: true,
      drift: {
        entries: {
          items: [
            { action: "change", subject: "rule edge/web", before: expect.stringContaining("drop tcp") },
          ],
        },
      },
    });
    expect(await viewPackets(world.datapath, {})).toEqual(before);
    expect(world.outcomes()).toEqual(["applied", "drift", "healed"]);
    expect(await leftovers(world.datapath)).toEqual([]);
  });

  it("is reported once and left alone with selfHeal: warn", async () => {
    world.reconciler = world.makeReconciler({ selfHeal: "warn" });
    await world.reconciler.start();
    await world.tamper();
    const before = await viewPackets(world.datapath, {});
    for (let i = 0; i < 3; i++) expect((await world.reconciler.scan("schedule")).drift).toBeDefined();
    expect(world.outcomes()).toEqual(["applied", "drift"]);
    expect(await viewPackets(world.datapath, {})).toEqual(before);
    expect(await world.condition("DriftFree")).toBe("False DriftDetected");
  });

  it("is not looked for with selfHeal: disabled", async () => {
    world.reconciler = world.makeReconciler({ selfHeal: "disabled" });
    await world.reconciler.start();
    await world.tamper();
    expect((await world.reconciler.scan("schedule")).drift).toBeUndefined();
    expect(await world.reconciler.drift()).toBeDefined();
  });

  it("is a missing program", async () => {
    world.datapath.detach("xdp_firewall", 7);
    expect(await world.reconciler.scan("schedule")).toMatchObject({
      healed: true,
      drift: { attachments: ["xdp_firewall is not attached to eth0"] },
    });
    expect(world.datapath.attached()).toHaveLength(1);
  });

  it("is told from an interface that appears", async () => {
    world.source.push(policyOf(office, firewall("edge", [], { interfaces: ["eth0", "eth1"] })));
    await world.reconciler.reconcile("poll");
    world.datapath.hostInterfaces = [...world.datapath.hostInterfaces, { name: "eth1", index: 8 }];
    expect((await world.reconciler.scan("schedule")).drift).toBeUndefined();
    expect(world.datapath.attached().map((a) => a.index)).toEqual([7, 8]);
    expect(world.outcomes()).toEqual(["applied", "applied", "applied"]);
  });

  it("is told from a rule that reaches its last day", async () => {
    world.source.push(policyOf(firewall("edge", [{ name: "short", expires: "2027-01-02" }])));
    await world.reconciler.reconcile("poll");
    world.now = Date.parse("2027-01-03T00:00:00Z");
    expect((await world.reconciler.scan("schedule")).drift).toBeUndefined();
    expect((await viewPackets(world.datapath, {}))["fw_rules"]).toEqual([]);
    expect((await world.reconciler.scan("schedule")).drift).toBeUndefined();
    expect(world.outcomes()).toEqual(["applied", "applied", "applied"]);
  });
});

describe("going back", () => {
  it("rolls back to the revision before, and stays there until the ref moves", async () => {
    const first = world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    const before = await viewPackets(world.datapath, {});
    const second = world.source.push(dropWeb);
    await world.reconciler.reconcile("poll");
    expect((await world.reconciler.rollback()).kind).toBe("rolled-back");
    expect(await world.appliedCommit()).toBe(first);
    expect((await viewPackets(world.datapath, {}))["fw_rules"]).toEqual(before["fw_rules"]);
    expect((await world.reconciler.reconcile("poll")).kind).toBe("held");
    expect((await world.reconciler.status()).held).toBe(second);
    const third = world.source.push(dropWeb, "again");
    expect((await world.reconciler.reconcile("poll")).kind).toBe("applied");
    expect(await world.appliedCommit()).toBe(third);
    expect((await world.reconciler.status()).held).toBeUndefined();
  });

  it("survives a restart", async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    world.source.push(dropWeb);
    await world.reconciler.reconcile("poll");
    await world.reconciler.rollback();
    world.reconciler = world.makeReconciler();
    await world.reconciler.start();
    expect((await world.reconciler.reconcile("start")).kind).toBe("held");
    expect(await world.reconciler.drift()).toBeUndefined();
  });

  it("goes further back the second time, never forward again", async () => {
    const first = world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    world.source.push(dropWeb);
    await world.reconciler.reconcile("poll");
    await world.reconciler.rollback();
    expect(await world.reconciler.rollback()).toMatchObject({
      kind: "failed",
      error: { code: "nothing-to-roll-back-to" },
    });
    expect(await world.appliedCommit()).toBe(first);
  });

  it("says so where there is nothing to go back to", async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    expect(await world.reconciler.rollback()).toMatchObject({
      kind: "failed",
      error: { code: "nothing-to-roll-back-to" },
    });
    expect(await world.condition("Ready")).toBe("True Succeeded");
  });
});

describe("backoff", () => {
  it("doubles and is bounded", () => {
    expect([1, 2, 3, 9, 10, 100].map(backoffMs)).toEqual([1000, 2000, 4000, 256_000, 300_000, 300_000]);
  });
});
