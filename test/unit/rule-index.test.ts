// The index against a model: whatever records come, change and go, every packet finds the slots whose records may
// match it, at every moment; and once only one record a slot is left, it finds what a fresh index gives it, exactly
// those that say nothing against it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Demand, FamilyPrefix } from "../../src/bpf/index-demand.ts";
import { type IndexMemory, plainMemory } from "../../src/bpf/index-memory.ts";
import { partsOf } from "../../src/bpf/index-parts.ts";
import type { NumberRange } from "../../src/bpf/range-field.ts";
import { RuleIndex } from "../../src/bpf/rule-index.ts";
import { type IndexedPacket, walkIndex } from "../fixtures/index-walk.ts";

const slots = 16_384;
const memoryOf = (
  room: Partial<Record<"chunks" | "classes" | "lines", number>> = {},
  unitWords = 2,
): IndexMemory =>
  plainMemory({
    roots: 2 << 20,
    chunks: (room.chunks ?? 512) * 64,
    values: 3 * 65_536 + 256,
    classes: room.classes ?? 2048,
    rows: (room.lines ?? 8192) * 16,
    any: (4 + 256 * unitWords) * 16,
    prefixes: 256,
  });

const prefix: fc.Arbitrary<FamilyPrefix> = fc
  .record({
    family: fc.constantFrom(4 as const, 6 as const),
    // Few different bits, so that prefixes lie in each other.
    bits: fc.array(fc.constantFrom(0, 0x80, 0xc0, 0xff), { minLength: 16, maxLength: 16 }),
    length: fc.integer({ min: 1, max: 128 }),
  })
  .map(({ family, bits, length: long }) => {
    const length = family === 4 ? ((long - 1) % 32) + 1 : long;
    const bytes = Uint8Array.from(bits);
    for (let i = length; i < 128; i++) bytes[i >> 3] = (bytes[i >> 3] ?? 0) & ~(0x80 >> (i & 7));
    return { family, bytes, length };
  });
const range = (most: number): fc.Arbitrary<NumberRange> =>
  fc
    .tuple(
      fc.constantFrom(0, 1, 2, 5, 6, 7, most - 1, most),
      fc.constantFrom(0, 1, 2, 5, 6, 7, most - 1, most),
    )
    .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const ranges = (most: number) => fc.option(fc.array(range(most), { maxLength: 3 }), { nil: undefined });
const demand: fc.Arbitrary<Demand> = fc
  .record({
    source: fc.option(prefix, { nil: undefined }),
    destination: fc.option(prefix, { nil: undefined }),
    sourcePorts: ranges(65_535),
    second: ranges(65_535),
    isIcmp: fc.boolean(),
    protocols: ranges(255),
  })
  .map(({ second, isIcmp, sourcePorts, ...rest }) => ({
    ...rest,
    sourcePorts: isIcmp ? undefined : sourcePorts,
    destinationPorts: isIcmp ? undefined : second,
    icmp: isIcmp ? second : undefined,
  }));

interface Edit {
  readonly slot: number;
  readonly demands: readonly Demand[];
  readonly flush: boolean;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  // Neighbours, and other words, units and summary words.
  slot: fc.constantFrom(0, 1, 63, 64, 127, 128, 129, 8191, 8192, slots - 1),
  demands: fc.array(demand, { maxLength: 2 }),
  flush: fc.boolean(),
});

const number = (most: number) => fc.constantFrom(0, 1, 2, 3, 5, 6, 7, 8, most - 1, most);
const packet: fc.Arbitrary<IndexedPacket> = fc
  .record({
    family: fc.constantFrom(0 as const, 4 as const, 6 as const),
    source: prefix,
    destination: prefix,
    kind: fc.constantFrom("ports", "icmp", "neither"),
    one: number(65_535),
    other: number(65_535),
    protocol: number(255),
    authenticated: fc.boolean(),
  })
  .map(({ kind, one, other, source, destination, ...rest }) => ({
    ...rest,
    source: source.bytes,
    destination: destination.bytes,
    ports: kind === "ports" ? { source: one, destination: other } : undefined,
    icmp: kind === "icmp" ? one : undefined,
  }));

/** Whether nothing in the demand speaks against the packet. */
function allows(of: Demand, to: IndexedPacket): boolean {
  const inPrefix = (one: FamilyPrefix | undefined, address: Uint8Array) => {
    if (one === undefined) return true;
    if (one.family !== to.family) return false;
    for (let i = 0; i < one.length; i++)
      if ((((one.bytes[i >> 3] ?? 0) ^ (address[i >> 3] ?? 0)) >> (7 - (i & 7))) & 1) return false;
    return true;
  };
  const inRanges = (list: readonly NumberRange[] | undefined, value: number | undefined) =>
    list === undefined ||
    (value !== undefined && list.some(({ first, last }) => value >= first && value <= last));
  return (
    inPrefix(of.source, to.source) &&
    inPrefix(of.destination, to.destination) &&
    inRanges(of.sourcePorts, to.ports?.source) &&
    inRanges(of.destinationPorts, to.ports?.destination) &&
    inRanges(of.icmp, to.icmp) &&
    (to.authenticated || inRanges(of.protocols, to.family === 0 ? undefined : to.protocol))
  );
}

async function candidates(memory: IndexMemory, to: IndexedPacket): Promise<readonly number[]> {
  const tries = await memory.prefixes.entries();
  const longest = (side: number, address: Uint8Array) => {
    let best = { length: -1, number: 0 };
    for (const { key, number } of tries) {
      const one: Demand = { ...nothing, source: { family: 6, bytes: key.bytes, length: key.length } };
      if (key.side === side && key.length > best.length && allows(one, { ...to, family: 6, source: address }))
        best = { length: key.length, number };
    }
    return best.number;
  };
  return walkIndex(memory, to, longest).slots;
}

const nothing: Demand = {
  source: undefined,
  destination: undefined,
  sourcePorts: undefined,
  destinationPorts: undefined,
  icmp: undefined,
  protocols: undefined,
};

/** The slots whose demands allow the packet, in order. */
function expected(held: ReadonlyMap<number, readonly Demand[]>, to: IndexedPacket): number[] {
  const found = [...held].filter(([, demands]) => demands.some((one) => allows(one, to)));
  return found.map(([slot]) => slot).sort((a, b) => a - b);
}

function passGrace(index: RuleIndex): void {
  index.takeRetired()();
}

describe("the rule index", () => {
  it("has for each packet the slots that may match it, and exactly those with one record a slot", async () => {
    const property = fc.asyncProperty(
      fc.array(edit, { maxLength: 12 }),
      fc.array(packet, { minLength: 4, maxLength: 12 }),
      async (edits, packets) => {
        const memory = memoryOf();
        const index = new RuleIndex(memory);
        const held = new Map<number, readonly Demand[]>();
        for (const { slot, demands, flush } of edits) {
          index.demand(slot, demands);
          held.set(slot, demands);
          if (!flush) continue;
          index.flush();
          passGrace(index);
          for (const to of packets)
            expect(await candidates(memory, to)).toEqual(expect.arrayContaining(expected(held, to)));
        }
        // Settled: what was there before is gone.
        for (const [slot, [first]] of held) {
          const left = first === undefined ? [] : [first];
          index.demand(slot, left);
          held.set(slot, left);
        }
        index.flush();
        passGrace(index);
        for (const to of packets) expect(await candidates(memory, to)).toEqual(expected(held, to));
        const fresh = new RuleIndex(memoryOf());
        for (const [slot, demands] of held) fresh.demand(slot, demands);
        fresh.flush();
        expect(index.use).toEqual(fresh.use);
        for (const slot of held.keys()) index.demand(slot, []);
        index.flush();
        expect(index.use).toEqual({ classes: 0, lines: 0, chunks: 0, prefixes: 0 });
      },
    );
    await fc.assert(property, { numRuns: 60 });
  }, 120_000);

  it("keeps what it had where there is no room for more, and can go back", async () => {
    const property = fc.asyncProperty(
      fc.array(demand, { minLength: 1, maxLength: 6 }),
      fc.array(demand, { minLength: 1, maxLength: 30 }),
      fc.array(packet, { minLength: 4, maxLength: 8 }),
      async (before, more, packets) => {
        const room = new RuleIndex(memoryOf());
        for (const [slot, one] of before.entries()) room.demand(slot, [one]);
        room.flush();
        const { classes, lines, chunks } = room.use;
        const memory = memoryOf({ classes: classes + 6, lines: lines * 2 + 8, chunks: chunks + 2 });
        const index = new RuleIndex(memory);
        const held = new Map(before.map((one, slot) => [slot, [one] as readonly Demand[]]));
        for (const [slot, demands] of held) index.demand(slot, demands);
        index.flush();
        passGrace(index);
        for (const [i, one] of more.entries()) index.demand(200 + i * 70, [one]);
        let full = false;
        try {
          index.flush();
        } catch (error) {
          full = true;
          expect(error).toMatchObject({ code: "table-full" });
        }
        for (const to of packets)
          expect(await candidates(memory, to)).toEqual(expect.arrayContaining(expected(held, to)));
        for (const i of more.keys()) index.demand(200 + i * 70, []);
        index.flush();
        for (const to of packets)
          expect(await candidates(memory, to)).toEqual(expect.arrayContaining(expected(held, to)));
        passGrace(index);
        return full || true;
      },
    );
    await fc.assert(property, { numRuns: 60 });
  }, 120_000);

  it("takes the place of an index that packets read, with all of it there after every store", async () => {
    const property = fc.asyncProperty(
      fc.array(demand, { minLength: 1, maxLength: 8 }),
      fc.array(packet, { minLength: 4, maxLength: 8 }),
      async (demands, packets) => {
        const memory = memoryOf();
        const former = new RuleIndex(memory);
        for (const [slot, one] of demands.entries()) former.demand(slot, [one]);
        former.flush();
        const there = await memory.prefixes.entries();
        const index = new RuleIndex(memoryOf());
        index.reserve(partsOf(memory, there));
        const held = new Map(demands.map((one, slot) => [slot, [one] as readonly Demand[]]));
        for (const [slot, one] of held) index.demand(slot, one);
        index.flush();
        await index.moveTo(memory, there);
        for (const to of packets) expect(await candidates(memory, to)).toEqual(expected(held, to));
        // Nothing that the former one used was written over.
        passGrace(index);
        for (const slot of held.keys()) index.demand(slot, []);
        index.flush();
        for (const to of packets) expect(await candidates(memory, to)).toEqual([]);
      },
    );
    await fc.assert(property, { numRuns: 40 });
  }, 120_000);
});
