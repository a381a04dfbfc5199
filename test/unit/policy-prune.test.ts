// A document with errors is still looked through for others: what does not fit the schema is left out, what remains
// is judged, and places are those of the file as it is written.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatDiagnostic } from "../../src/base/index.ts";
import { idRangesFor } from "../../src/compile/index.ts";
import { kinds } from "../../src/kinds/index.ts";
import { parsePolicy } from "../../src/policy/index.ts";
import { prune } from "../../src/policy/prune.ts";
import { preparePolicy } from "../../src/reconcile/index.ts";

function findings(text: string): string[] {
  const files = [{ path: "edge.yaml", content: new TextEncoder().encode(text) }];
  const input = {
    files,
    labels: {},
    kinds,
    interfaces: [],
    knownIds: [],
    idRanges: idRangesFor(256),
    now: 0,
  };
  return preparePolicy(input).diagnostics.map(formatDiagnostic);
}

describe("a file with errors of form and of meaning", () => {
  it("shows both, in one document too, each at its place", () => {
    const found = findings(`apiVersion: penstock/v1
kind: AddressSet
metadata: { name: office }
spec:
  prefixes:
    - 010.0.0.1
    - 10.1
    - 10.0.0.1/8
---
apiVersion: penstock/v1
kind: Firewall
metadata: { name: edge }
spec:
  interfaces: [wan]
  deflaut: drop
  rules:
    - name: a
      action: allow
    - name: b
      action: pass
      match: { protocol: icmp, destinationPorts: [80] }
    - name: b
      action: pass
    - name: c
      action: pass
      match: { destinationPorts: ["90-80"] }
`);
    expect(found.map((line) => line.split(" ").slice(0, 3).join(" "))).toEqual([
      "edge.yaml:6:7 error bad-address",
      "edge.yaml:7:7 error wrong-type",
      "edge.yaml:8:7 error host-bits",
      "edge.yaml:15:3 error unknown-field",
      "edge.yaml:18:15 error not-allowed",
      "edge.yaml:21:26 error ports-need-tcp-or-udp",
      "edge.yaml:22:13 error duplicate-rule",
      "edge.yaml:26:35 error bad-port",
    ]);
  });

  it("does not take what was left out for missing", () => {
    const found = findings(`apiVersion: penstock/v1
kind: AddressSet
metadata: { name: Office }
spec: { prefixes: [] }
---
apiVersion: penstock/v1
kind: Firewall
metadata: { name: edge }
spec: { interfaces: [wan], rules: [{ name: a, action: pass, match: { source: { sets: [office] } } }] }
`);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain("bad-name");
  });

  it("never lets a document with errors into the policy", () => {
    const content = new TextEncoder().encode(
      "apiVersion: penstock/v1\nkind: AddressSet\nmetadata: { name: a }\nspec: { prefixes: [10.1] }\n",
    );
    const parsed = parsePolicy([{ path: "a.yaml", content }]);
    expect(parsed.policy.documents).toHaveLength(0);
    expect(parsed.checkable.documents).toHaveLength(1);
  });
});

describe("prune", () => {
  it("knows where in the original each item that is left stood", () => {
    const items = fc.array(fc.tuple(fc.nat(), fc.boolean()), { maxLength: 30 });
    fc.assert(
      fc.property(items, (list) => {
        const value = { spec: { rules: list.map(([n]) => ({ n })) } };
        const gone = list.flatMap(([, out], i) => (out ? [["spec", "rules", i, "n"]] : []));
        const pruned = prune(value, gone);
        if (pruned === undefined) return expect.fail("every item can go");
        const left = (pruned.value as typeof value).spec.rules;
        expect(left.map(({ n }) => n)).toEqual(list.filter(([, out]) => !out).map(([n]) => n));
        left.forEach((rule, i) => {
          const [, , at] = pruned.original(["spec", "rules", i, "n"]);
          expect(value.spec.rules[Number(at)]).toBe(rule);
        });
      }),
    );
  });

  it("gives up where a document cannot be without it", () => {
    expect(prune({ kind: 1 }, [["kind"]])).toBeUndefined();
    expect(prune([], [[]])).toBeUndefined();
  });
});
