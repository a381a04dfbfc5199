// What a rule gives to a packet that it lets through, seen by a TC program behind: the mark, the rule, the DSCP in
// the frame. Real packets on a veth pair.
import { describe, expect, it } from "vitest";
import { CarriedFlag } from "../../src/abi/index.ts";
import { attachTc, openObject } from "../../src/bpf/index.ts";
import type { FirewallRule } from "../../src/policy/index.ts";
import { compileBpf } from "../fixtures/compile-bpf.ts";
import { firewall, policyOf } from "../fixtures/firewall-documents.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeVethNamespace } from "../fixtures/network-namespace.ts";
import { PacketSocket } from "../fixtures/packet-socket.ts";
import { ethernet, ipv4, udp } from "../fixtures/packets.ts";
import { applyDocuments, openTestDatapath } from "../fixtures/test-datapath.ts";

interface Arrival {
  readonly packets: number;
  readonly mark: number;
  readonly ruleId: number;
  readonly flags: number;
  readonly dscp: number;
  readonly tos: number;
}

/** ECN says "congestion experienced", which no rule may change. */
const packet = ethernet({}, ipv4({ source: "10.0.0.1", destination: "10.0.0.2", dscp: 8 }, udp()));
packet[15] = (packet[15] ?? 0) | 3;

/** Sends one packet to an interface with these rules; gives what the TC program behind saw. */
async function arriveBehind(mode: "native" | "generic", rules: readonly Partial<FirewallRule>[]) {
  const namespace = makeVethNamespace();
  const datapath = await openTestDatapath(makePinDirectory());
  const interfaces = namespace.enter(() => datapath.interfaces());
  const { index = 0 } = interfaces.find(({ name }) => name === "left") ?? {};
  const documents = policyOf(firewall("edge", rules, { interfaces: ["left"] }));
  const { ruleIds } = await applyDocuments(datapath, documents, { interfaces });
  const sharedMaps = { generation: datapath.object.map("generation") };
  const object = openObject(compileBpf("marks"), { sharedMaps });
  const link = namespace.enter(() => {
    datapath.attach({ program: "xdp_firewall", interface: "left", index, mode });
    const program = object.program("tc_arrival");
    const place = { ifindex: index, interfaceName: "left", direction: "ingress", mode: "tcx" } as const;
    const attachment = attachTc({ ...place, program });
    return attachment.kind === "tcx" ? attachment.link : expect.fail("no TCX here");
  });
  const wire = new PacketSocket(namespace, "right");
  wire.send(packet);
  const value = () =>
    new DataView((object.map("arrivals").lookup(new Uint8Array(4)) ?? new Uint8Array(16)).buffer);
  await expect.poll(() => value().getUint32(0, true)).toBe(1);
  const view = value();
  const arrival: Arrival = {
    packets: view.getUint32(0, true),
    mark: view.getUint32(4, true),
    ruleId: view.getUint32(8, true),
    flags: view.getUint8(12),
    dscp: view.getUint8(13),
    tos: view.getUint8(14),
  };
  wire.close();
  link.close();
  object.close();
  datapath.close();
  return { arrival, ruleIds };
}

describeKernel("a packet that a rule lets through", () => {
  for (const mode of ["native", "generic"] as const) {
    describe(`in ${mode} mode`, () => {
      it("has the rule's mark and DSCP, its own ECN, and the rule's id", async () => {
        const rule = { name: "voice", mark: 0xdeadbeef, dscp: "ef" as const };
        const { arrival, ruleIds } = await arriveBehind(mode, [rule]);
        expect(arrival).toEqual({
          packets: 1,
          mark: 0xdeadbeef,
          ruleId: ruleIds.get("edge/voice"),
          flags: CarriedFlag.mark | CarriedFlag.dscp | CarriedFlag.slow | CarriedFlag.reevaluate,
          dscp: 46,
          tos: (46 << 2) | 3,
        });
      });

      it("has the rule's id alone where the rule sets nothing", async () => {
        const { arrival, ruleIds } = await arriveBehind(mode, [{ name: "plain" }]);
        const nothing = { packets: 1, mark: 0, flags: CarriedFlag.reevaluate, dscp: 0, tos: (8 << 2) | 3 };
        expect(arrival).toEqual({ ...nothing, ruleId: ruleIds.get("edge/plain") });
      });

      it("has nothing by default", async () => {
        const { arrival } = await arriveBehind(mode, [{ action: "drop", match: { protocol: "tcp" } }]);
        expect(arrival).toMatchObject({
          packets: 1,
          mark: 0,
          ruleId: 0,
          flags: CarriedFlag.reevaluate,
          tos: (8 << 2) | 3,
        });
      });
    });
  }
});
