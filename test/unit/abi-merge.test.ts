// Objects that are loaded together: what they share must be the same, and the rest must be told apart.
import { describe, expect, it } from "vitest";
import { type MapLayout, mergeAbis, type ObjectAbi, type StructLayout } from "../../src/abi/index.ts";

const uint = (bits: 32 | 64) => ({ kind: "uint", bits, bigEndian: false }) as const;
const struct = (name: string, bits: 32 | 64): StructLayout => ({
  name,
  size: bits / 8,
  fields: [{ name: "hits", offset: 0, size: bits / 8, type: uint(bits) }],
});
const map = (name: string, value: StructLayout, maxEntries = 4): MapLayout => ({
  name,
  type: 1,
  keySize: 4,
  valueSize: value.size,
  maxEntries,
  flags: 0,
  keyType: uint(32),
  value,
});
const counter = struct("counter", 64);

function object(name: string, maps: readonly MapLayout[], more: Partial<ObjectAbi> = {}): ObjectAbi {
  return {
    object: name,
    structs: [...new Set(maps.flatMap(({ value }) => value ?? []))],
    enums: [],
    maps: Object.fromEntries(maps.map((layout) => [layout.name, layout])),
    programs: [{ name: `${name}_main`, section: "tc" }],
    ...more,
  };
}

describe("mergeAbis", () => {
  it("has everything of each object once", () => {
    const own = struct("flow", 32);
    const one = object("one", [map("shared", counter)], { enums: [{ name: "mood", values: { good: 1 } }] });
    const two = object("two", [map("shared", counter), map("flows", own)]);
    const merged = mergeAbis([one, two, object("three", [map("shared", counter)])]);
    expect(Object.keys(merged.maps).sort()).toEqual(["flows", "shared"]);
    expect(merged.structs).toEqual([counter, own]);
    expect(merged.enums.map(({ name }) => name)).toEqual(["mood"]);
    expect(merged.programs.map(({ name }) => name)).toEqual(["one_main", "two_main", "three_main"]);
  });

  it("is the object itself where there is one", () => {
    const one = object("one", [map("shared", counter)]);
    expect(mergeAbis([one])).toEqual(one);
  });

  it.each([
    {
      what: "a map of another size",
      other: object("two", [map("shared", counter, 5)]),
      message: "one and two do not agree on shared: max-entries is 5, expected 4",
    },
    {
      what: "a map whose values look the same and mean something else",
      other: object("two", [
        map("shared", { ...counter, fields: [{ ...counter.fields[0]!, name: "misses" }] }),
      ]),
      message: "one and two do not agree on counter.hits: field is missing",
    },
    {
      what: "other constants of one name",
      other: object("two", [], { enums: [{ name: "mood", values: { good: 2 } }] }),
      message: "one and two do not agree on mood.good: value is 2, expected 1",
    },
    {
      what: "a program of the same name",
      other: object("two", [], { programs: [{ name: "one_main", section: "xdp" }] }),
      message: "one and two both have a program one_main",
    },
    {
      what: "a map that the kernel would call like another",
      other: object("two", [map("connection_state_timeouts", counter)]),
      message:
        'the kernel would call maps connection_state and connection_state_timeouts both "connection_stat"',
    },
  ])("refuses $what", ({ other, message }) => {
    const one = object("one", [map("shared", counter), map("connection_state", counter)], {
      enums: [{ name: "mood", values: { good: 1 } }],
    });
    expect(() => mergeAbis([one, other])).toThrow(
      expect.objectContaining({
        code: "layout-conflict",
        message: `Cannot use these objects together: ${message}`,
      }),
    );
  });
});
