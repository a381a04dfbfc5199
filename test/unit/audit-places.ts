// The lines of an audit log as a list that tests can tamper with, whatever file each is in.
import { canonicalJson } from "../../src/audit/canonical.ts";
import { hashRecord } from "../../src/audit/entry.ts";
import type { AuditRecord } from "../../src/audit/index.ts";
import { findRotated } from "../../src/audit/layout.ts";
import { MemoryDisk } from "./audit-memory-disk.ts";
import { sampleEntry, writeLog } from "./audit-support.ts";

export const logNames = (disk: MemoryDisk) => [
  ...findRotated(disk.names()).map((file) => file.name),
  "audit.jsonl",
];

/** A line of the log by its place in the whole: which file, which line of it. */
export interface Place {
  readonly file: string;
  readonly text: string;
}

export const readPlaces = (disk: MemoryDisk): Place[] =>
  logNames(disk).flatMap((file) =>
    disk
      .content(file)
      .toString("utf8")
      .split("\n")
      .slice(0, -1)
      .map((text) => ({ file, text })),
  );

/** Writes the lines back, each to the file that it names. */
export function writePlaces(disk: MemoryDisk, places: readonly Place[]): void {
  for (const file of logNames(disk)) {
    const lines = places.filter((place) => place.file === file).map((place) => `${place.text}\n`);
    disk.put(file, Buffer.from(lines.join(""), "utf8"));
  }
}

export const reseal = (record: Record<string, unknown>) =>
  canonicalJson({ ...record, hash: hashRecord(record) });

/** A log of `count` records, about two to a file. */
export async function sampleLog(count: number): Promise<{ disk: MemoryDisk; records: AuditRecord[] }> {
  const disk = new MemoryDisk();
  const entries = Array.from({ length: count }, (_, i) => sampleEntry({ message: `attempt ${i + 1}` }));
  const records = await writeLog({ io: disk, fileBytesMax: 2500 }, entries);
  return { disk, records };
}
