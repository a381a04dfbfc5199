// The fields of a described packet that few rules ask for, from words to numbers. What is left out is not known, and
// then no rule that asks for it matches.
import {
  dscpNumbers,
  icmpTypes,
  icmpv6Types,
  type PacketState,
  tcpFlagBits,
} from "../kinds/firewall/index.ts";
import { UsageError } from "./usage.ts";

/** The options as they are typed. */
export interface FieldWords {
  readonly tcpFlags?: string;
  readonly icmp?: string;
  readonly dscp?: string;
  readonly length?: string;
  readonly vlan?: string;
  readonly sourceMac?: string;
  readonly destinationMac?: string;
}

/** Null where nobody said. */
export interface QuestionFields {
  readonly tcpFlags: number | null;
  readonly icmpType: number | null;
  readonly icmpCode: number | null;
  readonly dscp: number | null;
  /** Of the IP packet. */
  readonly length: number | null;
  /** Ids of the tags, the outer one first; empty for a frame without. */
  readonly vlan: readonly number[];
  readonly sourceMac: string | null;
  readonly destinationMac: string | null;
}

/** What the other fields say of the packet. */
export interface FieldContext {
  readonly family: 4 | 6;
  readonly protocol: number;
  readonly fragment: "whole" | "first" | "later";
}

/** An IPv6 packet's length does not count its header of 40 bytes. */
const lengthMax = 65575;
const states: readonly PacketState[] = ["new", "established", "related", "invalid"];

/** Checks the words. Throws UsageError. */
export function parseFields(words: FieldWords, context: FieldContext): QuestionFields {
  const { tcpFlags, icmp, dscp, length, vlan } = words;
  return {
    tcpFlags: tcpFlags === undefined ? null : parseFlags(tcpFlags, context),
    ...parseIcmp(icmp, context),
    dscp:
      dscp === undefined
        ? null
        : parseNumber(dscp, {
            max: 63,
            names: dscpNumbers,
            option: "--dscp",
            example: "ef or a number to 63",
          }),
    length:
      length === undefined
        ? null
        : parseNumber(length, { max: lengthMax, option: "--length", example: `a number up to ${lengthMax}` }),
    vlan: vlan === undefined ? [] : parseTags(vlan),
    sourceMac: parseMac("--source-mac", words.sourceMac),
    destinationMac: parseMac("--destination-mac", words.destinationMac),
  };
}

/** What the packet is to its connection; it begins one if nobody says. */
export function parseState(text = "new"): PacketState {
  const state = states.find((word) => word === text);
  if (state === undefined) throw wrong(`${text} is no state of a connection`, `Write ${states.join(", ")}`);
  return state;
}

function parseFlags(text: string, { protocol, fragment }: FieldContext): number {
  if (protocol !== 6 || fragment === "later")
    throw wrong("only TCP packets have flags, and later fragments have none", "Leave out --tcp-flags");
  if (text === "none") return 0;
  return text.split(",").reduce((bits, word) => {
    const bit = tcpFlagBits[word];
    if (bit === undefined)
      throw wrong(`${word} is no TCP flag`, `Write none, or some of ${Object.keys(tcpFlagBits).join(",")}`);
    return bits | bit;
  }, 0);
}

/** `echo-request`, `8`, `destination-unreachable/4` */
function parseIcmp(
  text: string | undefined,
  { family, protocol, fragment }: FieldContext,
): Pick<QuestionFields, "icmpType" | "icmpCode"> {
  if (text === undefined) return { icmpType: null, icmpCode: null };
  if (protocol !== (family === 4 ? 1 : 58) || fragment === "later")
    throw wrong(
      "only ICMP over IPv4 and ICMPv6 over IPv6 have types, and later fragments have none",
      "Leave out --icmp",
    );
  const names = family === 4 ? icmpTypes : icmpv6Types;
  const number = { max: 255, option: "--icmp", example: "echo-request, 8 or destination-unreachable/4" };
  const [type = "", code] = text.split("/");
  return {
    icmpType: parseNumber(type, { ...number, names }),
    icmpCode: code === undefined ? null : parseNumber(code, number),
  };
}

function parseTags(text: string): readonly number[] {
  if (text === "none") return [];
  const example = "none, an id up to 4095, or two: 100,10";
  const tags = text.split(",").map((id) => parseNumber(id, { max: 4095, option: "--vlan", example }));
  if (tags.length > 2)
    throw wrong("a frame with more than two tags is malformed", `Write --vlan with ${example}`);
  return tags;
}

function parseMac(option: string, text: string | undefined): string | null {
  if (text === undefined) return null;
  if (/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)) return text.toLowerCase();
  throw wrong(`${text} is no hardware address`, `Write ${option} with one such as 02:00:5e:10:00:01`);
}

interface NumberForm {
  readonly max: number;
  readonly names?: Readonly<Record<string, number>>;
  readonly option: string;
  readonly example: string;
}

function parseNumber(text: string, { max, names = {}, option, example }: NumberForm): number {
  const named = Object.hasOwn(names, text) ? names[text] : undefined;
  if (named !== undefined) return named;
  if (/^[0-9]{1,5}$/.test(text) && Number(text) <= max) return Number(text);
  throw wrong(`${text} is not what ${option} takes`, `Write ${option} with ${example}`);
}

function wrong(state: string, remedy: string): UsageError {
  return new UsageError(`Cannot explain the packet: ${state}`, remedy);
}
