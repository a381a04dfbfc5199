// Packs from a hostile server: sound ones are indexed and read back, anything cut, altered, lying or too large
// is an error and never content.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import { ObjectDatabase } from "../../src/source/objects.ts";
import { Pace } from "../../src/source/pace.ts";
import { type IndexLimits, indexPack } from "../../src/source/pack-indexer.ts";
import {
  buildDelta,
  buildPack,
  type DeltaStep,
  LooseObjects,
  objectId,
  type PackEntry,
  sealPack,
} from "../fixtures/git-pack.ts";

const root = mkdtempSync(join(tmpdir(), "penstock-pack-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const roomy: IndexLimits = { objectsMax: 10_000, objectBytesMax: 1 << 20, heldBytesMax: 1 << 22 };
let folders = 0;

/** Indexes a pack as a store would hold it; returns the objects folder. */
async function install(pack: Buffer, limits: IndexLimits = roomy): Promise<string> {
  const { folder } = new LooseObjects(join(root, String(folders++)));
  const path = join(folder, "pack", "pack-x.pack");
  writeFileSync(path, pack);
  const pace = new Pace(new AbortController().signal);
  const index = await indexPack(path, pack.subarray(-20), { limits, pace });
  writeFileSync(join(folder, "pack", "pack-x.idx"), index);
  return folder;
}

function withObjects<T>(folder: string, work: (objects: ObjectDatabase) => T): T {
  const objects = new ObjectDatabase(folder, 1 << 20);
  try {
    return work(objects);
  } finally {
    objects.close();
  }
}

const blob = (text: string | Buffer): PackEntry => ({ type: "blob", content: Buffer.from(text) });

/** A version and the delta that makes it from a base: random copies and insertions. */
const revisionOf = (base: Buffer) =>
  fc
    .array(
      fc.oneof(
        fc
          .tuple(fc.nat(base.length - 1), fc.integer({ min: 1, max: base.length }))
          .map(([start, length]) => ({
            copy: [start, Math.min(length, base.length - start)] as const,
          })),
        fc.uint8Array({ minLength: 1, maxLength: 300 }).map((insert) => ({ insert })),
      ),
      { minLength: 1, maxLength: 5 },
    )
    .map((steps: DeltaStep[]) => {
      const parts = steps.map((s) =>
        "copy" in s ? base.subarray(s.copy[0], s.copy[0] + s.copy[1]) : Buffer.from(s.insert),
      );
      return { content: Buffer.concat(parts), delta: buildDelta(base.length, steps) };
    });

/** A pack of random families of deltas, by place and by id, and what it should hold. */
const families = fc
  .array(fc.tuple(fc.nat(), fc.boolean()), { minLength: 1, maxLength: 25 })
  .chain((plan) => fc.tuple(fc.constant(plan), fc.gen()))
  .map(([plan, gen]) => {
    const contents = [Buffer.from("the first object of all, long enough to be copied from")];
    const entries: PackEntry[] = [blob(contents[0]!)];
    for (const [pick, byPlace] of plan) {
      const baseIndex = pick % contents.length;
      const base = contents[baseIndex]!;
      const { content, delta } = gen(() => revisionOf(base));
      if (content.length > 100_000) continue;
      contents.push(content);
      entries.push(byPlace ? { baseIndex, delta } : { baseOid: objectId("blob", base), delta });
    }
    return { contents, entries };
  });

describe("a sound pack", () => {
  it("gives back every object of any family of deltas", async () => {
    await fc.assert(
      fc.asyncProperty(families, async ({ contents, entries }) => {
        const folder = await install(buildPack(entries));
        withObjects(folder, (objects) => {
          for (const content of contents) {
            expect(objects.read(objectId("blob", content), 1 << 20)).toMatchObject({ type: "blob", content });
          }
        });
      }),
      { numRuns: 60 },
    );
  });

  it("keeps the four types apart, and finds ids by their first digits", async () => {
    const types = ["commit", "tree", "blob", "tag"] as const;
    const folder = await install(buildPack(types.map((type) => ({ type, content: Buffer.from("same") }))));
    withObjects(folder, (objects) => {
      for (const type of types) {
        const oid = objectId(type, Buffer.from("same"));
        expect(objects.read(oid, 10)).toMatchObject({ type });
        expect(objects.startingWith(oid.slice(0, 10), 9)).toEqual([oid]);
        expect(() => objects.readTyped(oid, type === "tag" ? "blob" : "tag", 10)).toThrow(/not a/);
      }
    });
  });

  it("reads deltas whose bases come later, lie in another pack, or are loose", async () => {
    const base = Buffer.from("base of a delta");
    const delta = buildDelta(base.length, [{ copy: [0, 4] }, { insert: Buffer.from("!") }]);
    const later = await install(buildPack([{ baseOid: objectId("blob", base), delta }, blob(base)]));
    withObjects(later, (objects) => expect(objects.has(objectId("blob", Buffer.from("base!")))).toBe(true));
  });

  it("holds one object for a chain of any length", async () => {
    const entries: PackEntry[] = [blob(Buffer.alloc(1000))];
    for (let i = 0; i < 3000; i++) {
      entries.push({
        baseIndex: i,
        delta: buildDelta(1000, [{ copy: [0, 998] }, { insert: Buffer.from([i >> 8, i]) }]),
      });
    }
    const folder = await install(buildPack(entries), { ...roomy, heldBytesMax: 2500 });
    const last = Buffer.concat([Buffer.alloc(998), Buffer.from([2999 >> 8, 2999])]);
    withObjects(folder, (objects) => expect(objects.has(objectId("blob", last))).toBe(true));
  });
});

async function errorOf(pack: Buffer, limits?: IndexLimits): Promise<PenstockError> {
  try {
    await install(pack, limits);
  } catch (error) {
    if (error instanceof PenstockError) return error;
    throw error;
  }
  throw new Error("was taken");
}

describe("a broken pack", () => {
  const base = Buffer.from("0123456789".repeat(20));
  const delta = buildDelta(base.length, [{ copy: [10, 50] }, { insert: Buffer.from("new") }]);
  const whole = buildPack([blob(base), { baseIndex: 0, delta }, { type: "tree", content: Buffer.alloc(0) }]);

  it("is refused wherever it is cut", async () => {
    for (let length = 0; length < whole.length - 20; length++) {
      expect((await errorOf(sealPack(whole.subarray(0, length)))).code).toBe("source-corrupt");
    }
  });

  it("gives only whole objects or an error wherever a byte is changed", async () => {
    const known = [
      objectId("blob", base),
      objectId("blob", Buffer.concat([base.subarray(10, 60), Buffer.from("new")])),
      objectId("tree", Buffer.alloc(0)),
    ];
    let refused = 0;
    for (let at = 0; at < whole.length - 20; at++) {
      const changed = Buffer.from(whole.subarray(0, -20));
      changed[at] = changed[at]! ^ 0xff;
      try {
        const folder = await install(sealPack(changed));
        withObjects(folder, (objects) => {
          for (const oid of known)
            if (objects.has(oid)) expect(() => objects.read(oid, 1 << 20)).not.toThrow();
        });
      } catch (error) {
        expect(error).toBeInstanceOf(PenstockError);
        expect((error as PenstockError).code).toMatch(/^source-(corrupt|limit)$/);
        refused++;
      }
    }
    // Some bytes decide only which object it is: the type, the levels of compression.
    expect(refused).toBeGreaterThan(whole.length * 0.7);
  });

  it.each<[string, Buffer]>([
    ["nothing", Buffer.alloc(0)],
    ["not a pack", sealPack(Buffer.from("<html>not found at all</html>"))],
    ["another version", sealPack(Buffer.from("PACK\0\0\0\x03\0\0\0\0", "latin1"))],
    ["more objects than it holds", buildPack([blob("a"), blob("b")], { count: 3 })],
    ["far more objects than fit", buildPack([blob("a")], { count: 9000 })],
    ["fewer objects than it holds", buildPack([blob("a"), blob("b")], { count: 1 })],
    ["a longer object than it says", buildPack([blob("abcdef")], { size: () => 5 })],
    ["a shorter object than it says", buildPack([blob("abcdef")], { size: () => 7 })],
    ["a base that is not there", buildPack([{ baseOid: "1".repeat(40), delta }])],
    ["a base before the pack", buildPack([{ baseIndex: 5, delta }])],
    ["a delta for another base", buildPack([blob("short"), { baseIndex: 0, delta }])],
    [
      "a delta for a longer base",
      buildPack([blob("abc"), { baseIndex: 0, delta: buildDelta(4, [{ copy: [0, 3] }]) }]),
    ],
    [
      "a copy beyond the base",
      buildPack([blob("abc"), { baseIndex: 0, delta: buildDelta(3, [{ copy: [2, 2] }]) }]),
    ],
    [
      "less than the delta says",
      buildPack([blob("abc"), { baseIndex: 0, delta: buildDelta(3, [{ copy: [0, 3] }], 4) }]),
    ],
    [
      "more than the delta says",
      buildPack([blob("abc"), { baseIndex: 0, delta: buildDelta(3, [{ copy: [0, 3] }], 2) }]),
    ],
    ["an empty delta", buildPack([blob("abc"), { baseIndex: 0, delta: Buffer.alloc(0) }])],
    ["a reserved step", buildPack([blob("abc"), { baseIndex: 0, delta: Buffer.from([3, 1, 0]) }])],
  ])("is refused: %s", async (_, pack) => {
    expect((await errorOf(pack)).code).toBe("source-corrupt");
  });

  it("is refused before memory is taken for objects that it cannot hold", async () => {
    const lie = buildPack([blob("a")], { count: 9000 });
    expect((await errorOf(lie)).message).toMatch(/too short for the objects/);
  });

  it("is refused when deltas are each other's base", async () => {
    const steps = [{ copy: [0, 3] as const }];
    const loop = buildPack([
      { baseOid: "2".repeat(40), delta: buildDelta(3, steps) },
      { baseOid: "3".repeat(40), delta: buildDelta(3, steps) },
    ]);
    expect((await errorOf(loop)).code).toBe("source-corrupt");
  });
});

describe("a pack that wants too much", () => {
  const MiB = 1 << 20;
  const zeros = Buffer.alloc(MiB);

  it.each<[string, Buffer, Partial<IndexLimits>]>([
    ["a large object", buildPack([blob(zeros)]), { objectBytesMax: MiB - 1 }],
    ["an object that says it is huge", buildPack([blob("x")], { size: () => 2 ** 45 }), {}],
    [
      "a small delta that makes a large object",
      buildPack([
        blob(Buffer.alloc(60_000)),
        {
          baseIndex: 0,
          delta: buildDelta(
            60_000,
            Array.from({ length: 20 }, () => ({ copy: [0, 60_000] as const })),
          ),
        },
      ]),
      { objectBytesMax: MiB },
    ],
    ["many objects", buildPack(Array.from({ length: 11 }, (_, i) => blob(`${i}`))), { objectsMax: 10 }],
    ["many objects that are not there", buildPack([blob("x")], { count: 2 ** 32 - 1 }), {}],
  ])("is refused with numbers: %s", async (_, pack, limits) => {
    const error = await errorOf(pack, { ...roomy, ...limits });
    expect(error).toMatchObject({ code: "source-limit", disposition: "stalled" });
    expect(error.data).toMatchObject({ found: expect.any(Number), allowed: expect.any(Number) });
  });

  it("is refused when its deltas would have many large objects held at once", async () => {
    // A full binary tree of versions: on the way down, every base still has its other half to come.
    const entries: PackEntry[] = [blob(Buffer.alloc(10_000))];
    for (let i = 1; i < 127; i++) {
      const mark = Buffer.from([i]);
      entries.push({
        baseIndex: (i - 1) >> 1,
        delta: buildDelta(10_000, [{ insert: mark }, { copy: [0, 9_999] }]),
      });
    }
    const pack = buildPack(entries);
    expect((await errorOf(pack, { ...roomy, heldBytesMax: 35_000 })).code).toBe("source-limit");
    await install(pack, { ...roomy, heldBytesMax: 70_000 });
  });

  it("takes the smaller family first, and so holds little for a chain that has a side branch at each step", async () => {
    const sideFirst: PackEntry[] = [blob(Buffer.alloc(10_000))];
    const chainFirst: PackEntry[] = [blob(Buffer.alloc(10_000))];
    const step = (baseIndex: number, mark: number) => {
      const steps = [{ insert: Buffer.from([mark & 0xff, mark >> 8]) }, { copy: [0, 9_998] as const }];
      return { baseIndex, delta: buildDelta(10_000, steps) };
    };
    for (let i = 1, base = 0, other = 0; i <= 100; i++) {
      sideFirst.push(step(base, 2 * i), step(base, 2 * i + 1));
      base = sideFirst.length - 1;
      chainFirst.push(step(other, 2 * i), step(other, 2 * i + 1));
      other = chainFirst.length - 2;
    }
    for (const entries of [sideFirst, chainFirst]) {
      await install(buildPack(entries), { ...roomy, heldBytesMax: 25_000 });
    }
  });

  it("stops when it is cancelled", async () => {
    const path = join(root, "cancelled.pack");
    const pack = buildPack(Array.from({ length: 3000 }, (_, i) => blob(`object ${i}`)));
    writeFileSync(path, pack);
    const controller = new AbortController();
    const work = indexPack(path, pack.subarray(-20), { limits: roomy, pace: new Pace(controller.signal) });
    controller.abort();
    await expect(work).rejects.toMatchObject({ code: "source-cancelled" });
  });
});

describe("reading", () => {
  it("notices an index that leads to another object, and a damaged loose one", async () => {
    const folder = await install(buildPack([blob("one"), blob("two")]));
    const [one, two] = [objectId("blob", Buffer.from("one")), objectId("blob", Buffer.from("two"))];
    const path = join(folder, "pack", "pack-x.idx");
    const index = readFileSync(path);
    const offsets = 8 + 1024 + 2 * 24;
    index.subarray(offsets, offsets + 8).swap64();
    index.subarray(offsets, offsets + 4).swap32();
    index.subarray(offsets + 4, offsets + 8).swap32();
    writeFileSync(path, index);
    withObjects(folder, (objects) => {
      for (const oid of [one, two]) expect(() => objects.read(oid, 10)).toThrow(/damaged/);
    });
    const loose = new LooseObjects(join(root, "loose"));
    const oid = loose.blob("three");
    const other = loose.blob("other");
    writeFileSync(join(loose.folder, oid.slice(0, 2), oid.slice(2)), "garbage");
    withObjects(loose.folder, (objects) => {
      expect(() => objects.read(oid, 10)).toThrow(/damaged/);
      expect(objects.read(other, 10)).toMatchObject({ content: Buffer.from("other") });
      expect(() => objects.read("0".repeat(40), 10)).toThrow(/missing/);
    });
  });

  it("says how large an object is without reading it", async () => {
    const loose = new LooseObjects(join(root, "large"));
    const oid = loose.write("blob", Buffer.alloc(5000));
    const folder = await install(
      buildPack([blob(Buffer.alloc(3000)), { baseIndex: 0, delta: buildDelta(3000, [{ copy: [0, 2999] }]) }]),
    );
    withObjects(loose.folder, (o) => expect(o.read(oid, 4999)).toEqual({ kind: "too-large", size: 5000 }));
    withObjects(folder, (o) => {
      expect(o.read(objectId("blob", Buffer.alloc(3000)), 2999)).toEqual({ kind: "too-large", size: 3000 });
      expect(o.read(objectId("blob", Buffer.alloc(2999)), 2998)).toEqual({ kind: "too-large", size: 2999 });
    });
  });

  it("refuses an index that is cut off, wherever", async () => {
    const folder = await install(buildPack([blob("one"), blob("two")]));
    const path = join(folder, "pack", "pack-x.idx");
    const index = readFileSync(path);
    for (let length = 0; length < index.length; length += 29) {
      writeFileSync(path, index.subarray(0, length));
      expect(() => new ObjectDatabase(folder, 1000)).toThrow(PenstockError);
    }
  });
});
