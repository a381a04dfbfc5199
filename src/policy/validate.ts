// From a raw document to a policy document: its version and kind choose the schema, and the schema decides.
import { explain } from "./explain.ts";
import { quote, showValue, withArticle } from "./explain-words.ts";
import type { Report } from "./findings.ts";
import { findKey, findValue } from "./positions.ts";
import { type Pruned, prune } from "./prune.ts";
import type { RawDocument } from "./raw.ts";
import { type CompiledSchema, schemaOfKind } from "./schemas.ts";
import { suggestWord } from "./suggest.ts";
import { type DocumentOf, type PolicyKind, type PolicyPath, policyKinds } from "./types.ts";

export const policyVersion = "penstock/v1";

/** A document that fits its kind's schema. */
export type ValidDocument = DocumentOf<PolicyKind>;

/** A document with errors: what is left of it fits the schema, and is good for looking for more errors only. */
export interface PartialDocument {
  readonly document: ValidDocument;
  readonly original: Pruned["original"];
}

export type Validated =
  | { readonly kind: "valid"; readonly document: ValidDocument }
  | ({ readonly kind: "partial" } & PartialDocument)
  | { readonly kind: "unusable" };

/** Reports everything that is wrong with the document. */
export function validateDocument(raw: RawDocument, report: Report): Validated {
  const { value } = raw;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const hint = Array.isArray(value) ? "write each entry as a document of its own" : "write a mapping";
    const message = `A policy document is a mapping with apiVersion, kind, metadata and spec, not ${showValue(value)}; ${hint}`;
    report("wrong-type", () => findValue(raw.positions, []), message);
    return unusable;
  }
  const kind = checkHead(value as Record<string, unknown>, raw, report);
  if (kind === undefined) return unusable;
  const schema = schemaOfKind(kind);
  const faults = findFaults(schema, { ...raw, whole: `${withArticle(kind)} document` }, report);
  if (raw.hasErrors) return unusable;
  if (faults.length === 0) return { kind: "valid", document: value as ValidDocument };
  const pruned = faults.length > faultsMax ? undefined : prune(value, faults);
  if (pruned === undefined || !schema.validate(pruned.value)) return unusable;
  return { kind: "partial", document: pruned.value as ValidDocument, original: pruned.original };
}

const unusable: Validated = { kind: "unusable" };

/** Of a document with more faults than this nothing more is looked for. */
const faultsMax = 100;

/** The kind whose schema applies; undefined, with a report, if there is no saying which. */
function checkHead(value: Record<string, unknown>, raw: RawDocument, report: Report): PolicyKind | undefined {
  const at = (field: string) => () => findValue(raw.positions, [field]);
  const version = value["apiVersion"];
  if (version !== undefined && version !== policyVersion) {
    // The fields of another version are not judged by this one's rules.
    const message = `apiVersion ${showValue(version)} is not known to this version of Penstock; write ${policyVersion}`;
    report("unknown-version", at("apiVersion"), message);
    return undefined;
  }
  const kind = value["kind"];
  const known = policyKinds.find((name) => name === kind);
  if (known !== undefined) return known;
  if (kind === undefined) {
    report("missing-field", at("kind"), `A policy document lacks "kind"; write ${listKinds()}`);
  } else {
    const nearest = typeof kind === "string" ? suggestWord(kind, policyKinds) : undefined;
    const hint = nearest === undefined ? `write ${listKinds()}` : `did you mean ${quote(nearest)}?`;
    report("unknown-kind", at("kind"), `There is no kind ${showValue(kind)}; ${hint}`);
  }
  return undefined;
}

function listKinds(): string {
  return `${policyKinds.slice(0, -1).join(", ")} or ${policyKinds.at(-1)}`;
}

/** Where the value does not fit, and reports why; empty if it fits. No more places are kept than are looked at. */
export function findFaults(
  schema: CompiledSchema,
  { value, positions, whole }: RawDocument & { readonly whole: string },
  report: Report,
): PolicyPath[] {
  if (schema.validate(value)) return [];
  const faults: PolicyPath[] = [];
  const path: (string | number)[] = [];
  explain(value, schema.tree, {
    path,
    whole,
    say(code, where, message) {
      if (faults.length <= faultsMax) faults.push([...path]);
      const find = where === "key" ? findKey : findValue;
      report(code, () => find(positions, path), message);
    },
  });
  if (faults.length === 0) {
    faults.push([]);
    const [error] = schema.validate.errors ?? [];
    const message = `${error?.instancePath ?? ""} ${error?.message ?? "does not fit the schema"}`.trim();
    report("invalid-document", () => findValue(positions, []), message);
  }
  return faults;
}
