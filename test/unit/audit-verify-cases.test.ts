// What the verifier says of each kind of tampering, by name: the kind, the file, the line, the record, and what
// was expected and found there.
import { describe, expect, test } from "vitest";
import { type AuditFinding, type AuditRecord, verifyAuditLog } from "../../src/audit/index.ts";
import type { AuditIo, OpenHow } from "../../src/audit/io.ts";
import { MemoryDisk } from "./audit-memory-disk.ts";
import { logNames, readPlaces, reseal, sampleLog, writePlaces } from "./audit-places.ts";
import { openTestLog, sampleEntry, writeLog } from "./audit-support.ts";

const directory = "/memory/audit";
const verify = (disk: MemoryDisk) => verifyAuditLog(directory, { io: disk });

describe("by name", () => {
  const cases: {
    name: string;
    tamper: (disk: MemoryDisk, records: readonly AuditRecord[]) => void;
    finding: Partial<AuditFinding>;
  }[] = [
    {
      name: "no head",
      tamper: (disk) => disk.put("audit.head", undefined),
      finding: { kind: "head-missing", file: "audit.head" },
    },
    {
      name: "a head with a space in it",
      tamper: (disk) =>
        disk.put("audit.head", Buffer.from(`${disk.content("audit.head").toString().trimEnd()} \n`)),
      finding: { kind: "head-unreadable" },
    },
    {
      name: "a head two records behind",
      tamper: (disk, records) =>
        disk.put("audit.head", Buffer.from(`{"hash":"${records[2]?.hash}","sequence":3}\n`)),
      finding: { kind: "head-behind", sequence: 3 },
    },
    {
      name: "a head of another chain",
      tamper: (disk) => disk.put("audit.head", Buffer.from(`{"hash":"${"1".repeat(64)}","sequence":5}\n`)),
      finding: { kind: "head-mismatch", sequence: 5 },
    },
    {
      name: "the current file removed",
      tamper: (disk) => disk.put("audit.jsonl", undefined),
      finding: { kind: "truncated-end", sequence: 5, expected: "records up to 5, as the head says" },
    },
    {
      name: "the first file removed",
      tamper: (disk) => disk.put("audit-1.jsonl", undefined),
      finding: {
        kind: "wrong-sequence",
        file: "audit-3.jsonl",
        line: 1,
        sequence: 3,
        expected: "sequence 1",
        found: "sequence 3",
      },
    },
    {
      name: "a middle file removed",
      tamper: (disk) => disk.put("audit-3.jsonl", undefined),
      finding: { kind: "wrong-sequence", file: "audit.jsonl", line: 1, sequence: 5, expected: "sequence 3" },
    },
    {
      name: "a file under a wrong number",
      tamper: (disk) => {
        disk.put("audit-4.jsonl", disk.content("audit-3.jsonl"));
        disk.put("audit-3.jsonl", undefined);
      },
      finding: { kind: "wrong-file-name", file: "audit-4.jsonl", sequence: 3 },
    },
    {
      name: "a file with a name like one",
      tamper: (disk) => disk.put("audit-03.jsonl", Buffer.alloc(0)),
      finding: { kind: "misnamed-file", file: "audit-03.jsonl" },
    },
    {
      name: "a copy of a file",
      tamper: (disk) => disk.put("audit-2.jsonl", disk.content("audit-1.jsonl")),
      finding: { kind: "wrong-sequence", file: "audit-2.jsonl", sequence: 1 },
    },
    {
      name: "an empty line",
      tamper: (disk) => disk.put("audit-3.jsonl", Buffer.from(`\n${disk.content("audit-3.jsonl")}`)),
      finding: { kind: "unparsable-line", line: 1, sequence: 3, found: "an empty line" },
    },
    {
      name: "CRLF line ends",
      tamper: (disk) =>
        disk.put("audit.jsonl", Buffer.from(disk.content("audit.jsonl").toString().replace("\n", "\r\n"))),
      finding: { kind: "not-canonical", line: 1, sequence: 5 },
    },
    {
      name: "a byte order mark",
      tamper: (disk) => disk.put("audit.jsonl", Buffer.from(`\ufeff${disk.content("audit.jsonl")}`)),
      finding: { kind: "unparsable-line", line: 1 },
    },
    {
      name: "a field given twice",
      tamper: (disk) =>
        disk.put(
          "audit.jsonl",
          Buffer.from(disk.content("audit.jsonl").toString().replace("{", '{"host":"evil",')),
        ),
      finding: { kind: "not-canonical", line: 1, sequence: 5 },
    },
    {
      name: "bytes that are not UTF-8",
      tamper: (disk) =>
        disk.put(
          "audit.jsonl",
          Buffer.from(
            disk.content("audit.jsonl").toString("latin1").replace("office", "off\xffce"),
            "latin1",
          ),
        ),
      finding: { kind: "unparsable-line", found: "bytes that are not UTF-8" },
    },
    {
      name: "a foreign field, sealed",
      tamper: (disk, records) =>
        disk.put("audit.jsonl", Buffer.from(`${reseal({ ...records[4], note: "x" })}\n`)),
      finding: { kind: "foreign-field", sequence: 5, found: "/note is not a field of a record" },
    },
    {
      name: "an unknown outcome, sealed",
      tamper: (disk, records) =>
        disk.put("audit.jsonl", Buffer.from(`${reseal({ ...records[4], outcome: "fine" })}\n`)),
      finding: { kind: "wrong-field", sequence: 5 },
    },
    {
      name: "a missing field, sealed",
      tamper: (disk, records) =>
        disk.put("audit.jsonl", Buffer.from(`${reseal({ ...records[4], plan: undefined })}\n`)),
      finding: { kind: "missing-field", found: "/plan is missing" },
    },
    {
      name: "nesting without end",
      tamper: (disk) =>
        disk.put("audit.jsonl", Buffer.from(`{"plan":${"[".repeat(400_000)}${"]".repeat(400_000)}}\n`)),
      finding: { line: 1, sequence: 5 },
    },
    {
      name: "a line without end",
      tamper: (disk) =>
        disk.put("audit.jsonl", Buffer.concat([Buffer.alloc(3_000_000, "x"), Buffer.from("\n")])),
      finding: { kind: "unparsable-line", found: "a line longer than any record" },
    },
    {
      name: "a long unfinished line",
      tamper: (disk) =>
        disk.put("audit.jsonl", Buffer.concat([disk.content("audit.jsonl"), Buffer.alloc(3_000_000, "x")])),
      finding: { kind: "unfinished-line", line: 2, sequence: 6 },
    },
  ];
  test.each(cases)("$name", async ({ tamper, finding }) => {
    const { disk, records } = await sampleLog(5);
    expect(logNames(disk)).toEqual(["audit-1.jsonl", "audit-3.jsonl", "audit.jsonl"]);
    tamper(disk, records);
    const result = await verify(disk);
    expect(result.ok).toBe(false);
    expect(result.findings[0]).toMatchObject(finding);
  });

  test("a directory without a log", async () => {
    const { ok, findings, records } = await verify(new MemoryDisk());
    expect({ ok, records, kinds: findings.map((f) => f.kind) }).toEqual({
      ok: false,
      records: 0,
      kinds: ["head-missing"],
    });
  });

  test("findings are bounded and all counted", async () => {
    const { disk } = await sampleLog(1);
    disk.put("audit.jsonl", Buffer.from("rubbish\n".repeat(5000)));
    const { findings, findingsTotal, records } = await verify(disk);
    expect({ kept: findings.length, findingsTotal: findingsTotal >= 5000, records }).toEqual({
      kept: 100,
      findingsTotal: true,
      records: 0,
    });
  });

  const moved = async (order: readonly number[]) => {
    const { disk } = await sampleLog(9);
    const places = readPlaces(disk);
    // All in the first file: where a file ends is not the point here.
    const texts = order.map((sequence) => places[sequence - 1]?.text ?? "").map((text) => `${text}\n`);
    for (const name of logNames(disk)) if (name !== "audit.jsonl") disk.put(name, undefined);
    disk.put("audit.jsonl", Buffer.from(texts.join("")));
    const { findings } = await verify(disk);
    return findings.map(({ kind, line, sequence, expected }) => ({ kind, line, sequence, expected }));
  };
  const wrong = (line: number, sequence: number, expected: number) => ({
    kind: "wrong-sequence",
    line,
    sequence,
    expected: `sequence ${expected}`,
  });
  test.each([
    { name: "in order", order: [1, 2, 3, 4, 5, 6, 7, 8, 9], findings: [] },
    { name: "a run missing", order: [1, 2, 6, 7, 8, 9], findings: [wrong(3, 6, 3)] },
    { name: "two runs missing", order: [1, 3, 4, 8, 9], findings: [wrong(2, 3, 2), wrong(4, 8, 5)] },
    {
      name: "a run repeated at the end",
      order: [1, 2, 3, 4, 5, 6, 7, 8, 9, 4, 5],
      findings: [wrong(10, 4, 10), wrong(11, 5, 10)],
    },
    {
      name: "a run repeated in the middle",
      order: [1, 2, 3, 4, 1, 2, 5, 6, 7, 8, 9],
      findings: [wrong(5, 1, 5), wrong(6, 2, 5)],
    },
    {
      name: "one moved forward",
      order: [1, 8, 2, 3, 4, 5, 6, 7, 9],
      findings: [wrong(2, 8, 2), wrong(9, 9, 8)],
    },
    {
      name: "one moved back",
      order: [1, 3, 4, 5, 6, 7, 8, 2, 9],
      findings: [wrong(2, 3, 2), wrong(8, 2, 9)],
    },
  ])("misplaced records give few findings: $name", async ({ order, findings }) => {
    expect(await moved(order)).toEqual(findings);
  });

  test("one fault does not drown the next: three changed records give three findings", async () => {
    const { disk } = await sampleLog(9);
    const places = readPlaces(disk);
    const changed = places.map((place, i) =>
      [1, 2, 7].includes(i) ? { ...place, text: place.text.replace("attempt", "success") } : place,
    );
    writePlaces(disk, changed);
    const { findings } = await verify(disk);
    expect(findings.map((finding) => [finding.kind, finding.sequence])).toEqual([
      ["wrong-hash", 2],
      ["wrong-hash", 3],
      ["wrong-hash", 8],
    ]);
  });
});

describe("an anchor noted down elsewhere", () => {
  test("shows a log and head that were rewritten as a whole", async () => {
    const { disk, records } = await sampleLog(4);
    const anchor = { sequence: 3, hash: records[2]?.hash ?? "" };
    expect((await verifyAuditLog(directory, { io: disk, anchor })).ok).toBe(true);
    const forged = new MemoryDisk();
    await writeLog(
      { io: forged },
      Array.from({ length: 4 }, () => sampleEntry({ message: "nothing happened" })),
    );
    expect((await verifyAuditLog(directory, { io: forged })).ok).toBe(true);
    const { ok, findings } = await verifyAuditLog(directory, { io: forged, anchor });
    expect(ok).toBe(false);
    expect(findings).toEqual([expect.objectContaining({ kind: "anchor-mismatch", sequence: 3 })]);
  });
});

test("a wrong link right behind a changed record is found too", async () => {
  const { disk } = await sampleLog(4);
  const places = readPlaces(disk);
  const third = JSON.parse(places[2]?.text ?? "") as Record<string, unknown>;
  const texts = places.map((place) => place.text);
  texts[1] = texts[1]?.replace("attempt", "success") ?? "";
  texts[2] = reseal({ ...third, previous: "1".repeat(64) });
  writePlaces(
    disk,
    places.map((place, i) => ({ ...place, text: texts[i] ?? "" })),
  );
  const { findings } = await verify(disk);
  expect(findings.map((finding) => [finding.kind, finding.sequence])).toEqual([
    ["wrong-hash", 2],
    ["wrong-previous", 3],
    ["wrong-previous", 4],
  ]);
});

test("a log that grows between two looks at it is looked at again", async () => {
  const disk = new MemoryDisk();
  const log = await openTestLog({ io: disk, fileBytesMax: 2500 });
  await log.append(sampleEntry());
  let grown = 0;
  const io = Object.create(disk, {
    open: {
      value: async (path: string, how: OpenHow) => {
        if (path.endsWith("audit.jsonl") && grown++ < 5)
          for (let i = 0; i < 3; i++) await log.append(sampleEntry());
        return await disk.open(path, how);
      },
    },
    list: { value: () => disk.list() },
    stat: { value: (path: string) => disk.stat(path) },
  }) as AuditIo;
  expect(await verifyAuditLog(directory, { io })).toMatchObject({
    ok: true,
    records: 16,
    head: { sequence: 16 },
  });
  await log.close();
});
