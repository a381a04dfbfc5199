// One policy that needs several programs on an interface, at XDP and at TC hooks.
import { describe, expect, it } from "vitest";
import { objectAbis } from "../../src/abi/index.ts";
import { tcChain, tcCommands } from "../../src/bpf/index.ts";
import { InterfaceGroups } from "../../src/compile/groups.ts";
import type { KindDefinition } from "../../src/compile/index.ts";
import { firewallKind } from "../../src/kinds/firewall/index.ts";
import { kinds } from "../../src/kinds/index.ts";
import { firewall, interfaceGroup, policyOf } from "../fixtures/firewall-documents.ts";
import { ReconcilerWorld } from "../fixtures/reconciler-world.ts";

/** The firewall, if it needed two TC programs as well. */
const withTc: KindDefinition = {
  ...firewallKind,
  compile(context) {
    firewallKind.compile(context);
    for (const document of context.policy.byKind("Firewall"))
      for (const name of document.spec.interfaces) context.groups.use(name, "tc_in", "tc_out");
  },
};

async function makeWorld(): Promise<ReconcilerWorld> {
  const world = await ReconcilerWorld.make();
  const all = kinds.map((kind) => (kind === firewallKind ? withTc : kind));
  world.reconciler = world.makeReconciler({ kinds: all, selfHeal: "warn" });
  await world.reconciler.start();
  return world;
}

const documents = policyOf(
  interfaceGroup("wan", ["eth*"], { attach: "generic" }),
  firewall("edge", [], { interfaces: ["wan"] }),
);

describe("a policy that needs several programs", () => {
  it("has each on its interfaces, in the only mode that there is for it", async () => {
    const world = await makeWorld();
    world.source.push(documents);
    expect(await world.reconciler.preview()).toMatchObject({
      plan: { attach: ["tc_in on eth0", "tc_out on eth0", "xdp_firewall on eth0"] },
    });
    await world.reconciler.reconcile("start");
    expect((await world.reconciler.status()).attached).toEqual([
      { program: "tc_in", interface: "eth0", mode: "tcx" },
      { program: "tc_out", interface: "eth0", mode: "tcx" },
      { program: "xdp_firewall", interface: "eth0", mode: "generic" },
    ]);
    expect(await world.reconciler.scan("schedule")).toMatchObject({ drift: undefined });
    expect((await world.reconciler.reconcile("command")).kind).toBe("up-to-date");
  });

  it("drifts where one is missing", async () => {
    const world = await makeWorld();
    world.source.push(documents);
    await world.reconciler.reconcile("start");
    world.datapath.detach("tc_out", 7);
    expect(await world.reconciler.scan("schedule")).toMatchObject({
      drift: { attachments: ["tc_out is not attached to eth0"] },
    });
  });

  it("takes all of them away with it", async () => {
    const world = await makeWorld();
    world.source.push(documents);
    await world.reconciler.reconcile("start");
    world.source.push(policyOf());
    await world.reconciler.reconcile("poll");
    expect(world.datapath.attached()).toEqual([]);
  });
});

describe("interface groups", () => {
  it("need what any kind asks for, once", () => {
    const groups = new InterfaceGroups([{ name: "eth0", index: 7 }]);
    groups.use("eth0", "xdp_a");
    groups.use("eth0", "tc_b", "xdp_a");
    expect(groups.attachments().map(({ program }) => program)).toEqual(["tc_b", "xdp_a"]);
  });
});

describe("the chain of TC programs", () => {
  it("has one place for every TC program that packets meet, and none for those that user space runs", () => {
    const programs = objectAbis
      .flatMap((abi) => abi.programs)
      .filter(({ section }) => section.startsWith("tc"));
    const places = [...tcChain.ingress, ...tcChain.egress, ...Object.values(tcCommands)];
    expect(places.toSorted()).toEqual(programs.map(({ name }) => name).toSorted());
  });
});
