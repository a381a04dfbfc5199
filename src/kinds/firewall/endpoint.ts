// The addresses that a rule names on one side: one prefix stands in the record itself, more go into a set of the
// rule's own, named sets are referred to by id.
import { countOf, type FwEndpoint, fwEndpointLayout } from "../../abi/index.ts";
import { type Prefix, parsePrefix } from "../../base/index.ts";
import { addPrefix, type CompileContext, type Origin } from "../../compile/index.ts";
import { type FirewallEndpoint, suggestWord } from "../../policy/index.ts";

/** Set ids that one endpoint holds. */
const setsMax = countOf(fwEndpointLayout, "sets");

/** Matches nothing by itself; for rules that do not name addresses. */
export const emptyEndpoint: FwEndpoint = {
  address: new Uint8Array(16),
  mask: new Uint8Array(16),
  sets: new Array<number>(setsMax).fill(0),
  family: 0,
};

export interface EndpointPlace {
  readonly at: Origin;
  /** `document/rule`, for the name of the rule's own set. */
  readonly rule: string;
  readonly side: "source" | "destination";
}

/** Compiles an endpoint; what is wrong with it is reported. */
export function compileEndpoint(
  context: CompileContext,
  endpoint: FirewallEndpoint | undefined,
  place: EndpointPlace,
): FwEndpoint {
  if (endpoint === undefined) return emptyEndpoint;
  if (endpoint.prefixes === undefined && endpoint.sets === undefined) {
    const message = `${place.side} names neither prefixes nor sets; add some, or leave ${place.side} out`;
    context.report(place.at, "error", "empty-endpoint", message);
    return emptyEndpoint;
  }
  const sets = namedSets(context, endpoint.sets ?? [], place);
  const prefixes = parsePrefixes(context, endpoint.prefixes ?? [], place);
  const [only] = prefixes;
  if (prefixes.length > 1) sets.push(ownSet(context, prefixes, place));
  const padded = Array.from({ length: setsMax }, (_, i) => sets[i] ?? 0);
  if (only === undefined || prefixes.length > 1) return { ...emptyEndpoint, sets: padded };
  const address = new Uint8Array(16);
  address.set(only.bytes);
  return { address, mask: maskOf(only.length), sets: padded, family: only.family };
}

function namedSets(context: CompileContext, names: readonly string[], place: EndpointPlace): number[] {
  const known = context.policy.byKind("AddressSet").map((d) => d.name);
  const ids: number[] = [];
  names.forEach((name, i) => {
    const at = { ...place.at, path: [...place.at.path, "sets", i] };
    if (known.includes(name)) {
      ids.push(context.id("address-set", name, at));
      return;
    }
    const closest = suggestWord(name, known);
    const hint = closest === undefined ? "add one with this name" : `did you mean "${closest}"?`;
    const message = `there is no AddressSet "${name}" in force on this host; ${hint}`;
    context.report(at, "error", "unknown-set", message);
  });
  return ids;
}

function parsePrefixes(context: CompileContext, texts: readonly string[], place: EndpointPlace): Prefix[] {
  const prefixes = new Map<string, Prefix>();
  texts.forEach((text, i) => {
    const parsed = parsePrefix(text);
    if (parsed.ok) {
      const { family, length, bytes } = parsed.value;
      prefixes.set(`${family} ${length} ${bytes.join(".")}`, parsed.value);
    } else {
      const at = { ...place.at, path: [...place.at.path, "prefixes", i] };
      context.report(at, "error", parsed.code, parsed.message);
    }
  });
  return [...prefixes.values()];
}

function ownSet(context: CompileContext, prefixes: readonly Prefix[], place: EndpointPlace): number {
  const setId = context.id("address-set", `rule ${place.rule} ${place.side}`, place.at);
  const origin = context.origin(place.at);
  for (const prefix of prefixes) addPrefix(context, setId, prefix, origin);
  return setId;
}

function maskOf(length: number): Uint8Array {
  return Uint8Array.from(
    { length: 16 },
    (_, i) => (0xff00 >> Math.min(8, Math.max(0, length - i * 8))) & 0xff,
  );
}
