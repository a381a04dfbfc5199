// audit verify: proves that the audit log was not changed since it was written, trusting nothing but its bytes.

import { existsSync } from "node:fs";
import {
  type AuditFinding,
  type AuditVerification,
  type ChainEnd,
  verifyAuditLog,
} from "../../audit/index.ts";
import { PenstockError } from "../../base/index.ts";
import { defineCommand } from "../command.ts";
import { auditDirectory } from "../compose-audit.ts";
import { exitCode } from "../exit-codes.ts";
import { commandOption } from "../options.ts";
import type { Style } from "../style.ts";
import { countOf, plain } from "../text.ts";
import { UsageError } from "../usage.ts";

export const auditVerifyCommand = defineCommand<{ readonly anchor?: string }>({
  name: "audit verify",
  summary: "Prove that the audit log was not changed",
  description:
    "Verify the hash chain of the audit log from its files alone. Note the end that is shown down elsewhere: given " +
    "back as an anchor, it proves that nothing before it was rewritten",
  options: [commandOption.anchor()],
  flags: "places",
  examples: [
    ["penstock audit verify", "is the chain whole?"],
    ["penstock audit verify --anchor 41:9f86d0...", "and does it still hold record 41?"],
  ],
  exits: { 0: "the log is sound", 1: "it is not; what is wrong is listed" },
  async run(context, { options }) {
    const anchor = options.anchor === undefined ? undefined : parseAnchor(options.anchor);
    const directory = auditDirectory(context.settings());
    if (!existsSync(directory)) throw noLog(directory);
    const verification = await verifyAuditLog(directory, anchor === undefined ? {} : { anchor });
    context.output.result(verification, renderVerification);
    for (const note of verification.notes) context.output.note(note);
    return verification.ok ? exitCode.done : exitCode.failed;
  },
});

function parseAnchor(text: string): ChainEnd {
  const match = /^([0-9]{1,15}):([0-9a-f]{64})$/.exec(text);
  if (match?.[1] !== undefined && match[2] !== undefined)
    return { sequence: Number(match[1]), hash: match[2] };
  throw new UsageError(
    `Cannot use --anchor ${text}: it is not a sequence, a colon and 64 hex digits`,
    "Take it from what penstock audit verify has shown",
  );
}

function noLog(directory: string): PenstockError {
  return new PenstockError({
    code: "audit-missing",
    disposition: "stalled",
    message: `Cannot verify the audit log: ${directory} does not exist`,
    remedy: "Name the agent's configuration with --config, or its state directory with --state-dir",
    data: { directory },
  });
}

function renderVerification(view: AuditVerification, style: Style): string[] {
  const end = view.head === null ? [] : [`${style.dim("End")}  ${view.head.sequence}:${view.head.hash}`];
  const what = `${countOf(view.records, "record")} in ${countOf(view.files.length, "file")}`;
  if (view.ok) return [`${style.green("The audit log is sound:")} ${what}.`, ...end];
  const more = view.findingsTotal - view.findings.length;
  return [
    `${style.red("The audit log is broken:")} ${what}, ${countOf(view.findingsTotal, "finding")}.`,
    ...view.findings.flatMap(renderFinding),
    ...(more > 0 ? [`  ... and ${more} more`] : []),
    ...end,
  ];
}

function renderFinding(finding: AuditFinding): string[] {
  const record = finding.sequence === null ? "" : `record ${finding.sequence}: `;
  const line = finding.line === null ? "" : `:${finding.line}`;
  return [
    `  ${plain(finding.file)}${line} ${record}${finding.kind}`,
    `      expected: ${plain(finding.expected)}`,
    `      found:    ${plain(finding.found)}`,
  ];
}
