// Carrying entries from one map to another while programs go on writing: what they count, and what they enter.
import { expect, it } from "vitest";
import type { FieldType, StructLayout } from "../../src/abi/index.ts";
import { copyBytes, planConversion } from "../../src/bpf/convert.ts";
import { CountAdder } from "../../src/bpf/count-adder.ts";
import { type BpfMap, createMap, MAP_TYPE } from "../../src/bpf/index.ts";
import type { MapChange } from "../../src/bpf/map-change.ts";
import { addCounts, addMissing, copyEntries } from "../../src/bpf/migrate.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";

const carry = { generation: 0n };
const number = (bits: 32 | 64): FieldType => ({ kind: "uint", bits, bigEndian: false });

function change(from: BpfMap, to: BpfMap, value?: FieldType): MapChange {
  return {
    name: from.name,
    from,
    entriesMax: to.entriesMax,
    key: copyBytes(),
    value: value === undefined ? copyBytes() : planConversion(value, value),
    types: { key: undefined, value },
    table: undefined,
    words: [`${from.name}: changed`],
  };
}

const word = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const wordOf = (bytes: Uint8Array | undefined) => bytes && new DataView(bytes.buffer).getUint32(0, true);

describeKernel("entries of a map that programs write", () => {
  const makeHash = (entriesMax: number) =>
    createMap({ name: "seen", type: MAP_TYPE.hash, keySize: 4, valueSize: 4, entriesMax });

  it("are completed by those that came after the copy, and the new program's stay", async () => {
    const [old, fresh] = [makeHash(8), makeHash(16)];
    old.update(word(1), word(10));
    old.update(word(2), word(20));
    await copyEntries(change(old, fresh), fresh, carry);
    old.update(word(3), word(30));
    old.update(word(1), word(11));
    fresh.update(word(1), word(12));
    fresh.update(word(4), word(40));
    await addMissing(change(old, fresh), fresh, carry);
    expect([1, 2, 3, 4].map((key) => wordOf(fresh.lookup(word(key))))).toEqual([12, 20, 30, 40]);
    old.close();
    fresh.close();
  });

  it("are refused where they are more than the new map takes", async () => {
    const [old, fresh] = [makeHash(8), makeHash(2)];
    for (const key of [1, 2, 3]) old.update(word(key), word(key));
    await expect(copyEntries(change(old, fresh), fresh, carry)).rejects.toThrow(
      "Cannot make map seen smaller: 2 entries are wanted, 3 are in use",
    );
    old.close();
    fresh.close();
  });
});

describeKernel("counts of a map for each processor", () => {
  const layout: StructLayout = {
    name: "budget",
    size: 24,
    fields: [
      { name: "windowStartNs", offset: 0, size: 8, type: number(64) },
      { name: "used", offset: 8, size: 8, type: number(64) },
      { name: "last", offset: 16, size: 4, type: number(32) },
    ],
  };
  const type: FieldType = { kind: "struct", layout };
  const make = (kind: number, keySize: number) =>
    createMap({ name: "budgets", type: kind, keySize, valueSize: layout.size, entriesMax: 4 });
  const valuesOf = (map: BpfMap, ...words: readonly number[]) => {
    const values = new BigUint64Array(map.valueBytes / 8);
    for (let cpu = 0; cpu < map.cpuCount; cpu++)
      values.set(
        words.map((value) => BigInt(value * (cpu + 1))),
        (cpu * map.valueStride) / 8,
      );
    return new Uint8Array(values.buffer);
  };
  const sums = (map: BpfMap, key: Uint8Array) => {
    const values = map.lookup(key);
    const words = values && new BigUint64Array(values.buffer);
    return [0, 1, 2].map((at) =>
      Number(words?.filter((_, i) => i % (map.valueStride / 8) === at).reduce((a, b) => a + b, 0n)),
    );
  };
  const kinds = [
    { name: "array", kind: MAP_TYPE.perCpuArray, key: word(2) },
    { name: "hash", kind: MAP_TYPE.perCpuHash, key: new Uint8Array([1, 2, 3, 4, 5]) },
  ];

  it.each(kinds)(
    "are added to what the new program has counted, and only they: $name",
    async ({ kind, key }) => {
      const [old, fresh] = [make(kind, key.length), make(kind, key.length)];
      const processors = (old.cpuCount * (old.cpuCount + 1)) / 2;
      old.update(key, valuesOf(old, 1000, 5, 7));
      fresh.update(key, valuesOf(fresh, 2000, 3, 9));
      await addCounts(change(old, fresh, type), fresh);
      expect(sums(fresh, key)).toEqual([2000 * processors, 8 * processors, 9 * processors]);
      // Who begins again after a kill does not count anything twice.
      await addCounts(change(old, fresh, type), fresh);
      expect(sums(fresh, key)).toEqual([2000 * processors, 8 * processors, 9 * processors]);
      old.close();
      fresh.close();
    },
  );

  it("begin where there were none, whatever a key looks like", async () => {
    const key = new Uint8Array([9, 8, 7, 6, 5]);
    const [old, fresh] = [make(MAP_TYPE.perCpuHash, 5), make(MAP_TYPE.perCpuHash, 5)];
    old.update(key, valuesOf(old, 1, 5, 7));
    const adder = new CountAdder(fresh, [8]);
    expect(adder.add(key, [1n])).toBe(false);
    await addCounts(change(old, fresh, type), fresh);
    expect(fresh.lookup(key)).toEqual(valuesOf(fresh, 1, 5, 7));
    expect(adder.add(key, [1n])).toBe(true);
    adder.close();
    old.close();
    fresh.close();
  });
});
