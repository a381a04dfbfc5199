// Git's framing: any packets in any pieces come out as they went in; what is cut or is no framing is said so.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodePackets, encodePackets, type Mark, type Packet } from "../../src/source/pkt-line.ts";

async function* inPieces(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const size = sizes.length === 0 ? bytes.length : Math.max(1, sizes[i % sizes.length]!);
    // A copy each, as what comes off a socket may be reused.
    yield Uint8Array.from(bytes.subarray(at, at + size));
    at += size;
  }
}

async function decode(bytes: Buffer, sizes: readonly number[] = []): Promise<(string | { mark: Mark })[]> {
  const out: (string | { mark: Mark })[] = [];
  const fail = (how: string) => new Error(how);
  for await (const packet of decodePackets(inPieces(bytes, sizes), fail) as AsyncIterable<Packet>) {
    out.push(typeof packet === "string" ? { mark: packet } : packet.toString("utf8"));
  }
  return out;
}

const mark = fc.constantFrom<Mark>("flush", "delimiter", "end").map((m) => ({ mark: m }));
const packets = fc.array(fc.oneof(fc.string({ minLength: 1, maxLength: 300 }), mark), { maxLength: 20 });
const pieces = fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 10 });

describe("decodePackets", () => {
  it("gives back what was encoded, whatever the pieces", async () => {
    await fc.assert(
      fc.asyncProperty(packets, pieces, async (list, sizes) => {
        expect(await decode(encodePackets(list), sizes)).toEqual(list);
      }),
    );
  });

  it("tells a cut inside a packet from an end between two", async () => {
    const list = [
      "want this\n",
      { mark: "delimiter" as const },
      "x".repeat(1000),
      { mark: "flush" as const },
    ];
    const bytes = encodePackets(list);
    const ends = list.map((_, i) => encodePackets(list.slice(0, i + 1)).length);
    for (let length = 1; length < bytes.length; length++) {
      const result = decode(bytes.subarray(0, length), [7]);
      if (ends.includes(length)) await expect(result).resolves.toBeDefined();
      else await expect(result).rejects.toThrow("cut-off");
    }
  });

  it("takes the longest packet", async () => {
    const text = "y".repeat(65_516);
    expect(await decode(encodePackets([text]), [1000])).toEqual([text]);
  });

  it.each(["0003", "zzzz", "-001", "+123", " 12a", "<htm", "0x1a"])("refuses the length %j", async (text) => {
    await expect(decode(Buffer.from(`${text}rest of it`))).rejects.toThrow("malformed");
  });
});
