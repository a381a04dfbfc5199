// The AddressSet kind: named sets of prefixes and of countries, in the address tables.
import { type Parsed, type Prefix, parsePrefix } from "../../base/index.ts";
import {
  addPrefix,
  addressTables,
  type CompileContext,
  describeAddress,
  type KindDefinition,
} from "../../compile/index.ts";
import type { PolicyDocument } from "../../policy/index.ts";
import { addCountries } from "./countries.ts";

/** Findings beyond this many in one document are counted, not listed. */
const findingsMax = 100;

/** See schema/address-set.schema.json and docs/kinds/address-set.md. */
export const addressSetKind: KindDefinition = {
  kind: "AddressSet",
  tables: addressTables,
  compile(context) {
    for (const document of context.policy.byKind("AddressSet")) {
      const setId = context.id("address-set", document.name, { document, path: ["metadata", "name"] });
      if (document.spec.prefixes === undefined && document.spec.countries === undefined) {
        const message =
          'the set names neither prefixes nor countries; write "prefixes: []" if it shall have no members';
        context.report({ document, path: ["spec"] }, "error", "empty-set", message);
      }
      addPrefixes(context, document, setId);
      addCountries(context, document, setId);
    }
  },
  describe(table, key, _payload, names) {
    return describeAddress(table, key, names);
  },
};

function addPrefixes(context: CompileContext, document: PolicyDocument<"AddressSet">, setId: number): void {
  const { prefixes = [] } = document.spec;
  const path = ["spec", "prefixes"];
  const origin = context.origin({ document, path });
  let bad = 0;
  prefixes.forEach((text, i) => {
    const parsed: Parsed<Prefix> = parsePrefix(text);
    if (parsed.ok) {
      addPrefix(context, setId, parsed.value, origin);
      return;
    }
    bad++;
    if (bad > findingsMax) return;
    context.report({ document, path: [...path, i] }, "error", parsed.code, parsed.message);
  });
  if (bad > findingsMax) {
    const message = `${bad - findingsMax} more prefixes of this set are wrong`;
    context.report({ document, path }, "error", "more-findings", message);
  }
}
