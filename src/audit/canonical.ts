// Canonical JSON, so that equal records have equal bytes and one hash: keys in order of their UTF-16 code units,
// no whitespace, strings and numbers as ECMAScript writes them. This is RFC 8785 for the values that we write.
import { createHash } from "node:crypto";
import { bug } from "../base/index.ts";

/** Text of a plain JSON value; fields that are undefined are left out. Throws a bug for anything else. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number" && Number.isFinite(value)) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (isPlainObject(value)) {
    const fields = Object.keys(value)
      .filter((key) => value[key] !== undefined)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`);
    return `{${fields.join(",")}}`;
  }
  throw bug(`Cannot write canonical JSON: ${describe(value)} is not a JSON value`);
}

/** SHA-256 of the text's UTF-8 bytes, in lower-case hex. */
export function sha256Hex(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex");
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function describe(value: unknown): string {
  return typeof value === "object"
    ? (value?.constructor?.name ?? "an object")
    : `${typeof value} ${String(value)}`;
}
