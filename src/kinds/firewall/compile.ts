// Firewall documents -> records of the rule table, in evaluation order. A rule becomes one record, or several
// where its port lists are longer than a record holds; what a document says by default becomes records behind
// all rules, so that the program has one way to decide.
import {
  countOf,
  FwAction,
  FwFamily,
  type FwRule,
  FwRuleFlag,
  fwRuleCodec,
  fwRuleLayout,
} from "../../abi/index.ts";
import { compareText, type PortRange } from "../../base/index.ts";
import type { CompileContext, Origin } from "../../compile/index.ts";
import { type FirewallRule, type PolicyDocument, suggestWord } from "../../policy/index.ts";
import { compileAction } from "./actions.ts";
import { compileEndpoint } from "./endpoint.ts";
import { expiryOf, isExpired } from "./expiry.ts";
import { compilePorts } from "./port-match.ts";
import { protocolNumbers } from "./protocols.ts";
import { RouteCompiler } from "./routes.ts";
import { firewallProgram, routeProgram, ruleTable } from "./tables.ts";

/** Port ranges that one record holds, of source and destination each. */
const rangesMax = countOf(fwRuleLayout, "sourcePorts");

type Document = PolicyDocument<"Firewall">;

/** Compiles all Firewall documents of the host. */
export function compileFirewalls(context: CompileContext): void {
  const documents = [...context.policy.byKind("Firewall")].sort(
    (a, b) => (a.spec.order ?? 100) - (b.spec.order ?? 100) || compareText(a.name, b.name),
  );
  reportConflicts(context, documents);
  const routes = new RouteCompiler(context);
  const compiled = documents.map((document) => new DocumentCompiler(context, document, routes));
  for (const compiler of compiled) {
    compiler.addRules();
    if (compiler.audits) compiler.addDefaults();
  }
  for (const compiler of compiled) if (!compiler.audits) compiler.addDefaults();
}

/** The programs that the document needs on its interfaces. */
function programsFor({ spec }: Document): readonly string[] {
  const routes = spec.rules.some(({ routeTo, dupTo }) => routeTo !== undefined || dupTo !== undefined);
  return routes ? [firewallProgram, routeProgram] : [firewallProgram];
}

/** What all records of a document share. */
class DocumentCompiler {
  readonly audits: boolean;
  readonly #context: CompileContext;
  readonly #document: Document;
  readonly #groups: bigint;
  readonly #documentId: number;
  readonly #routes: RouteCompiler;

  constructor(context: CompileContext, document: Document, routes: RouteCompiler) {
    this.#context = context;
    this.#routes = routes;
    this.#document = document;
    this.audits = document.spec.mode === "audit";
    this.#documentId = context.id("document", document.name, { document, path: ["metadata", "name"] });
    let groups = 0n;
    document.spec.interfaces.forEach((name, i) => {
      const at: Origin = { document, path: ["spec", "interfaces", i] };
      const { group, members } = context.groups.use(name, ...programsFor(document));
      if (group !== name && members.length === 0) reportUnknownInterface(context, name, at);
      groups |= 1n << BigInt(context.id("interface-group", group, at));
    });
    this.#groups = groups;
  }

  addRules(): void {
    const names = new Map<string, number>();
    this.#document.spec.rules.forEach((rule, i) => {
      const at: Origin = { document: this.#document, path: ["spec", "rules", i] };
      const first = names.get(rule.name);
      if (first !== undefined) {
        const line = this.#document.locate(["spec", "rules", first]).line;
        const message = `"${rule.name}" is the name of the rule in line ${line} too; counters and history follow names, so give each rule its own`;
        this.#context.report({ ...at, path: [...at.path, "name"] }, "error", "duplicate-rule", message);
        return;
      }
      names.set(rule.name, i);
      const expired = isExpired(rule.expires, this.#context.now);
      if (expired === "invalid") {
        const message = `"${rule.expires}" is not a day or an instant that exists`;
        this.#context.report({ ...at, path: [...at.path, "expires"] }, "error", "bad-date", message);
      } else if (expired) {
        const message = `"${rule.name}" expired on ${rule.expires} and is left out; remove it or give it a new date`;
        this.#context.report(at, "warning", "rule-expired", message);
      } else {
        if (rule.expires !== undefined) this.#context.endsAt(expiryOf(rule.expires) ?? 0);
        this.#addRule(rule, at);
      }
    });
  }

  /** The records for packets that no rule decided. */
  addDefaults(): void {
    const document = this.#document;
    const { spec } = document;
    const defaults = [
      { field: "default", name: "(default)", verdict: spec.default, family: FwFamily["any-ip"] },
      { field: "nonIp", name: "(non-ip)", verdict: spec.nonIp, family: FwFamily["non-ip"] },
    ];
    for (const { field, name, verdict, family } of defaults) {
      if (verdict === undefined) continue;
      const at: Origin = { document, path: ["spec", field] };
      this.#add(at, {
        ...this.#emptyRule(at, name),
        action: FwAction[verdict],
        family,
        flags: FwRuleFlag.default | (this.audits ? FwRuleFlag.audit : 0),
      });
    }
  }

  #addRule(rule: FirewallRule, at: Origin): void {
    const match = rule.match ?? {};
    const path = [...at.path, "match"];
    const name = `${this.#document.name}/${rule.name}`;
    const protocols = this.#protocols(rule, at);
    const endpoint = (side: "source" | "destination") =>
      compileEndpoint(this.#context, match[side], { at: { ...at, path: [...path, side] }, rule: name, side });
    const source = endpoint("source");
    const destination = endpoint("destination");
    const ports = (field: "sourcePorts" | "destinationPorts") =>
      compilePorts(this.#context, match[field], { ...at, path: [...path, field] });
    const sourcePorts = ports("sourcePorts");
    const destinationPorts = ports("destinationPorts");
    const base = this.#emptyRule(at, rule.name);
    const action = compileAction(this.#context, rule, at);
    const flags =
      action.flags |
      (this.audits ? FwRuleFlag.audit : 0) |
      (rule.log === true ? FwRuleFlag.log : 0) |
      (match.source === undefined ? 0 : FwRuleFlag.source) |
      (match.source?.not === true ? FwRuleFlag["source-not"] : 0) |
      (match.destination === undefined ? 0 : FwRuleFlag.destination) |
      (match.destination?.not === true ? FwRuleFlag["destination-not"] : 0) |
      (sourcePorts === undefined && destinationPorts === undefined ? 0 : FwRuleFlag.ports);
    const parts = chunks(sourcePorts).length * chunks(destinationPorts).length;
    if (parts > partsMax) {
      const message = `"${rule.name}" names so many ranges of source and destination ports that it needs ${parts} records, more than ${partsMax}; split it or use wider ranges`;
      this.#context.report(at, "error", "too-many-ports", message);
      return;
    }
    const routes = this.#routes.compile(rule, at, base.ruleId);
    let part = 0;
    for (const sourceChunk of chunks(sourcePorts)) {
      for (const destinationChunk of chunks(destinationPorts)) {
        this.#add(at, {
          ...base,
          ...action,
          ...routes,
          protocols,
          source,
          destination,
          sourcePorts: padRanges(sourceChunk),
          destinationPorts: padRanges(destinationChunk),
          sourcePortCount: sourceChunk.length,
          destinationPortCount: destinationChunk.length,
          part: part++,
          flags,
          family: match.family === undefined ? FwFamily["any-ip"] : FwFamily[match.family],
        });
      }
    }
  }

  #emptyRule(at: Origin, name: string): FwRule {
    return {
      ...blankRule,
      groups: this.#groups,
      protocols: allProtocols,
      ruleId: this.#context.id("rule", `${this.#document.name}/${name}`, at),
      documentId: this.#documentId,
      action: FwAction.pass,
      family: FwFamily["any-ip"],
    };
  }

  #add(at: Origin, rule: FwRule): void {
    const payload = fwRuleCodec.encode(rule);
    const { offset, size } = ruleTable.identity ?? { offset: 0, size: 0 };
    this.#context
      .table(ruleTable)
      .add(payload.subarray(offset, offset + size), payload, this.#context.origin(at));
  }

  #protocols(rule: FirewallRule, at: Origin): Protocols {
    const given = rule.match?.protocol;
    if (given === undefined) return allProtocols;
    const words: [bigint, bigint, bigint, bigint] = [0n, 0n, 0n, 0n];
    const list = Array.isArray(given) ? given : [given];
    const numbers = list.map((p: string | number) => (typeof p === "number" ? p : (protocolNumbers[p] ?? 0)));
    for (const n of numbers) words[n >> 6] = (words[n >> 6] ?? 0n) | (1n << BigInt(n & 63));
    const hidden = numbers.filter((n) => lookedThrough.includes(n));
    if (hidden.length > 0) {
      const message = `IPv6 is looked through to the transport, so protocol ${hidden.join(", ")} (an extension header) is not what a rule sees there; name the protocol behind it`;
      this.#context.report(
        { ...at, path: [...at.path, "match", "protocol"] },
        "warning",
        "looked-through",
        message,
      );
    }
    const ports = rule.match?.sourcePorts ?? rule.match?.destinationPorts;
    if (
      ports !== undefined &&
      !numbers.every((n) => n === protocolNumbers["tcp"] || n === protocolNumbers["udp"])
    ) {
      const message = `only TCP and UDP have ports; write "protocol: tcp", "protocol: udp" or both, or leave the ports out`;
      this.#context.report(
        { ...at, path: [...at.path, "match", "protocol"] },
        "error",
        "ports-need-tcp-or-udp",
        message,
      );
    }
    return words;
  }
}

/** An interface may appear later, so this is no error; but a group's name may also be mistyped. */
function reportUnknownInterface(context: CompileContext, name: string, at: Origin): void {
  const closest = suggestWord(
    name,
    context.policy.byKind("InterfaceGroup").map((group) => group.name),
  );
  if (closest === undefined && !context.groups.knowsHost) return;
  const where = context.groups.knowsHost ? " and no interface of that name on this host" : "";
  const hint =
    closest === undefined ? "an interface is taken up when it appears" : `did you mean "${closest}"?`;
  const message = `there is no InterfaceGroup "${name}"${where}; ${hint}`;
  context.report(at, "warning", "unknown-interface", message);
}

type Protocols = FwRule["protocols"];

/** IPv6 extension headers that cannot be matched: hop-by-hop, routing, fragment, destination options. */
const lookedThrough: readonly number[] = [0, 43, 44, 60];

/** Records that one rule may become: lists of ports on both sides multiply. */
const partsMax = 256;

/** Asks for nothing, sets nothing, limits nothing. */
const blankRule = fwRuleCodec.decode(new Uint8Array(fwRuleCodec.size));

const allProtocols: Protocols = [
  0xffffffffffffffffn,
  0xffffffffffffffffn,
  0xffffffffffffffffn,
  0xffffffffffffffffn,
];

/** Pieces of at most `rangesMax` ranges; one empty piece stands for "any port". */
function chunks(ranges: readonly PortRange[] | undefined): readonly (readonly PortRange[])[] {
  if (ranges === undefined) return [[]];
  const pieces: PortRange[][] = [];
  for (let i = 0; i < ranges.length; i += rangesMax) pieces.push(ranges.slice(i, i + rangesMax));
  return pieces;
}

function padRanges(ranges: readonly PortRange[]): PortRange[] {
  return Array.from({ length: rangesMax }, (_, i) => ranges[i] ?? { first: 0, last: 0 });
}

/** Enforcing documents that share an interface must say the same for packets that no rule decides. */
function reportConflicts(context: CompileContext, documents: readonly Document[]): void {
  for (const field of ["default", "nonIp"] as const) {
    const said = new Map<string, { document: Document; verdict: string }>();
    for (const document of documents) {
      const verdict = document.spec[field];
      if (verdict === undefined || document.spec.mode === "audit") continue;
      for (const name of document.spec.interfaces) {
        const { group, members } = context.groups.use(name, firewallProgram);
        const places = [group, ...members.map((m) => `interface/${m.name}`)];
        const other = places.map((p) => said.get(p)).find((o) => o !== undefined && o.verdict !== verdict);
        if (other !== undefined) {
          const where = other.document.locate(["spec", field]);
          const message = `${field} is ${verdict} here and ${other.verdict} in "${other.document.name}" (${where.file}:${where.line}), for interfaces that both name ("${name}"); make them agree`;
          context.report({ document, path: ["spec", field] }, "error", "conflicting-default", message);
          break;
        }
        for (const place of places) said.set(place, { document, verdict });
      }
    }
  }
}
