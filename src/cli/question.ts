// The question that `explain` answers: a packet, described in words or given as bytes, on an interface. It comes
// from the command line or over the agent's socket, and is checked in both places by the same rules.
import { parseAddress } from "../base/index.ts";
import type { PacketState } from "../kinds/firewall/index.ts";
import { type FieldWords, parseFields, parseState, type QuestionFields } from "./question-fields.ts";
import { UsageError } from "./usage.ts";

/** A packet that is described; what is null or absent is not known. */
export interface DescribedQuestion extends QuestionFields {
  readonly kind: "described";
  readonly interface: string;
  readonly state: PacketState;
  readonly protocol: number;
  readonly protocolName: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number | null;
  readonly destinationPort: number | null;
  readonly fragment: "whole" | "first" | "later";
}

export type Question =
  | DescribedQuestion
  | {
      readonly kind: "frame";
      readonly interface: string;
      readonly state: PacketState;
      readonly frame: string;
    };

/** The options of `explain`, as they are typed. */
export interface QuestionWords extends FieldWords {
  readonly interface?: string;
  readonly protocol?: string;
  readonly source?: string;
  readonly destination?: string;
  readonly sourcePort?: string;
  readonly destinationPort?: string;
  readonly fragment?: string;
  readonly state?: string;
  readonly packet?: string;
}

const fields = [
  "interface",
  "protocol",
  "source",
  "destination",
  "sourcePort",
  "destinationPort",
  "tcpFlags",
  "icmp",
  "fragment",
  "dscp",
  "length",
  "vlan",
  "sourceMac",
  "destinationMac",
  "state",
  "packet",
] as const;

const protocols: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  sctp: 132,
};

/** The longest frame: a jumbo frame with two tags. */
const frameBytesMax = 16 * 1024;

/** Takes the words out of what came over the socket, whatever it is. */
export function readWords(raw: unknown): QuestionWords {
  const words: Record<string, string> = {};
  if (typeof raw !== "object" || raw === null) return words;
  for (const field of fields) {
    const value = (raw as Record<string, unknown>)[field];
    if (typeof value === "string") words[field] = value;
  }
  return words;
}

/** Checks the words. Throws UsageError. */
export function parseQuestion(words: QuestionWords): Question {
  const name = words.interface;
  if (name === undefined || name === "") throw wrong("it names no interface", "Add --interface NAME");
  const state = parseState(words.state);
  if (words.packet !== undefined)
    return { kind: "frame", interface: name, state, frame: parseFrame(words.packet) };
  const { source, destination, fragment = "whole" } = words;
  if (words.protocol === undefined || source === undefined || destination === undefined) {
    throw wrong(
      "a packet has a protocol, a source and a destination",
      "Add what is missing, or give --packet HEX",
    );
  }
  if (fragment !== "whole" && fragment !== "first" && fragment !== "later") {
    throw wrong(`${fragment} is no kind of fragment`, "Write --fragment whole, first or later");
  }
  const family = familyOf(source, destination);
  const protocol = parseProtocol(words.protocol);
  const hasPorts = (protocol === 6 || protocol === 17) && fragment !== "later";
  const port = (option: string, text: string | undefined) => parsePort(option, text, hasPorts);
  return {
    kind: "described",
    interface: name,
    state,
    protocol,
    protocolName: words.protocol,
    source,
    destination,
    sourcePort: port("--source-port", words.sourcePort),
    destinationPort: port("--destination-port", words.destinationPort),
    fragment,
    ...parseFields(words, { family, protocol, fragment }),
  };
}

function familyOf(source: string, destination: string): 4 | 6 {
  const [one = 4, other = one] = [source, destination].map((text) => {
    const parsed = parseAddress(text);
    if (!parsed.ok) throw wrong(parsed.message, "Write addresses such as 192.0.2.1 or 2001:db8::1");
    return parsed.value.family;
  });
  if (one !== other) {
    throw wrong("one address is IPv4 and the other IPv6", "Write two addresses of one family");
  }
  return one;
}

function parseProtocol(text: string): number {
  const known = protocols[text.toLowerCase()];
  if (known !== undefined) return known;
  if (/^[0-9]{1,3}$/.test(text) && Number(text) <= 255) return Number(text);
  throw wrong(
    `${text} is no protocol`,
    `Write a number from 0 to 255, or ${Object.keys(protocols).join(", ")}`,
  );
}

function parsePort(option: string, text: string | undefined, hasPorts: boolean): number | null {
  if (text === undefined) return null;
  if (!hasPorts)
    throw wrong("only TCP and UDP packets have ports, and later fragments have none", `Leave out ${option}`);
  if (/^[0-9]{1,5}$/.test(text) && Number(text) <= 65535) return Number(text);
  throw wrong(`${text} is no port`, `Write ${option} with a number from 0 to 65535`);
}

function parseFrame(text: string): string {
  const hex = text.replace(/[\s:]/g, "").replace(/^0x/i, "");
  const isHex = /^([0-9a-fA-F]{2})*$/.test(hex);
  if (isHex && hex.length / 2 <= frameBytesMax) return hex.toLowerCase();
  throw wrong(
    isHex ? `the frame is longer than ${frameBytesMax} bytes` : "the packet is not written in hex digits",
    "Write the bytes from the Ethernet header on, two hex digits each",
  );
}

function wrong(state: string, remedy: string): UsageError {
  return new UsageError(`Cannot explain the packet: ${state}`, remedy);
}
