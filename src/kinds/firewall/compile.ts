// Firewall documents -> records of the rule table, in evaluation order. A rule becomes one record, or several
// where its lists are longer than a record holds; what a document says by default becomes records behind
// all rules, so that the program has one way to decide.
import { FwAction, FwFamily, type FwRule, FwRuleFlag, fwRuleCodec } from "../../abi/index.ts";
import { compareText } from "../../base/index.ts";
import type { CompileContext, Origin } from "../../compile/index.ts";
import type { FirewallRule, PolicyDocument } from "../../policy/index.ts";
import { compileAction } from "./actions.ts";
import { expiryOf, isExpired } from "./expiry.ts";
import { allProtocols, compileMatch } from "./matches.ts";
import { reportUntracked } from "./needs-conntrack.ts";
import { RouteCompiler } from "./routes.ts";
import { compileSteering } from "./steering.ts";
import { firewallProgram, routeProgram, ruleTable } from "./tables.ts";
import { reportUnknownInterface } from "./unknown-interface.ts";

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
    compileSteering(context, document);
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
        flags: FwRuleFlag.default | this.#flagsFor(verdict),
      });
    }
  }

  #addRule(rule: FirewallRule, at: Origin): void {
    const on = this.#document.spec.interfaces;
    reportUntracked(this.#context, { rule, on }, at);
    const records = compileMatch({
      context: this.#context,
      rule,
      name: `${this.#document.name}/${rule.name}`,
      on,
      at: { ...at, path: [...at.path, "match"] },
    });
    const base = this.#emptyRule(at, rule.name);
    const action = compileAction(this.#context, rule, at);
    const flags = action.flags | this.#flagsFor(rule.action) | (rule.log === true ? FwRuleFlag.log : 0);
    const routes = this.#routes.compile(rule, at, base.ruleId);
    records.forEach((fields, part) => {
      const matchFlags = fields.flags ?? 0;
      this.#add(at, { ...base, ...action, ...routes, ...fields, part, flags: flags | matchFlags });
    });
  }

  /** Flags that the document gives to what it does with packets. */
  #flagsFor(action: FirewallRule["action"]): number {
    const { onChange = "reevaluate" } = this.#document.spec;
    const isJudgedAgain = action === "pass" && onChange === "reevaluate";
    return (this.audits ? FwRuleFlag.audit : 0) | (isJudgedAgain ? FwRuleFlag.reevaluate : 0);
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
}

/** Asks for nothing, sets nothing, limits nothing. */
const blankRule = fwRuleCodec.decode(new Uint8Array(fwRuleCodec.size));

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
