// Packet events: from the datapath's 56 bytes to what a person reads.
import {
  EventFlag,
  EventLayout,
  eventKindNames,
  FwReason,
  fwReasonNames,
  type PacketEvent,
} from "../../abi/index.ts";
import { type Family, formatAddress } from "../../base/index.ts";
import { protocolName } from "../../kinds/firewall/index.ts";
import { alignColumns, type Cell, type Style } from "../style.ts";
import { plain } from "../text.ts";

export interface EventView {
  /** RFC 3339. */
  readonly time: string;
  /** `rule`: a rule that logs; `audit`: a rule in audit mode, which was not applied; `malformed`. */
  readonly kind: string;
  /** What happened, or for `audit` what would have. */
  readonly verdict: "pass" | "drop" | "reject";
  readonly interface: string | null;
  readonly protocol: string | null;
  /** Null where the packet could not be read so far. */
  readonly source: string | null;
  readonly sourcePort: number | null;
  readonly destination: string | null;
  readonly destinationPort: number | null;
  readonly fragment: "whole" | "first" | "later";
  readonly vlan: boolean;
  /** `document/rule`; null if no rule was involved. */
  readonly rule: string | null;
  readonly reason: string;
  /** The lowest 16 bits of the generation that judged the packet. */
  readonly generation: number;
}

/** What an event's numbers mean on this host. */
export interface EventNames {
  /** Milliseconds since the epoch of a time since boot. */
  wallClockMs(bootNs: bigint): number;
  ruleName(ruleId: number, generation: number): string | undefined;
  interfaceName(index: number): string | undefined;
}

export function viewEvent(event: PacketEvent, names: EventNames): EventView {
  const { flags, protocol, ruleId, generation } = event;
  const family: Family = flags & EventFlag.ipv6 ? 6 : 4;
  const kindNumber = flags >> EventLayout["kind-shift"];
  const kind = eventKindNames[kindNumber] ?? `kind ${kindNumber}`;
  const later = (flags & EventFlag["later-fragment"]) !== 0;
  const hasPorts = (protocol === 6 || protocol === 17) && !later && kind !== "malformed";
  const address = (bytes: Uint8Array) =>
    formatAddress({ family, bytes: bytes.subarray(0, family === 4 ? 4 : 16) });
  const wasRead = kind !== "malformed" || [...event.source, ...event.destination].some((byte) => byte !== 0);
  return {
    time: new Date(names.wallClockMs(event.timeNs)).toISOString(),
    kind,
    verdict: verdictOf(event),
    interface:
      event.interface === 0 ? null : (names.interfaceName(event.interface) ?? `index ${event.interface}`),
    protocol: wasRead ? protocolName(protocol) : null,
    source: wasRead ? address(event.source) : null,
    sourcePort: hasPorts ? event.sourcePort : null,
    destination: wasRead ? address(event.destination) : null,
    destinationPort: hasPorts ? event.destinationPort : null,
    fragment: later ? "later" : flags & EventFlag.fragment ? "first" : "whole",
    vlan: (flags & EventFlag.vlan) !== 0,
    rule: ruleId === 0 ? null : (names.ruleName(ruleId, generation) ?? `id ${ruleId}`),
    reason: fwReasonNames[event.reason] ?? `reason ${event.reason}`,
    generation,
  };
}

/** An event has one bit for it: what is rejected is dropped too. */
function verdictOf({ flags, reason }: PacketEvent): EventView["verdict"] {
  if (reason === FwReason.reject || reason === FwReason["reject-silent"]) return "reject";
  return flags & EventFlag.drop ? "drop" : "pass";
}

/** One line; its columns are wide enough for IPv4, so that most lines stand below each other. */
export function renderEvent(view: EventView, style: Style): string[] {
  const verdict = view.kind === "audit" ? `would ${view.verdict}` : view.verdict;
  const reason = view.kind === "blocked" ? `${view.reason}, source blocked` : view.reason;
  const cells: Cell[] = [
    { text: view.time.replace("T", " "), paint: style.dim },
    { text: verdict.padEnd(12), paint: view.verdict === "pass" ? style.green : style.red },
    plain(view.interface ?? "?").padEnd(8),
    (view.protocol ?? "-").padEnd(6),
    describeWay(view).padEnd(44),
    view.rule === null ? view.reason : `${plain(view.rule)} (${reason})`,
  ];
  return alignColumns([cells]);
}

function describeWay(view: EventView): string {
  if (view.source === null || view.destination === null) return "not readable";
  const fragment = view.fragment === "whole" ? "" : ` (${view.fragment} fragment)`;
  const from = joinPort(view.source, view.sourcePort);
  return `${from} -> ${joinPort(view.destination, view.destinationPort)}${fragment}`;
}

function joinPort(address: string, port: number | null): string {
  if (port === null) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
