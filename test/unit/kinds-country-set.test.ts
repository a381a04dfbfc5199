// Address sets with countries: their entries in the kernel's tables, the model's judgement, what is wrong with databases,
// and a reconciler whose database changes under it.
import { describe, expect, test } from "vitest";
import { formatDiagnostic } from "../../src/base/index.ts";
import { prepareElsewhere } from "../../src/cli/prepare-elsewhere.ts";
import { describeAddress, entryAt, idRangesFor } from "../../src/compile/index.ts";
import { CountryDatabase, type GeoFile } from "../../src/geo/index.ts";
import { prepareModel } from "../../src/kinds/firewall/model.ts";
import { kinds } from "../../src/kinds/index.ts";
import type { AddressSetSpec } from "../../src/policy/index.ts";
import {
  Loop,
  type PolicyInput,
  type PreparedPolicy,
  preparePolicy,
  type Reconciler,
} from "../../src/reconcile/index.ts";
import { addressSet, firewall, packets, policyOf } from "../fixtures/firewall-documents.ts";
import { countryFile, geoFileOf } from "../fixtures/geo-file.ts";
import { ReconcilerWorld } from "../fixtures/reconciler-world.ts";
import { filesOf } from "../fixtures/test-datapath.ts";

const content = countryFile({
  "10.0.0.0/9": "DE",
  "10.128.0.0/9": "FR",
  "2003::/19": "DE",
  "2a01::/17": "FR",
});
const day = 24 * 60 * 60 * 1000;
const built = Date.parse("2026-11-20T00:00:00Z");

const near = (spec: AddressSetSpec) => ({ ...addressSet("near", []), spec });
const edge = firewall("edge", [{ action: "drop", match: { source: { sets: ["near"] } } }]);

function inputOf(spec: AddressSetSpec, geo?: GeoFile, now = built): PolicyInput {
  return {
    files: filesOf(policyOf(near(spec), edge)),
    labels: {},
    kinds,
    interfaces: [{ name: "eth0", index: 7 }],
    knownIds: [],
    idRanges: idRangesFor(256),
    now,
    ...(geo === undefined ? {} : { geo }),
  };
}

/** The sets' entries in words. */
function entriesOf(prepared: PreparedPolicy): string[] {
  if (!prepared.ok) return prepared.diagnostics.map(formatDiagnostic);
  const { tables, names } = prepared.desired;
  return ["address_set_v4", "address_set_v6"].flatMap((name) => {
    const { keys, count, spec } = tables.get(name) ?? { keys: new Uint8Array(), count: 0, spec: undefined };
    return Array.from({ length: count }, (_, i) => {
      const nameOf = (space: string, id: number) => names.find((n) => n.space === space && n.id === id)?.name;
      const words = { nameOf, interfaceName: () => undefined };
      return describeAddress(name, entryAt(keys, spec?.keySize ?? 0, i), words).subject;
    });
  });
}

const findingsOf = (input: PolicyInput) =>
  preparePolicy(input).diagnostics.map((d) => formatDiagnostic(d).replace(/^\S+ /, ""));

describe("a set with countries", () => {
  test("has their networks, joined, beside its prefixes", () => {
    const of = (spec: AddressSetSpec) => entriesOf(preparePolicy(inputOf(spec, geoFileOf(content))));
    expect(of({ countries: ["DE"] })).toEqual([
      "10.0.0.0/9 in address set near",
      "2003::/19 in address set near",
    ]);
    expect(of({ countries: ["DE", "FR"], prefixes: ["192.0.2.0/24", "10.0.0.0/8"] })).toEqual([
      "192.0.2.0/24 in address set near",
      "10.0.0.0/8 in address set near",
      "2003::/19 in address set near",
      "2a01::/17 in address set near",
    ]);
  });

  test("is the same from a thread, which is handed the database only when it is asked for", async () => {
    let read = 0;
    const prepare = prepareElsewhere({
      readGeo: () => {
        read++;
        return geoFileOf(content);
      },
    });
    const input = inputOf({ countries: ["DE"] });
    const here = preparePolicy({ ...input, geo: geoFileOf(content) });
    if (!here.ok) throw new Error("refused");
    const { policy: _, ...expected } = here;
    expect(await prepare(input)).toEqual(expected);
    expect(expected.geo).toBe(`Test-Country of 2026-11-20 (sha256 ${geoFileOf(content).sha256})`);
    expect(await prepare(inputOf({ prefixes: [] }))).toMatchObject({ ok: true, geo: undefined });
    expect(read).toBe(1);
  }, 60_000);

  test("is judged by the model as by its database", () => {
    const database = new CountryDatabase(content);
    const judge = (spec: AddressSetSpec, not: boolean) =>
      prepareModel({
        policy: policyOf(
          near(spec),
          firewall("edge", [{ action: "drop", match: { source: { sets: ["near"], not } } }]),
        ),
        interfaceName: "eth0",
        interfaces: ["eth0"],
        now: 0,
        countryOf: (address) => database.countryOf(address),
      }).judgeFrame(packets.web).verdict;
    // From 10.0.0.1.
    expect(judge({ countries: ["DE"] }, false)).toBe("drop");
    expect(judge({ countries: ["FR"] }, false)).toBe("pass");
    expect(judge({ countries: ["FR"] }, true)).toBe("drop");
    expect(judge({ countries: ["FR"], prefixes: ["10.0.0.0/16"] }, false)).toBe("drop");
  });
});

test.each<[string, AddressSetSpec, GeoFile | undefined, number, string]>([
  ["no members at all", {}, undefined, built, "error empty-set the set names neither prefixes nor countries"],
  ["no database", { countries: ["DE"] }, undefined, built, "error no-geo-database countries need a database"],
  [
    "a file that cannot be read",
    { countries: ["DE"] },
    { kind: "unreadable", path: "/geo.mmdb", reason: "there is no such file" },
    built,
    "error bad-geo-database the database of countries /geo.mmdb cannot be used: there is no such file;",
  ],
  [
    "a file that is none",
    { countries: ["DE"] },
    geoFileOf(Buffer.from("x")),
    built,
    "error bad-geo-database the database of countries /geo.mmdb cannot be used: it is no MaxMind file;",
  ],
  [
    "an old database",
    { countries: ["DE"] },
    geoFileOf(content),
    built + 30 * day + 1,
    "warning old-geo-database the database of countries is old: it was built on 2026-11-20, more than 30 days ago",
  ],
  [
    "a country that is not there",
    { countries: ["DE", "UK"] },
    geoFileOf(content),
    built + 30 * day,
    "warning unknown-country the database of countries knows no network in UK;",
  ],
])("%s", (_, spec, geo, now, finding) => {
  expect(findingsOf(inputOf(spec, geo, now))).toEqual([expect.stringContaining(finding)]);
});

describe("a database that changes", () => {
  const other = countryFile({ "10.128.0.0/9": "DE" });

  async function start() {
    const world = await ReconcilerWorld.make();
    const file = { content };
    const reconciler = world.makeReconciler({
      prepare: async (input) => preparePolicy({ ...input, geo: geoFileOf(file.content) }),
      surroundings: () => geoFileOf(file.content).sha256,
    });
    await reconciler.start();
    const loop = loopOf(world, reconciler);
    world.source.push(policyOf(near({ countries: ["DE"] }), edge));
    await loop.poll();
    return { world, file, reconciler, loop };
  }

  function loopOf({ now }: ReconcilerWorld, reconciler: Reconciler): Loop {
    const never = "0 0 0 1 1 *";
    const clock = { now: () => now, monotonicMs: () => now };
    const log = { info() {}, warn() {}, error() {} };
    return new Loop({ reconciler, clock, log, poll: never, scan: never });
  }

  test("is taken up at the next poll, as a change and not as drift, and is on record", async () => {
    const { world, file, loop } = await start();
    await loop.poll();
    expect(world.outcomes()).toEqual(["applied"]);
    file.content = other;
    await loop.poll();
    await loop.poll();
    expect(world.outcomes()).toEqual(["applied", "applied"]);
    expect(world.attempts.attempts.map(({ message }) => message.replace(/^.*: /, ""))).toEqual([
      `4 added, 0 changed, 0 removed; countries from Test-Country of 2026-11-20 (sha256 ${geoFileOf(content).sha256})`,
      `1 added, 0 changed, 2 removed; countries from Test-Country of 2026-11-20 (sha256 ${geoFileOf(other).sha256})`,
    ]);
  });

  test("for the worse leaves what is in force, is told once, and is over with a good one", async () => {
    const { world, file, reconciler, loop } = await start();
    const { current } = world.datapath.generation();
    file.content = Buffer.from("half of it");
    await loop.poll();
    await loop.poll();
    expect(world.outcomes()).toEqual(["applied", "refused"]);
    expect(world.datapath.generation().current).toBe(current);
    file.content = other;
    await loop.poll();
    expect(world.outcomes()).toEqual(["applied", "refused", "applied"]);
    expect((await reconciler.status()).conditions.find(({ type }) => type === "Ready")?.status).toBe("True");
  });
});
