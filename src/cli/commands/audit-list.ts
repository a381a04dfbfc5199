// audit list: the records of the audit log, straight from its files.
import type { AuditRecord } from "../../audit/index.ts";
import { formatRevision } from "../../base/index.ts";
import { defineCommand } from "../command.ts";
import { auditDirectory, readRecords } from "../compose-audit.ts";
import { exitCode } from "../exit-codes.ts";
import { commandOption } from "../options.ts";
import { alignColumns, type Style } from "../style.ts";
import { formatTime, plain } from "../text.ts";
import { parseNumber } from "../usage.ts";

interface AuditListView {
  readonly records: readonly AuditRecord[];
}

export const auditListCommand = defineCommand<{ readonly limit?: string }>({
  name: "audit list",
  summary: "List what was attempted on this host",
  description: "List the records of the audit log, newest first: one for each attempt, whatever came of it",
  options: [commandOption.limit("how many records at most (default: 20)")],
  flags: "places",
  examples: [
    ["penstock audit list", "the last 20"],
    ["penstock audit list -n 1000 -o json", "whole records, with findings, digests and timings"],
  ],
  exits: {},
  async run(context, { options }) {
    const limit = parseNumber(options.limit ?? "20", "--limit", { min: 0, max: 1_000_000 });
    const settings = context.settings();
    const records: AuditRecord[] = [];
    for await (const record of readRecords(settings, limit)) records.push(record);
    context.output.result({ records }, renderRecords);
    if (records.length === 0) context.output.note(`There are no records in ${auditDirectory(settings)}`);
    return exitCode.done;
  },
});

function renderRecords(view: AuditListView, style: Style): string[] {
  const rows = view.records.map((record) => [
    { text: String(record.sequence), paint: style.dim },
    formatTime(record.time),
    { text: record.outcome, paint: paintOf(record.outcome, style) },
    record.trigger,
    record.revision === null ? "-" : plain(formatRevision(record.revision)),
    plain(record.message),
  ]);
  return alignColumns(rows, { right: [0] });
}

function paintOf(outcome: AuditRecord["outcome"], style: Style): (text: string) => string {
  if (outcome === "failed" || outcome === "refused") return style.red;
  return outcome === "applied" || outcome === "unchanged" ? style.green : style.yellow;
}
