// The words of messages: how values, places and expectations are named. Every text from a file is quoted and
// cut, so that a message stays one short line.
import type { SchemaNode } from "./schemas.ts";
import type { PolicyPath } from "./types.ts";

const shownMax = 60;

/** A value as it stands in a message. */
export function showValue(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object") return "a mapping";
  if (typeof value === "string") return quote(value);
  return String(value);
}

export function quote(text: string): string {
  const shown = text.length > shownMax ? `${text.slice(0, shownMax)}...` : text;
  return JSON.stringify(shown);
}

/** The field or list entry that `path` leads to. */
export function nameValue(path: PolicyPath): string {
  const last = path.at(-1);
  if (last === undefined) return "the document";
  return typeof last === "string" ? quote(last) : nameEntry(path);
}

/** The list or mapping that `path` leads to, as the place where something is missing or unknown. */
export function namePlace(path: PolicyPath, value: unknown, whole: string): string {
  const last = path.at(-1);
  if (last === undefined) return whole;
  if (typeof last === "string") return cut(last);
  const name = typeof value === "object" && value !== null && "name" in value ? value.name : undefined;
  return typeof name === "string" ? `${nameEntry(path)} (${quote(name)})` : nameEntry(path);
}

function nameEntry(path: PolicyPath): string {
  const numbers: (string | number)[] = [];
  for (let i = path.length - 1; i >= 0; i--) {
    const step = path[i] ?? "";
    if (typeof step === "string") return `${cut(step)}${numbers.map((n) => `[${n}]`).join("")}`;
    numbers.unshift(step);
  }
  return "the document";
}

function cut(text: string): string {
  return /^[\w.-]{1,60}$/.test(text) ? text : quote(text);
}

/** What a schema takes: "tcp, udp or a whole number from 0 to 255". */
export function describeExpectation(schema: SchemaNode): string {
  return joinWords(listExpectations(schema), "or");
}

/** The same as separate words, without repetition. */
export function listExpectations(schema: SchemaNode): string[] {
  if (schema.anyOf !== undefined) return [...new Set(schema.anyOf.flatMap(listExpectations))];
  if (schema.const !== undefined) return [showPlain(schema.const)];
  if (schema.enum !== undefined) return schema.enum.map(showPlain);
  return [describeSort(schema)];
}

function describeSort(schema: SchemaNode): string {
  switch (schema.type) {
    case "string":
      return "a text";
    case "integer":
      return `a whole number${describeRange(schema)}`;
    case "number":
      return `a number${describeRange(schema)}`;
    case "boolean":
      return "true or false";
    case "array":
      return "a list";
    case "object":
      return schema.required === undefined
        ? "a mapping"
        : `a mapping with ${joinWords(schema.required.map(quote), "and")}`;
    default:
      return "nothing";
  }
}

/** ` from 0 to 255`, or nothing if the schema sets no bounds. */
export function describeRange({ minimum, maximum }: SchemaNode): string {
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`;
  if (minimum !== undefined) return ` of at least ${minimum}`;
  return maximum === undefined ? "" : ` of at most ${maximum}`;
}

/** `a, b or c` */
export function joinWords(words: readonly string[], conjunction: "and" | "or"): string {
  if (words.length < 2) return words[0] ?? "";
  return `${words.slice(0, -1).join(", ")} ${conjunction} ${words.at(-1)}`;
}

/** An enum's member without quotes where it needs none. */
export function showPlain(value: unknown): string {
  return typeof value === "string" && /^[\w./-]+$/.test(value) ? value : showValue(value);
}

/** `a Firewall`, `an AddressSet` */
export function withArticle(noun: string): string {
  return `${/^[AEIOU]/i.test(noun) ? "an" : "a"} ${noun}`;
}

/** A description's first sentence. */
export function firstSentence(text: string): string {
  return text.replace(/\. .*$/s, "");
}

/** A schema's description as the second half of a message. */
export function asClause(sentence: string): string {
  const open = sentence.replace(/\.$/, "");
  return /^[A-Z][a-z ]/.test(open) ? open.charAt(0).toLowerCase() + open.slice(1) : open;
}
