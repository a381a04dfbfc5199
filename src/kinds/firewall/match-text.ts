// What the fields of a match say in text, as numbers. Nothing here knows of records or of other fields.
import type { PortRange } from "../../base/index.ts";
import { type FirewallIcmp, type FirewallMatch, suggestWord } from "../../policy/index.ts";
import { dscpNumbers, tcpFlagBits } from "./names.ts";

/** `at`: what of the field is wrong, as steps from the field on. */
export type TextResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly message: string; readonly at: readonly (string | number)[] };

/** Bits of the flags octet: those that are looked at, and what they must be. */
export interface FlagBits {
  readonly flags: number;
  readonly mask: number;
}

/** `syn/syn,ack`; `none` stands for no flag, `all` for all of them. */
export function parseTcpFlags(text: string): TextResult<FlagBits> {
  const words: Readonly<Record<string, number>> = { ...tcpFlagBits, none: 0, all: 0xff };
  const [flagsText = "", maskText = flagsText] = text.split("/");
  const unknown = text.split(/[,/]/).find((word) => words[word] === undefined);
  if (unknown !== undefined) {
    const closest = suggestWord(unknown, Object.keys(words));
    const hint =
      closest === undefined ? `write ${Object.keys(words).join(", ")}` : `did you mean "${closest}"?`;
    return wrong(`"${unknown}" is no TCP flag; ${hint}`);
  }
  const bitsOf = (list: string) => list.split(",").reduce((bits, word) => bits | (words[word] ?? 0), 0);
  return { ok: true, value: { flags: bitsOf(flagsText), mask: bitsOf(maskText) } };
}

/** Ranges of type << 8 | code, one for each item; `types` are the names that the rule's protocol has. */
export function parseIcmp(
  list: readonly FirewallIcmp[],
  types: Readonly<Record<string, number>>,
): TextResult<readonly PortRange[]> {
  const ranges: PortRange[] = [];
  for (const [i, item] of list.entries()) {
    const { type, code } = typeof item === "object" ? item : { type: item, code: undefined };
    const number = typeof type === "number" ? type : types[type];
    if (number === undefined) {
      const known = Object.keys(types);
      const closest = suggestWord(String(type), known);
      const hint =
        closest === undefined ? `write a number or ${known.join(", ")}` : `did you mean "${closest}"?`;
      return wrong(`"${type}" is no type of the rule's protocol; ${hint}`, [i]);
    }
    const first = number << 8;
    ranges.push(
      code === undefined ? { first, last: first | 0xff } : { first: first | code, last: first | code },
    );
  }
  return { ok: true, value: ranges };
}

/** Both ends belong to the range. */
export function parseLength(given: number | string): TextResult<PortRange> {
  const [first = 0, last = first] = String(given).split("-").map(Number);
  if (first > last) return wrong(`"${given}" runs backwards; write "${last}-${first}"`);
  return { ok: true, value: { first, last } };
}

/** Bit d for DSCP d. */
export function parseDscps(given: NonNullable<FirewallMatch["dscp"]>): bigint {
  let bits = 0n;
  for (const item of typeof given === "object" ? given : [given])
    bits |= 1n << BigInt(typeof item === "number" ? item : (dscpNumbers[item] ?? 0));
  return bits;
}

/** Six bytes each, none twice; the schema has seen to the form. */
export function parseMacs(list: readonly string[]): Uint8Array[] {
  const distinct = new Set(list.map((text) => text.toLowerCase()));
  return [...distinct].map((text) =>
    Uint8Array.from(text.split(":"), (digits) => Number.parseInt(digits, 16)),
  );
}

function wrong(message: string, at: readonly (string | number)[] = []): TextResult<never> {
  return { ok: false, message, at };
}
