// The ports that a rule names on one side: its own list and the port sets that it refers to are one list of ranges,
// for the record holds ranges only.
import { invertRanges, mergeRanges, type PortRange, parsePorts } from "../../base/index.ts";
import type { CompileContext, Origin } from "../../compile/index.ts";
import { type FirewallPortChoice, type FirewallPorts, suggestWord } from "../../policy/index.ts";

/** Ranges (sorted, disjoint) of which one must hold the port; undefined if the rule says nothing, or nothing valid. */
export function compilePorts(
  context: CompileContext,
  given: FirewallPorts | undefined,
  at: Origin,
): readonly PortRange[] | undefined {
  if (given === undefined) return undefined;
  const choice: FirewallPortChoice = "map" in given ? { ports: given } : given;
  const listAt: Origin = choice === given ? { ...at, path: [...at.path, "ports"] } : at;
  if (choice.ports === undefined && choice.sets === undefined) {
    const message = "names neither ports nor sets; add some, or leave it out";
    context.report(at, "error", "empty-ports", `${at.path.at(-1)} ${message}`);
    return undefined;
  }
  const own = parsePorts(choice.ports ?? []);
  if (!own.ok) {
    context.report({ ...listAt, path: [...listAt.path, own.index] }, "error", "bad-port", own.message);
    return undefined;
  }
  const members = membersOf(context, choice.sets ?? [], at);
  if (members === undefined) return undefined;
  const all = mergeRanges([...own.ranges, ...members]);
  const ranges = choice.not === true ? invertRanges(all) : all;
  if (ranges.length === 0) {
    const message = "no port is left; this rule can never match";
    context.report(choice.sets === undefined ? listAt : at, "error", "never-matches", message);
  }
  return ranges;
}

/** The ranges of all sets; undefined, with reports, if one is not there or not valid. */
function membersOf(
  context: CompileContext,
  names: readonly string[],
  at: Origin,
): readonly PortRange[] | undefined {
  const known = context.policy.byKind("PortSet");
  const ranges: PortRange[] = [];
  let complete = true;
  names.forEach((name, i) => {
    const set = known.find((document) => document.name === name);
    if (set === undefined) {
      const closest = suggestWord(
        name,
        known.map((document) => document.name),
      );
      const hint = closest === undefined ? "add one with this name" : `did you mean "${closest}"?`;
      const message = `there is no PortSet "${name}" in force on this host; ${hint}`;
      context.report({ ...at, path: [...at.path, "sets", i] }, "error", "unknown-set", message);
    }
    const parsed = parsePorts(set?.spec.ports ?? []);
    // What is wrong inside a set is told once, where the set is.
    if (set === undefined || !parsed.ok) complete = false;
    else ranges.push(...parsed.ranges);
  });
  return complete ? ranges : undefined;
}
