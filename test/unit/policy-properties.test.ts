// What must hold for every file, valid or not: nothing throws, JSON and YAML agree, ajv and the explanations agree,
// and shortening long lists changes nothing but the time.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseDocument, stringify } from "yaml";
import { parsePolicy } from "../../src/policy/index.ts";
import { defaultPolicyLimits } from "../../src/policy/limits.ts";
import { findValue, indexLines } from "../../src/policy/positions.ts";
import { readText } from "../../src/policy/read.ts";
import { schemaOfKind } from "../../src/policy/schemas.ts";
import type { PolicyKind, PolicyPath } from "../../src/policy/types.ts";
import { findFaults } from "../../src/policy/validate.ts";
import { takeLists } from "../../src/policy/yaml-build.ts";
import { shortenLongLists } from "../../src/policy/yaml-long-lists.ts";
import { damagedDocument, validDocument } from "../fixtures/policy/arbitraries.ts";
import { lines, parseTexts, policyFile } from "../fixtures/policy/support.ts";

/** More runs, once: `PROPERTY_RUNS=50000 npx vitest run test/unit/policy-properties.test.ts`. */
const numRuns = Number(process.env["PROPERTY_RUNS"] ?? 600);
const timeout = 60_000 + 20 * numRuns;

const words = [
  "- ",
  "a: ",
  "b:",
  "&x ",
  "*x",
  "[",
  "]",
  "{",
  "}",
  ",",
  "\n",
  "  ",
  "\t",
  "|",
  ">",
  '"',
  "'",
  "#",
];
const more = [
  "---\n",
  "...\n",
  "%YAML 1.1\n",
  "!!str ",
  "<<: ",
  "? ",
  ": ",
  "10.0.0.0/8",
  "\\u0000",
  "null",
  "1e9",
];
const hostile = fc
  .array(fc.constantFrom(...words, ...more), { maxLength: 40 })
  .map((parts) => parts.join(""));

describe("nothing throws", () => {
  test.each(["a.yaml", "a.json"])(
    "for any bytes in %s",
    (path) => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 200 }), (content) => {
          parsePolicy([policyFile(path, content)]);
        }),
      );
    },
    timeout,
  );

  test.each(["a.yaml", "a.json"])(
    "for text made of the language's signs in %s",
    (path) => {
      fc.assert(
        fc.property(hostile, (text) => {
          parseTexts({ [path]: text });
        }),
        { numRuns },
      );
    },
    timeout,
  );

  test.each(["a.yaml", "a.json"])(
    "for any JSON value, and any in the place of a spec, in %s",
    (path) => {
      fc.assert(
        fc.property(
          fc.jsonValue(),
          fc.constantFrom("Firewall", "AddressSet", "InterfaceGroup"),
          (value, kind) => {
            parseTexts({ [path]: JSON.stringify(value) });
            const document = { apiVersion: "penstock/v1", kind, metadata: value, spec: value };
            const { diagnostics } = parseTexts({ [path]: JSON.stringify(document) });
            expect(diagnostics.length).toBeGreaterThan(0);
          },
        ),
      );
    },
    timeout,
  );
});

describe("a valid document", () => {
  test(
    "comes back as it was, from JSON, from YAML, and from JSON read as YAML",
    () => {
      fc.assert(
        fc.property(validDocument, (document) => {
          const json = JSON.stringify(document, undefined, 2);
          const yaml = stringify(document, { version: "1.2" });
          for (const texts of [{ "a.json": json }, { "a.yaml": yaml }, { "b.yaml": json }]) {
            const { policy, diagnostics } = parseTexts(texts);
            expect(lines({ diagnostics })).toEqual([]);
            const [parsed] = policy.documents;
            const { kind, metadata, spec } = parsed!;
            expect({ apiVersion: "penstock/v1", kind, metadata, spec }).toEqual(document);
          }
        }),
      );
    },
    timeout,
  );

  test(
    "says for every value where it stands",
    () => {
      fc.assert(
        fc.property(validDocument, fc.constantFrom("a.json", "a.yaml"), (document, path) => {
          const text = JSON.stringify(document, undefined, 1);
          const [parsed] = parseTexts({ [path]: text }).policy.documents;
          const rows = text.split("\n");
          const check = (value: unknown, at: PolicyPath) => {
            const { line, column } = parsed!.locate(at);
            const found = rows[line - 1]!.slice(column - 1);
            const isList = Array.isArray(value);
            if (typeof value !== "object" || value === null)
              expect(found.slice(0, JSON.stringify(value).length)).toBe(JSON.stringify(value));
            else expect(found[0]).toBe(isList ? "[" : "{");
            for (const [key, part] of Object.entries(Object(value) === value ? (value as object) : {})) {
              check(part, [...at, isList ? Number(key) : key]);
            }
          };
          check(document, []);
        }),
      );
    },
    timeout,
  );
});

describe("a damaged document", () => {
  test(
    "is explained if and only if ajv refuses it, at places that exist",
    () => {
      let refused = 0;
      fc.assert(
        fc.property(damagedDocument, (document) => {
          const schema = schemaOfKind(document.kind as PolicyKind);
          const text = JSON.stringify(document);
          const { documents } = read(text, "json");
          const codes: string[] = [];
          const faults = findFaults(schema, { ...documents[0]!, whole: "it" }, (code, at, message) => {
            codes.push(code);
            expect(typeof at === "number" ? at : at()).toBeLessThan(text.length);
            expect(typeof message === "string" ? message : message()).not.toMatch(/undefined|\n/);
          });
          const isValid = faults.length === 0;
          expect(isValid).toBe(schema.validate(document));
          expect(codes.length > 0).toBe(!isValid);
          expect(codes).not.toContain("invalid-document");
          if (!isValid) refused++;
        }),
        { numRuns },
      );
      // The damage is real.
      expect(refused).toBeGreaterThan(numRuns / 3);
    },
    timeout,
  );

  test(
    "has the same findings in JSON and in YAML",
    () => {
      fc.assert(
        fc.property(damagedDocument, (document) => {
          const text = JSON.stringify(document, undefined, 2);
          const [asJson, asYaml] = ["a.json", "a.yaml"].map(
            (path) => parseTexts({ [path]: text }).diagnostics,
          );
          expect(asYaml).toEqual(asJson!.map((finding) => ({ ...finding, file: "a.yaml" })));
        }),
      );
    },
    timeout,
  );
});

describe("shortening long lists", () => {
  const entries = [
    "10.0.0.0/8",
    "::1",
    "2001:db8::",
    "a.example",
    "'::'",
    '"x:y"',
    "null",
    "1.5",
    "12",
    "a: b",
    ":",
    "-",
    "- x",
  ];
  const remark = fc.constantFrom("", "", "", " # why", "  ", "#no");
  const entry = fc
    .tuple(
      fc.constantFrom("", "  ", "    "),
      fc.constantFrom(...entries),
      remark,
      fc.constantFrom("\n", "\n", "\r\n"),
    )
    .chain(([indent, value, end, newline]) =>
      fc.integer({ min: 1, max: 6 }).map((times) => `${indent}- ${value}${end}${newline}`.repeat(times)),
    );
  const others = [
    "a:\n",
    "  b:\n",
    "  b: |\n",
    "c: >-\n",
    '  d: "\n',
    "'\n",
    '"\n',
    "---\n",
    "# x\n",
    "\n",
    "    more\n",
    "e: [\n",
    "]\n",
  ];
  const text = fc
    .array(fc.oneof(entry, entry, fc.constantFrom(...others)), { maxLength: 12 })
    .map((l) => l.join(""));

  test(
    "changes neither values, nor positions, nor findings",
    () => {
      let shortened = 0;
      fc.assert(
        fc.property(text, (source) => {
          const short = read(source, "yaml", 3);
          const long = read(source, "yaml", Number.POSITIVE_INFINITY);
          expect(short).toEqual(long);
          if (/(^ *- [\w:.][^\n]*\n)\1{4}/m.test(source) && short.documents.length > 0) shortened++;
        }),
        { numRuns },
      );
      expect(shortened).toBeGreaterThan(numRuns / 30);
    },
    timeout,
  );

  test("is not given up for a mistake elsewhere in the document", () => {
    const list = "- a.example\n".repeat(5);
    const shortened = shortenLongLists(`${list}b: [\n`, 3);
    const document = parseDocument(shortened.text);
    expect(document.errors.length).toBeGreaterThan(0);
    takeLists(document, shortened);
    expect(shortened.lists.map(({ values, taken }) => ({ values, taken }))).toEqual([
      { values: ["a.example", "a.example", "a.example"], taken: true },
    ]);
  });

  test(
    "works for what it is made for",
    () => {
      const list = Array.from({ length: 5000 }, (_, i) => `    - 10.${i >> 8}.${i & 255}.0/24\n`).join("");
      const source = `a:\n  b:\n${list}  c: here\n`;
      const { documents } = read(source, "yaml");
      const { value, positions } = documents[0]!;
      expect((value as { a: { b: string[] } }).a.b[4321]).toBe("10.16.225.0/24");
      const at = (path: PolicyPath) => indexLines(source).positionAt(findValue(positions, path));
      expect(at(["a", "b", 4321])).toEqual({ line: 4324, column: 7 });
      expect(at(["a", "c"])).toEqual({ line: 5003, column: 6 });
    },
    timeout,
  );
});

function read(source: string, format: "yaml" | "json", longListMin = defaultPolicyLimits.longListMin) {
  const limits = { ...defaultPolicyLimits, longListMin };
  const { documents, findings } = readText("a", new TextEncoder().encode(source), { format, limits });
  return { documents, findings: findings.list() };
}
