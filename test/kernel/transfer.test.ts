// A TCP transfer through everything that an operator does: commits, restarts of the agent, an upgrade. The transfer goes
// on, and neither side ever has to wait for a retransmission timer: no packet was lost at any of these.
import { afterEach, expect, it } from "vitest";
import { type KernelDatapath, uninstallDatapath } from "../../src/bpf/index.ts";
import { addressSet, conntrack, firewall, policyOf } from "../fixtures/firewall-documents.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";
import { Station } from "../fixtures/station.ts";
import { applyDocuments, openTestDatapath, type TestSizes } from "../fixtures/test-datapath.ts";

const commits = 1000;

describeKernel("a transfer", () => {
  const closing: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  it(`survives ${commits} commits, restarts and an upgrade`, { timeout: 300_000 }, async () => {
    const { host, peer } = makePair();
    const pins = makePinDirectory();
    const server = new Station(host);
    const client = new Station(peer);
    await server.listen(8080);
    let datapath: KernelDatapath | undefined;
    closing.push(() => host.enter(() => uninstallDatapath(pins)));
    closing.push(() => datapath?.close());
    const open = async (sizes: TestSizes) => {
      datapath?.close();
      datapath = await openTestDatapath(pins, sizes);
      return datapath;
    };
    // The namespace belongs to the thread: what names interfaces runs inside, the rest does not care.
    const apply = async (to: KernelDatapath, round: number) => {
      const interfaces = host.enter(() => to.interfaces());
      const applied = await applyDocuments(to, policy(round), { interfaces, rulesMax: 64 });
      if (round === 0)
        host.enter(() => {
          for (const attachment of applied.plan.transaction.attach) to.attach(attachment);
        });
      return applied;
    };

    let current = await open({ rulesMax: 64, addressesMax: 64 });
    await apply(current, 0);
    const connection = await client.connect("192.0.2.1", 8080);
    expect(connection.result).toBe("open");
    await connection.pump();
    const moved = await progress(connection, 0);
    // A timer that went off because this machine is busy, with nothing lost, is undone by the stack that notices it.
    const timeouts = () =>
      [host, peer].map(
        (namespace) =>
          counterOf(namespace, "TCPTimeouts") -
          Math.max(counterOf(namespace, "TCPSpuriousRTOs"), counterOf(namespace, "TCPLossUndo")),
      );
    const before = timeouts();

    for (let round = 1; round <= commits; round++) {
      const { result } = await apply(current, round);
      expect(result).toBeDefined();
      if (round % 250 === 0) current = await open({ rulesMax: 64, addressesMax: 64 });
    }
    const later = await progress(connection, moved);
    expect(timeouts()).toEqual(before);

    // Other sizes: all programs are loaded anew, tables are moved.
    current = await open({ rulesMax: 128, addressesMax: 128 });
    expect(current.changes.join("\n")).toContain("xdp_firewall");
    await apply(current, 0);
    await progress(connection, later);
    expect(timeouts()).toEqual(before);
    expect(await client.reaches("192.0.2.1", 9090)).toBe("timeout");
  });
});

/** Policies that all let the transfer through, and differ in a rule and in a set. */
function policy(round: number) {
  const pass = {
    name: "web",
    match: { protocol: "tcp", destinationPorts: [8080], source: { sets: ["all"] } },
  } as const;
  const other = { name: `other-${round % 7}`, action: "drop", match: { protocol: "udp" } } as const;
  return policyOf(
    conntrack("wan", ["wan"]),
    addressSet("all", ["192.0.2.0/24", `198.51.100.${round % 250}`]),
    firewall("edge", round % 2 === 0 ? [pass, other] : [other, pass], {
      default: "drop",
      interfaces: ["wan"],
    }),
  );
}

/** A host with an interface `wan`, and a peer at its other end. */
function makePair(): { readonly host: TestNamespace; readonly peer: TestNamespace } {
  const host = makeNamespace();
  const peer = makeNamespace();
  host.run("ip", "link", "add", "wan", "type", "veth", "peer", "name", "far", "netns", peer.name);
  host.run("ip", "address", "add", "192.0.2.1/24", "dev", "wan");
  peer.run("ip", "address", "add", "192.0.2.7/24", "dev", "far");
  host.run("ip", "link", "set", "wan", "up");
  peer.run("ip", "link", "set", "far", "up");
  return { host, peer };
}

/** Waits until a good deal more has come back than `from`; gives how much has. */
async function progress(connection: { pumped(): Promise<number> }, from: number): Promise<number> {
  let moved = from;
  await expect
    .poll(
      async () => {
        moved = await connection.pumped();
        return moved > from + 1_000_000;
      },
      { timeout: 20_000 },
    )
    .toBe(true);
  return moved;
}

/** A counter of /proc/net/netstat. */
function counterOf(namespace: TestNamespace, name: string): number {
  const lines = namespace.run("cat", "/proc/net/netstat").split("\n");
  const heads = lines.findIndex((line) => line.startsWith("TcpExt:"));
  const at = lines[heads]?.split(" ").indexOf(name) ?? -1;
  return Number(lines[heads + 1]?.split(" ")[at]);
}
