// From what a caller says to the line that is written: text is cleaned and cut to length, the shape is checked,
// and the record is sealed into the chain. Pure.
import { bug } from "../base/index.ts";
import { canonicalJson, isPlainObject, sha256Hex } from "./canonical.ts";
import { type AuditEntry, type AuditRecord, type ChainEnd, emptyChain, recordBytesMax } from "./record.ts";
import { findShapeFault } from "./schema.ts";

const diagnosticsMax = 100;
/** Stands in for what sealing adds, so that an entry can be checked before its turn comes. */
const placeholder = {
  ...emptyChain,
  sequence: 1,
  time: "1970-01-01T00:00:00.000Z",
  previous: emptyChain.hash,
};
declare const prepared: unique symbol;

/** An entry that has been cleaned and checked. */
export type PreparedEntry = Readonly<Record<string, unknown>> & { readonly [prepared]: true };

/** Cleans, bounds and checks an entry. Throws a bug if it is not an entry, before anything is written. */
export function prepareEntry(entry: AuditEntry): PreparedEntry {
  if (!isPlainObject(entry)) throw bug("Cannot write audit record: the entry is not a plain object");
  const fields = cleanValue(boundEntry(entry), "") as PreparedEntry;
  const field = Object.keys(placeholder).find((key) => key in fields);
  if (field !== undefined)
    throw bug(`Cannot write audit record: field /${field} is not the caller's to give`);
  const fault = findShapeFault({ ...fields, ...placeholder });
  if (fault !== null) {
    throw bug(`Cannot write audit record: field ${fault.field || "/"} ${fault.detail}`, {
      field: fault.field,
    });
  }
  return fields;
}

/** The record that follows `end`, frozen, and its line with the newline. `timeMs` is the wall clock. */
export function sealRecord(
  entry: PreparedEntry,
  end: ChainEnd,
  timeMs: number,
): { readonly record: AuditRecord; readonly line: Uint8Array } {
  const text = canonicalJson({ ...entry, ...seal(entry, end, timeMs) });
  const line = Buffer.from(`${text}\n`, "utf8");
  if (line.length > recordBytesMax)
    throw bug("Cannot write audit record: it is longer than any record can be");
  return { record: freezeDeep(JSON.parse(text) as AuditRecord), line };
}

/** The hash that a record must carry; `record` may or may not hold a hash already. */
export function hashRecord(record: Readonly<Record<string, unknown>>): string {
  return sha256Hex(canonicalJson({ ...record, hash: undefined }));
}

/**
 * Text from outside must neither steer a terminal nor hide: control characters, line separators, direction
 * overrides (which make text read otherwise than it is) and lone surrogates become U+FFFD, line ends a space.
 */
export function cleanText(text: string): string {
  return text
    .replace(/\r\n|[\t\n\r\u2028\u2029]/g, " ")
    .replace(/[\p{Cc}\p{Surrogate}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, "\ufffd");
}

function seal(entry: PreparedEntry, end: ChainEnd, timeMs: number) {
  const links = {
    sequence: end.sequence + 1,
    time: new Date(timeMs).toISOString(),
    previous: end.hash,
  };
  return { ...links, hash: hashRecord({ ...entry, ...links }) };
}

/** Cuts what comes from outside and may be of any length; names of our own are left to the schema. */
function boundEntry(entry: AuditEntry): Record<string, unknown> {
  const { revision, diagnostics } = entry;
  return {
    ...entry,
    message: cut(entry.message, 4000),
    host: cut(entry.host, 255),
    ...(isPlainObject(revision) && {
      // Named one by one: a caller's Revision also has the files.
      revision: {
        commit: revision.commit,
        tree: revision.tree,
        ref: cut(revision.ref, 500),
        subject: cut(revision.subject, 200),
        author: cutPerson(revision.author),
        committer: cutPerson(revision.committer),
      },
    }),
    ...(Array.isArray(diagnostics) && {
      diagnostics: diagnostics.slice(0, diagnosticsMax).map((text) => cut(text, 500)),
      diagnosticsTotal: diagnostics.length,
    }),
  };
}

function cutPerson(person: unknown): unknown {
  return isPlainObject(person)
    ? { ...person, name: cut(person["name"], 300), email: cut(person["email"], 300) }
    : person;
}

function cut(text: unknown, lengthMax: number): unknown {
  if (typeof text !== "string" || text.length <= lengthMax) return text;
  return `${text.slice(0, lengthMax - 1)}…`;
}

/** A deep copy with all text and all keys cleaned. Two keys that become one would lose a value: a bug. */
function cleanValue(value: unknown, path: string): unknown {
  if (typeof value === "string") return cleanText(value);
  if (Array.isArray(value)) return value.map((item, i) => cleanValue(item, `${path}/${i}`));
  if (!isPlainObject(value)) return value;
  const fields = new Map<string, unknown>();
  for (const [key, item] of Object.entries(value)) {
    const cleaned = cleanText(key);
    if (fields.has(cleaned))
      throw bug(`Cannot write audit record: two fields of ${path || "/"} have one name`);
    fields.set(cleaned, cleanValue(item, `${path}/${cleaned}`));
  }
  return Object.fromEntries(fields);
}

function freezeDeep<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    for (const item of Object.values(value)) freezeDeep(item);
    Object.freeze(value);
  }
  return value;
}
