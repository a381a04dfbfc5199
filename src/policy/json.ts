// JSON text (RFC 8259) to one value and its positions. JSON.parse builds the value; a scanner of our own finds
// positions, repeated keys, which JSON.parse drops silently, and the place of a mistake.
import type { PolicyCode } from "./codes.ts";
import type { Report } from "./findings.ts";
import { describeTooDeep, describeTooLarge, describeTooWide, type PolicyLimits } from "./limits.ts";
import type { PositionNode } from "./positions.ts";
import type { RawDocument } from "./raw.ts";

/** Reads a file that holds one document; none if it is empty or was refused, which has been reported then. */
export function readJson(text: string, limits: PolicyLimits, report: Report): RawDocument[] {
  const scanned = scanJson(text, limits, report);
  if (scanned === undefined) return [];
  return [{ value: JSON.parse(text) as unknown, ...scanned }];
}

interface Scanned {
  readonly positions: PositionNode;
  readonly hasErrors: boolean;
}

interface Scanner {
  readonly text: string;
  readonly limits: PolicyLimits;
  readonly report: Report;
  at: number;
  items: number;
  fields: number;
  /** Set by what is reported without ending the scan. */
  hasErrors: boolean;
}

/** Ends the scan; it never leaves this file. */
class ScanStop extends Error {}

function scanJson(text: string, limits: PolicyLimits, report: Report): Scanned | undefined {
  const scanner: Scanner = { text, limits, report, at: 0, items: 0, fields: 0, hasErrors: false };
  skipSpace(scanner);
  if (scanner.at === text.length) {
    report("empty-document", 0, "The file is empty; write a policy document or remove the file", "warning");
    return undefined;
  }
  try {
    const positions = scanValue(scanner, 1);
    skipSpace(scanner);
    if (scanner.at < text.length) fail(scanner, "the document has ended; a JSON file holds one document");
    return { positions, hasErrors: scanner.hasErrors };
  } catch (error) {
    if (error instanceof ScanStop) return undefined;
    throw error;
  }
}

function scanValue(scanner: Scanner, depth: number): PositionNode {
  skipSpace(scanner);
  const start = scanner.at;
  switch (scanner.text.charCodeAt(start)) {
    case 0x22: // "
      skipString(scanner);
      return start;
    case 0x5b: // [
      return scanList(scanner, depth);
    case 0x7b: // {
      return scanMapping(scanner, depth);
    default:
      skipLiteral(scanner);
      return start;
  }
}

function scanList(scanner: Scanner, depth: number): PositionNode {
  const at = scanner.at;
  checkDepth(scanner, depth);
  const items: PositionNode[] = [];
  scanner.at++;
  if (!takeIf(scanner, 0x5d)) {
    do {
      if (++scanner.items > scanner.limits.itemsMax) stopTooLarge(scanner);
      items.push(scanValue(scanner, depth + 1));
    } while (takeIf(scanner, 0x2c));
    if (!takeIf(scanner, 0x5d)) fail(scanner, 'expected "," or "]"');
  }
  return { at, items };
}

function scanMapping(scanner: Scanner, depth: number): PositionNode {
  const at = scanner.at;
  checkDepth(scanner, depth);
  const keys: string[] = [];
  const keysAt: number[] = [];
  const values: PositionNode[] = [];
  scanner.at++;
  if (!takeIf(scanner, 0x7d)) {
    do {
      skipSpace(scanner);
      const keyAt = scanner.at;
      if (scanner.text.charCodeAt(keyAt) !== 0x22) fail(scanner, "expected a field name in double quotes");
      skipString(scanner);
      const key = JSON.parse(scanner.text.slice(keyAt, scanner.at)) as string;
      checkField(scanner, keys, keyAt, key);
      keys.push(key);
      keysAt.push(keyAt);
      if (!takeIf(scanner, 0x3a)) fail(scanner, 'expected ":"');
      values.push(scanValue(scanner, depth + 1));
    } while (takeIf(scanner, 0x2c));
    if (!takeIf(scanner, 0x7d)) fail(scanner, 'expected "," or "}"');
  }
  return { at, keys, keysAt, values };
}

function checkField(scanner: Scanner, keys: readonly string[], keyAt: number, key: string): void {
  if (++scanner.fields > scanner.limits.itemsMax) stopTooLarge(scanner);
  if (keys.length >= scanner.limits.fieldsMax)
    stop(scanner, "too-large", keyAt, describeTooWide(scanner.limits));
  if (!keys.includes(key)) return;
  scanner.hasErrors = true;
  scanner.report(
    "duplicate-key",
    keyAt,
    `${JSON.stringify(key)} is here for the second time; remove one of the two`,
  );
}

function checkDepth(scanner: Scanner, depth: number): void {
  if (depth > scanner.limits.depthMax) stop(scanner, "too-deep", scanner.at, describeTooDeep(scanner.limits));
}

/** Takes the next character after white space if it is `code`. */
function takeIf(scanner: Scanner, code: number): boolean {
  skipSpace(scanner);
  if (scanner.text.charCodeAt(scanner.at) !== code) return false;
  scanner.at++;
  return true;
}

function skipSpace(scanner: Scanner): void {
  for (;;) {
    const code = scanner.text.charCodeAt(scanner.at);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
    scanner.at++;
  }
}

const escapeSequence = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

function skipString(scanner: Scanner): void {
  const { text } = scanner;
  let at = scanner.at + 1;
  for (;;) {
    const code = text.charCodeAt(at);
    if (code === 0x22) break;
    if (code === 0x5c) {
      escapeSequence.lastIndex = at;
      if (!escapeSequence.test(text)) fail(scanner, "this escape does not exist", at);
      at = escapeSequence.lastIndex;
    } else if (code < 0x20 || Number.isNaN(code)) {
      fail(scanner, "the string has no closing quote on its line");
    } else {
      at++;
    }
  }
  scanner.at = at + 1;
}

const literal = /(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![\w.+-])/y;

function skipLiteral(scanner: Scanner): void {
  literal.lastIndex = scanner.at;
  if (!literal.test(scanner.text)) fail(scanner, "expected a value");
  scanner.at = literal.lastIndex;
}

function fail(scanner: Scanner, expectation: string, at = scanner.at): never {
  const found = at >= scanner.text.length ? "the end of the file" : JSON.stringify(wordAt(scanner.text, at));
  stop(scanner, "json-syntax", at, `Found ${found}: ${expectation}`);
}

function wordAt(text: string, at: number): string {
  return /^(?:\w{1,20}|.|\n)/su.exec(text.slice(at, at + 20))?.[0] ?? "";
}

function stopTooLarge(scanner: Scanner): never {
  stop(scanner, "too-large", scanner.at, describeTooLarge(scanner.limits));
}

function stop(scanner: Scanner, code: PolicyCode, at: number, message: string): never {
  scanner.report(code, at, message);
  throw new ScanStop();
}
