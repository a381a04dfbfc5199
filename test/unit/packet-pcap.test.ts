// The capture reader of the fixtures: byte orders, link types, and files that end too early.
import { describe, expect, it } from "vitest";
import { readCapture } from "../fixtures/pcap.ts";

interface FileOptions {
  readonly littleEndian?: boolean;
  readonly magic?: number;
  readonly linkType?: number;
}

function captureFile(packets: readonly Uint8Array[], options: FileOptions = {}): Uint8Array {
  const { littleEndian = true, magic = 0xa1b2c3d4, linkType = 1 } = options;
  const bytes = new Uint8Array(24 + packets.reduce((sum, packet) => sum + 16 + packet.length, 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, littleEndian);
  view.setUint32(20, linkType, littleEndian);
  let at = 24;
  for (const packet of packets) {
    view.setUint32(at + 8, packet.length, littleEndian);
    view.setUint32(at + 12, packet.length + 1, littleEndian);
    bytes.set(packet, at + 16);
    at += 16 + packet.length;
  }
  return bytes;
}

const first = Uint8Array.of(1, 2, 3);
const second = Uint8Array.of(0x45, 5);
const two = [
  { frame: first, originalLength: 4 },
  { frame: second, originalLength: 3 },
];
const header = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

describe("readCapture", () => {
  it.each([
    ["little-endian, microseconds", {}],
    ["big-endian, microseconds", { littleEndian: false }],
    ["little-endian, nanoseconds", { magic: 0xa1b23c4d }],
    ["big-endian, nanoseconds", { littleEndian: false, magic: 0xa1b23c4d }],
  ])("%s", (_, options) => {
    const expected = { kind: "capture", linkType: 1, frames: two };
    expect(readCapture(captureFile([first, second], options))).toEqual(expected);
  });

  it("takes the link type from the lower half", () => {
    expect(readCapture(captureFile([first], { linkType: 0x30000001 }))).toMatchObject({ linkType: 1 });
  });

  it.each([12, 101, 228, 229])("puts an Ethernet header before raw IP, link type %i", (linkType) => {
    const packets = [second, Uint8Array.of(0x60), Uint8Array.of(0x10)];
    expect(readCapture(captureFile(packets, { linkType }))).toMatchObject({
      linkType,
      frames: [
        { frame: Uint8Array.of(...header, 0x08, 0x00, 0x45, 5) },
        { frame: Uint8Array.of(...header, 0x86, 0xdd, 0x60) },
        { frame: Uint8Array.of(...header, 0xff, 0xff, 0x10) },
      ],
    });
  });

  it("reports other links", () => {
    const linkType = 105;
    expect(readCapture(captureFile([first], { linkType }))).toEqual({
      kind: "unsupported-link-type",
      linkType,
    });
  });

  it.each([
    ["an empty file", new Uint8Array(0)],
    ["half a header", captureFile([]).slice(0, 23)],
    ["another magic number", captureFile([], { magic: 0x0a0d0d0a })],
  ])("reports %s", (_, bytes) => {
    expect(readCapture(bytes)).toEqual({ kind: "not-a-capture" });
  });

  it("keeps what comes before a record that is cut", () => {
    const bytes = captureFile([first, second]);
    const kept = { kind: "capture", linkType: 1, frames: [two[0]] };
    expect(readCapture(bytes.slice(0, -1))).toEqual({ ...kept, fault: "truncated-record" });
    expect(readCapture(bytes.slice(0, -3))).toEqual({ ...kept, fault: "truncated-record-header" });
    expect(readCapture(bytes.slice(0, 24 + 16 + 3))).toEqual(kept);
  });
});
