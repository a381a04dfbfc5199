// Crashes, losses of power and failing disks, at every place where they can happen: no record that was reported
// as written is ever lost, the log can always be continued, and nothing is repaired silently.
import { describe, expect, test, vi } from "vitest";
import { type AuditEntry, type AuditLog, type AuditRecord, verifyAuditLog } from "../../src/audit/index.ts";
import { recordBytesMax } from "../../src/audit/record.ts";
import { PenstockError } from "../../src/base/index.ts";
import { type Fault, MemoryDisk, type Pick, seededPick } from "./audit-memory-disk.ts";
import { collect, openTestLog, sampleEntry, writeLog } from "./audit-support.ts";

// Sweeps and synced writes: seconds on an idle machine, more on a busy one.
vi.setConfig({ testTimeout: 60_000 });

const directory = "/memory/audit";
const verify = (disk: MemoryDisk) => verifyAuditLog(directory, { io: disk });
/** Short, so that sweeps over its bytes are quick. */
const entry = (i: number) =>
  sampleEntry({ message: `attempt ${i}`, revision: null, plan: null, digests: null, timingsMs: {} });
/** Needs more than the rest of a block: on a full disk it has no room beside other records. */
const longEntry = (i: number) => ({
  ...entry(i),
  diagnostics: Array.from({ length: 10 }, () => "x".repeat(500)),
});
const fillUp = (disk: MemoryDisk) => {
  disk.capacity = disk.used;
};

interface Journey {
  /** Records whose append was reported as done. */
  readonly written: AuditRecord[];
  readonly errors: unknown[];
}

/**
 * A life with everything in it: a new log, records, a rotation, a restart, a reserve, a disk that fills up, the
 * record that goes through the reserve, and space again.
 */
async function live(disk: MemoryDisk, fileBytesMax: number): Promise<Journey> {
  const journey: Journey = { written: [], errors: [] };
  let log: AuditLog | undefined;
  const attempt = async (step: () => Promise<unknown>) => {
    try {
      await step();
    } catch (error) {
      journey.errors.push(error);
    }
  };
  const reopen = () =>
    attempt(async () => {
      await log?.close().catch(() => undefined);
      log = undefined;
      log = await openTestLog({ io: disk, fileBytesMax });
    });
  const append = (item: AuditEntry) =>
    attempt(async () => {
      if (log !== undefined) journey.written.push(await log.append(item));
    });
  await reopen();
  for (let i = 1; i <= 3; i++) await append(entry(i));
  await reopen();
  await attempt(async () => log?.reserve());
  fillUp(disk);
  await append(longEntry(4));
  fillUp(disk);
  await append(longEntry(5));
  disk.capacity = Number.POSITIVE_INFINITY;
  await append(entry(6));
  await attempt(async () => log?.reserve());
  await append(entry(7));
  return journey;
}

/** What must hold of any disk afterwards; gives the number of records found. */
async function expectSound(disk: MemoryDisk, written: readonly AuditRecord[]): Promise<number> {
  const log = await openTestLog({ io: disk, fileBytesMax: 2500 });
  const found = (await collect(log.records())).reverse();
  for (const record of written) expect(found[record.sequence - 1]).toEqual(record);
  await log.append(sampleEntry());
  await log.close();
  expect(await verify(disk)).toMatchObject({ ok: true, findings: [], records: found.length + 1 });
  return found.length;
}

async function countOperations(fileBytesMax: number): Promise<number> {
  const disk = new MemoryDisk();
  const { written, errors } = await live(disk, fileBytesMax);
  // The life as it is meant: one append finds the disk full, without a reserve.
  expect(written.map((record) => record.message)).toEqual([1, 2, 3, 4, 6, 7].map((i) => `attempt ${i}`));
  const noSpace = { code: "audit-write-failed", data: { directory, errno: "ENOSPC" } };
  expect(errors).toEqual([expect.objectContaining(noSpace)]);
  // The record that came through the reserve begins a file.
  expect(disk.names()).toContain("audit-1.jsonl");
  expect(disk.operations).toBeGreaterThan(60);
  return disk.operations;
}

/** Two records to a file, and all in one as far as the disk allows. */
const lives = [700, 1e6];

describe("a loss of power at every operation", () => {
  const worlds: { name: string; picks: (operation: number) => Pick[] }[] = [
    { name: "nothing that was not synced survives", picks: () => [() => 0] },
    { name: "everything survives", picks: () => [(max) => max] },
    { name: "names survive, content does not", picks: () => [(max) => (max === 1 ? 1 : 0)] },
    { name: "content survives, names do not", picks: () => [(max) => (max === 1 ? 0 : max)] },
    {
      name: "any of it survives",
      picks: (operation) => [1, 2, 3].map((i) => seededPick(operation * 10 + i)),
    },
  ];
  test.each(worlds)("$name", async ({ picks }) => {
    for (const fileBytesMax of lives) {
      const operations = await countOperations(fileBytesMax);
      for (let operation = 1; operation <= operations; operation++) {
        const disk = new MemoryDisk();
        disk.failAt({ operation, code: "crash" });
        const { written } = await live(disk, fileBytesMax);
        for (const pick of picks(operation)) {
          const found = await expectSound(disk.afterCrash(pick), written);
          // The one record whose append was under way may be there, no other.
          expect([0, 1]).toContain(found - written.length);
        }
      }
    }
  });
});

describe("a failure at every operation", () => {
  test.each<{ name: string; fault: Omit<Fault, "operation"> }>([
    { name: "the disk is full once", fault: { code: "ENOSPC" } },
    { name: "an I/O error once", fault: { code: "EIO" } },
    { name: "the disk is full from then on", fault: { code: "ENOSPC", lasting: true } },
    { name: "I/O errors from then on", fault: { code: "EIO", lasting: true } },
  ])("$name", async ({ fault }) => {
    const cases = await Promise.all(
      lives.map(async (fileBytesMax) =>
        Array.from({ length: await countOperations(fileBytesMax) }, (_, i) => ({
          fileBytesMax,
          operation: i + 1,
        })),
      ),
    );
    for (const { fileBytesMax, operation } of cases.flat()) {
      const disk = new MemoryDisk();
      disk.failAt({ operation, ...fault });
      const { written, errors } = await live(disk, fileBytesMax);
      for (const error of errors) {
        expect(error).toBeInstanceOf(PenstockError);
        expect(error).toMatchObject({
          code: "audit-write-failed",
          disposition: "transient",
          remedy: expect.stringMatching(/^(Free space|Check the disk)/),
        });
      }
      disk.failAt(undefined);
      disk.capacity = Number.POSITIVE_INFINITY;
      await expectSound(disk, written);
    }
  });

  test("a failed write that cannot be taken back is repaired by the next append, and mentioned", async () => {
    const disk = new MemoryDisk();
    const log = await openTestLog({ io: disk });
    await log.append(entry(1));
    const size = disk.content("audit.jsonl").length;
    // The write gets half way; then nothing works any more.
    disk.failAt({ operation: 1, code: "EIO", lasting: true });
    await expect(log.append(entry(2))).rejects.toMatchObject({ code: "audit-write-failed" });
    expect(disk.content("audit.jsonl").length).toBeGreaterThan(size);
    disk.failAt(undefined);
    expect((await log.append(entry(3))).sequence).toBe(2);
    expect(log.repairs).toEqual([expect.stringMatching(/unfinished record; they are in audit\.torn-/)]);
    await log.close();
    expect(await verify(disk)).toMatchObject({ ok: true, records: 2 });
  });

  test("a failed write is taken back at once if that is possible", async () => {
    const disk = new MemoryDisk();
    const log = await openTestLog({ io: disk });
    await log.append(entry(1));
    const before = disk.content("audit.jsonl");
    disk.failAt({ operation: 1, code: "EIO" });
    await expect(log.append(entry(2))).rejects.toMatchObject({ code: "audit-write-failed" });
    expect(disk.content("audit.jsonl")).toEqual(before);
    await log.close();
    expect(log.repairs).toEqual([]);
  });

  test("no second record is added before the head names the first", async () => {
    const disk = new MemoryDisk();
    const log = await openTestLog({ io: disk });
    // Write and sync of the record succeed, everything of the head fails.
    disk.failAt({ operation: 3, code: "EIO", lasting: true });
    expect((await log.append(entry(1))).sequence).toBe(1);
    await expect(log.append(entry(2))).rejects.toMatchObject({ code: "audit-write-failed" });
    await expect(log.reserve()).rejects.toMatchObject({ code: "audit-write-failed" });
    expect(await verify(disk)).toMatchObject({ ok: true, records: 1, head: { sequence: 0 } });
    disk.failAt(undefined);
    await log.append(entry(3));
    await log.close();
    expect(await verify(disk)).toMatchObject({ ok: true, records: 2, head: { sequence: 2 } });
  });
});

describe("the last record cut at every byte", () => {
  /** Three records, the head as it was before the last one was written: what a crash within an append leaves. */
  const crashed = async (fileBytesMax: number) => {
    const disk = new MemoryDisk();
    const written = await writeLog({ io: disk, fileBytesMax }, [entry(1), entry(2), entry(3)]);
    disk.put("audit.head", Buffer.from(`{"hash":"${written[1]?.hash}","sequence":2}\n`));
    const content = disk.content("audit.jsonl");
    const lastStart = content.lastIndexOf("\n", content.length - 2) + 1;
    return { disk, written, content, lastStart };
  };

  test.each([
    { name: "behind other records", fileBytesMax: 1e6 },
    { name: "as the first of a file", fileBytesMax: 10 },
  ])(
    "$name: earlier records are kept, the rest is moved away, the next append verifies",
    async ({ fileBytesMax }) => {
      const { disk, written, content, lastStart } = await crashed(fileBytesMax);
      for (let length = lastStart; length <= content.length; length++) {
        const copy = disk.copy();
        copy.put("audit.jsonl", content.subarray(0, length));
        const log = await openTestLog({ io: copy, fileBytesMax });
        const kept = length === content.length ? 3 : 2;
        expect((await collect(log.records())).reverse()).toEqual(written.slice(0, kept));
        const torn = copy.names().filter((name) => name.startsWith("audit.torn-"));
        if (kept === 3) {
          expect(log.repairs).toEqual(["audit.head was one record behind; it names record 3 now"]);
        } else if (length > lastStart) {
          expect(torn).toEqual(["audit.torn-20260131T235959.123Z"]);
          expect(copy.content(torn[0] ?? "")).toEqual(content.subarray(lastStart, length));
          expect(log.repairs).toEqual([
            expect.stringContaining(`${length - lastStart} bytes of an unfinished record`),
          ]);
        } else {
          expect([log.repairs, torn]).toEqual([[], []]);
        }
        await log.append(entry(4));
        await log.close();
        expect(await verify(copy)).toMatchObject({ ok: true, records: kept + 1 });
      }
    },
  );

  test("what is moved away is never lost, though the power fails while it is moved", async () => {
    const torn = Buffer.from('{"torn":');
    const before = new MemoryDisk();
    await writeLog({ io: before }, [entry(1)]);
    before.put("audit.jsonl", Buffer.concat([before.content("audit.jsonl"), torn]));
    for (let operation = 1, opened = false; !opened; operation++) {
      const disk = before.copy();
      disk.failAt({ operation, code: "crash" });
      opened = await openTestLog({ io: disk }).then(
        () => true,
        () => false,
      );
      const after = disk.afterCrash(() => 0);
      const holders = after.names().filter((name) => after.content(name).includes(torn));
      expect({ operation, holders }).not.toEqual({ operation, holders: [] });
    }
  });

  test("with a head that names the last record it is no crash, and the log is not continued", async () => {
    const disk = new MemoryDisk();
    await writeLog({ io: disk }, [entry(1), entry(2)]);
    const content = disk.content("audit.jsonl");
    for (let length = 0; length < content.length; length++) {
      const copy = disk.copy();
      copy.put("audit.jsonl", content.subarray(0, length));
      await expect(openTestLog({ io: copy })).rejects.toMatchObject({ code: "audit-chain-broken" });
      expect((await verify(copy)).ok).toBe(false);
    }
  });

  test.each([
    { name: "zeros", rubbish: Buffer.alloc(700) },
    {
      name: "random bytes with line ends",
      rubbish: Buffer.from(Array.from({ length: 700 }, (_, i) => (i * 37) % 256)),
    },
    { name: "half a record and a line end", rubbish: Buffer.from('{"agentVersion":"0.1\n') },
    { name: "as much as a record can be", rubbish: Buffer.alloc(recordBytesMax - 1, "x") },
  ])("$name instead of a record are moved away too", async ({ rubbish }) => {
    const disk = new MemoryDisk();
    await writeLog({ io: disk }, [entry(1)]);
    disk.put("audit.jsonl", Buffer.concat([disk.content("audit.jsonl"), rubbish]));
    disk.put("audit.torn-20260131T235959.123Z", Buffer.from("from an earlier crash"));
    const log = await openTestLog({ io: disk });
    expect(log.repairs).toEqual([expect.stringContaining(`${rubbish.length} bytes`)]);
    expect(rubbish.equals(disk.content("audit.torn-20260131T235959.123Z-2"))).toBe(true);
    await log.append(entry(2));
    await log.close();
    expect(await verify(disk)).toMatchObject({ ok: true, records: 2 });
  });
});

describe("the reserve", () => {
  const full = async () => {
    const disk = new MemoryDisk();
    const log = await openTestLog({ io: disk });
    await log.append(entry(1));
    await log.reserve();
    fillUp(disk);
    return { disk, log };
  };

  test("lets the next record be written on a full disk", async () => {
    const { disk, log } = await full();
    expect((await log.append(longEntry(2))).sequence).toBe(2);
    expect(disk.names()).toEqual(["audit-1.jsonl", "audit.head", "audit.jsonl"]);
    expect(await verify(disk)).toMatchObject({ ok: true, records: 2, head: { sequence: 2 } });
    await log.close();
  });

  test("even if somebody else takes every byte that becomes free", async () => {
    const { disk, log } = await full();
    disk.greedy = true;
    expect((await log.append(longEntry(2))).sequence).toBe(2);
    // No space for a head: one record behind, which is sound, and nothing more is written.
    expect(await verify(disk)).toMatchObject({ ok: true, records: 2, head: { sequence: 1 } });
    await expect(log.append(entry(3))).rejects.toMatchObject({ code: "audit-write-failed" });
    await expect(log.reserve()).rejects.toMatchObject({ code: "audit-write-failed" });
    disk.greedy = false;
    disk.capacity = Number.POSITIVE_INFINITY;
    expect((await log.append(entry(3))).sequence).toBe(3);
    await log.close();
    expect(await verify(disk)).toMatchObject({ ok: true, records: 3 });
  });

  test("holds when the record would have begun a new file", async () => {
    const disk = new MemoryDisk();
    const log = await openTestLog({ io: disk, fileBytesMax: 10 });
    await log.append(entry(1));
    await log.reserve();
    fillUp(disk);
    disk.greedy = true;
    expect((await log.append(longEntry(2))).sequence).toBe(2);
    expect(await verify(disk)).toMatchObject({ ok: true, records: 2 });
    await log.close();
  });

  test("cannot be had on a full disk, and leaves nothing in the way", async () => {
    const disk = new MemoryDisk();
    const log = await openTestLog({ io: disk });
    // Room for the head's next version, and for half a reserve.
    disk.capacity = disk.used + 8192 + recordBytesMax / 2;
    const error = await log.checkWritable();
    expect(error).toMatchObject({
      code: "audit-write-failed",
      remedy: expect.stringContaining("Free space"),
    });
    expect(disk.content("audit.reserve").length).toBe(0);
    expect((await log.append(entry(1))).sequence).toBe(1);
    await log.close();
  });

  test("is not trusted for its length: a write must succeed", async () => {
    const disk = new MemoryDisk();
    const log = await openTestLog({ io: disk });
    await log.reserve();
    disk.failAt({ operation: 1, code: "EIO", lasting: true });
    expect(await log.checkWritable()).toMatchObject({ data: { errno: "EIO" } });
    await log.close();
  });

  test("is made whole again after it was used or cut", async () => {
    const { disk, log } = await full();
    disk.capacity = Number.POSITIVE_INFINITY;
    for (const content of [
      undefined,
      Buffer.alloc(0),
      Buffer.alloc(recordBytesMax - 1),
      Buffer.alloc(recordBytesMax + 1),
    ]) {
      disk.put("audit.reserve", content);
      await log.reserve();
      expect(disk.content("audit.reserve").length).toBe(recordBytesMax);
    }
    await log.close();
  });
});
