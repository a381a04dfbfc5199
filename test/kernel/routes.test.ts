// Where rules send packets, their replies and copies: real frames on a router's links, seen by the neighbours.
import { beforeAll, describe, expect, it } from "vitest";
import { FwReason } from "../../src/abi/index.ts";
import type { IpPacket } from "../../src/base/index.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { PacketSocket } from "../fixtures/packet-socket.ts";
import { ipv4, ipv6, udp } from "../fixtures/packets.ts";
import { addressOf, farAway, macOf, makeRouteWorld, type RouteWorld } from "../fixtures/route-world.ts";

const source = { 4: addressOf("client"), 6: addressOf("client", 6) } as const;
const nextHops = [addressOf("two"), addressOf("two", 6)] as const;

function packetOf(family: 4 | 6, more: { ttl?: number; size?: number } = {}) {
  const { ttl = 64, size = 100 } = more;
  const body = udp({ sourcePort: 4000, destinationPort: 9, payload: new Uint8Array(size) });
  const way = { source: source[family], destination: farAway[family] };
  return family === 4 ? ipv4({ ...way, ttl }, body) : ipv6({ ...way, hopLimit: ttl }, body);
}

/** Ones' complement sum over an IPv4 header with its checksum: 0xffff if that is right. */
function headerSum(frame: Uint8Array, { l3Offset }: IpPacket): number {
  let sum = 0;
  for (let i = l3Offset; i < l3Offset + 20; i += 2) sum += ((frame[i] ?? 0) << 8) | (frame[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

/** Packets by reason since the last call. */
async function takeReasons(world: RouteWorld, before: Map<string, bigint>): Promise<Record<string, number>> {
  const counters = await world.datapath.readCounters("fw_reasons");
  const found: Record<string, number> = {};
  for (const [name, number] of Object.entries(FwReason)) {
    const packets = counters[number]?.packets ?? 0n;
    const more = Number(packets - (before.get(name) ?? 0n));
    before.set(name, packets);
    if (more > 0 && !name.startsWith("non-ip") && name !== "rule-pass") found[name] = more;
  }
  return found;
}

for (const mode of ["native", "generic"] as const) {
  describeKernel(`routes of rules, ${mode} XDP`, () => {
    let world: RouteWorld;
    const before = new Map<string, bigint>();
    const reasons = () => takeReasons(world, before);
    const expectRouted = async (family: 4 | 6, vid?: number) => {
      world.send(packetOf(family), vid === undefined ? [] : [{ vid }]);
      const packet = await world.arrives("two");
      expect(packet).toMatchObject({ hopLimit: 63, tags: [], sourcePort: 4000, l4Length: 108 });
      if (packet === undefined) return;
      expect(packet.frame.subarray(0, 6)).toEqual(macOf(world.at("two"), "far"));
      expect(packet.frame.subarray(6, 12)).toEqual(macOf(world.router, "two"));
      if (family === 4) expect(headerSum(packet.frame, packet)).toBe(0xffff);
      expect(world.seesNothing("one")).toBe(true);
    };

    beforeAll(async () => {
      world = await makeRouteWorld(mode);
    });

    it("goes where the host says without any", async () => {
      await world.apply({});
      world.send(packetOf(4));
      expect(await world.arrives("one")).toMatchObject({ hopLimit: 63 });
    });

    describe("at TC", () => {
      for (const family of [4, 6] as const) {
        it(`sends the first packet of IPv${family} to a neighbour that nobody has asked for yet`, async () => {
          world.router.run("ip", "neigh", "flush", "dev", "two");
          await world.apply({ routeTo: { interface: "two", nextHop: nextHops } });
          await reasons();
          await expectRouted(family);
          expect(await reasons()).toEqual({ routed: 1 });
        });

        it(`follows the host's routes through the interface without a next hop, IPv${family}`, async () => {
          await world.apply({ routeTo: { interface: "two" } });
          // For IPv6 the kernel must think it the best one.
          const way = family === 4 ? ["default", "metric", "9999"] : [farAway[6]];
          const route = [...way, "via", addressOf("two", family), "dev", "two"];
          world.router.run("ip", `-${family}`, "route", "add", ...route);
          await expectRouted(family);
          world.router.run("ip", `-${family}`, "route", "delete", ...route);
        });
      }

      it("takes off tags", async () => {
        await world.apply({ routeTo: { interface: "two", nextHop: nextHops } });
        await expectRouted(4, 7);
      });

      it("copies a packet as it came, and sends it on", async () => {
        await world.apply({ dupTo: { interface: "monitor" } });
        const frame = world.send(packetOf(4));
        expect((await world.arrives("monitor"))?.frame).toEqual(frame);
        expect(await world.arrives("one")).toMatchObject({ hopLimit: 63 });
      });

      it("copies a packet that a rule sends elsewhere", async () => {
        const routeTo = { interface: "two", nextHop: nextHops, fast: true } as const;
        await world.apply({ routeTo, dupTo: { interface: "monitor" } });
        const frame = world.send(packetOf(6));
        expect((await world.arrives("monitor"))?.frame).toEqual(frame);
        expect(await world.arrives("two")).toMatchObject({ hopLimit: 63 });
        expect(world.seesNothing("one")).toBe(true);
      });

      it("copies nothing that does not fit, and nothing to an interface that is missing", async () => {
        world.router.run("ip", "link", "set", "monitor", "mtu", "1400");
        await world.apply({ dupTo: { interface: "monitor" } });
        world.send(packetOf(4, { size: 1420 }));
        expect(await world.arrives("one")).toBeDefined();
        expect(world.seesNothing("monitor")).toBe(true);
        await world.apply({ dupTo: { interface: "absent" } });
        world.send(packetOf(4));
        expect(await world.arrives("one")).toBeDefined();
        expect(world.seesNothing("monitor")).toBe(true);
      });

      it("drops and counts what does not fit the way out", async () => {
        world.router.run("ip", "link", "set", "two", "mtu", "1400");
        await world.apply({ routeTo: { interface: "two", nextHop: nextHops } });
        await reasons();
        world.send(packetOf(4, { size: 1420 }));
        expect(await world.arrives("two")).toBeUndefined();
        expect(world.seesNothing("one")).toBe(true);
        expect(await reasons()).toEqual({ "too-big": 1 });
        world.router.run("ip", "link", "set", "two", "mtu", "1500");
      });

      it("leaves it to the host to say that a packet has no time left", async () => {
        await world.apply({ routeTo: { interface: "two", nextHop: nextHops } });
        await reasons();
        world.send(packetOf(4, { ttl: 1 }));
        const answer = await world.socket("client").wait((frame) => frame[23] === 1 && frame[34] === 11);
        expect(answer).toBeDefined();
        expect(world.seesNothing("two")).toBe(true);
        expect(await reasons()).toEqual({ "route-expired": 1 });
      });
    });

    const nowhere = [
      { why: "the interface is missing", routeTo: { interface: "absent" } },
      {
        why: "there is a next hop of the other family only",
        routeTo: { interface: "two", nextHop: nextHops[1] },
      },
    ];
    for (const { why, routeTo } of nowhere) {
      it(`drops a packet when ${why}, and sends it nowhere else`, async () => {
        await world.apply({ routeTo });
        await reasons();
        world.send(packetOf(4));
        expect(await world.arrives("one")).toBeUndefined();
        expect(world.seesNothing("two")).toBe(true);
        expect(await reasons()).toEqual({ "no-route": 1 });
      });
    }

    describe("in XDP alone", () => {
      beforeAll(() => {
        world.detachTc();
        world.makeReady("two");
        world.introduce("two");
      });

      for (const family of [4, 6] as const) {
        it(`sends IPv${family} to a neighbour that the kernel knows`, async () => {
          await world.apply(
            { routeTo: { interface: "two", nextHop: nextHops, fast: true } },
            { attach: false },
          );
          await reasons();
          await expectRouted(family);
          expect(await reasons()).toEqual({ routed: 1 });
        });
      }

      it("takes off both tags", async () => {
        await expectRouted(6, 7);
      });

      it("follows the host's routes without a next hop", async () => {
        await world.apply({ routeTo: { interface: "two", fast: true } }, { attach: false });
        world.router.run("ip", "route", "add", farAway[4], "via", addressOf("two"));
        await expectRouted(4);
        world.router.run("ip", "route", "delete", farAway[4]);
      });
    });

    it("does not copy copies that come back", async () => {
      world.router.run("ip", "link", "add", "out", "type", "veth", "peer", "name", "back");
      for (const end of ["out", "back"])
        world.router.run("ip", "link", "set", end, "addrgenmode", "none", "up");
      const index = world.indexOf("back");
      const attachment = { program: "xdp_firewall", interface: "back", index, mode } as const;
      world.router.enter(() => world.datapath.attach(attachment));
      await world.apply({ dupTo: { interface: "out" } }, { interfaces: ["client", "back"] });
      const out = new PacketSocket(world.router, "out");
      world.send(packetOf(4));
      expect(await world.arrives("one")).toBeDefined();
      expect(out.take({ sent: true }).filter((frame) => frame[23] === 17)).toHaveLength(1);
    });
  });
}
