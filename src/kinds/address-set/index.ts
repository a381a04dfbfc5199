// The AddressSet kind: named sets of prefixes, in the address tables.
import { type Parsed, type Prefix, parsePrefix } from "../../base/index.ts";
import { addPrefix, addressTables, describeAddress, type KindDefinition } from "../../compile/index.ts";

/** Findings beyond this many in one document are counted, not listed. */
const findingsMax = 100;

/** See schema/address-set.schema.json and docs/kinds/address-set.md. */
export const addressSetKind: KindDefinition = {
  kind: "AddressSet",
  tables: addressTables,
  compile(context) {
    for (const document of context.policy.byKind("AddressSet")) {
      const setId = context.id("address-set", document.name, { document, path: ["metadata", "name"] });
      const origin = context.origin({ document, path: ["spec", "prefixes"] });
      let bad = 0;
      document.spec.prefixes.forEach((text, i) => {
        const parsed: Parsed<Prefix> = parsePrefix(text);
        if (parsed.ok) {
          addPrefix(context, setId, parsed.value, origin);
          return;
        }
        bad++;
        if (bad > findingsMax) return;
        context.report({ document, path: ["spec", "prefixes", i] }, "error", parsed.code, parsed.message);
      });
      if (bad > findingsMax) {
        const message = `${bad - findingsMax} more prefixes of this set are wrong`;
        context.report({ document, path: ["spec", "prefixes"] }, "error", "more-findings", message);
      }
    }
  },
  describe(table, key, _payload, names) {
    return describeAddress(table, key, names);
  },
};
