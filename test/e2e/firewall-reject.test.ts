// What real stacks make of the answers to rejected packets, in native and in generic mode: connections are refused
// at once, datagrams too, by packets on the wire whose checksums hold.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dissect, type IpPacket } from "../../src/base/index.ts";
import { attachXdp, encodeVerdict, findInterface, loadProgram, PROGRAM_TYPE } from "../../src/bpf/index.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { wrongChecksums } from "../fixtures/packet-outcome.ts";
import { icmp, icmpv6, ipv4, ipv6, type Network, tcp, udp } from "../fixtures/packets.ts";
import { clientAddress, EdgeWorld, edge, hostAddress } from "./edge-world.ts";

const xdpPass = 2;
const group = (mode: string) =>
  `apiVersion: penstock/v1\nkind: InterfaceGroup\nmetadata: { name: eth0 }\nspec: { interfaces: [eth0], attach: ${mode} }\n`;
const rule = (name: string, fields: string, protocol: string, ports: string) =>
  `{ name: ${name}, ${fields}, match: { protocol: ${protocol}, destinationPorts: [${ports}] } }`;

describeKernel("a firewall that rejects", () => {
  let world: EdgeWorld;
  const cleanUp: (() => void)[] = [];

  beforeAll(async () => {
    world = new EdgeWorld();
    await world.server.listen(8080);
    await world.server.listen(8081);
    world.host.peer.run("ip", "address", "add", "192.0.2.99/24", "dev", "far");
  });
  afterAll(() => {
    for (const each of cleanUp) each();
  });

  /** Without a program on the other end a veth device takes no frame that XDP sends. */
  function placeProgram(): () => void {
    const program = loadProgram({
      name: "pass",
      type: PROGRAM_TYPE.xdp,
      instructions: encodeVerdict(xdpPass),
    });
    const { link } = world.host.peer.enter(() => {
      const ifindex = findInterface("far")?.index ?? 0;
      return attachXdp({ program, ifindex, interfaceName: "far", mode: "native" });
    });
    return () => {
      link.close();
      program.close();
    };
  }

  const policyOf = (mode: string) => [
    group(mode),
    edge(
      "pass",
      "{ name: friends, action: pass, match: { source: { prefixes: [192.0.2.99] } } }",
      rule("tcp", "action: reject", "tcp", "8080"),
      rule("udp", "action: reject", "udp", "5000"),
      rule("host", "action: reject, reject: host-unreachable", "udp", "5001"),
      rule("net", "action: reject, reject: net-unreachable", "udp", "5002"),
      rule("prohibited", "action: reject, reject: admin-prohibited", "udp", "5003"),
      rule("icmp-to-tcp", "action: reject, reject: port-unreachable", "tcp", "8081"),
      "{ name: ping, action: reject, match: { protocol: [icmp] } }",
      "{ name: ping6, action: reject, match: { protocol: icmpv6, destination: { prefixes: [2001:db8::ffff] } } }",
    ),
  ];

  /** Sends a packet and gives what came back. */
  async function answerTo(network: Network): Promise<{ frame: Uint8Array; packet: IpPacket } | undefined> {
    world.wire.take();
    world.send(network);
    let found: { frame: Uint8Array; packet: IpPacket } | undefined;
    await world.wire.wait((frame) => {
      const packet = dissect(frame);
      if (packet.kind !== "ip" || packet.icmpType === 135 || packet.icmpType === 136) return false;
      found = { frame, packet };
      return true;
    }, 400);
    return found;
  }

  for (const mode of ["native", "generic"] as const) {
    describe(`in ${mode} mode`, () => {
      beforeAll(async () => {
        if (mode === "native") cleanUp.push(placeProgram());
        await world.apply(...policyOf(mode));
      });

      test.each([hostAddress.v4, hostAddress.v6])(
        "refuses connections and datagrams to %s at once",
        async (to) => {
          expect(await world.client.reaches(to, 8080)).toBe("ECONNREFUSED");
          expect(await world.client.ask(to, 5000)).toBe("ECONNREFUSED");
        },
      );

      test("says which way it is unreachable", async () => {
        const { v4, v6 } = hostAddress;
        expect(await world.client.ask(v4, 5003)).toBe("EHOSTUNREACH");
        expect(await world.client.ask(v6, 5003)).toBe("EACCES");
        // A stack whose socket is still busy with sending forgets an ICMP error, and gets the next one a second later.
        for (const to of [v4, v6]) {
          const { result } = await world.client.connect(to, 8081, { timeoutMs: 10_000 });
          expect(result).toBe("ECONNREFUSED");
        }
      });

      test("answers with packets whose addresses are swapped and whose checksums hold", async () => {
        const v4 = { source: clientAddress.v4, destination: hostAddress.v4 };
        const v6 = { source: clientAddress.v6, destination: hostAddress.v6 };
        const ports = { sourcePort: 40_000, destinationPort: 8080 };
        const before = await world.counters();
        const rows: [Network, Partial<IpPacket>][] = [
          [ipv4(v4, tcp(ports)), { sourcePort: 8080, destinationPort: 40_000, tcpFlags: 0x14 }],
          [ipv6(v6, tcp({ ...ports, flags: 0x10 })), { sourcePort: 8080, tcpFlags: 0x04 }],
          [ipv4(v4, udp({ destinationPort: 5000 })), { icmpType: 3, icmpCode: 3 }],
          [ipv6(v6, udp({ destinationPort: 5000 })), { icmpType: 1, icmpCode: 4 }],
          // Sockets do not mind these two, of which a router may know better a moment later.
          [ipv4(v4, udp({ destinationPort: 5001 })), { icmpType: 3, icmpCode: 1 }],
          [ipv6(v6, udp({ destinationPort: 5001 })), { icmpType: 1, icmpCode: 3 }],
          [ipv4(v4, udp({ destinationPort: 5002 })), { icmpType: 3, icmpCode: 0 }],
          [ipv6(v6, udp({ destinationPort: 5002 })), { icmpType: 1, icmpCode: 0 }],
          [ipv4(v4, icmp()), { icmpType: 3, icmpCode: 3 }],
          [ipv6({ ...v6, destination: "2001:db8::ffff" }, icmpv6()), { icmpType: 1, icmpCode: 4 }],
        ];
        for (const [network, wanted] of rows) {
          const answer = await answerTo(network);
          expect(answer?.packet).toMatchObject(wanted);
          expect(wrongChecksums(answer?.frame ?? new Uint8Array(0))).toEqual([]);
        }
        const after = await world.counters();
        expect((after["reject"] ?? 0) - (before["reject"] ?? 0)).toBe(rows.length);
      });

      test("answers nobody whom an earlier rule lets through", async () => {
        const source = "192.0.2.99";
        const answer = await answerTo(
          ipv4({ source, destination: hostAddress.v4 }, tcp({ destinationPort: 8080 })),
        );
        // The server's own SYN and ACK.
        expect(answer?.packet).toMatchObject({ sourcePort: 8080, tcpFlags: 0x12 });
        expect(await world.pings(source, hostAddress.v4)).toBe(true);
      });
    });
  }

  test("drops on a veth device without a program on the other end", async () => {
    for (const each of cleanUp.splice(0)) each();
    await world.apply(...policyOf("native"));
    expect(await world.client.reaches(hostAddress.v4, 8080)).toBe("timeout");
  });
});
