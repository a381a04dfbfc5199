// What holds for the dissector on any bytes: it never fails, never reads beyond the packet, and finds in an honest
// packet what was put into it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dissect, malformedReasons } from "../../src/base/index.ts";
import { arbitraryFrame, arbitraryHonestPacket } from "../fixtures/packet-arbitraries.ts";
import { concat } from "../fixtures/packets.ts";

const runs = { numRuns: 1500 };

describe("dissect", () => {
  it("gives a result for any bytes", () => {
    fc.assert(
      fc.property(arbitraryFrame, (frame) => {
        const result = dissect(frame);
        if (result.kind === "malformed") expect(malformedReasons).toContain(result.reason);
        else expect(["non-ip", "ip"]).toContain(result.kind);
      }),
      runs,
    );
  });

  it("gives a result for every prefix of any frame", () => {
    fc.assert(
      fc.property(arbitraryFrame, (frame) => {
        for (let length = 0; length <= frame.length; length++) dissect(frame.subarray(0, length));
      }),
      { numRuns: 300 },
    );
  });

  it("finds in an honest packet what was put into it", () => {
    fc.assert(
      fc.property(arbitraryHonestPacket, ({ frame, expected: { ports, ...expected } }) => {
        expect(dissect(frame)).toMatchObject({
          kind: "ip",
          ...expected,
          hasPorts: ports !== undefined,
          ...(ports !== undefined && { sourcePort: ports.source, destinationPort: ports.destination }),
        });
      }),
      runs,
    );
  });

  it("takes every honest packet that was cut for malformed", () => {
    fc.assert(
      fc.property(arbitraryHonestPacket, fc.nat(), ({ frame }, at) => {
        const whole = dissect(frame);
        if (whole.kind !== "ip") throw new Error("An honest packet was not read");
        const packetEnd = whole.l3Offset + whole.l3Length;
        expect(dissect(frame.subarray(0, at % packetEnd)).kind).toBe("malformed");
      }),
      runs,
    );
  });

  it("does not see padding", () => {
    fc.assert(
      fc.property(arbitraryFrame, fc.uint8Array({ minLength: 1, maxLength: 64 }), (frame, padding) => {
        const result = dissect(frame);
        fc.pre(result.kind === "ip");
        expect(dissect(concat(frame, padding))).toEqual(result);
      }),
      runs,
    );
  });

  it("places the headers inside the frame", () => {
    fc.assert(
      fc.property(arbitraryFrame, (frame) => {
        const result = dissect(frame);
        fc.pre(result.kind === "ip");
        expect(result.l3Offset).toBe(14 + 4 * result.tags.length);
        expect(result.l4Offset + result.l4Length).toBe(result.l3Offset + result.l3Length);
        expect(result.l3Offset + result.l3Length).toBeLessThanOrEqual(frame.length);
        expect(result.l4Offset).toBeGreaterThanOrEqual(result.l3Offset + (result.family === 4 ? 20 : 40));
      }),
      runs,
    );
  });

  it("depends on the bytes alone, not on where they lie in a buffer", () => {
    fc.assert(
      fc.property(arbitraryFrame, fc.nat(64), (frame, before) => {
        const buffer = concat(new Uint8Array(before).fill(0x45), frame, new Uint8Array(64).fill(0x60));
        const moved = buffer.subarray(before, before + frame.length);
        expect(dissect(moved)).toEqual(dissect(frame));
      }),
      runs,
    );
  });

  it("meets every reason in the frames that the arbitraries make", () => {
    const seen = new Set<string>();
    for (const frame of fc.sample(arbitraryFrame, { numRuns: 20000, seed: 1 })) {
      const result = dissect(frame);
      seen.add(result.kind === "malformed" ? result.reason : result.kind);
    }
    expect([...seen].sort()).toEqual([...malformedReasons, "ip", "non-ip"].sort());
  });
});
