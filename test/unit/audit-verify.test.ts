// What the verifier must find: any tampering with a random log, and the record that it points at. The logs are
// written by the real writer on the memory disk; the tampering works on the files' bytes.
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { canonicalJson } from "../../src/audit/canonical.ts";
import { type AuditFinding, verifyAuditLog } from "../../src/audit/index.ts";
import { MemoryDisk } from "./audit-memory-disk.ts";
import { logNames, type Place, readPlaces, reseal, sampleLog, writePlaces } from "./audit-places.ts";
import { anyEntry, openTestLog, sampleEntry, writeLog } from "./audit-support.ts";

// Sweeps and synced writes: seconds on an idle machine, more on a busy one.
vi.setConfig({ testTimeout: 60_000 });

const directory = "/memory/audit";
/** Where in the whole log (from 0) a finding points; the number of lines for one about the head. */
function globalLine(places: readonly Place[], finding: AuditFinding | undefined): number | undefined {
  if (finding === undefined) return undefined;
  if (finding.line === null) return places.length;
  return places.findIndex((place) => place.file === finding.file) + finding.line - 1;
}

const verify = (disk: MemoryDisk) => verifyAuditLog(directory, { io: disk });
/** Random logs of at least one record over at least one file. */
const anyLog = fc
  .record({
    entries: fc.array(anyEntry, { minLength: 1, maxLength: 6 }),
    fileBytesMax: fc.constantFrom(10, 2000, 1e6),
  })
  .map(async ({ entries, fileBytesMax }) => {
    const disk = new MemoryDisk();
    await writeLog({ io: disk, fileBytesMax }, entries);
    return disk;
  });
const anyIndex = fc.nat();

type Json = { [key: string]: Json } | Json[] | string | number | boolean | null;

/** All paths to values of any depth, those to objects and arrays among them. */
function pathsOf(value: Json, prefix: readonly string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [[...prefix]];
  const inner = Object.entries(value).flatMap(([key, item]) => pathsOf(item, [...prefix, key]));
  return prefix.length === 0 ? inner : [[...prefix], ...inner];
}

function changeAt(value: Json, path: readonly string[], change: (old: Json) => Json | undefined): Json {
  const [key, ...rest] = path;
  if (key === undefined || typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).flatMap(([name, item]) => {
    if (name !== key) return [[name, item] as const];
    const next = rest.length > 0 ? changeAt(item, rest, change) : change(item);
    return next === undefined ? [] : [[name, next] as const];
  });
  return Array.isArray(value) ? entries.map(([, item]) => item) : Object.fromEntries(entries);
}

const differently: Record<string, (old: Json) => Json | undefined> = {
  "a near value": (old) => {
    if (typeof old === "number") return old + 1;
    if (typeof old === "string") return old === "" ? "x" : old.slice(0, -1) + (old.endsWith("0") ? "1" : "0");
    if (typeof old === "boolean") return !old;
    return old === null ? 0 : null;
  },
  "no value": () => undefined,
  "another kind of value": (old) => (typeof old === "string" ? 1 : "1"),
  "a foreign field within": (old) =>
    typeof old === "object" && old !== null && !Array.isArray(old) ? { ...old, zz: "0" } : [old as Json],
};

describe("a sound log", () => {
  test("has no findings, whatever its records say", async () => {
    await fc.assert(
      fc.asyncProperty(anyLog, async (log) => {
        const disk = await log;
        const result = await verify(disk);
        expect(result).toMatchObject({ ok: true, findings: [], notes: [], records: readPlaces(disk).length });
        expect(result.head?.sequence).toBe(result.records);
      }),
    );
  });

  test("may be verified while it grows", async () => {
    const disk = new MemoryDisk();
    const log = await openTestLog({ io: disk, fileBytesMax: 2500 });
    let done = false;
    const writing = (async () => {
      for (let i = 0; i < 60; i++) await log.append(sampleEntry());
      done = true;
    })();
    let times = 0;
    while (!done) {
      expect(await verify(disk)).toMatchObject({ ok: true, findings: [] });
      times++;
    }
    await writing;
    expect(times).toBeGreaterThan(3);
    await log.close();
  });

  test("a head one record behind is what a crash leaves", async () => {
    const { disk, records } = await sampleLog(3);
    const second = records[1];
    disk.put("audit.head", Buffer.from(`{"hash":"${second?.hash}","sequence":2}\n`));
    expect(await verify(disk)).toMatchObject({ ok: true, records: 3, head: { sequence: 2 } });
  });

  test("an unfinished last line is a note, not a finding", async () => {
    const { disk } = await sampleLog(3);
    disk.put("audit.jsonl", Buffer.concat([disk.content("audit.jsonl"), Buffer.from('{"agentVer')]));
    const { ok, notes } = await verify(disk);
    expect(ok).toBe(true);
    expect(notes).toEqual([expect.stringContaining("10 bytes of an unfinished record")]);
  });
});

describe("tampering with a random log is found, and at the right record", () => {
  test.each(Object.entries(differently))("a field of any depth replaced by %s", async (_name, change) => {
    await fc.assert(
      fc.asyncProperty(anyLog, anyIndex, anyIndex, async (log, which, where) => {
        const disk = await log;
        const places = readPlaces(disk);
        const index = which % places.length;
        const place = places[index]!;
        const record = JSON.parse(place.text) as Json;
        const paths = pathsOf(record);
        const changed = canonicalJson(changeAt(record, paths[where % paths.length]!, change));
        fc.pre(changed !== place.text);
        writePlaces(disk, places.with(index, { ...place, text: changed }));
        const { ok, findings } = await verify(disk);
        expect(ok).toBe(false);
        expect(globalLine(places, findings[0])).toBe(index);
      }),
      { numRuns: 150 },
    );
  });

  test("a message changed and the hash made to fit breaks the link to the next record, or to the head", async () => {
    await fc.assert(
      fc.asyncProperty(anyLog, anyIndex, async (log, which) => {
        const disk = await log;
        const places = readPlaces(disk);
        const index = which % places.length;
        const record = JSON.parse(places[index]!.text) as Record<string, unknown>;
        const text = reseal({ ...record, message: `${record["message"]}.` });
        writePlaces(disk, places.with(index, { ...places[index]!, text }));
        const { findings, findingsTotal } = await verify(disk);
        const last = index === places.length - 1;
        expect(findings[0]).toMatchObject({
          kind: last ? "head-mismatch" : "wrong-previous",
          sequence: last ? index + 1 : index + 2,
        });
        expect(globalLine(places, findings[0])).toBe(index + 1);
        expect(findingsTotal).toBe(1);
      }),
    );
  });

  test("a record dropped", async () => {
    await fc.assert(
      fc.asyncProperty(anyLog, anyIndex, async (log, which) => {
        const disk = await log;
        const places = readPlaces(disk);
        const index = which % places.length;
        const left = places.toSpliced(index, 1);
        writePlaces(disk, left);
        const { ok, findings } = await verify(disk);
        expect(ok).toBe(false);
        if (index === left.length) {
          expect(findings).toEqual([expect.objectContaining({ kind: "truncated-end", sequence: index + 1 })]);
        } else {
          expect(findings[0]).toMatchObject({ kind: "wrong-sequence", expected: `sequence ${index + 1}` });
          expect(globalLine(left, findings[0])).toBe(index);
        }
      }),
    );
  });

  test("two records swapped", async () => {
    await fc.assert(
      fc.asyncProperty(anyLog, anyIndex, anyIndex, async (log, one, two) => {
        const disk = await log;
        const places = readPlaces(disk);
        const [i, j] = [one % places.length, two % places.length].sort((a, b) => a - b) as [number, number];
        fc.pre(i !== j);
        const texts = places.map((place) => place.text);
        [texts[i], texts[j]] = [texts[j]!, texts[i]!];
        writePlaces(
          disk,
          places.map((place, k) => ({ ...place, text: texts[k]! })),
        );
        const { findings, findingsTotal } = await verify(disk);
        expect(findings[0]).toMatchObject({
          kind: "wrong-sequence",
          sequence: j + 1,
          expected: `sequence ${i + 1}`,
        });
        expect(globalLine(places, findings[0])).toBe(i);
        expect(findingsTotal).toBeLessThanOrEqual(6);
      }),
    );
  });

  test("a record repeated anywhere", async () => {
    await fc.assert(
      fc.asyncProperty(anyLog, anyIndex, anyIndex, async (log, which, where) => {
        const disk = await log;
        const places = readPlaces(disk);
        const index = which % places.length;
        const target = where % places.length;
        const more = places.toSpliced(target, 0, { file: places[target]!.file, text: places[index]!.text });
        writePlaces(disk, more);
        const { ok, findings, records } = await verify(disk);
        expect({ ok, records }).toEqual({ ok: false, records: more.length });
        expect(findings[0]?.kind).toBe("wrong-sequence");
        // Repeated right before itself, it is the second of the two that is in the way.
        expect(globalLine(more, findings[0])).toBe(target === index ? target + 1 : target);
      }),
    );
  });

  test("a forged record put in between, with or without a place in the chain", async () => {
    await fc.assert(
      fc.asyncProperty(anyLog, anyIndex, fc.boolean(), async (log, where, chained) => {
        const disk = await log;
        const places = readPlaces(disk);
        const target = where % places.length;
        const original = JSON.parse(places[target]!.text) as Record<string, unknown>;
        const forged = { ...original, message: "forged" };
        fc.pre(original["message"] !== "forged");
        const text = chained ? reseal(forged) : canonicalJson(forged);
        const more = places.toSpliced(target, 0, { file: places[target]!.file, text });
        writePlaces(disk, more);
        const { ok, findings } = await verify(disk);
        expect(ok).toBe(false);
        // A forged record that fits the one before it is only shown by the one after it.
        expect(globalLine(more, findings[0])).toBe(chained ? target + 1 : target);
      }),
    );
  });

  test("the end cut off at any byte", async () => {
    await fc.assert(
      fc.asyncProperty(anyLog, anyIndex, async (log, where) => {
        const disk = await log;
        const content = disk.content("audit.jsonl");
        const cut = content.subarray(0, where % content.length);
        disk.put("audit.jsonl", cut);
        const whole = readPlaces(disk).length;
        const { ok, findings } = await verify(disk);
        expect(ok).toBe(false);
        expect(findings).toEqual([expect.objectContaining({ kind: "truncated-end", sequence: whole + 1 })]);
      }),
    );
  });

  test("a rotated file cut at any byte", async () => {
    await fc.assert(
      fc.asyncProperty(anyIndex, async (where) => {
        const { disk } = await sampleLog(5);
        const content = disk.content("audit-1.jsonl");
        const length = where % content.length;
        disk.put("audit-1.jsonl", content.subarray(0, length));
        const whole = disk.content("audit-1.jsonl").toString().split("\n").length - 1;
        const { findings } = await verify(disk);
        const onLine = whole > 0 && content[length - 1] === 0x0a;
        expect(findings[0]).toMatchObject(
          onLine || length === 0
            ? { kind: "wrong-sequence", expected: `sequence ${whole + 1}`, file: "audit-3.jsonl", line: 1 }
            : { kind: "unfinished-line", sequence: whole + 1, file: "audit-1.jsonl", line: whole + 1 },
        );
      }),
    );
  });

  test("any one byte changed, in any file of the log", async () => {
    const { disk } = await sampleLog(3);
    for (const name of [...logNames(disk), "audit.head"]) {
      const content = disk.content(name);
      for (let at = 0; at < content.length; at++) {
        const copy = disk.copy();
        const changed = Buffer.from(content);
        changed[at] = changed[at]! ^ (1 << (at % 8));
        copy.put(name, changed);
        const { ok, findings } = await verify(copy);
        expect({ name, at, ok }).toEqual({ name, at, ok: false });
        if (name === "audit.head") continue;
        const line = content.subarray(0, at).filter((byte) => byte === 0x0a).length + 1;
        const pointed = { file: findings[0]?.file, line: findings[0]?.line };
        // The last newline changed makes the last line an unfinished one: a note, and a head that knows better.
        const lastByte = name === "audit.jsonl" && at === content.length - 1;
        expect({ at, ...pointed }).toEqual(
          lastByte ? { at, file: "audit.head", line: null } : { at, file: name, line },
        );
      }
    }
  });
});
