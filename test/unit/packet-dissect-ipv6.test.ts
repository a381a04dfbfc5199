// Known answers for the dissector on IPv6: the header, the chain of extension headers with its bounds and the order
// of its checks, and fragments. The rest is in packet-dissect.test.ts.
import { describe, expect, it } from "vitest";
import { type Dissected, dissect, type MalformedReason, malformedReasons } from "../../src/base/index.ts";
import {
  addressBytes,
  authenticationHeader,
  type EthernetSpec,
  type Extension,
  ethernet,
  extension,
  extensionTypes,
  fragmentHeader,
  type Ipv6Spec,
  ipv6,
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
const frame6 = (spec: Ipv6Spec, transport: Transport, link: EthernetSpec = {}) =>
  ethernet(link, ipv6(spec, transport));
const chain6 = (extensions: readonly Extension[], transport: Transport) => frame6({ extensions }, transport);
const take = (frame: Uint8Array, length: number) => frame.slice(0, length);
const ports = { hasPorts: true, sourcePort: 40000, destinationPort: 80 };
const { destinationOptions, hopByHop, routing } = extensionTypes;

const ipv6Header: Row[] = [
  { name: "39 bytes", frame: take(frame6({}, raw(59)), 14 + 39), expected: bad("truncated-ip") },
  {
    name: "40 bytes and no next header",
    frame: frame6({}, raw(59)),
    expected: {
      kind: "ip",
      family: 6,
      protocol: 59,
      l3Length: 40,
      l4Offset: 54,
      l4Length: 0,
      hasPorts: false,
    },
  },
  {
    name: "addresses, class and hop limit",
    frame: frame6(
      { source: "2001:db8::1", destination: "fe80::1", dscp: 46, hopLimit: 1, flowLabel: 0xfffff },
      tcp(),
    ),
    expected: {
      kind: "ip",
      source: addressBytes("2001:db8::1"),
      destination: addressBytes("fe80::1"),
      dscp: 46,
      hopLimit: 1,
    },
  },
  { name: "version 4", frame: frame6({ version: 4 }, tcp()), expected: bad("bad-ip-version") },
  {
    name: "version 4 in 39 bytes: length first",
    frame: take(frame6({ version: 4 }, tcp()), 14 + 39),
    expected: bad("truncated-ip"),
  },
  {
    name: "version 4 and a payload beyond the frame: version first",
    frame: frame6({ version: 4, payloadLength: { add: 1 } }, tcp()),
    expected: bad("bad-ip-version"),
  },
  {
    name: "payload length one more than the frame holds",
    frame: frame6({ payloadLength: { add: 1 } }, tcp()),
    expected: bad("truncated-ip"),
  },
  {
    name: "padding is not payload",
    frame: frame6({}, udp(), { padding: bytes(9) }),
    expected: { kind: "ip", l3Length: 48, l4Length: 8 },
  },
  {
    name: "payload length 0 has no room for TCP",
    frame: frame6({ payloadLength: 0 }, tcp()),
    expected: bad("truncated-transport"),
  },
  {
    name: "a jumbogram has no room for its hop-by-hop header",
    frame: frame6({ payloadLength: 0, extensions: [extension(hopByHop)] }, tcp()),
    expected: bad("truncated-extension-header"),
  },
  {
    name: "payload length ends inside the TCP header",
    frame: frame6({ payloadLength: 19 }, tcp()),
    expected: bad("truncated-transport"),
  },
];

const everyType = [hopByHop, routing, destinationOptions];
/** Mobility, HIP, shim6: formed like extension headers, but Linux does not look behind them. */
const endTypes = [135, 139, 140];
const eight = Array.from({ length: 8 }, () => extension(destinationOptions));

const extensionHeaders: Row[] = [
  ...everyType.map((type) => ({
    name: `header ${type} of 24 bytes is walked over`,
    frame: chain6([extension(type, 2)], tcp()),
    expected: {
      kind: "ip",
      protocol: 6,
      extensionHeaders: [type],
      l4Offset: 78,
      l4Length: 20,
      ...ports,
    } as const,
  })),
  ...endTypes.map((type) => ({
    name: `header ${type} is the protocol, whatever follows`,
    frame: chain6([extension(destinationOptions), extension(type, 2)], tcp()),
    expected: { kind: "ip", protocol: type, extensionHeaders: [60], hasPorts: false } as const,
  })),
  {
    name: "authentication header: 4-byte words, two of them not counted",
    frame: chain6([authenticationHeader(3)], tcp()),
    expected: { kind: "ip", protocol: 6, extensionHeaders: [51], l4Offset: 66, l4Length: 20, ...ports },
  },
  {
    name: "authentication header of 8 bytes",
    frame: chain6([authenticationHeader(2)], tcp()),
    expected: { kind: "ip", l4Offset: 62, ...ports },
  },
  {
    name: "the length rule is that of the header at hand: options before authentication",
    frame: chain6([extension(destinationOptions, 1), authenticationHeader(6)], tcp()),
    expected: { kind: "ip", extensionHeaders: [60, 51], l4Offset: 54 + 16 + 24, ...ports },
  },
  {
    name: "the length rule is that of the header at hand: authentication before options",
    frame: chain6([authenticationHeader(6), extension(destinationOptions, 1)], tcp()),
    expected: { kind: "ip", extensionHeaders: [51, 60], l4Offset: 54 + 24 + 16, ...ports },
  },
  {
    name: "eight headers",
    frame: chain6(eight, tcp()),
    expected: { kind: "ip", protocol: 6, l4Offset: 54 + 64, ...ports },
  },
  {
    name: "nine headers",
    frame: chain6([...eight, extension(routing)], tcp()),
    expected: bad("too-many-extension-headers"),
  },
  {
    name: "a ninth header for which there is no room: too many first",
    frame: chain6(eight, raw(routing)),
    expected: bad("too-many-extension-headers"),
  },
  {
    name: "a ninth header that is hop-by-hop: too many first",
    frame: chain6([...eight, extension(hopByHop)], tcp()),
    expected: bad("too-many-extension-headers"),
  },
  {
    name: "a ninth header that is a fragment",
    frame: chain6([...eight, fragmentHeader({ offset: 9 })], tcp()),
    expected: bad("too-many-extension-headers"),
  },
  {
    name: "hop-by-hop after another header",
    frame: chain6([extension(destinationOptions), extension(hopByHop)], tcp()),
    expected: bad("bad-extension-header"),
  },
  {
    name: "hop-by-hop twice",
    frame: chain6([extension(hopByHop), extension(hopByHop)], tcp()),
    expected: bad("bad-extension-header"),
  },
  {
    name: "a misplaced hop-by-hop for which there is no room: place first",
    frame: chain6([extension(destinationOptions)], raw(hopByHop, bytes(7))),
    expected: bad("bad-extension-header"),
  },
  {
    name: "7 bytes for a header",
    frame: chain6([], raw(routing, bytes(7))),
    expected: bad("truncated-extension-header"),
  },
  {
    name: "a length 8 bytes beyond the packet",
    frame: chain6([extension(routing, 0, 1)], raw(253, bytes(7))),
    expected: bad("truncated-extension-header"),
  },
  {
    name: "a length that ends with the packet",
    frame: chain6([extension(routing, 0, 1)], raw(253, bytes(8))),
    expected: { kind: "ip", protocol: 253, l4Length: 0 },
  },
  {
    name: "a length that ends in the padding",
    frame: frame6({ extensions: [extension(routing, 0, 1)] }, raw(253), { padding: bytes(46) }),
    expected: bad("truncated-extension-header"),
  },
  {
    name: "an authentication header 4 bytes beyond the packet",
    frame: chain6([authenticationHeader(3, 2)], raw(253, bytes(3))),
    expected: bad("truncated-extension-header"),
  },
  {
    name: "an authentication header that ends with the packet",
    frame: chain6([authenticationHeader(3, 2)], raw(253, bytes(4))),
    expected: { kind: "ip", protocol: 253, l4Length: 0 },
  },
  {
    name: "no next header ends the chain, whatever follows",
    frame: chain6([extension(destinationOptions)], raw(59, bytes(30))),
    expected: { kind: "ip", protocol: 59, hasPorts: false, l4Length: 30 },
  },
  {
    name: "ESP ends the chain",
    frame: chain6([extension(hopByHop)], raw(50, bytes(3))),
    expected: { kind: "ip", protocol: 50, hasPorts: false },
  },
  {
    name: "IPv4 in IPv6 is a protocol",
    frame: chain6([], raw(4, bytes(20))),
    expected: { kind: "ip", family: 6, protocol: 4 },
  },
];

const ipv6Fragments: Row[] = [
  {
    name: "an atomic fragment is no fragment",
    frame: chain6([fragmentHeader()], tcp()),
    expected: { kind: "ip", fragment: false, laterFragment: false, extensionHeaders: [44], ...ports },
  },
  {
    name: "the first fragment has ports",
    frame: chain6([fragmentHeader({ more: true })], tcp()),
    expected: { kind: "ip", fragment: true, laterFragment: false, ...ports },
  },
  {
    name: "a later fragment has no ports",
    frame: chain6([fragmentHeader({ offset: 185, more: true })], tcp()),
    expected: {
      kind: "ip",
      protocol: 6,
      fragment: true,
      laterFragment: true,
      fragmentOffset: 1480,
      hasPorts: false,
    },
  },
  {
    name: "the last fragment has no ports",
    frame: chain6([fragmentHeader({ offset: 185 })], raw(17, bytes(1))),
    expected: { kind: "ip", protocol: 17, fragment: true, laterFragment: true, l4Length: 1 },
  },
  {
    name: "the reserved byte is no length",
    frame: chain6([fragmentHeader({ reserved: 0xff })], tcp()),
    expected: { kind: "ip", l4Offset: 62, ...ports },
  },
  {
    name: "the reserved bits are neither offset nor more fragments",
    frame: chain6([fragmentHeader({ reservedBits: 3 })], tcp()),
    expected: { kind: "ip", fragment: false, fragmentOffset: 0, ...ports },
  },
  {
    name: "the chain goes on after a first fragment header",
    frame: chain6(
      [extension(hopByHop), fragmentHeader({ more: true }), extension(destinationOptions, 1)],
      tcp(),
    ),
    expected: {
      kind: "ip",
      fragment: true,
      extensionHeaders: [0, 44, 60],
      l4Offset: 54 + 8 + 8 + 16,
      ...ports,
    },
  },
  {
    name: "the chain ends with a later fragment's header",
    frame: chain6([fragmentHeader({ offset: 3 }), extension(destinationOptions)], tcp()),
    expected: { kind: "ip", protocol: 60, laterFragment: true, extensionHeaders: [44], hasPorts: false },
  },
  {
    name: "a later fragment that announces a second fragment header",
    frame: chain6([fragmentHeader({ offset: 3 }), fragmentHeader()], tcp()),
    expected: { kind: "ip", protocol: 44, laterFragment: true },
  },
  {
    name: "two fragment headers",
    frame: chain6([fragmentHeader(), fragmentHeader()], tcp()),
    expected: bad("bad-extension-header"),
  },
  {
    name: "two fragment headers with options between them",
    frame: chain6([fragmentHeader({ more: true }), extension(60), fragmentHeader({ offset: 4 })], tcp()),
    expected: bad("bad-extension-header"),
  },
  {
    name: "a second fragment header for which there is no room: room first",
    frame: chain6([fragmentHeader()], raw(44, bytes(7))),
    expected: bad("truncated-extension-header"),
  },
  {
    name: "7 bytes of a fragment header",
    frame: chain6([], raw(44, bytes(7))),
    expected: bad("truncated-extension-header"),
  },
  {
    name: "the last byte at 65534",
    frame: chain6([fragmentHeader({ offset: 8191 })], raw(17, bytes(7))),
    expected: { kind: "ip", laterFragment: true },
  },
  {
    name: "the last byte at 65535",
    frame: chain6([fragmentHeader({ offset: 8191 })], raw(17, bytes(8))),
    expected: bad("bad-fragment"),
  },
  {
    name: "TCP data at 8, where flags could be overwritten",
    frame: chain6([fragmentHeader({ offset: 1 })], raw(6, bytes(24))),
    expected: bad("bad-fragment"),
  },
  {
    name: "UDP data at 8",
    frame: chain6([fragmentHeader({ offset: 1 })], raw(17, bytes(24))),
    expected: { kind: "ip", laterFragment: true },
  },
  {
    name: "data at 8 whose first header is not TCP",
    frame: chain6([fragmentHeader({ offset: 1 }), extension(destinationOptions)], tcp()),
    expected: { kind: "ip", protocol: 60, laterFragment: true },
  },
];

const groups = { ipv6Header, extensionHeaders, ipv6Fragments };

describe.each(Object.entries(groups))("dissect: %s", (_, rows) => {
  it.each(rows.map((row) => [row.name, row] as const))("%s", (_name, { frame, expected }) => {
    expect(dissect(frame)).toMatchObject(expected);
  });
});

it("every reason that speaks of extension headers has a row", () => {
  const rows = Object.values(groups).flat();
  const reasons = new Set(rows.map(({ expected }) => (expected.kind === "malformed" ? expected.reason : "")));
  const missing = malformedReasons.filter((reason) => !reasons.has(reason));
  expect(missing.filter((reason) => reason.includes("extension-header"))).toEqual([]);
});
