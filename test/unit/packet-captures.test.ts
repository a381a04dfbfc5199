// The dissector on captures from the field, malformed ones among them, against a summary that was read once by
// other means. The captures are not part of the repository: without them these tests are skipped, and say so.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { type Dissected, dissect } from "../../src/base/index.ts";
import { type Family, formatAddress } from "../../src/base/prefix.ts";
import { readCapture } from "../fixtures/pcap.ts";

const root = resolve(import.meta.dirname, "../..");
const folder = resolve(root, "../shared/data/pcaps");
const absent = !existsSync(folder);
if (absent) console.warn(`SKIPPED: captures, because there is no ${folder}`);

/** Those that the summary covers; others in the folder need only give a result. */
const summarized = [
  "4in6.pcap",
  "802.1ad_QinQ.pcap",
  "dns-badlabel.pcap",
  "dns-zlip-1.pcap",
  "dns_tcp.pcap",
  "dns_udp.pcap",
  "ip4-trunc.pcap",
  "ip6_frag_asan.pcap",
  "ipv4-truncated-broken-header.pcap",
  "ipv4_invalid_hdr_length.pcap",
  "ipv6-fragmented-dns.pcap",
  "ipv6-hbh-routing0.pcap",
  "ipv6-http-atomic-frag.pcap",
  "ipv6-next-header-oobr-1.pcap",
  "ipv6-srh-ext-header.pcap",
  "ipv6_frag6_negative_len.pcap",
  "q-in-q.pcap",
  "ssh.pcap",
  "tcp_eight_lowest_weight_flags_set.pcap",
  "tls-1.2-handshake-failure.pcap",
  "trunc-hdr.pcap",
  "udp-length-heapoverflow.pcap",
  "vlan-qinqinq.pcap",
];

function summarize(name: string): string[] {
  const file = readCapture(readFileSync(join(folder, name)));
  if (file.kind !== "capture") return [`${name}: ${file.kind}`];
  const fault = file.fault === undefined ? "" : `, ${file.fault}`;
  return [
    `${name}: link type ${file.linkType}, ${file.frames.length} frames${fault}`,
    ...file.frames.map(({ frame }, i) => `  ${i + 1} (${frame.length}) ${describeFrame(dissect(frame))}`),
  ];
}

function describeFrame(result: Dissected): string {
  const tags = result.tags.map(({ tpid, vid, pcp }) => `tag ${tpid.toString(16)}/${vid}/${pcp} `).join("");
  if (result.kind === "malformed") return `${tags}malformed: ${result.reason}`;
  if (result.kind === "non-ip") return `${tags}ethertype ${result.ethertype.toString(16)}`;
  const end = (address: Uint8Array, port: number | undefined) =>
    formatAddress({ family: result.family as Family, bytes: address }) +
    (port === undefined ? "" : ` ${port}`);
  const fragment = result.fragment ? `, ${result.laterFragment ? "later" : "first"} fragment` : "";
  const chain = result.extensionHeaders.length === 0 ? "" : `, after ${result.extensionHeaders.join(" ")}`;
  const flags = result.tcpFlags === undefined ? "" : `, flags ${result.tcpFlags.toString(16)}`;
  const icmp = result.icmpType === undefined ? "" : `, type ${result.icmpType}/${result.icmpCode}`;
  return (
    `${tags}ip${result.family} ${end(result.source, result.sourcePort)} > ` +
    `${end(result.destination, result.destinationPort)}, protocol ${result.protocol}${chain}${fragment}, ` +
    `dscp ${result.dscp}, hops ${result.hopLimit}, ${result.l4Length} of ${result.l3Length} bytes${flags}${icmp}`
  );
}

describe.skipIf(absent)("captures", () => {
  it("are read as the summary says", async () => {
    const summary = summarized.flatMap(summarize).join("\n");
    await expect(`${summary}\n`).toMatchFileSnapshot("../fixtures/pcap-golden.txt");
  });

  it("all give a result, whatever they hold", () => {
    const names = readdirSync(folder).filter((name) => name.endsWith(".pcap"));
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) expect(summarize(name).join("\n"), name).toContain(name);
  });
});
