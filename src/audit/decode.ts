// One line of the log back to a record, trusting nothing: exact bytes, exact shape, right hash. What joins
// records together (sequence, previous hash) is not judged here.
import { canonicalJson, isPlainObject } from "./canonical.ts";
import { hashRecord } from "./entry.ts";
import type { AuditRecord } from "./record.ts";
import { findShapeFault, type ShapeFault } from "./schema.ts";

export type LineFaultKind = "unparsable-line" | "not-canonical" | "wrong-hash" | ShapeFault["kind"];

export interface LineFault {
  readonly kind: LineFaultKind;
  readonly expected: string;
  readonly found: string;
}

export type DecodedLine =
  | { readonly ok: true; readonly record: AuditRecord }
  | {
      readonly ok: false;
      readonly fault: LineFault;
      /** What the line says of itself, as far as it can be read; not to be relied on. */
      readonly claims: { readonly sequence?: number; readonly hash?: string; readonly computedHash?: string };
    };

const openingBrace = 0x7b;
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** `bytes` without the newline; null stands for a line longer than any record. */
export function decodeLine(bytes: Uint8Array | null): DecodedLine {
  if (bytes === null) return unparsable("a line longer than any record");
  // Also spares the cost of a parser's error for each of perhaps a million lines of rubbish.
  if (bytes[0] !== openingBrace)
    return unparsable(bytes.length === 0 ? "an empty line" : "text that is no JSON object");
  let text: string;
  let value: unknown;
  try {
    text = utf8.decode(bytes);
  } catch {
    return unparsable("bytes that are not UTF-8");
  }
  try {
    value = JSON.parse(text);
  } catch {
    return unparsable("text that is not JSON");
  }
  if (!isPlainObject(value)) return unparsable("text that is no JSON object");
  // The shape comes first: only what has it is known to be nested no deeper than a record is.
  const shape = findShapeFault(value);
  if (shape !== null) {
    const expected = shape.kind === "foreign-field" ? "the fields of a record only" : "a valid record";
    const found = `${shape.field || "/"} ${shape.detail}`.slice(0, 300);
    return { ok: false, fault: { kind: shape.kind, expected, found }, claims: claimsOf(value) };
  }
  const record = value as unknown as AuditRecord;
  const computedHash = hashRecord(value);
  const claims = { sequence: record.sequence, hash: record.hash, computedHash };
  if (computedHash !== record.hash) {
    const fault = {
      kind: "wrong-hash",
      expected: `hash ${computedHash}`,
      found: `hash ${record.hash}`,
    } as const;
    return { ok: false, fault, claims };
  }
  if (canonicalJson(value) !== text) {
    const found = "other bytes that parse to the same record";
    return { ok: false, fault: { kind: "not-canonical", expected: "canonical JSON", found }, claims };
  }
  return { ok: true, record };
}

function unparsable(found: string): DecodedLine {
  return { ok: false, fault: { kind: "unparsable-line", expected: "one record as JSON", found }, claims: {} };
}

function claimsOf(value: Record<string, unknown>) {
  const { sequence, hash } = value;
  return {
    ...(typeof sequence === "number" && Number.isSafeInteger(sequence) && { sequence }),
    ...(typeof hash === "string" && /^[0-9a-f]{64}$/.test(hash) && { hash }),
  };
}
