// A host behind a firewall and a client before it, both with real stacks, and a policy that a test writes down in a
// few lines and puts in force through the command line.
import { dissect } from "../../src/base/index.ts";
import { WorkTree } from "../fixtures/git-repository.ts";
import type { TestNamespace } from "../fixtures/network-namespace.ts";
import { PacketSocket } from "../fixtures/packet-socket.ts";
import {
  addressBytes,
  type EthernetSpec,
  ethernet,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  type Network,
} from "../fixtures/packets.ts";
import { Station } from "../fixtures/station.ts";
import { buildProgram, makeFolder, TestHost } from "./cli-support.ts";

/** The host's own addresses, and the client's. */
export const hostAddress = { v4: "192.0.2.1", v6: "2001:db8::1" } as const;
export const clientAddress = { v4: "192.0.2.7", v6: "2001:db8::7" } as const;

export class EdgeWorld {
  readonly host: TestHost;
  /** Sockets on the host. */
  readonly server: Station;
  /** Sockets of the client. */
  readonly client: Station;
  /** What passes at the client's end of the wire. */
  readonly wire: PacketSocket;
  readonly #tree: WorkTree;
  readonly #hostMac: Uint8Array;
  readonly #clientMac: Uint8Array;
  #commits = 0;

  constructor() {
    buildProgram();
    this.host = new TestHost();
    const { namespace, peer } = this.host;
    namespace.run("ip", "address", "add", `${hostAddress.v6}/64`, "dev", "eth0", "nodad");
    peer.run("ip", "address", "add", `${clientAddress.v6}/64`, "dev", "far", "nodad");
    this.server = new Station(namespace);
    this.client = new Station(peer);
    this.wire = new PacketSocket(peer, "far");
    this.#hostMac = macOf(namespace, "eth0");
    this.#clientMac = macOf(peer, "far");
    this.#tree = new WorkTree(makeFolder(this.host, "repo"));
  }

  /** Commits the documents and applies them; files that an earlier call wrote and this one does not are gone. */
  async apply(...documents: string[]): Promise<void> {
    this.write(...documents);
    const { code, err } = await this.host.run("apply", "--repo", this.#tree.path);
    if (code !== 0) throw new Error(`apply exited with ${code}: ${err}`);
  }

  /** Commits the documents; returns the commit. */
  write(...documents: string[]): string {
    const policy = documents.join("---\n");
    return this.#tree.commit({ "policies/edge.yaml": policy }, `Policy ${this.#commits++}`);
  }

  get repository(): string {
    return this.#tree.path;
  }

  /** Puts a packet of the client on the wire, to the host's hardware address. */
  send(network: Network, more: EthernetSpec = {}): void {
    this.wire.send(ethernet({ destination: this.#hostMac, source: this.#clientMac, ...more }, network));
  }

  /** True if an echo request from `source`, one of the client's addresses, is answered. */
  async pings(source: string, destination: string): Promise<boolean> {
    const isV4 = destination.includes(".");
    const body = Uint8Array.of(0, 0, 0, 0, 0x70, 0x6b);
    this.wire.take();
    if (isV4) this.send(ipv4({ source, destination }, icmp({ type: 8, payload: body })));
    else this.send(ipv6({ source, destination }, icmpv6({ type: 128, payload: body })));
    const to = addressBytes(source);
    const answer = await this.wire.wait((frame) => {
      const packet = dissect(frame);
      return (
        packet.kind === "ip" &&
        packet.icmpType === (isV4 ? 0 : 129) &&
        Buffer.compare(packet.destination, to) === 0
      );
    }, 400);
    return answer !== undefined;
  }

  /** Packets by rule and by reason, as `penstock counters` says. */
  async counters(): Promise<Readonly<Record<string, number>>> {
    const { rules, reasons } = await this.host.json("counters");
    const list = [...(rules as unknown as Counter[]), ...(reasons as unknown as Counter[])];
    return Object.fromEntries(list.map(({ name, packets }) => [name, packets]));
  }
}

interface Counter {
  readonly name: string;
  readonly packets: number;
}

/** A Firewall document on eth0; each rule in flow style, in braces. */
export function edge(defaultVerdict: "pass" | "drop", ...rules: string[]): string {
  return [
    "apiVersion: penstock/v1",
    "kind: Firewall",
    "metadata: { name: edge }",
    "spec:",
    "  interfaces: [eth0]",
    `  default: ${defaultVerdict}`,
    "  nonIp: pass",
    rules.length === 0 ? "  rules: []" : "  rules:",
    ...rules.map((rule) => `    - ${rule}`),
    "",
  ].join("\n");
}

function macOf(namespace: TestNamespace, interfaceName: string): Uint8Array {
  const [, mac = ""] = / link\/ether (\S+)/.exec(namespace.run("ip", "link", "show", interfaceName)) ?? [];
  return Uint8Array.from(mac.split(":"), (byte) => Number.parseInt(byte, 16));
}
