// From a raw document to a policy document: its version and kind choose the schema, and the schema decides.
import { explain } from "./explain.ts";
import { quote, showValue, withArticle } from "./explain-words.ts";
import type { Report } from "./findings.ts";
import { findKey, findValue } from "./positions.ts";
import type { RawDocument } from "./raw.ts";
import { type CompiledSchema, schemaOfKind } from "./schemas.ts";
import { suggestWord } from "./suggest.ts";
import { type DocumentOf, type PolicyKind, policyKinds } from "./types.ts";

export const policyVersion = "penstock/v1";

/** A document that fits its kind's schema. */
export type ValidDocument = DocumentOf<PolicyKind>;

/** Reports everything that is wrong with the document; returns it if nothing is. */
export function validateDocument(raw: RawDocument, report: Report): ValidDocument | undefined {
  const { value } = raw;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const hint = Array.isArray(value) ? "write each entry as a document of its own" : "write a mapping";
    const message = `A policy document is a mapping with apiVersion, kind, metadata and spec, not ${showValue(value)}; ${hint}`;
    report("wrong-type", () => findValue(raw.positions, []), message);
    return undefined;
  }
  const kind = checkHead(value as Record<string, unknown>, raw, report);
  if (kind === undefined) return undefined;
  const isValid = validateWith(
    schemaOfKind(kind),
    { ...raw, whole: `${withArticle(kind)} document` },
    report,
  );
  return isValid && !raw.hasErrors ? (value as ValidDocument) : undefined;
}

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

/** True if `validate` accepts the value; reports why not otherwise. */
export function validateWith(
  schema: CompiledSchema,
  { value, positions, whole }: RawDocument & { readonly whole: string },
  report: Report,
): boolean {
  if (schema.validate(value)) return true;
  let said = 0;
  const path: (string | number)[] = [];
  explain(value, schema.tree, {
    path,
    whole,
    say(code, where, message) {
      said++;
      const find = where === "key" ? findKey : findValue;
      report(code, () => find(positions, path), message);
    },
  });
  if (said === 0) {
    const [error] = schema.validate.errors ?? [];
    const message = `${error?.instancePath ?? ""} ${error?.message ?? "does not fit the schema"}`.trim();
    report("invalid-document", () => findValue(positions, []), message);
  }
  return false;
}
