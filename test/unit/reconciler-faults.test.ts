// The reconciler where something goes wrong at an awkward moment: after the store of a commit, before its record, on a
// host that changes, at the limits of names and tables.
import { beforeEach, describe, expect, it } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import { addressSet, firewall, interfaceGroup, policyOf } from "../fixtures/firewall-documents.ts";
import { MemoryAttempts } from "../fixtures/memory-ports.ts";
import { leftovers, viewPackets } from "../fixtures/packet-view.ts";
import {
  broken,
  dropWeb,
  office,
  passWeb,
  ReconcilerWorld,
  tableSpecOf,
} from "../fixtures/reconciler-world.ts";

let world: ReconcilerWorld;

beforeEach(async () => {
  world = await ReconcilerWorld.make();
});

describe("what fails around a commit", () => {
  const ioError = new PenstockError({
    code: "kernel-call-failed",
    disposition: "transient",
    message: "Cannot read: EIO",
  });

  it("is in force, whatever fails after the store, and is not taken for drift", async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    const second = world.source.push(dropWeb);
    world.datapath.grace = async () => {
      if (world.datapath.generation().current === 2n) throw ioError;
    };
    const outcome = await world.reconciler.reconcile("poll");
    if (outcome.kind !== "applied") throw new Error(outcome.kind);
    expect(outcome.result.settleError?.message).toBe(ioError.message);
    world.datapath.grace = async () => {};
    expect((await world.reconciler.scan("schedule")).drift).toBeUndefined();
    expect(await world.appliedCommit()).toBe(second);
    expect(world.outcomes()).toEqual(["applied", "applied"]);
  });

  it("is recorded later where the record could not be written at once", async () => {
    world.source.push(passWeb);
    const append = world.attempts.append.bind(world.attempts);
    world.attempts.append = async () => {
      throw ioError;
    };
    expect((await world.reconciler.reconcile("start")).kind).toBe("applied");
    expect(world.outcomes()).toEqual([]);
    world.attempts.append = append;
    await world.reconciler.scan("schedule");
    expect(world.outcomes()).toEqual(["applied"]);
  });

  it("is recorded by the next start where the agent died before the record", async () => {
    const commit = world.source.push(passWeb);
    world.attempts.append = async () => {
      throw ioError;
    };
    await world.reconciler.reconcile("start");
    world.attempts = new MemoryAttempts();
    world.reconciler = world.makeReconciler();
    await world.reconciler.start();
    expect(world.attempts.attempts).toMatchObject([
      { outcome: "applied", reason: "Recovered", revision: { commit } },
    ]);
    world.reconciler = world.makeReconciler();
    await world.reconciler.start();
    expect(world.attempts.attempts).toHaveLength(1);
  });

  it("leaves nothing that a scan takes for drift where settling failed", async () => {
    world.source.push(policyOf(addressSet("office", ["10.0.0.0/8", "192.0.2.0/24"])));
    await world.reconciler.reconcile("start");
    world.source.push(policyOf(addressSet("office", ["10.0.0.0/8"])));
    const remove = world.datapath.remove.bind(world.datapath);
    world.datapath.remove = async () => {
      throw ioError;
    };
    expect((await world.reconciler.reconcile("poll")).kind).toBe("applied");
    expect(await leftovers(world.datapath)).not.toEqual([]);
    world.datapath.remove = remove;
    expect((await world.reconciler.scan("schedule")).drift).toBeUndefined();
    expect(await leftovers(world.datapath)).toEqual([]);
    expect(world.outcomes()).toEqual(["applied", "applied"]);
  });

  it("tries again what the host refused, and not what the revision cannot be", async () => {
    world.source.push(passWeb);
    const attach = world.datapath.attach.bind(world.datapath);
    world.datapath.attach = () => {
      throw new PenstockError({ code: "xdp-occupied", disposition: "stalled", message: "Cannot attach" });
    };
    expect(await world.reconciler.reconcile("start")).toMatchObject({ kind: "failed", retry: true });
    expect(await leftovers(world.datapath)).toEqual([]);
    world.datapath.attach = attach;
    expect((await world.reconciler.reconcile("poll")).kind).toBe("applied");
  });

  it("keeps a refused revision refused when a scan finds nothing", async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    world.source.push(broken);
    await world.reconciler.reconcile("poll");
    await world.reconciler.scan("schedule");
    await world.reconciler.reconcile("poll");
    expect(world.outcomes()).toEqual(["applied", "refused"]);
    expect(await world.condition("Ready")).toBe("False InvalidPolicy");
  });
});

describe("the bound of the rule table", () => {
  it("is drift if it hides rules, and is put right", async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    await world.datapath.setEnd(tableSpecOf("fw_rules"), 0);
    expect(await world.reconciler.scan("schedule")).toMatchObject({
      healed: true,
      drift: { attachments: [expect.stringContaining("packets walk fw_rules to slot 0")] },
    });
    expect(world.datapath.endOf(tableSpecOf("fw_rules"))).toBeGreaterThan(0);
    expect((await world.reconciler.scan("schedule")).drift).toBeUndefined();
    expect(world.outcomes()).toEqual(["applied", "drift", "healed"]);
  });
});

describe("a host that changes", () => {
  it("is followed with selfHeal: warn, though there is drift", async () => {
    world.reconciler = world.makeReconciler({ selfHeal: "warn" });
    await world.reconciler.start();
    world.source.push(
      policyOf(office, firewall("edge", [{ name: "web" }], { interfaces: ["eth0", "eth1"] })),
    );
    await world.reconciler.reconcile("start");
    await world.tamper();
    expect(world.reconciler.hostChanged()).toBe(false);
    world.datapath.hostInterfaces = [...world.datapath.hostInterfaces, { name: "eth1", index: 8 }];
    expect(world.reconciler.hostChanged()).toBe(true);
    await world.reconciler.scan("poll");
    expect(world.datapath.attached().map((a) => a.index)).toEqual([7, 8]);
    expect(world.reconciler.hostChanged()).toBe(false);
  });

  it("is followed by the clock with selfHeal: disabled", async () => {
    world.reconciler = world.makeReconciler({ selfHeal: "disabled" });
    await world.reconciler.start();
    world.source.push(policyOf(firewall("edge", [{ name: "short", expires: "2027-01-02" }])));
    await world.reconciler.reconcile("start");
    world.now = Date.parse("2027-01-03T00:00:00Z");
    await world.reconciler.scan("schedule");
    expect((await viewPackets(world.datapath, {}))["fw_rules"]).toEqual([]);
  });

  it("makes the policy wrong where two groups meet in a new interface, and says so once", async () => {
    const native = interfaceGroup("one", ["eth0", "eth1"], { attach: "native" });
    const generic = interfaceGroup("two", ["eth1"], { attach: "generic" });
    world.source.push(policyOf(native, generic, firewall("edge", [], { interfaces: ["one", "two"] })));
    expect((await world.reconciler.reconcile("start")).kind).toBe("applied");
    world.datapath.hostInterfaces = [...world.datapath.hostInterfaces, { name: "eth1", index: 8 }];
    await world.reconciler.scan("poll");
    await world.reconciler.scan("poll");
    expect(world.outcomes()).toEqual(["applied", "refused"]);
    expect(await world.condition("DriftFree")).toBe("Unknown InvalidPolicy");
  });
});

describe("names", () => {
  it("fit at their longest, so that nothing drifts", async () => {
    const long = "a".repeat(63);
    const sets = [addressSet("other", ["192.0.2.1"])];
    const endpoint = { prefixes: ["10.0.0.1", "10.0.0.2"] };
    world.source.push(
      policyOf(...sets, firewall(long, [{ name: long, match: { source: endpoint, destination: endpoint } }])),
    );
    expect((await world.reconciler.reconcile("start")).kind).toBe("applied");
    expect((await world.reconciler.scan("schedule")).drift).toBeUndefined();
  });

  it("may all change in one commit", async () => {
    const rules = (prefix: string) => Array.from({ length: 200 }, (_, i) => ({ name: `${prefix}${i}` }));
    world.source.push(policyOf(firewall("edge", rules("a"))));
    expect((await world.reconciler.reconcile("start")).kind).toBe("applied");
    world.source.push(policyOf(firewall("edge", rules("b"))));
    expect((await world.reconciler.reconcile("poll")).kind).toBe("applied");
  });
});

describe("a scan that fails", () => {
  const ioError = new PenstockError({
    code: "kernel-call-failed",
    disposition: "transient",
    message: "Cannot read: EIO",
  });

  it("says so until one succeeds, and then what was said before", async () => {
    world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    const read = world.datapath.read.bind(world.datapath);
    world.datapath.read = async () => {
      throw ioError;
    };
    await world.reconciler.scan("schedule");
    await world.reconciler.scan("schedule");
    world.datapath.read = read;
    expect(await world.condition("Ready")).toBe("False KernelCallFailed");
    await world.reconciler.scan("schedule");
    expect(await world.condition("Ready")).toBe("True Succeeded");
  });

  it("because the host does not fit any more, is over when the host fits again", async () => {
    const host = world.datapath.hostInterfaces;
    const groups = [
      interfaceGroup("one", ["eth0", "both*"], { attach: "native" }),
      interfaceGroup("other", ["both*"], { attach: "generic" }),
    ];
    world.source.push(
      policyOf(
        ...groups,
        firewall("a", [], { interfaces: ["one"] }),
        firewall("b", [], { interfaces: ["other"] }),
      ),
    );
    expect((await world.reconciler.reconcile("start")).kind).toBe("applied");
    world.datapath.hostInterfaces = [...host, { name: "both0", index: 9 }];
    await world.reconciler.scan("schedule");
    expect(await world.condition("Ready")).toBe("False InvalidPolicy");
    await world.reconciler.scan("schedule");
    world.datapath.hostInterfaces = host;
    await world.reconciler.scan("schedule");
    expect(await world.condition("Ready")).toBe("True Succeeded");
    expect((await world.reconciler.reconcile("poll")).kind).toBe("up-to-date");
  });
});

describe("a commit that the host does not bear", () => {
  it("is taken back, recorded and not tried again until somebody says so", async () => {
    const good = world.source.push(passWeb);
    await world.reconciler.reconcile("start");
    const before = await viewPackets(world.datapath, {});
    let isWell = false;
    world.reconciler = world.makeReconciler({
      confirm: async () => {
        if (!isWell)
          throw new PenstockError({
            code: "cut-off",
            disposition: "stalled",
            message: "Cannot reach the server",
          });
      },
    });
    await world.reconciler.start();
    const bad = world.source.push(dropWeb);
    expect(await world.reconciler.reconcile("poll")).toMatchObject({
      kind: "failed",
      retry: false,
      error: { code: "reverted", message: expect.stringContaining("Packets see generation 1 again") },
    });
    expect(await viewPackets(world.datapath, {})).toEqual(before);
    expect(await leftovers(world.datapath)).toEqual([]);
    expect(await world.appliedCommit()).toBe(good);
    expect(world.outcomes()).toEqual(["applied", "failed"]);
    expect((await world.reconciler.reconcile("poll")).kind).toBe("refused");
    isWell = true;
    expect((await world.reconciler.reconcile("command")).kind).toBe("applied");
    expect(await world.appliedCommit()).toBe(bad);
    // The generation that was taken back is not used again.
    expect(world.datapath.generation()).toEqual({ current: 3n, last: 3n });
  });
});
