// Where the reference model says that a packet goes. Must not look at compiled routes, nor share code with what
// compiles them.
import { bug, type Family, parseAddress } from "../../base/index.ts";
import type { FirewallRule } from "../../policy/index.ts";
import type { DescribedPacket } from "./model-fields.ts";
import type { Judgement, RouteReference } from "./model-judgement.ts";

/** Routes of a rule with their texts parsed; an absent field asks for nothing. */
export interface ParsedRoutes {
  readonly routeTo?: ParsedRoute;
  readonly replyTo?: ParsedRoute;
  readonly dupTo?: ParsedRoute;
}

interface ParsedRoute {
  readonly interface: string;
  /** Families of which a next hop is known; none if the host's routes say where to. */
  readonly nextHops: readonly Family[];
}

export function parseRoutes({ routeTo, replyTo, dupTo }: FirewallRule): ParsedRoutes {
  return {
    ...(routeTo !== undefined && { routeTo: parseRoute(routeTo) }),
    ...(replyTo !== undefined && { replyTo: parseRoute(replyTo) }),
    ...(dupTo !== undefined && { dupTo: parseRoute(dupTo) }),
  };
}

/** What becomes of a packet that a rule with these routes lets through, on a host with these interfaces. */
export function followRoutes(
  routes: ParsedRoutes,
  packet: DescribedPacket,
  interfaces: readonly string[],
): Partial<Pick<Judgement, "verdict" | "reason" | "route">> {
  const { routeTo, replyTo, dupTo } = routes;
  if (routeTo === undefined && replyTo === undefined && dupTo === undefined) return {};
  const exists = (route: ParsedRoute | undefined) =>
    route !== undefined && interfaces.includes(route.interface);
  const route: RouteReference = {
    ...(replyTo !== undefined && { replyTo: replyTo.interface }),
    ...(dupTo !== undefined && exists(dupTo) && { dupTo: dupTo.interface }),
  };
  if (routeTo === undefined || staysOnLink(packet)) return { route };
  const serves = routeTo.nextHops.length === 0 || routeTo.nextHops.includes(packet.family);
  if (!exists(routeTo) || !serves) return { verdict: "drop", reason: "no-route" };
  if ((packet.hopLimit ?? 64) <= 1) return { reason: "route-expired", route };
  return { reason: "routed", route: { ...route, routeTo: routeTo.interface } };
}

/** Multicast, broadcast, link-local addresses, and what IPv6 neighbours say to each other. */
function staysOnLink({ family, source, destination, protocol, laterFragment, icmpType }: DescribedPacket) {
  const [first = 0, second = 0] = destination;
  if (family === 4) {
    const isBroadcast = destination.every((byte) => byte === 255);
    const isLinkLocal = [source, destination].some(([a, b]) => a === 169 && b === 254);
    return (first >= 224 && first <= 239) || isBroadcast || isLinkLocal;
  }
  const isDiscovery = protocol === 58 && !laterFragment && icmpType !== undefined;
  if (isDiscovery && icmpType >= 133 && icmpType <= 137) return true;
  const isLinkLocal = (a: number, b: number) => a === 0xfe && b >= 0x80 && b <= 0xbf;
  return first === 0xff || isLinkLocal(first, second) || isLinkLocal(source[0] ?? 0, source[1] ?? 0);
}

function parseRoute(given: {
  readonly interface: string;
  readonly nextHop?: string | readonly string[];
}): ParsedRoute {
  const { nextHop = [] } = given;
  const texts = typeof nextHop === "string" ? [nextHop] : nextHop;
  return { interface: given.interface, nextHops: texts.map(familyOf) };
}

function familyOf(text: string): Family {
  const parsed = parseAddress(text);
  if (!parsed.ok) throw bug("Cannot judge by this policy: a next hop is not valid", { nextHop: text });
  return parsed.value.family;
}
