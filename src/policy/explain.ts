// Why a value does not fit its schema, in words for the person who wrote it. ajv has said that it does not fit;
// here every mistake is found again, one after the other, so that a list of a million mistakes costs no memory.
import type { PolicyCode } from "./codes.ts";
import { explainEnum, explainNumber, explainText, explainWrongType } from "./explain-scalar.ts";
import {
  asClause,
  firstSentence,
  joinWords,
  listExpectations,
  namePlace,
  nameValue,
  quote,
  showValue,
} from "./explain-words.ts";
import { fitsType } from "./fits-type.ts";
import type { SchemaNode } from "./schemas.ts";
import { suggestWord } from "./suggest.ts";

export interface Explanation {
  /** Where the walk is; changes while it goes on. */
  readonly path: (string | number)[];
  /** What the whole is called: "a Firewall document". */
  readonly whole: string;
  /** Takes one mistake, found at `path`: at the key that the path ends in, or at the value. */
  say(code: PolicyCode, where: "key" | "value", message: () => string): void;
}

/** What a value's schema inherits from the schemas around it. */
export interface Inherited {
  /** The nearest rule in words, where the schema has none of its own. */
  readonly rule?: string | undefined;
  readonly definition?: string | undefined;
  /** What the other branches of an anyOf would take. */
  readonly alternatives?: readonly string[];
}

/** Says everything that is wrong with `value`. */
export function explain(
  value: unknown,
  schema: SchemaNode,
  to: Explanation,
  inherited: Inherited = {},
): void {
  const passed: Inherited = {
    rule: schema.rule ?? schema.description ?? inherited.rule,
    definition: schema.definition ?? inherited.definition,
  };
  if (schema.anyOf !== undefined) explainAnyOf(value, schema, to, passed);
  if (schema.const !== undefined && value !== schema.const) {
    to.say("not-allowed", "value", () => `${nameValue(to.path)} must be ${showValue(schema.const)}`);
  }
  if (schema.enum !== undefined)
    explainEnum(value, { members: schema.enum, others: inherited.alternatives ?? [] }, to);
  if (schema.type === undefined) return;
  if (!fitsType(value, schema)) explainWrongType(value, schema, to);
  else if (Array.isArray(value)) explainList(value, schema, to, passed);
  else if (typeof value === "object" && value !== null) explainMapping(value, schema, to);
  else if (typeof value === "string") explainText(value, schema, to, passed);
  else if (typeof value === "number") explainNumber(value, schema, to);
}

/** Explains the branch that the writer most likely meant: of the value's type, and with the fewest mistakes. */
function explainAnyOf(value: unknown, schema: SchemaNode, to: Explanation, passed: Inherited): void {
  const branches = schema.anyOf ?? [];
  const fitting = branches.filter((branch) => fitsType(value, branch));
  if (fitting.length === 0) {
    explainWrongType(value, schema, to);
    return;
  }
  let best: SchemaNode | undefined;
  let fewest = Number.POSITIVE_INFINITY;
  for (const branch of fitting) {
    let mistakes = 0;
    explain(value, branch, { ...to, say: () => mistakes++ }, passed);
    if (mistakes < fewest) {
      best = branch;
      fewest = mistakes;
    }
  }
  if (best === undefined || fewest === 0) return;
  const alternatives = branches.filter((branch) => branch !== best).flatMap(listExpectations);
  explain(value, best, to, { ...passed, alternatives });
}

function explainList(list: readonly unknown[], schema: SchemaNode, to: Explanation, passed: Inherited): void {
  const { minItems = 0, maxItems = Number.POSITIVE_INFINITY, items } = schema;
  explainCount(list.length, { min: minItems, max: maxItems, unit: "entries" }, to);
  if (schema.uniqueItems === true) explainRepeated(list, to);
  if (items === undefined) return;
  for (const [index, item] of list.entries()) {
    to.path.push(index);
    explain(item, items, to, passed);
    to.path.pop();
  }
}

function explainMapping(mapping: object, schema: SchemaNode, to: Explanation): void {
  const { properties = {}, required = [], additionalProperties, minProperties = 0 } = schema;
  const { maxProperties = Number.POSITIVE_INFINITY } = schema;
  const fields = Object.entries(mapping) as [string, unknown][];
  explainCount(fields.length, { min: minProperties, max: maxProperties, unit: "fields" }, to);
  for (const name of required) {
    if (Object.hasOwn(mapping, name)) continue;
    to.say("missing-field", "value", () => {
      const field = properties[name];
      const about =
        field?.description === undefined ? "" : ` (${asClause(firstSentence(field.description))})`;
      return `${namePlace(to.path, mapping, to.whole)} lacks ${quote(name)}${about}`;
    });
  }
  for (const [name, value] of fields) {
    const field = Object.hasOwn(properties, name) ? properties[name] : additionalProperties;
    to.path.push(name);
    if (field === false)
      to.say("unknown-field", "key", () => describeUnknownField(name, mapping, schema, to));
    else if (typeof field === "object") explain(value, field, to);
    to.path.pop();
  }
}

/** Looks for what the writer meant: a field of this mapping, or one that belongs a level deeper. */
function describeUnknownField(name: string, mapping: object, schema: SchemaNode, to: Explanation): string {
  const properties = schema.properties ?? {};
  const start = `${quote(name)} is not a field of ${namePlace(to.path.slice(0, -1), mapping, to.whole)}`;
  const inside = Object.keys(properties).filter((key) =>
    Object.hasOwn(properties[key]?.properties ?? {}, name),
  );
  if (inside.length > 0) return `${start}; it belongs in ${joinWords(inside.map(quote), "or")}`;
  const nearest = suggestWord(name, Object.keys(properties));
  if (nearest !== undefined) return `${start}; did you mean ${quote(nearest)}?`;
  return `${start}; its fields are ${joinWords(Object.keys(properties), "and")}`;
}

function explainCount(
  count: number,
  { min, max, unit }: { min: number; max: number; unit: "entries" | "fields" },
  to: Explanation,
): void {
  const one = unit === "entries" ? "entry" : "field";
  if (count < min) {
    const what = count === 0 ? "is empty" : `has ${count} of them`;
    to.say(
      "too-few",
      "value",
      () => `${nameValue(to.path)} ${what}; it needs at least ${min} ${min === 1 ? one : unit}`,
    );
  } else if (count > max) {
    to.say(
      "too-many",
      "value",
      () => `${nameValue(to.path)} has ${count} ${unit}; at most ${max} are allowed`,
    );
  }
}

function explainRepeated(list: readonly unknown[], to: Explanation): void {
  const first = new Map<unknown, number>();
  for (const [index, item] of list.entries()) {
    // A text and the JSON of another value must not meet: only what is no text becomes JSON, behind a mark.
    const key = typeof item === "object" ? `\u0000${sortedJson(item)}` : item;
    const earlier = first.get(key);
    if (earlier === undefined) {
      first.set(key, index);
      continue;
    }
    to.path.push(index);
    to.say("duplicate-item", "value", () => {
      const there = nameValue([...to.path.slice(0, -1), earlier]);
      return `${showValue(item)} is in ${there} already; remove one of the two`;
    });
    to.path.pop();
  }
}

function sortedJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
