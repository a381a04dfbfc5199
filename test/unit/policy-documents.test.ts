// The examples that ship: every file in policies/ and every YAML block in docs/kinds/ is valid, the pages name every
// field of their kind, and docs/diagnostics.md names every code.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parsePolicy, policyCodes, policyKinds } from "../../src/policy/index.ts";
import { type SchemaNode, schemaOfKind } from "../../src/policy/schemas.ts";
import { lines, parseTexts, pathOf, readFolder } from "../fixtures/policy/support.ts";

const pages = readFolder("docs/kinds").map(({ path, content }) => ({
  path,
  text: new TextDecoder().decode(content),
}));
const blocks = pages.flatMap(({ path, text }) =>
  [...text.matchAll(/^```yaml\n(.*?)^```/gms)].map((block, i) => ({
    name: `${path} block ${i + 1}`,
    yaml: block[1] ?? "",
  })),
);

test("the example policies are valid, and one of every kind is there", () => {
  const { policy, diagnostics } = parsePolicy(readFolder("policies"));
  expect(lines({ diagnostics })).toEqual([]);
  expect(policyKinds.filter((kind) => policy.byKind(kind).length === 0)).toEqual([]);
  expect(policy.byKind("Firewall").some(({ spec }) => spec.mode === "audit")).toBe(true);
});

test("the sets and groups that the example policies name exist", () => {
  const { policy } = parsePolicy(readFolder("policies"));
  const sets = new Set(policy.byKind("AddressSet").map(({ name }) => name));
  const groups = new Set(policy.byKind("InterfaceGroup").map(({ name }) => name));
  for (const { spec } of policy.byKind("Firewall")) {
    for (const name of spec.interfaces) expect(groups).toContain(name);
    const used = spec.rules.flatMap(({ match }) => [
      ...(match?.source?.sets ?? []),
      ...(match?.destination?.sets ?? []),
    ]);
    for (const name of used) expect(sets).toContain(name);
  }
});

test("there are blocks in every page", () => {
  for (const { path } of pages) expect(blocks.some(({ name }) => name.startsWith(path))).toBe(true);
});

test.each(blocks)("$name is valid", ({ yaml }) => {
  const parsed = parseTexts({ "block.yaml": yaml });
  expect(lines(parsed)).toEqual([]);
  expect(parsed.policy.documents.length).toBeGreaterThan(0);
});

describe("the page of", () => {
  test.each(policyKinds)("%s names every field of its schema", (kind) => {
    const page = pages.find(({ text }) => text.startsWith(`# ${kind}\n`));
    const fields = new Set(listFields(schemaOfKind(kind).tree));
    expect([...fields].filter((field) => !page?.text.match(new RegExp(`\`([\\w.]+\\.)?${field}\``)))).toEqual(
      [],
    );
  });
});

/** The names of all fields, but of those that only hold others. */
function listFields(schema: SchemaNode): string[] {
  const inner = [schema.items, ...(schema.anyOf ?? [])].flatMap((part) =>
    part === undefined ? [] : listFields(part),
  );
  const fields = Object.entries(schema.properties ?? {}).flatMap(([name, part]) => {
    const below = listFields(part);
    const isOnlyHolder = name === "spec" || name === "metadata" || name === "nodes";
    return isOnlyHolder ? below : [name, ...below];
  });
  return [...fields, ...inner];
}

describe("docs/diagnostics.md", () => {
  const text = readFileSync(pathOf("docs/diagnostics.md"), "utf8");
  const listed = [...text.matchAll(/^\| ((?:`[a-z0-9-]+`(?:, )?)+)(?: \(warning\))? \|/gm)].flatMap((row) =>
    [...(row[1] ?? "").matchAll(/`([a-z0-9-]+)`/g)].map((code) => code[1]),
  );
  test.each(policyCodes)("has %s", (code) => expect(listed).toContain(code));
  test("has no code twice", () => expect(listed).toEqual([...new Set(listed)]));
});
