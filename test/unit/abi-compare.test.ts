// The comparison that stands between an object and its loading: the generated layouts equal those of the shipped
// programs, and each kind of difference that is planted in the C source is found and named.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, vi } from "vitest";
import {
  compareLayouts,
  formatLayoutDifference,
  type GeneratedAbi,
  objectAbis,
  readObjectAbi,
} from "../../src/abi/index.ts";
import { digestLayouts } from "../../src/abi/object-abi.ts";
import { build, compileAll, hasClang, makeTemporaryFolder } from "../fixtures/abi/clang.ts";

// Bounds a hang, and is far above what a busy machine needs.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const programs = fileURLToPath(new URL("../../bpf", import.meta.url));

const original = `
enum mood { MOOD_GOOD, MOOD_BAD };
struct key { __be32 address; __u16 set; __u16 pad; };
struct event { __u64 time; __u32 rule; __be16 port; __u8 name[6]; __u32 extra; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, struct key); __type(value, __u64); } entries SEC(".maps");
struct event *emit_event;
enum mood *emit_mood;
SEC("xdp") int judge(struct xdp_md *ctx) { return ctx->data_end - ctx->data; }
`;

/** Each row changes one place of the source; all of what the comparison must say of it. */
const plants: readonly { name: string; from: string; to: string; found: readonly string[] }[] = [
  { name: "nothing", from: "x", to: "x", found: [] },
  {
    name: "a field put in front",
    from: "struct event { ",
    to: "struct event { __u64 before; ",
    found: [
      "event: size is 32, expected 24",
      "event.time: offset is 8, expected 0",
      "event.rule: offset is 16, expected 8",
      "event.port: offset is 20, expected 12",
      "event.name: offset is 22, expected 14",
      "event.extra: offset is 28, expected 20",
      "event.before: field is unexpected",
    ],
  },
  {
    name: "two fields swapped",
    from: "__be32 address; __u16 set; __u16 pad;",
    to: "__u16 set; __u16 pad; __be32 address;",
    found: [
      "key.address: offset is 4, expected 0",
      "key.set: offset is 0, expected 4",
      "key.pad: offset is 2, expected 6",
    ],
  },
  {
    name: "a field shifted over a hole that the compiler makes",
    from: "__u32 rule; __be16 port; __u8 name[6];",
    to: "__u8 name[6]; __u32 rule; __be16 port;",
    found: [
      "event.rule: offset is 16, expected 8",
      "event.port: offset is 20, expected 12",
      "event.name: offset is 8, expected 14",
      "event.extra: offset is 24, expected 20",
      "event: size is 32, expected 24",
    ],
  },
  {
    name: "another byte order",
    from: "__be16 port",
    to: "__u16 port",
    found: ["event.port: type is uint16, expected be16"],
  },
  {
    name: "another sign",
    from: "__u32 rule",
    to: "__s32 rule",
    found: ["event.rule: type is int32, expected uint32"],
  },
  {
    name: "a renamed field",
    from: "__u32 rule",
    to: "__u32 rule_id",
    found: ["event.rule: field is missing", "event.ruleId: field is unexpected"],
  },
  {
    name: "a longer array",
    from: "name[6]; __u32 extra;",
    to: "name[10];",
    found: [
      "event.name: size is 10, expected 6",
      "event.name: type is bytes[10], expected bytes[6]",
      "event.extra: field is missing",
    ],
  },
  {
    name: "a constant in between",
    from: "MOOD_GOOD, ",
    to: "MOOD_GOOD, MOOD_FAIR, ",
    found: ["mood.bad: value is 2, expected 1", "mood.fair: constant is unexpected"],
  },
  {
    name: "another kind of map",
    from: "BPF_MAP_TYPE_HASH",
    to: "BPF_MAP_TYPE_LRU_HASH",
    found: ["entries: type is 9, expected 1"],
  },
  {
    name: "another capacity and other flags",
    from: "__uint(max_entries, 64);",
    to: "__uint(max_entries, 65); __uint(map_flags, 1);",
    found: ["entries: max-entries is 65, expected 64", "entries: flags is 1, expected 0"],
  },
  {
    name: "another value",
    from: "__type(value, __u64)",
    to: "__type(value, __be32)",
    found: ["entries: value-size is 4, expected 8", "entries: value is be32, expected uint64"],
  },
  {
    name: "a map pinned by name",
    from: "__type(value, __u64);",
    to: "__type(value, __u64); __uint(pinning, 1);",
    found: ["entries: pinning is 1, expected 0"],
  },
  {
    name: "a map renamed",
    from: "} entries SEC",
    to: "} others SEC",
    found: ["entries: map is missing", "others: map is unexpected"],
  },
  {
    name: "a type no longer emitted",
    from: "struct event *emit_event;",
    to: "",
    found: ["event: struct is missing"],
  },
  {
    name: "a program in another section",
    from: 'SEC("xdp")',
    to: 'SEC("xdp.frags")',
    found: ["judge: section is xdp.frags, expected xdp"],
  },
];

describe.skipIf(!hasClang())("compareLayouts", () => {
  const sources = plants.map((plant, i) => [`row${i}`, original.replace(plant.from, plant.to)] as const);
  const objects = hasClang() ? compileAll(Object.fromEntries(sources)) : new Map<string, Uint8Array>();

  it.each(plants)("finds $name", (plant) => {
    const expected = readObjectAbi("row0", objects.get("row0") ?? new Uint8Array());
    const bytes = objects.get(`row${plants.indexOf(plant)}`) ?? new Uint8Array();
    const found = compareLayouts(expected, bytes).map(formatLayoutDifference);
    expect(found.sort()).toEqual([...plant.found].sort());
  });

  it("and the digest agree, capacity, pinning and programs apart", () => {
    const digests = plants.map((_, i) => digestLayouts(readObjectAbi("row", objects.get(`row${i}`)!)));
    const same = plants.filter((_, i) => digests[i] === digests[0]).map((plant) => plant.name);
    expect(same).toEqual(["nothing", "a map pinned by name", "a program in another section"]);
  });
});

describe.skipIf(!hasClang())("the shipped programs", () => {
  const output = makeTemporaryFolder();
  const result = hasClang() ? build(programs, output) : { status: 0, stderr: "" };
  const names = () => readdirSync(output).filter((name) => name.endsWith(".bpf.o"));

  it("compile", () => {
    expect(result).toMatchObject({ status: 0 });
  });

  it("have generated layouts, each of them", () => {
    expect(objectAbis.map((abi) => `${abi.object}.bpf.o`)).toEqual(names().sort());
  });

  it.each(objectAbis)("$object has the layouts that TypeScript was generated with", (abi: GeneratedAbi) => {
    const bytes = readFileSync(join(output, `${abi.object}.bpf.o`));
    expect(compareLayouts(abi, bytes).map(formatLayoutDifference)).toEqual([]);
    expect(digestLayouts(abi)).toBe(abi.layoutDigest);
    expect(digestLayouts(readObjectAbi(abi.object, bytes))).toBe(abi.layoutDigest);
  });
});
