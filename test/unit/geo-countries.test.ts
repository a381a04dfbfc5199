// Country databases as networks: the same answers as mmdb-lib's own look-ups, in as few networks as hold the same
// addresses, and an end with every file, whatever is in it.
import fc from "fast-check";
import { type CountryResponse, Reader } from "mmdb-lib";
import { describe, expect, test } from "vitest";
import {
  formatAddress,
  formatPrefix,
  PenstockError,
  parseAddress,
  parsePrefix,
  prefixContains,
} from "../../src/base/index.ts";
import { CountryDatabase } from "../../src/geo/index.ts";
import { SearchTree } from "../../src/geo/tree.ts";
import {
  control,
  countryData,
  encode,
  type MmdbOptions,
  pointer,
  usualAliases,
  writeMmdb,
} from "../fixtures/mmdb-writer.ts";

const [de, fr, nobody] = [countryData("DE"), countryData("FR"), { continent: { code: "EU" } }];

const prefixesOf = (content: Uint8Array, ...countries: string[]) =>
  [...new CountryDatabase(content).prefixesOf(countries)].map(formatPrefix);

const forms = ([24, 28, 32] as const).flatMap((recordSize) =>
  ([4, 6] as const).map((ipVersion): [string, MmdbOptions] => [
    `IPv${ipVersion}, records of ${recordSize} bits`,
    { recordSize, ipVersion },
  ]),
);

describe("networks", () => {
  test.each(forms)("of a tree of %s", (_, options) => {
    const content = writeMmdb(
      [
        ["10.0.0.0/9", de],
        ["10.128.0.0/9", fr],
        ["192.0.2.0/24", nobody],
        ["203.0.113.7", de],
        ...(options.ipVersion === 6
          ? ([
              ["2001:db8::/32", de],
              ["2001:db9::/33", fr],
            ] as const)
          : []),
      ],
      options,
    );
    const six = (...prefixes: string[]) => (options.ipVersion === 6 ? prefixes : []);
    expect(prefixesOf(content, "DE")).toEqual(["10.0.0.0/9", "203.0.113.7/32", ...six("2001:db8::/32")]);
    expect(prefixesOf(content, "FR")).toEqual(["10.128.0.0/9", ...six("2001:db9::/33")]);
    expect(prefixesOf(content, "DE", "FR")).toEqual([
      ...["10.0.0.0/8", "203.0.113.7/32"],
      ...six("2001:db8::/32", "2001:db9::/33"),
    ]);
    expect(prefixesOf(content, "US")).toEqual([]);
  });

  test("halves become wholes, over any number of levels, of one country and of several", () => {
    const quarters = ["10.0.0.0/10", "10.64.0.0/10", "10.128.0.0/10", "10.192.0.0/10"];
    const halves = [countryData("DE"), countryData("DE"), fr, countryData("DE")];
    const content = writeMmdb(quarters.map((prefix, i) => [prefix, halves[i] ?? fr]));
    expect(prefixesOf(content, "DE")).toEqual(["10.0.0.0/9", "10.192.0.0/10"]);
    expect(prefixesOf(content, "DE", "FR")).toEqual(["10.0.0.0/8"]);
    expect(prefixesOf(writeMmdb([["::/0", de]]), "DE")).toEqual(["0.0.0.0/0", "::/0"]);
  });

  test("IPv4 addresses are told once, whichever ways lead to them", () => {
    const networks = [
      ["10.0.0.0/8", de],
      ["2003::/19", fr],
    ] as const;
    const aliased = writeMmdb(networks, { aliases: usualAliases });
    const copied = writeMmdb([
      ...networks,
      ["::ffff:10.0.0.0/104", de],
      ["2002:a00::/24", de],
      ["2001:0:a00::/40", de],
    ]);
    for (const content of [aliased, copied]) {
      expect(prefixesOf(content, "DE")).toEqual(["10.0.0.0/8"]);
      expect(prefixesOf(content, "FR")).toEqual(["2003::/19"]);
      const database = new CountryDatabase(content);
      const ask = (text: string) => {
        const parsed = parseAddress(text);
        return parsed.ok ? database.countryOf(parsed.value) : text;
      };
      expect(
        ["10.1.2.3", "2003::1", "::ffff:10.1.2.3", "2002:a01::1", "2001:0:a01::1", "::a01:1"].map(ask),
      ).toEqual([...["DE", "FR"], ...[undefined, undefined, undefined, undefined]]);
    }
  });

  test("say what the file says of itself", () => {
    const { type, builtAt } = new CountryDatabase(writeMmdb([["10.0.0.0/8", de]]));
    expect({ type, builtAt }).toEqual({ type: "Test-Country", builtAt: Date.parse("2026-11-20T00:00:00Z") });
  });
});

test.each([
  [24, "9abcde 812345", [0x9abcde, 0x812345]],
  [28, "abcdef 98 123456", [0x9abcdef, 0x8123456]],
  [32, "fabcdef0 81234567", [0xfabcdef0, 0x81234567]],
])("records of %i bits have all their bits", (recordSize, node, records) => {
  const content = Buffer.from(`${node.replaceAll(" ", "")}00`, "hex");
  const found: number[] = [];
  new SearchTree(content, { nodeCount: 1, recordSize, ipVersion: 4 }).walk(({ record }) => {
    found.push(record);
  });
  expect(found).toEqual(records);
});

// ---- Random files

const v4Prefix = fc
  .tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.integer({ min: 0, max: 32 }))
  .map(([bytes, length]) => cut(bytes, length));
const v6Prefix = fc
  .tuple(
    fc.constantFrom(
      [0x20],
      [0x20, 0x01],
      [0x20, 0x02],
      [0x2a],
      [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
      [0],
    ),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    fc.integer({ min: 0, max: 128 }),
  )
  .map(([start, bytes, length]) =>
    cut(
      Uint8Array.from({ length: 16 }, (_, i) => start[i] ?? bytes[i] ?? 0),
      length,
    ),
  );

function cut(bytes: Uint8Array, length: number): string {
  const masked = bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - i * 8))));
  return formatPrefix({ family: bytes.length === 4 ? 4 : 6, bytes: masked, length });
}

const data = [
  de,
  fr,
  countryData("DE"),
  nobody,
  { country: { iso_code: "??" } },
  { country: "DE" },
  "DE",
  [de],
];

const arbitraryFile = fc
  .record({
    ipVersion: fc.constantFrom(4 as const, 6 as const),
    recordSize: fc.constantFrom(24 as const, 28 as const, 32 as const),
    aliases: fc.constantFrom([], usualAliases),
    v4: fc.array(fc.tuple(v4Prefix, fc.constantFrom(...data)), { maxLength: 12 }),
    v6: fc.array(fc.tuple(v6Prefix, fc.constantFrom(...data)), { maxLength: 12 }),
  })
  .map(({ v4, v6, aliases, ...options }) => {
    const six = options.ipVersion === 6;
    const networks = [...v4, ...(six ? v6 : []), ["198.51.100.0/24", de] as const];
    return {
      networks,
      content: writeMmdb(networks, { ...options, aliases: six ? aliases : [] }),
      ...options,
    };
  });

/** IPv6 networks that stand for IPv4 addresses: what files say of them is not taken over. */
const standIns = ["::/96", "::ffff:0:0/96", "2001::/32", "2002::/16"].flatMap((text) => {
  const parsed = parsePrefix(text);
  return parsed.ok ? [parsed.value] : [];
});

test("hold exactly the addresses that mmdb-lib finds in the countries", () => {
  fc.assert(
    fc.property(
      arbitraryFile,
      fc.uniqueArray(fc.constantFrom<string>("DE", "FR", "US"), { minLength: 1 }),
      fc.infiniteStream(fc.uint8Array({ minLength: 16, maxLength: 16 })),
      ({ networks, content, ipVersion }, countries, random) => {
        const reader = new Reader<CountryResponse>(content);
        const database = new CountryDatabase(content);
        const members = [...database.prefixesOf(countries)];
        for (const { bytes } of parsedOf(networks.map(([prefix]) => prefix))) {
          for (let i = 0; i < 8; i++) {
            const [noise = new Uint8Array(16)] = random.take(1);
            const kept = (noise[0] ?? 0) % (bytes.length * 8);
            const near = bytes.map((byte, at) => (at * 8 < kept ? byte : (noise[at] ?? 0)));
            const address = { family: near.length === 4 ? 4 : 6, bytes: near } as const;
            if (ipVersion === 4 && address.family === 6) continue;
            if (standIns.some((prefix) => prefixContains(prefix, address))) continue;
            const text = formatAddress(address);
            const country = reader.get(text)?.country?.iso_code;
            const expected = country !== undefined && countries.includes(country);
            expect(
              members.some((prefix) => prefixContains(prefix, address)),
              text,
            ).toBe(expected);
            expect(countries.includes(database.countryOf(address) ?? ""), text).toBe(expected);
          }
        }
        expect(members.map(formatPrefix)).toEqual([...new Set(members.map(formatPrefix))]);
        expect(members.filter((prefix, i) => isRightHalf(prefix, members[i - 1]))).toEqual([]);
      },
    ),
    { numRuns: 150 },
  );
});

function parsedOf(prefixes: readonly string[]) {
  return prefixes.flatMap((text) => {
    const parsed = parsePrefix(text);
    return parsed.ok ? [parsed.value] : [];
  });
}

function isRightHalf(
  prefix: { bytes: Uint8Array; length: number },
  before: typeof prefix | undefined,
): boolean {
  if (before === undefined || before.length !== prefix.length || prefix.length === 0) return false;
  if (before.bytes.length !== prefix.bytes.length) return false;
  const bit = prefix.length - 1;
  return prefix.bytes.every(
    (byte, i) => (byte ^ (before.bytes[i] ?? 0)) === (i === bit >> 3 ? 0x80 >> (bit & 7) : 0),
  );
}

// ---- Hostile files

/** Networks, or the reason in our words. */
function outcomeOf(content: Uint8Array): string {
  try {
    return `${[...new CountryDatabase(content).prefixesOf(["DE"])].length} networks`;
  } catch (error) {
    if (!(error instanceof PenstockError) || error.code !== "geo-database-unusable") throw error;
    return error.message.replace("Cannot use the country database: ", "");
  }
}

/** A file of one network whose data are these bytes. */
function fileWith(value: Buffer): Buffer {
  const plain = writeMmdb([["10.0.0.0/8", "placeholder"]]);
  return replace(plain, encode("placeholder"), value);
}

function replace(content: Buffer, old: Buffer, by: Buffer): Buffer {
  const at = content.indexOf(old);
  return Buffer.concat([content.subarray(0, at), by, content.subarray(at + old.length)]);
}

const good = writeMmdb(
  [
    ["10.0.0.0/8", de],
    ["2003::/19", fr],
  ],
  { aliases: usualAliases },
);
/** Each list holds the one behind it 28 times. */
const bomb = Buffer.concat([
  ...Array.from({ length: 12 }, (_, level) => {
    const next = pointer((level + 1) * (2 + 28 * 5));
    return Buffer.concat([control(11, 28), ...Array.from({ length: 28 }, () => next)]);
  }),
  encode("x"),
]);
const metadataOf = (more: Readonly<Record<string, number | string | bigint>>) =>
  writeMmdb([["10.0.0.0/8", de]], { metadata: more });

test.each<[string, Uint8Array, string]>([
  ["an empty file", new Uint8Array(), "it is no MaxMind file"],
  ["a text", Buffer.from("hello"), "it is no MaxMind file"],
  ["a marker and nothing else", Buffer.from("\xab\xcd\xefMaxMind.com", "latin1"), "its metadata is damaged"],
  [
    "a marker that readers take differently",
    Buffer.from("\xab\xcd\xefMaxMind.com\xefMaxMind.com", "latin1"),
    "its metadata is damaged",
  ],
  [
    "no countries",
    writeMmdb([["10.0.0.0/8", { city: "x" }]]),
    'no network of it has a country, it is of the type "Test-Country"',
  ],
  ["no networks", writeMmdb([]), 'no network of it has a country, it is of the type "Test-Country"'],
  ["another format", metadataOf({ binary_format_major_version: 3 }), "its format is not version 2"],
  ["another record size", metadataOf({ record_size: 23 }), "a part of it is damaged"],
  ["another family", metadataOf({ ip_version: 5 }), "its metadata names neither IPv4 nor IPv6"],
  ["more nodes than there is file", metadataOf({ node_count: 1_000_000 }), "its end is missing"],
  ["some nodes too many", metadataOf({ node_count: 200 }), "its end is missing"],
  ["no nodes", metadataOf({ node_count: 0 }), "its metadata is damaged"],
  [
    "a name that would disturb a terminal",
    metadataOf({ database_type: "\u001b[31m" }),
    "its metadata is damaged",
  ],
  ["a date that does not exist", metadataOf({ build_epoch: 2n ** 63n }), "its metadata is damaged"],
  ["a pointer to itself", fileWith(pointer(0)), "its values are nested too deep"],
  ["lists of lists of lists", fileWith(bomb), "its values are too large"],
  [
    "lists inside each other",
    fileWith(Buffer.concat([...Array.from({ length: 99 }, () => control(11, 1)), encode("x")])),
    "its values are nested too deep",
  ],
  ["a pointer to nowhere", fileWith(pointer(0xffffff)), "a value lies outside of its data"],
  ["a text that does not end", fileWith(control(2, 60_000)), "a value lies outside of its data"],
  ["a type that does not exist", fileWith(Buffer.from([0x00, 0x30])), "a part of it is damaged"],
])("%s is refused", (_, content, reason) => {
  expect(outcomeOf(content)).toBe(reason);
});

test("a node that is its own child, and one that many share, come to an end", () => {
  const tree = writeMmdb([["2a00::/128", de]]);
  const loop = Buffer.from(tree);
  // Both records of the root lead to the root.
  loop.fill(0, 0, 6);
  expect(outcomeOf(loop)).toBe("its tree is deeper than addresses are long");
  const ladder = Buffer.from(tree);
  for (let node = 0; node < 127; node++) {
    ladder.writeUIntBE(node + 1, node * 6, 3);
    ladder.writeUIntBE(node + 1, node * 6 + 3, 3);
  }
  expect(outcomeOf(ladder)).toBe("it has too many networks");
}, 60_000);

test("a file that ends too early, at any byte, is refused or read", () => {
  for (let end = 0; end < good.length; end++)
    expect(outcomeOf(good.subarray(0, end))).toMatch(/^it|^a |^no /);
  expect(outcomeOf(good)).toBe("1 networks");
});

test("a file with other bytes in it is refused or read", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
      (changes) => {
        const content = Buffer.from(good);
        for (const [at, byte] of changes) content[at] = byte;
        expect(outcomeOf(content)).toMatch(/./);
      },
    ),
    { numRuns: 2000 },
  );
});
