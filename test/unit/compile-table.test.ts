// Packed tables: what becomes of keys that are added twice, and that the index finds what a Map finds.
import fc from "fast-check";
import { expect, it } from "vitest";
import { xdpFirewallMaps } from "../../src/abi/index.ts";
import {
  indexTable,
  KeyIndex,
  type PackedTable,
  PackedTableBuilder,
  tableSpec,
  wordsOf,
} from "../../src/compile/index.ts";

const prefixes = tableSpec(xdpFirewallMaps.address_set_v4, { shape: "prefix", presence: "presence" });
const rules = tableSpec(xdpFirewallMaps.fw_rules, {
  shape: "ordered",
  presence: "action",
  identity: ["ruleId", "part"],
});

/** A table with one entry for each number, which its key holds; the payload and the origin count the entries. */
function build(spec: typeof prefixes, numbers: readonly number[]): PackedTable {
  const builder = new PackedTableBuilder(spec, 1);
  const keySize = spec.identity?.size ?? spec.keySize;
  numbers.forEach((number, i) => {
    builder.add(new Uint8Array(keySize).fill(number), new Uint8Array(spec.payloadSize).fill(i), i);
  });
  return builder.build();
}

function entriesOf(table: PackedTable): number[][] {
  const keySize = table.keys.length / table.count;
  const at = (i: number) => [
    table.keys[i * keySize] ?? -1,
    table.payloads[i * table.spec.payloadSize] ?? -1,
    table.origins[i] ?? -1,
  ];
  return Array.from({ length: table.count }, (_, i) => at(i));
}

const someNumbers = fc.array(fc.nat(20), { maxLength: 60 });

it("of equal keys of a prefix table the first is kept, in its place", () => {
  fc.assert(
    fc.property(someNumbers, (numbers) => {
      const firsts = numbers.flatMap((number, i) => (numbers.indexOf(number) === i ? [[number, i, i]] : []));
      const table = build(prefixes, numbers);
      expect(entriesOf(table)).toEqual(firsts);
      expect(table.keys.length).toBe(firsts.length * prefixes.keySize);
      expect(table.payloads.length).toBe(firsts.length * prefixes.payloadSize);
    }),
  );
});

it("a table of another shape holds all that was added", () => {
  expect(entriesOf(build(rules, [7, 7, 8]))).toEqual([
    [7, 0, 0],
    [7, 1, 1],
    [8, 2, 2],
  ]);
});

it("an index finds the first entry of every key, and names the others", () => {
  fc.assert(
    fc.property(someNumbers, (numbers) => {
      const keys = Uint32Array.from(numbers.flatMap((number) => [number, 0, 1]));
      const index = new KeyIndex(new Uint8Array(keys.buffer), 12);
      expect(index.enter(0, numbers.length)).toEqual(
        numbers.flatMap((number, i) => (numbers.indexOf(number) === i ? [] : [i])),
      );
      for (let number = 0; number <= 21; number++) {
        expect(index.find(Uint32Array.of(9, number, 0, 1), 1)).toBe(numbers.indexOf(number));
      }
      const sought = Array.from({ length: 22 }, (_, number) => number);
      const found = new Int32Array(sought.length);
      index.findMany(Uint32Array.from([9, ...sought.flatMap((number) => [number, 0, 1])]), 1, found);
      expect([...found]).toEqual(sought.map((number) => numbers.indexOf(number)));
    }),
  );
});

it("the index of a table counts its entries, whatever was left out while it was built", async () => {
  await fc.assert(
    fc.asyncProperty(someNumbers, async (numbers) => {
      const table = build(prefixes, numbers);
      const index = await indexTable(table);
      const kept = [...new Set(numbers)];
      expect(kept.map((number) => index.find(wordsOf(new Uint8Array(12).fill(number))))).toEqual([
        ...kept.keys(),
      ]);
    }),
  );
});
