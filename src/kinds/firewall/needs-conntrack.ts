// Rules that ask about connections, on interfaces where nobody knows of any.
import type { CompileContext, HostInterface, Origin } from "../../compile/index.ts";
import type { FirewallRule } from "../../policy/index.ts";

/**
 * Reports a rule with `state`, `limits` or `replyTo` for each interface that it applies to and on which no Conntrack
 * document tracks connections: every packet would be new there, no limit would hold, and nothing a reply. Without a host this can only be told by
 * names, and interfaces of this host may be in groups that others are not: a warning. `on` are the names of interfaces
 * and groups that the rule's document is for.
 */
export function reportUntracked(
  context: CompileContext,
  { rule, on }: { readonly rule: FirewallRule; readonly on: readonly string[] },
  at: Origin,
): void {
  const path = askingField(rule);
  if (path === undefined) return;
  const field = path.at(-1);
  const { groups } = context;
  const names = groups.knowsHost
    ? interfacesOf(context, rule, on)
        .filter(({ index }) => groups.trackerOf(index) === undefined)
        .map(({ name }) => `interface ${name}`)
    : on.filter((name) => !groups.isTrackedByName(name)).map((name) => `"${name}"`);
  if (names.length === 0) return;
  const it = names.length === 1 ? "it" : "them";
  const message = `"${rule.name}" has ${field}, and connections on ${names.join(", ")} are not tracked; name ${it} in a Conntrack document, or leave ${field} out`;
  const severity = groups.knowsHost ? "error" : "warning";
  context.report({ ...at, path: [...at.path, ...path] }, severity, "needs-conntrack", message);
}

/** The path of the first field of a rule that asks about connections. */
function askingField({ limits, match, replyTo }: FirewallRule): readonly string[] | undefined {
  if (limits !== undefined) return ["limits"];
  if (match?.state !== undefined) return ["match", "state"];
  return replyTo === undefined ? undefined : ["replyTo"];
}

/** The interfaces of this host that packets come in on which the rule may decide about. */
function interfacesOf(
  { groups }: CompileContext,
  { match }: FirewallRule,
  on: readonly string[],
): readonly HostInterface[] {
  const membersOf = (names: readonly string[]) => names.flatMap((name) => groups.use(name).members);
  const all = [...new Map(membersOf(on).map((member) => [member.index, member])).values()];
  const given = match?.interfaces;
  if (given === undefined) return all;
  const { groups: names, not = false } = "groups" in given ? given : { groups: given };
  const named = new Set(membersOf(names).map(({ index }) => index));
  return all.filter(({ index }) => named.has(index) !== not);
}
