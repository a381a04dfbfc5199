// How long a connection lives without a packet, by the state that it is in.
import { CtState } from "../../abi/index.ts";
import { parseDuration } from "../../base/index.ts";
import type { ConntrackTimeouts } from "../../policy/index.ts";

/** A state by its place in a document: the protocol's section and the field. */
export interface TimeoutField {
  readonly section: keyof ConntrackTimeouts & string;
  readonly field: string;
  readonly state: number;
  /** What applies where a document says nothing. */
  readonly standard: string;
}

/** Every state that a connection can be in; the standards are those of schema/conntrack.schema.json. */
export const timeoutFields: readonly TimeoutField[] = [
  { section: "tcp", field: "synSent", state: CtState["syn-sent"], standard: "30s" },
  { section: "tcp", field: "synRecv", state: CtState["syn-recv"], standard: "60s" },
  { section: "tcp", field: "established", state: CtState.established, standard: "1d" },
  { section: "tcp", field: "finWait", state: CtState["fin-wait"], standard: "2m" },
  { section: "tcp", field: "closeWait", state: CtState["close-wait"], standard: "1m" },
  { section: "tcp", field: "lastAck", state: CtState["last-ack"], standard: "30s" },
  { section: "tcp", field: "timeWait", state: CtState["time-wait"], standard: "2m" },
  { section: "tcp", field: "closed", state: CtState.closed, standard: "10s" },
  { section: "udp", field: "new", state: CtState["udp-new"], standard: "30s" },
  { section: "udp", field: "replied", state: CtState["udp-replied"], standard: "3m" },
  { section: "echo", field: "new", state: CtState["echo-new"], standard: "30s" },
  { section: "echo", field: "replied", state: CtState["echo-replied"], standard: "30s" },
  { section: "other", field: "new", state: CtState["other-new"], standard: "10m" },
  { section: "other", field: "replied", state: CtState["other-replied"], standard: "10m" },
];

/** The longest that a document may say, in seconds. */
export const timeoutMax = 30 * 86400;

/** Seconds that a document gives to a field, or the standard. */
export function timeoutOf(
  { section, field, standard }: TimeoutField,
  timeouts: ConntrackTimeouts = {},
): number {
  const given: Readonly<Record<string, string | undefined>> = { ...timeouts[section] };
  return parseDuration(given[field] ?? standard);
}
