// The part of explaining that ends at one value: a text, a number, one of fixed words, or a value of a wrong sort.
import type { PolicyCode } from "./codes.ts";
import type { Explanation, Inherited } from "./explain.ts";
import {
  asClause,
  describeExpectation,
  describeRange,
  joinWords,
  nameValue,
  quote,
  showPlain,
  showValue,
} from "./explain-words.ts";
import { fitsType } from "./fits-type.ts";
import type { SchemaNode } from "./schemas.ts";
import { suggestWord } from "./suggest.ts";

/** The code for a text of the wrong form, by the definition or the field that sets the form. */
const patternCodes: Readonly<Record<string, PolicyCode>> = {
  name: "bad-name",
  interfaceName: "bad-interface",
  interfacePattern: "bad-interface",
  interfaces: "bad-interface",
  groupList: "bad-interface",
  portList: "bad-port",
  country: "bad-country",
  expires: "bad-date",
  cron: "bad-cron",
  url: "bad-url",
  ref: "bad-ref",
  path: "bad-path",
  absolutePath: "bad-path",
  variableName: "bad-variable",
};

export function explainText(
  text: string,
  schema: SchemaNode,
  to: Explanation,
  { rule, definition }: Inherited,
): void {
  const shown = schema.writeOnly === true ? "this" : quote(text);
  const because = rule === undefined ? "" : ` (${asClause(rule)})`;
  const length = countCharacters(text);
  const { minLength = 0, maxLength = Number.POSITIVE_INFINITY, pattern } = schema;
  if (length < minLength) {
    const least = `${minLength} ${minLength === 1 ? "character" : "characters"}`;
    to.say(
      "too-short",
      "value",
      () => `${nameValue(to.path)} cannot be ${shown}; it needs at least ${least}${because}`,
    );
  } else if (length > maxLength) {
    const much = `has ${length} characters; at most ${maxLength} are allowed`;
    to.say("too-long", "value", () => `${nameValue(to.path)} ${much}${because}`);
  } else if (pattern !== undefined && !new RegExp(pattern, "u").test(text)) {
    const key = to.path.findLast((step) => typeof step === "string");
    const code = patternCodes[definition ?? ""] ?? patternCodes[key ?? ""] ?? "bad-text";
    const instead = rule === undefined ? `; it must match ${pattern}` : `; ${asClause(rule)}`;
    to.say(code, "value", () => `${nameValue(to.path)} cannot be ${shown}${instead}`);
  }
}

/** Code points, as JSON Schema counts. */
function countCharacters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

export function explainNumber(value: number, schema: SchemaNode, to: Explanation): void {
  const { minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY } = schema;
  if (value >= minimum && value <= maximum) return;
  to.say("out-of-range", "value", () => {
    return `${nameValue(to.path)} cannot be ${value}; write a number${describeRange(schema)}`;
  });
}

export function explainEnum(
  value: unknown,
  { members, others }: { readonly members: readonly unknown[]; readonly others: readonly string[] },
  to: Explanation,
): void {
  if (members.includes(value)) return;
  to.say("not-allowed", "value", () => {
    const allowed = joinWords([...members.map(showPlain), ...others], "or");
    const words = members.filter((member) => typeof member === "string");
    const nearest = typeof value === "string" ? suggestMember(value, words) : undefined;
    const hint = nearest === undefined ? "" : `; did you mean ${quote(nearest)}?`;
    return `${nameValue(to.path)} cannot be ${showValue(value)}; write ${allowed}${hint}`;
  });
}

/** Words of other firewalls for the same thing. */
const synonyms: Readonly<Record<string, string>> = {
  ...{ accept: "pass", allow: "pass", permit: "pass" },
  ...{ block: "drop", deny: "drop", discard: "drop", refuse: "reject" },
  ...{ inet: "ipv4", inet6: "ipv6", "ipv6-icmp": "icmpv6", monitor: "audit", observe: "audit" },
};

function suggestMember(written: string, members: readonly string[]): string | undefined {
  const meant = Object.hasOwn(synonyms, written.toLowerCase()) ? synonyms[written.toLowerCase()] : undefined;
  return meant !== undefined && members.includes(meant) ? meant : suggestWord(written, members);
}

export function explainWrongType(value: unknown, schema: SchemaNode, to: Explanation): void {
  to.say("wrong-type", "value", () => {
    const start = `${nameValue(to.path)} must be ${describeExpectation(schema)}`;
    if (value === null) return `${start}, but has no value; give it one or remove the field`;
    const what = `${start}, not ${schema.writeOnly === true ? "this" : showValue(value)}`;
    const remedy = findRemedy(value, schema);
    return remedy === undefined ? what : `${what}; ${remedy}`;
  });
}

/** The usual slips: quotes too many or too few, a list's brackets, a colon at the end, a yes. */
function findRemedy(value: unknown, schema: SchemaNode): string | undefined {
  const branches = schema.anyOf ?? [schema];
  const takes = (type: SchemaNode["type"]) => branches.some((branch) => branch.type === type);
  const takesNumber = takes("integer") || takes("number");
  if (takes("string") && !takesNumber && (typeof value === "number" || typeof value === "boolean")) {
    return "put it in quotes";
  }
  if (takes("string") && typeof value === "object" && value !== null) {
    const [key, ...others] = Object.keys(value);
    const isColonAtEnd = others.length === 0 && Object.values(value)[0] === null;
    if (key !== undefined && isColonAtEnd) return `put ${quote(`${key}:`)} in quotes, it ends with a colon`;
  }
  const isNumberInQuotes = typeof value === "string" && /^-?[0-9]+$/.test(value);
  if (isNumberInQuotes && takesNumber) return "remove the quotes";
  if (takes("boolean") && typeof value === "string") {
    if (/^(yes|on|true)$/i.test(value)) return "write true";
    if (/^(no|off|false)$/i.test(value)) return "write false";
  }
  const list = branches.find((branch) => branch.type === "array");
  if (list?.items !== undefined && typeof value !== "object" && fitsType(value, list.items)) {
    return `write [${showPlain(value)}]`;
  }
  return undefined;
}
