// Whole-map reading and writing against real maps: nothing lost, nothing invented, partial failures told exactly,
// and the event loop alive meanwhile.
import { expect, it } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import {
  type BpfMap,
  createMap,
  MAP_FLAG,
  MAP_TYPE,
  type MapLayout,
  possibleCpus,
} from "../../src/bpf/index.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";

const ENTRIES = 100_000;

interface Table {
  readonly name: string;
  readonly layout: Omit<MapLayout, "name" | "entriesMax">;
  /** Writes key number `i`. */
  readonly key: (view: DataView, offset: number, i: number) => void;
  readonly full: "E2BIG" | "ENOSPC";
}

const TABLES: readonly Table[] = [
  {
    name: "hash",
    layout: { type: MAP_TYPE.hash, keySize: 8, valueSize: 24 },
    key: (view, offset, i) => view.setUint32(offset, i, true),
    full: "E2BIG",
  },
  {
    name: "LPM trie",
    layout: { type: MAP_TYPE.lpmTrie, keySize: 8, valueSize: 24, flags: MAP_FLAG.noPrealloc },
    key: (view, offset, i) => {
      view.setUint32(offset, 32, true);
      view.setUint32(offset + 4, i);
    },
    full: "ENOSPC",
  },
];

function makeEntries({ layout, key }: Table, count: number, seed = 0) {
  const keys = new Uint8Array(count * layout.keySize);
  const values = new Uint8Array(count * layout.valueSize);
  const keyView = new DataView(keys.buffer);
  const valueView = new DataView(values.buffer);
  for (let i = 0; i < count; i++) {
    key(keyView, i * layout.keySize, i);
    valueView.setUint32(i * layout.valueSize, i, true);
    valueView.setUint32(i * layout.valueSize + 20, (i * 7 + seed) >>> 0, true);
  }
  return { keys, values };
}

/** Packed entries as sorted text, so that two sets can be compared whatever their order. */
function asLines(keys: Uint8Array, values: Uint8Array, map: BpfMap): string[] {
  const lines: string[] = [];
  for (let i = 0; i * map.keyBytes < keys.length; i++) {
    const key = Buffer.from(keys.buffer, keys.byteOffset + i * map.keyBytes, map.keyBytes).toString("hex");
    const value = Buffer.from(values.buffer, values.byteOffset + i * map.valueBytes, map.valueBytes);
    lines.push(`${key}=${value.toString("hex")}`);
  }
  return lines.sort();
}

async function catchError(work: Promise<unknown>): Promise<PenstockError> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(PenstockError);
  return thrown as PenstockError;
}

function withMap<T>(layout: MapLayout, work: (map: BpfMap) => T): T {
  const map = createMap(layout);
  const result = work(map);
  if (result instanceof Promise) return result.finally(() => map.close()) as T;
  map.close();
  return result;
}

describeKernel("batch operations", () => {
  for (const table of TABLES) {
    it(`reads back exactly the ${ENTRIES} entries written to a ${table.name}`, () =>
      withMap({ ...table.layout, name: "whole", entriesMax: ENTRIES }, async (map) => {
        const { keys, values } = makeEntries(table, ENTRIES);
        expect(await map.updateAll(keys, values)).toBe(ENTRIES);
        const read = await map.readAll();
        expect(read.count).toBe(ENTRIES);
        expect(asLines(read.keys, read.values, map)).toEqual(asLines(keys, values, map));
      }));

    it(`overwrites and removes by batch in a ${table.name}, missing keys passed over`, () =>
      withMap({ ...table.layout, name: "rewrite", entriesMax: 10_000 }, async (map) => {
        const first = makeEntries(table, 10_000);
        await map.updateAll(first.keys, first.values);
        const second = makeEntries(table, 5_000, 3);
        await map.updateAll(second.keys, second.values);
        expect(map.lookup(first.keys.slice(0, 8))).toEqual(second.values.slice(0, 24));
        // Keys 2500 to 7499 go; then 0 to 9999 are asked for, of which half are there.
        expect(await map.removeAll(first.keys.subarray(2_500 * 8, 7_500 * 8))).toBe(5_000);
        expect(await map.removeAll(first.keys)).toBe(5_000);
        expect((await map.readAll()).count).toBe(0);
        expect(await map.removeAll(first.keys)).toBe(0);
      }));

    it(`says how much was written when a ${table.name} is full`, () =>
      withMap({ ...table.layout, name: "full", entriesMax: 10_000 }, async (map) => {
        const { keys, values } = makeEntries(table, 10_500);
        const error = await catchError(map.updateAll(keys, values));
        expect(error.code).toBe("kernel-call-failed");
        expect(error.disposition).toBe("stalled");
        expect(error.message).toContain(`Cannot update map full: ${table.full}`);
        expect(error.message).toContain("table is full at 10000 entries");
        expect(error.data).toMatchObject({
          call: "bpf_map_update_batch",
          errno: table.full,
          object: "map full",
        });
        const read = await map.readAll();
        expect(error.data["written"]).toBe(read.count);
        const written = read.count;
        expect(written).toBeGreaterThanOrEqual(10_000);
        expect(asLines(read.keys, read.values, map)).toEqual(
          asLines(keys.slice(0, written * 8), values.slice(0, written * 24), map),
        );
      }));

    it(`leaves the event loop its turns while a ${table.name} is written and read`, () =>
      withMap({ ...table.layout, name: "responsive", entriesMax: ENTRIES }, async (map) => {
        const { keys, values } = makeEntries(table, ENTRIES);
        let turns = 0;
        const ticking = setInterval(() => turns++, 1);
        await map.updateAll(keys, values);
        const turnsOfWriting = turns;
        await map.scan(() => {});
        clearInterval(ticking);
        expect(turnsOfWriting).toBeGreaterThan(2);
        expect(turns).toBeGreaterThan(turnsOfWriting);
      }));
  }

  it("grows its buffers when a hash bucket does not fit into a chunk", () =>
    withMap({ ...(TABLES[0] as Table).layout, name: "buckets", entriesMax: 4_096 }, async (map) => {
      const { keys, values } = makeEntries(TABLES[0] as Table, 4_000);
      await map.updateAll(keys, values);
      const seen: number[] = [];
      const count = await map.scan(
        (chunk, _values, entries) => {
          for (let i = 0; i < entries; i++) {
            seen.push(new DataView(chunk.buffer, chunk.byteOffset).getUint32(i * 8, true));
          }
        },
        { chunkEntries: 1 },
      );
      expect(count).toBe(4_000);
      expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 4_000 }, (_, i) => i));
    }));

  it("stops between two chunks when aborted, and says how far it came", () =>
    withMap({ ...(TABLES[0] as Table).layout, name: "abort", entriesMax: ENTRIES }, async (map) => {
      const { keys, values } = makeEntries(TABLES[0] as Table, ENTRIES);
      const early = await catchError(map.updateAll(keys, values, { signal: AbortSignal.abort("no") }));
      expect(early).toMatchObject({ code: "aborted", disposition: "transient", cause: "no" });
      expect((await map.readAll()).count).toBe(0);
      const controller = new AbortController();
      setImmediate(() => controller.abort());
      const options = { signal: controller.signal, budgetMs: 0 };
      const late = await catchError(map.updateAll(keys, values, options));
      const written = (await map.readAll()).count;
      expect(late.data["done"]).toBe(written);
      expect(written).toBeGreaterThan(0);
      expect(written).toBeLessThan(ENTRIES);
      for (const action of [
        map.readAll(options),
        map.removeAll(keys, options),
        map.scan(() => {}, options),
      ]) {
        expect((await catchError(action)).code).toBe("aborted");
      }
    }));

  it("reads and writes map types without batch operations key by key", () =>
    withMap(
      { name: "devices", type: MAP_TYPE.deviceMapHash, keySize: 4, valueSize: 4, entriesMax: 8 },
      async (map) => {
        const keys = new Uint8Array(new Uint32Array([5, 9, 12]).buffer);
        const values = new Uint8Array(new Uint32Array([1, 1, 1]).buffer);
        expect(await map.updateAll(keys, values)).toBe(3);
        const read = await map.readAll({ chunkEntries: 2 });
        expect(asLines(read.keys, read.values, map)).toEqual(asLines(keys, values, map));
        expect(await map.removeAll(keys)).toBe(3);
        const bad = await catchError(
          map.updateAll(keys, new Uint8Array(new Uint32Array([1, 4_000_000, 1]).buffer)),
        );
        expect(bad.data["written"]).toBe(1);
      },
    ));
});

describeKernel("single entries", () => {
  const layout: MapLayout = { name: "single", type: MAP_TYPE.hash, keySize: 4, valueSize: 8, entriesMax: 2 };
  const key = (n: number) => new Uint8Array([n, 0, 0, 0]);
  const value = (n: number) => new Uint8Array([n, 0, 0, 0, 0, 0, 0, 0]);

  it("looks up, writes by mode and removes", () =>
    withMap(layout, (map) => {
      expect(map.lookup(key(1))).toBeUndefined();
      map.update(key(1), value(10), "noexist");
      expect(map.lookup(key(1))).toEqual(value(10));
      expect(() => map.update(key(1), value(11), "noexist")).toThrow("EEXIST");
      expect(() => map.update(key(2), value(20), "exist")).toThrow("ENOENT");
      map.update(key(1), value(12), "exist");
      const into = new Uint8Array(8);
      expect(map.lookup(key(1), into)).toBe(into);
      expect(into).toEqual(value(12));
      expect(map.remove(key(1))).toBe(true);
      expect(map.remove(key(1))).toBe(false);
    }));

  it("names call, map and errno when the table is full", () =>
    withMap(layout, (map) => {
      for (let i = 0; i < 2; i++) map.update(key(i), value(i));
      expect(() => map.update(key(2), value(2))).toThrow(
        "Cannot update map single: E2BIG (7), table is full at 2 entries",
      );
    }));

  it("refuses bytes of the wrong size before the kernel sees them", () =>
    withMap(layout, async (map) => {
      for (const work of [
        () => map.lookup(new Uint8Array(3)),
        () => map.lookup(key(1), new Uint8Array(7)),
        () => map.update(key(1), new Uint8Array(9)),
        () => map.remove(new Uint8Array(8)),
      ]) {
        expect(work).toThrow(/has \d bytes, not/);
      }
      expect((await catchError(map.updateAll(new Uint8Array(8), new Uint8Array(8)))).disposition).toBe("bug");
      expect((await catchError(map.removeAll(new Uint8Array(7)))).disposition).toBe("bug");
      expect((await map.readAll()).count).toBe(0);
    }));

  it("gives one padded value for each possible CPU", () =>
    withMap(
      { name: "cpus", type: MAP_TYPE.perCpuArray, keySize: 4, valueSize: 4, entriesMax: 3 },
      async (map) => {
        expect(map.valueStride).toBe(8);
        expect(map.cpuCount).toBe(possibleCpus());
        expect(map.valueBytes).toBe(8 * possibleCpus());
        const values = new Uint8Array(3 * map.valueBytes);
        for (let i = 0; i < values.length; i += 8) new DataView(values.buffer).setUint32(i, i + 1, true);
        const keys = new Uint8Array(new Uint32Array([0, 1, 2]).buffer);
        await map.updateAll(keys, values);
        expect(await map.readAll()).toEqual({ keys, values, count: 3 });
        expect(map.lookup(key(1))).toEqual(values.slice(map.valueBytes, 2 * map.valueBytes));
      },
    ));

  it("is unusable once closed, and never touches the number again", () => {
    const map = createMap(layout);
    map.close();
    map.close();
    expect(() => map.fd).toThrow("Cannot use map single: it was closed");
    expect(() => map.update(key(1), value(1))).toThrow("closed");
  });
});

describeKernel("array maps as memory", () => {
  const layout: MapLayout = {
    name: "memory",
    type: MAP_TYPE.array,
    keySize: 4,
    valueSize: 12,
    entriesMax: 1_000,
    flags: MAP_FLAG.mmapable,
  };

  it("shows stores to the kernel and the kernel's writes to us, at a stride of 8", () =>
    withMap(layout, (map) => {
      const memory = map.mmap();
      expect(memory.stride).toBe(16);
      expect(memory.bytes.length).toBe(16_000);
      Atomics.store(memory.words, (16 * 3) / 8, -2n);
      expect(map.lookup(new Uint8Array([3, 0, 0, 0]))?.slice(0, 8)).toEqual(
        new Uint8Array([254, 255, 255, 255, 255, 255, 255, 255]),
      );
      expect(Atomics.load(memory.unsignedWords, 6)).toBe(0xffff_ffff_ffff_fffen);
      map.update(new Uint8Array([231, 3, 0, 0]), new Uint8Array(12).fill(9));
      expect(memory.bytes.slice(15_984, 16_000)).toEqual(new Uint8Array([...Array(12).fill(9), 0, 0, 0, 0]));
      memory.close();
      memory.close();
    }));

  it("gives harmless zeros through a view that outlived its mapping", () =>
    withMap(layout, (map) => {
      const memory = map.mmap();
      Atomics.store(memory.words, 0, 5n);
      memory.close();
      expect(Atomics.load(memory.words, 0)).toBe(0n);
      Atomics.store(memory.words, 0, 6n);
      expect(map.lookup(new Uint8Array(4))?.[0]).toBe(5);
    }));

  it("refuses maps that are not made for it", () =>
    withMap({ ...layout, flags: 0 }, (map) => {
      expect(() => map.mmap()).toThrow("it is not an array with BPF_F_MMAPABLE");
    }));
});
