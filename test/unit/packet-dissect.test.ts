// Known answers for the dissector: the reasons for calling a frame malformed, both sides of every length check, and
// the order of the checks where two of them could speak. IPv6 before its transport is in packet-dissect-ipv6.test.ts.
import { describe, expect, it } from "vitest";
import { type Dissected, dissect, type MalformedReason, malformedReasons } from "../../src/base/index.ts";
import {
  addressBytes,
  cut,
  type EthernetSpec,
  ethernet,
  fragmentHeader,
  type Ipv4Spec,
  type Ipv6Spec,
  icmp,
  icmpv6,
  ipv4,
  ipv6,
  payload,
  raw,
  type Transport,
  tcp,
  udp,
} from "../fixtures/packets.ts";

interface Row {
  readonly name: string;
  readonly frame: Uint8Array;
  readonly expected: Partial<Dissected>;
}

const bad = (reason: MalformedReason) => ({ kind: "malformed", reason }) as const;
const bytes = (length: number) => new Uint8Array(length).fill(0xab);
const frame4 = (spec: Ipv4Spec, transport: Transport, link: EthernetSpec = {}) =>
  ethernet(link, ipv4(spec, transport));
const frame6 = (spec: Ipv6Spec, transport: Transport, link: EthernetSpec = {}) =>
  ethernet(link, ipv6(spec, transport));
const take = (frame: Uint8Array, length: number) => frame.slice(0, length);
const arp = payload(0x0806, bytes(28));
const ports = { hasPorts: true, sourcePort: 40000, destinationPort: 80 };

const link: Row[] = [
  { name: "nothing at all", frame: bytes(0), expected: bad("truncated-ethernet") },
  { name: "13 bytes", frame: take(ethernet({}, arp), 13), expected: bad("truncated-ethernet") },
  {
    name: "14 bytes of something that is not IP",
    frame: take(ethernet({}, arp), 14),
    expected: { kind: "non-ip", ethertype: 0x0806, tags: [], l3Offset: 14 },
  },
  { name: "14 bytes of IPv4", frame: take(frame4({}, tcp()), 14), expected: bad("truncated-ip") },
  {
    name: "a tag cut after 3 of 4 bytes",
    frame: take(ethernet({ tags: [{}] }, arp), 17),
    expected: bad("truncated-vlan"),
  },
  {
    name: "a whole tag and nothing after it",
    frame: take(ethernet({ tags: [{ vid: 7 }] }, arp), 18),
    expected: { kind: "non-ip", ethertype: 0x0806, tags: [{ tpid: 0x8100, vid: 7, pcp: 0 }], l3Offset: 18 },
  },
  {
    name: "a second tag cut after 3 of 4 bytes",
    frame: take(ethernet({ tags: [{ vid: 7 }, {}] }, arp), 21),
    expected: { ...bad("truncated-vlan"), tags: [{ tpid: 0x8100, vid: 7, pcp: 0 }] },
  },
  {
    name: "one 802.1Q tag",
    frame: frame4({}, tcp(), { tags: [{ vid: 4095, pcp: 7 }] }),
    expected: {
      kind: "ip",
      tags: [{ tpid: 0x8100, vid: 4095, pcp: 7 }],
      l3Offset: 18,
      l4Offset: 38,
      ...ports,
    },
  },
  {
    name: "802.1ad around 802.1Q",
    frame: frame6({}, tcp(), { tags: [{ tpid: 0x88a8, vid: 100, pcp: 1 }, { vid: 200 }] }),
    expected: {
      kind: "ip",
      tags: [
        { tpid: 0x88a8, vid: 100, pcp: 1 },
        { tpid: 0x8100, vid: 200, pcp: 0 },
      ],
      l3Offset: 22,
      ...ports,
    },
  },
  {
    name: "the drop-eligible bit of a tag belongs to neither id nor priority",
    frame: ethernet({}, payload(0x8100, Uint8Array.of(0x10, 0x05, 0x08, 0x06))),
    expected: { kind: "non-ip", tags: [{ tpid: 0x8100, vid: 5, pcp: 0 }] },
  },
  {
    name: "three tags",
    frame: frame4({}, tcp(), { tags: [{}, {}, {}] }),
    expected: { ...bad("too-many-tags"), tags: [1, 1].map((vid) => ({ tpid: 0x8100, vid, pcp: 0 })) },
  },
  {
    name: "a third tag is too many even if the frame ends before it",
    frame: take(ethernet({ tags: [{}, {}, { tpid: 0x88a8 }] }, arp), 22),
    expected: bad("too-many-tags"),
  },
  {
    name: "0x9100 is not a tag",
    frame: ethernet({ ethertype: 0x9100 }, ipv4({}, tcp())),
    expected: { kind: "non-ip", ethertype: 0x9100 },
  },
  {
    name: "0x9100 below a tag is not a tag",
    frame: ethernet({ tags: [{}], ethertype: 0x9100 }, ipv4({}, tcp())),
    expected: { kind: "non-ip", ethertype: 0x9100 },
  },
  {
    name: "an 802.3 length in place of the type",
    frame: ethernet({}, payload(0x0026, bytes(38))),
    expected: { kind: "non-ip", ethertype: 0x0026 },
  },
];

const ipv4Header: Row[] = [
  { name: "19 bytes", frame: take(frame4({}, raw(253)), 14 + 19), expected: bad("truncated-ip") },
  {
    name: "20 bytes and no payload",
    frame: frame4({}, raw(253)),
    expected: {
      kind: "ip",
      family: 4,
      protocol: 253,
      l3Length: 20,
      l4Offset: 34,
      l4Length: 0,
      hasPorts: false,
    },
  },
  {
    name: "addresses, class and time to live",
    frame: frame4({ source: "10.0.0.1", destination: "203.0.113.7", dscp: 46, ttl: 9 }, tcp()),
    expected: {
      kind: "ip",
      source: addressBytes("10.0.0.1"),
      destination: addressBytes("203.0.113.7"),
      dscp: 46,
      hopLimit: 9,
    },
  },
  { name: "version 6", frame: frame4({ version: 6 }, tcp()), expected: bad("bad-ip-version") },
  {
    name: "version 6 in 19 bytes: length first",
    frame: take(frame4({ version: 6 }, tcp()), 14 + 19),
    expected: bad("truncated-ip"),
  },
  {
    name: "version 5 with header length 0: version first",
    frame: frame4({ version: 5, ihl: 0 }, tcp()),
    expected: bad("bad-ip-version"),
  },
  { name: "header length 16", frame: frame4({ ihl: 4 }, tcp()), expected: bad("bad-ip-header") },
  {
    name: "header length 16 and a total length beyond the frame: header length first",
    frame: frame4({ ihl: 4, totalLength: { add: 1 } }, tcp()),
    expected: bad("bad-ip-header"),
  },
  {
    name: "header length 60 of which the frame holds 59",
    frame: frame4({ ihl: 15 }, raw(253, bytes(39))),
    expected: bad("truncated-ip"),
  },
  {
    name: "header length 60 which the frame just holds",
    frame: frame4({ ihl: 15 }, raw(253, bytes(40))),
    expected: { kind: "ip", l4Offset: 74, l4Length: 0 },
  },
  {
    name: "header length 60 of 59, total length 20: the frame's end first",
    frame: frame4({ ihl: 15, totalLength: 20 }, raw(253, bytes(39))),
    expected: bad("truncated-ip"),
  },
  {
    name: "total length shorter than the header",
    frame: frame4({ totalLength: 19 }, tcp()),
    expected: bad("bad-ip-header"),
  },
  {
    name: "total length shorter than a header with options",
    frame: frame4({ options: bytes(4), totalLength: 23 }, tcp()),
    expected: bad("bad-ip-header"),
  },
  { name: "total length 0", frame: frame4({ totalLength: 0 }, tcp()), expected: bad("bad-ip-header") },
  {
    name: "total length one more than the frame holds",
    frame: frame4({ totalLength: { add: 1 } }, tcp()),
    expected: bad("truncated-ip"),
  },
  {
    name: "a wrong checksum is not our business",
    frame: frame4({ checksum: 0xdead }, tcp()),
    expected: { kind: "ip", ...ports },
  },
  {
    name: "padding is not payload",
    frame: frame4({}, udp(), { padding: bytes(18) }),
    expected: { kind: "ip", l3Length: 28, l4Length: 8 },
  },
  {
    name: "options move the transport header",
    frame: frame4({ options: bytes(40) }, tcp()),
    expected: { kind: "ip", l4Offset: 74, l4Length: 20, ...ports },
  },
  {
    name: "an IPv6 extension header's number is a protocol like any other",
    frame: frame4({}, raw(60, bytes(1))),
    expected: { kind: "ip", protocol: 60, extensionHeaders: [] },
  },
];

const ipv4Fragments: Row[] = [
  {
    name: "do not fragment is no fragment",
    frame: frame4({ dontFragment: true }, tcp()),
    expected: { kind: "ip", fragment: false, laterFragment: false, ...ports },
  },
  {
    name: "the reserved flag is no fragment",
    frame: frame4({ fragmentOffset: 0x8000 }, tcp()),
    expected: { kind: "ip", fragment: false, laterFragment: false, fragmentOffset: 0, ...ports },
  },
  {
    name: "the first fragment has ports",
    frame: frame4({ moreFragments: true }, tcp()),
    expected: { kind: "ip", fragment: true, laterFragment: false, fragmentOffset: 0, ...ports },
  },
  {
    name: "a middle fragment has no ports",
    frame: frame4({ moreFragments: true, fragmentOffset: 185 }, tcp()),
    expected: { kind: "ip", fragment: true, laterFragment: true, fragmentOffset: 1480, hasPorts: false },
  },
  {
    name: "the last fragment has no ports",
    frame: frame4({ fragmentOffset: 185 }, udp()),
    expected: { kind: "ip", fragment: true, laterFragment: true, hasPorts: false },
  },
  {
    name: "a later fragment's data is not checked as a header",
    frame: frame4({ fragmentOffset: 2 }, raw(6, bytes(1))),
    expected: { kind: "ip", protocol: 6, laterFragment: true, l4Length: 1 },
  },
  {
    name: "the last byte at 65534",
    frame: frame4({ fragmentOffset: 8191 }, raw(17, bytes(7))),
    expected: { kind: "ip", laterFragment: true },
  },
  {
    name: "the last byte at 65535",
    frame: frame4({ fragmentOffset: 8191 }, raw(17, bytes(8))),
    expected: bad("bad-fragment"),
  },
  {
    name: "options do not count towards the end of a fragment",
    frame: frame4({ fragmentOffset: 8191, options: bytes(40) }, raw(17, bytes(7))),
    expected: { kind: "ip", laterFragment: true },
  },
  {
    name: "TCP data at 8, where flags could be overwritten",
    frame: frame4({ fragmentOffset: 1 }, raw(6, bytes(24))),
    expected: bad("bad-fragment"),
  },
  {
    name: "UDP data at 8",
    frame: frame4({ fragmentOffset: 1 }, raw(17, bytes(24))),
    expected: { kind: "ip", laterFragment: true },
  },
];

const transport: Row[] = [
  { name: "TCP, 19 bytes", frame: frame4({}, cut(tcp(), 19)), expected: bad("truncated-transport") },
  { name: "TCP, 20 bytes", frame: frame4({}, tcp()), expected: { kind: "ip", ...ports } },
  {
    name: "TCP whose last byte is padding",
    frame: frame4({}, cut(tcp(), 19), { padding: bytes(20) }),
    expected: bad("truncated-transport"),
  },
  {
    name: "TCP, a first fragment of 16 bytes",
    frame: frame4({ moreFragments: true }, cut(tcp(), 16)),
    expected: bad("truncated-transport"),
  },
  { name: "TCP, data offset 4", frame: frame4({}, tcp({ dataOffset: 4 })), expected: bad("bad-transport") },
  {
    name: "TCP, data offset 4 in 19 bytes: length first",
    frame: frame6({}, cut(tcp({ dataOffset: 4 }), 19)),
    expected: bad("truncated-transport"),
  },
  {
    name: "TCP, options beyond the packet",
    frame: frame6({}, tcp({ dataOffset: 6, payload: bytes(3) })),
    expected: bad("truncated-transport"),
  },
  {
    name: "TCP, options up to the end of the packet",
    frame: frame6({}, tcp({ dataOffset: 6, payload: bytes(4) })),
    expected: { kind: "ip", ...ports },
  },
  {
    name: "TCP flags",
    frame: frame4({}, tcp({ flags: 0xd5 })),
    expected: { kind: "ip", tcpFlags: 0xd5 },
  },
  {
    name: "TCP ports in network byte order",
    frame: frame4({}, tcp({ sourcePort: 0x0102, destinationPort: 0xfffe })),
    expected: { kind: "ip", sourcePort: 0x0102, destinationPort: 0xfffe },
  },
  { name: "UDP, 7 bytes", frame: frame4({}, cut(udp(), 7)), expected: bad("truncated-transport") },
  {
    name: "UDP, 8 bytes",
    frame: frame4({}, udp()),
    expected: { kind: "ip", hasPorts: true, sourcePort: 40000, destinationPort: 53 },
  },
  { name: "UDP, length 7", frame: frame4({}, udp({ length: 7 })), expected: bad("bad-transport") },
  { name: "UDP, length 0", frame: frame6({}, udp({ length: 0 })), expected: bad("bad-transport") },
  {
    name: "UDP, length 7 in a first fragment",
    frame: frame4({ moreFragments: true }, udp({ length: 7 })),
    expected: bad("bad-transport"),
  },
  {
    name: "UDP, length one more than the packet",
    frame: frame4({}, udp({ length: { add: 1 } }), { padding: bytes(9) }),
    expected: bad("truncated-transport"),
  },
  {
    name: "UDP, length less than the packet",
    frame: frame4({}, udp({ length: { add: -2 }, payload: bytes(4) })),
    expected: { kind: "ip", hasPorts: true },
  },
  {
    name: "UDP, a first fragment with the length of the whole",
    frame: frame6({ extensions: [fragmentHeader({ more: true })] }, udp({ length: 3000 })),
    expected: { kind: "ip", fragment: true, hasPorts: true },
  },
  {
    name: "UDP, an atomic fragment with a length beyond the packet",
    frame: frame6({ extensions: [fragmentHeader()] }, udp({ length: 3000 })),
    expected: bad("truncated-transport"),
  },
  { name: "ICMP, 7 bytes", frame: frame4({}, cut(icmp(), 7)), expected: bad("truncated-transport") },
  {
    name: "ICMP, 8 bytes",
    frame: frame4({}, icmp({ type: 3, code: 4 })),
    expected: { kind: "ip", hasPorts: false, icmpType: 3, icmpCode: 4 },
  },
  { name: "ICMPv6, 7 bytes", frame: frame6({}, cut(icmpv6(), 7)), expected: bad("truncated-transport") },
  {
    name: "ICMPv6, 8 bytes",
    frame: frame6({}, icmpv6({ type: 135 })),
    expected: { kind: "ip", hasPorts: false, icmpType: 135, icmpCode: 0 },
  },
  {
    name: "ICMP in IPv6 is not read",
    frame: frame6({}, raw(1)),
    expected: { kind: "ip", protocol: 1, hasPorts: false },
  },
  {
    name: "ICMPv6 in IPv4 is not read",
    frame: frame4({}, raw(58)),
    expected: { kind: "ip", protocol: 58, hasPorts: false },
  },
  {
    name: "SCTP has no ports here",
    frame: frame4({}, raw(132, bytes(12))),
    expected: { kind: "ip", protocol: 132, hasPorts: false },
  },
];

const groups = { link, ipv4Header, ipv4Fragments, transport };

describe.each(Object.entries(groups))("dissect: %s", (_, rows) => {
  it.each(rows.map((row) => [row.name, row] as const))("%s", (_name, { frame, expected }) => {
    expect(dissect(frame)).toMatchObject(expected);
  });
});

it("absent fields are absent: neither ports nor ICMP nor flags where there are none", () => {
  const later = dissect(frame4({ fragmentOffset: 185 }, tcp()));
  for (const field of ["sourcePort", "destinationPort", "tcpFlags", "icmpType", "icmpCode"]) {
    expect(later).not.toHaveProperty(field);
  }
});

it("every reason has a row, those of extension headers in packet-dissect-ipv6", () => {
  const rows = Object.values(groups).flat();
  const reasons = new Set(rows.map(({ expected }) => (expected.kind === "malformed" ? expected.reason : "")));
  const missing = malformedReasons.filter((reason) => !reasons.has(reason));
  expect(missing.every((reason) => reason.includes("extension-header"))).toBe(true);
});
