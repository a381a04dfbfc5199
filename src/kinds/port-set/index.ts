// The PortSet kind: named lists of ports. Rules that name a set carry its ranges themselves, so a set fills no table.
import { bug, parsePorts } from "../../base/index.ts";
import type { KindDefinition } from "../../compile/index.ts";

/** See schema/port-set.schema.json and docs/kinds/port-set.md. */
export const portSetKind: KindDefinition = {
  kind: "PortSet",
  tables: [],
  compile(context) {
    for (const document of context.policy.byKind("PortSet")) {
      const parsed = parsePorts(document.spec.ports);
      if (parsed.ok) continue;
      const path = ["spec", "ports", parsed.index];
      context.report({ document, path }, "error", "bad-port", parsed.message);
    }
  },
  describe(table) {
    throw bug(`Cannot describe an entry of ${table}: port sets fill no table`);
  },
};
