// The writer of the audit log on a real disk: order, rotation, reading, modes, what happens when somebody else
// touches the files, and what it refuses to continue.
import {
  appendFile,
  chmod,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  unlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type AuditEntry, readAuditRecords, verifyAuditLog } from "../../src/audit/index.ts";
import { collect, openTestLog, sampleEntry, writeLog } from "./audit-support.ts";

// Sweeps and synced writes: seconds on an idle machine, more on a busy one.
vi.setConfig({ testTimeout: 60_000 });

let root: string;
let directory: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "penstock-audit-log-"));
  directory = join(root, "state", "audit");
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const path = (name: string) => join(directory, name);
const entries = (count: number) =>
  Array.from({ length: count }, (_, i) => sampleEntry({ message: `attempt ${i + 1}` }));
const verified = async () => {
  const { ok, records, findings } = await verifyAuditLog(directory);
  expect(findings).toEqual([]);
  expect(ok).toBe(true);
  return records;
};

describe("appending", () => {
  test("gives chained records that go on after a restart", async () => {
    const [first, second] = await writeLog({ directory }, entries(2));
    const log = await openTestLog({ directory });
    expect(log.repairs).toEqual([]);
    expect(log.end).toEqual({ sequence: 2, hash: second?.hash });
    const third = await log.append(sampleEntry());
    await log.close();
    expect(first).toMatchObject({ sequence: 1, previous: "0".repeat(64), time: "2026-01-31T23:59:59.123Z" });
    expect(second).toMatchObject({ sequence: 2, previous: first?.hash });
    expect(third).toMatchObject({ sequence: 3, previous: second?.hash });
    expect(await verified()).toBe(3);
  });

  test("a new log is sound before its first record", async () => {
    await writeLog({ directory }, []);
    expect(await verified()).toBe(0);
  });

  test("keeps the order of calls that were made at once", async () => {
    const log = await openTestLog({ directory });
    const records = await Promise.all(entries(50).map((entry) => log.append(entry)));
    await log.close();
    expect(records.map((record) => record.message)).toEqual(entries(50).map((entry) => entry.message));
    expect(records.map((record) => record.sequence)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    expect(await verified()).toBe(50);
  });

  test("a wrong entry is a bug, writes nothing and disturbs nobody", async () => {
    const log = await openTestLog({ directory });
    const before = log.append(sampleEntry());
    const wrong = log.append({ ...sampleEntry(), outcome: "done" } as unknown as AuditEntry);
    const after = log.append(sampleEntry());
    await expect(wrong).rejects.toMatchObject({ disposition: "bug" });
    expect([(await before).sequence, (await after).sequence]).toEqual([1, 2]);
    await log.close();
    expect(await verified()).toBe(2);
  });

  test("close waits for what was called before, and ends the log", async () => {
    const log = await openTestLog({ directory });
    const pending = log.append(sampleEntry());
    await log.close();
    await expect(pending).resolves.toMatchObject({ sequence: 1 });
    await expect(log.append(sampleEntry())).rejects.toMatchObject({ disposition: "bug" });
    await expect(log.close()).resolves.toBeUndefined();
  });

  test("makes directory and files for the owner alone, and sets a wider mode right", async () => {
    await writeLog({ directory }, entries(1));
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    for (const name of ["audit.jsonl", "audit.head"])
      expect((await stat(path(name))).mode & 0o777).toBe(0o600);
    await chmod(path("audit.jsonl"), 0o644);
    const log = await openTestLog({ directory });
    await log.close();
    expect(log.repairs).toEqual([expect.stringContaining("had mode 644")]);
    expect((await stat(path("audit.jsonl"))).mode & 0o777).toBe(0o600);
  });

  test("refuses a directory that others may write", async () => {
    await writeLog({ directory }, []);
    await chmod(directory, 0o775);
    await expect(openTestLog({ directory })).rejects.toMatchObject({
      code: "audit-directory-unsafe",
      disposition: "stalled",
    });
  });

  test("says what to do when the directory cannot be made", async () => {
    await writeFile(join(root, "state"), "a file");
    await expect(openTestLog({ directory })).rejects.toMatchObject({
      code: "audit-write-failed",
      disposition: "transient",
      remedy: expect.stringContaining("directory"),
    });
  });
});

describe("rotation", () => {
  test("the chain goes on over files, and over restarts between them", async () => {
    // Each record is about 1 KiB: two to a file.
    const fileBytesMax = 2500;
    for (let run = 0; run < 4; run++) await writeLog({ directory, fileBytesMax }, entries(2));
    const names = (await readdir(directory)).filter((name) => name.endsWith(".jsonl")).sort();
    expect(names).toEqual(["audit-1.jsonl", "audit-3.jsonl", "audit-5.jsonl", "audit.jsonl"]);
    const { ok, files, records } = await verifyAuditLog(directory);
    expect({ ok, files, records }).toEqual({ ok: true, records: 8, files: names });
    for (const name of names) expect((await stat(path(name))).size).toBeLessThanOrEqual(fileBytesMax);
  });

  test("a record longer than a file may be gets a file of its own", async () => {
    await writeLog({ directory, fileBytesMax: 10 }, entries(3));
    expect(await readdir(directory)).toEqual(expect.arrayContaining(["audit-1.jsonl", "audit-2.jsonl"]));
    expect(await verified()).toBe(3);
  });

  test("does not write over a file that has the rotated name", async () => {
    const log = await openTestLog({ directory, fileBytesMax: 10 });
    await log.append(sampleEntry());
    await writeFile(path("audit-1.jsonl"), "precious");
    await expect(log.append(sampleEntry())).rejects.toMatchObject({ code: "audit-chain-broken" });
    await log.close();
    expect(await readFile(path("audit-1.jsonl"), "utf8")).toBe("precious");
  });

  test("continues from the rotated file if the current one was not begun", async () => {
    await writeLog({ directory }, entries(2));
    await rename(path("audit.jsonl"), path("audit-1.jsonl"));
    const [record] = await writeLog({ directory }, entries(1));
    expect(record?.sequence).toBe(3);
    expect(await verified()).toBe(3);
  });
});

test("the verifier is not disturbed by appending and rotating", async () => {
  const log = await openTestLog({ directory, fileBytesMax: 2500 });
  let writing = true;
  const done = Promise.all(entries(60).map((entry) => log.append(entry))).finally(() => {
    writing = false;
  });
  let times = 0;
  for (; writing; times++) expect(await verifyAuditLog(directory)).toMatchObject({ ok: true, findings: [] });
  await done;
  await log.close();
  expect(times).toBeGreaterThan(1);
  expect(await verified()).toBe(60);
});

describe("reading", () => {
  test.each([
    { name: "all", options: {}, sequences: [7, 6, 5, 4, 3, 2, 1] },
    { name: "the newest", options: { limit: 3 }, sequences: [7, 6, 5] },
    { name: "a page", options: { limit: 2, from: 4 }, sequences: [4, 3] },
    { name: "from the end of a file", options: { limit: 3, from: 5 }, sequences: [5, 4, 3] },
    { name: "from beyond the end", options: { limit: 1, from: 100 }, sequences: [7] },
    { name: "from before the start", options: { from: 0 }, sequences: [] },
    { name: "none", options: { limit: 0 }, sequences: [] },
  ])("$name, newest first", async ({ options, sequences }) => {
    const written = await writeLog({ directory, fileBytesMax: 2500 }, entries(7));
    const log = await openTestLog({ directory });
    const records = await collect(log.records(options));
    await log.close();
    expect(records.map((record) => record.sequence)).toEqual(sequences);
    expect(records).toEqual(sequences.map((sequence) => written[sequence - 1]));
    expect(await collect(readAuditRecords(directory, options))).toEqual(records);
  });

  test("a reader is not disturbed by appending and rotating", async () => {
    const log = await openTestLog({ directory, fileBytesMax: 2500 });
    for (const entry of entries(5)) await log.append(entry);
    const seen: number[] = [];
    for await (const record of readAuditRecords(directory)) {
      seen.push(record.sequence);
      await log.append(sampleEntry());
      await log.append(sampleEntry());
    }
    await log.close();
    expect(seen).toEqual([5, 4, 3, 2, 1]);
  });

  test("leaves out a record that is being written, and says where a line is none", async () => {
    await writeLog({ directory }, entries(2));
    await appendFile(path("audit.jsonl"), '{"half":');
    expect((await collect(readAuditRecords(directory))).length).toBe(2);
    await appendFile(path("audit.jsonl"), "\n");
    await expect(collect(readAuditRecords(directory))).rejects.toMatchObject({
      code: "audit-unreadable",
      message: expect.stringMatching(/audit\.jsonl.*byte \d+/),
    });
  });

  test("a directory that does not exist is unreadable, not empty", async () => {
    await expect(collect(readAuditRecords(directory))).rejects.toMatchObject({ code: "audit-unreadable" });
    await expect(verifyAuditLog(directory).then((result) => result.ok)).rejects.toMatchObject({
      code: "audit-unreadable",
    });
  });
});

describe("what is not continued", () => {
  const firstLines = async (count: number) =>
    `${(await readFile(path("audit.jsonl"), "utf8")).split("\n").slice(0, count).join("\n")}\n`;
  test.each([
    {
      name: "records cut off at the end",
      tamper: async () => writeFile(path("audit.jsonl"), await firstLines(2)),
    },
    {
      name: "the last record changed",
      tamper: async () =>
        writeFile(path("audit.jsonl"), (await firstLines(3)).replace("attempt 3", "attempt 4")),
    },
    { name: "the head removed", tamper: () => unlink(path("audit.head")) },
    { name: "the head emptied", tamper: () => writeFile(path("audit.head"), "") },
    {
      name: "the head moved back",
      tamper: () => writeFile(path("audit.head"), `{"hash":"${"0".repeat(64)}","sequence":0}\n`),
    },
    {
      name: "the head moved back by two",
      tamper: async () => {
        const second = JSON.parse((await readFile(path("audit.jsonl"), "utf8")).split("\n")[1] ?? "");
        await writeFile(path("audit.head"), `{"hash":"${second.previous}","sequence":1}\n`);
      },
    },
    {
      name: "something behind the last record of a rotated file",
      tamper: async () => {
        await rename(path("audit.jsonl"), path("audit-1.jsonl"));
        await appendFile(path("audit-1.jsonl"), "{");
      },
    },
    {
      name: "the head's hash changed",
      tamper: () => writeFile(path("audit.head"), `{"hash":"${"1".repeat(64)}","sequence":3}\n`),
    },
    { name: "the file removed", tamper: () => unlink(path("audit.jsonl")) },
    { name: "a file with a name like one of the log's", tamper: () => writeFile(path("audit-01.jsonl"), "") },
    {
      name: "more lines of rubbish than a crash can leave",
      tamper: () => appendFile(path("audit.jsonl"), "\n".repeat(20_000)),
    },
    {
      name: "more bytes of rubbish than a crash can leave",
      tamper: () => appendFile(path("audit.jsonl"), `${"x".repeat(999)}\n`.repeat(1200)),
    },
  ])("$name", async ({ tamper }) => {
    await writeLog({ directory }, entries(3));
    await tamper();
    const before = await snapshot();
    await expect(openTestLog({ directory })).rejects.toMatchObject({
      code: "audit-chain-broken",
      disposition: "stalled",
      remedy: expect.stringContaining("audit verify"),
    });
    expect(await snapshot()).toEqual(before);
    expect((await verifyAuditLog(directory)).ok).toBe(false);
  });
  const snapshot = async () => {
    const out: Record<string, string> = {};
    for (const name of (await readdir(directory)).sort()) out[name] = await readFile(path(name), "utf8");
    return out;
  };

  test("log and head cut back together while the agent runs", async () => {
    const log = await openTestLog({ directory });
    await log.append(sampleEntry());
    const log1 = await readFile(path("audit.jsonl"));
    const head1 = await readFile(path("audit.head"));
    await log.append(sampleEntry());
    await writeFile(path("audit.jsonl"), log1);
    await writeFile(path("audit.head"), head1);
    for (let attempt = 0; attempt < 2; attempt++) {
      await expect(log.append(sampleEntry())).rejects.toMatchObject({ code: "audit-chain-broken" });
      await expect(log.reserve()).rejects.toMatchObject({ code: "audit-chain-broken" });
    }
    await log.close();
  });
});

describe("another process", () => {
  test("its records are continued from, and mentioned", async () => {
    const log = await openTestLog({ directory });
    await log.append(sampleEntry());
    await writeLog({ directory }, entries(2));
    expect((await log.append(sampleEntry())).sequence).toBe(4);
    await log.close();
    expect(log.repairs).toEqual([
      expect.stringContaining("changed by another process"),
      expect.stringContaining("record 2 to 3"),
    ]);
    expect(await verified()).toBe(4);
  });

  test("a log file that was moved away is not written to", async () => {
    const log = await openTestLog({ directory });
    await log.append(sampleEntry());
    await rename(path("audit.jsonl"), join(root, "elsewhere"));
    await expect(log.append(sampleEntry())).rejects.toMatchObject({ code: "audit-chain-broken" });
    await rename(join(root, "elsewhere"), path("audit.jsonl"));
    expect((await log.append(sampleEntry())).sequence).toBe(2);
    await log.close();
    expect(await verified()).toBe(2);
  });
});

test("checkWritable tells what reserve would throw", async () => {
  const log = await openTestLog({ directory });
  expect(await log.checkWritable()).toBeNull();
  await rm(directory, { recursive: true });
  await writeFile(directory, "in the way");
  expect(await log.checkWritable()).toMatchObject({ code: "audit-write-failed", data: { errno: "ENOTDIR" } });
  await log.close();
});
