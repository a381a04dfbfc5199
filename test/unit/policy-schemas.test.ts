// The schemas themselves: everything is described, only known keywords are used, and the generated types are those
// of the schemas as they are now.
import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { explain } from "../../src/policy/explain.ts";
import { policyKinds } from "../../src/policy/index.ts";
import { knownKeywords, loadSchemas, type SchemaNode, schemaOfKind } from "../../src/policy/schemas.ts";
import { findFaults } from "../../src/policy/validate.ts";
import { pathOf } from "../fixtures/policy/support.ts";

type Json = Record<string, unknown>;
const schemas = [...loadSchemas()].map(([name, schema]) => ({ name, schema: schema as Json }));

describe("schema/", () => {
  test.each(schemas)("$name describes itself and every property and definition", ({ name, schema }) => {
    expect(findUndescribed(schema, name, schema)).toEqual([]);
  });

  test.each(schemas)("$name refuses fields that it does not name", ({ name, schema }) => {
    const open = list(schema).filter(
      (part) => part["properties"] !== undefined && part["additionalProperties"] !== false,
    );
    expect(open.map((part) => `${name}: ${String(part["description"])}`)).toEqual([]);
  });

  test.each(schemas)("$name uses keywords only that explanations know", ({ schema }) => {
    const used = new Set(list(schema).flatMap(Object.keys));
    expect([...used].filter((keyword) => !knownKeywords.includes(keyword))).toEqual([]);
  });

  test.each(schemas)("$name bounds every text and list", ({ name, schema }) => {
    const unbounded = list(schema).filter(
      (part) =>
        (part["type"] === "array" && part["maxItems"] === undefined) ||
        (part["type"] === "string" && part["maxLength"] === undefined && !isBoundedPattern(part["pattern"])),
    );
    expect(unbounded.map((part) => `${name}: ${String(part["description"])}`)).toEqual([]);
  });
});

test("the finders find what they are there to find", () => {
  const schema = {
    properties: { a: { type: "string", pattern: "^a+$" }, b: { type: "array", description: "B" } },
  };
  expect(findUndescribed(schema, "x", schema)).toEqual(["x/a"]);
  expect(isBoundedPattern("^a+$")).toBe(false);
  expect(isBoundedPattern("^[a-z]{1,9}$")).toBe(true);
});

test("the kinds are those of the schemas", () => {
  const kinds = schemas.flatMap(({ schema }) => (schema["properties"] as Json | undefined)?.["kind"] ?? []);
  expect(policyKinds).toEqual(kinds.map((kind) => (kind as Json)["const"]).sort());
});

test("src/policy/generated is what the schemas say", () => {
  const script = pathOf("scripts/generate-policy-types.ts");
  // Fails with the list of stale files.
  execFileSync(process.execPath, ["--import", "tsx", script, "--check"], { cwd: pathOf(""), stdio: "pipe" });
}, 60_000);

test("a mistake without words of its own is told all the same", () => {
  const { validate } = schemaOfKind("AddressSet");
  const mute: SchemaNode = {};
  const said: string[] = [];
  const raw = { value: {}, positions: 0, hasErrors: false, whole: "it" };
  expect(
    findFaults({ validate, tree: mute }, raw, (code, _at, message) =>
      said.push(`${code} ${String(message)}`),
    ),
  ).toEqual([[]]);
  expect(said).toEqual(["invalid-document must have required property 'apiVersion'"]);
});

test("a pattern that no definition names is a bad text", () => {
  const said: string[] = [];
  const tree: SchemaNode = {
    properties: { a: { type: "string", pattern: "^x$", description: "An x." } },
    type: "object",
  };
  explain({ a: "y" }, tree, {
    path: [],
    whole: "it",
    say: (code, _where, message) => said.push(`${code} ${message()}`),
  });
  expect(said).toEqual(['bad-text "a" cannot be "y"; an x']);
});

test("of several forms the one with the fewest mistakes is explained", () => {
  const field = { type: "integer" } as const;
  const form = (...names: string[]): SchemaNode => ({
    type: "object",
    additionalProperties: false,
    properties: Object.fromEntries(names.map((name) => [name, field])),
  });
  const tree: SchemaNode = { anyOf: [form("c"), form("a", "b"), form("d"), { type: "string" }] };
  const said: string[] = [];
  explain({ a: 1, b: "2" }, tree, {
    path: [],
    whole: "it",
    say: (code, _where, message) => said.push(`${code} ${message()}`),
  });
  expect(said).toEqual(['wrong-type "b" must be a whole number, not "2"; remove the quotes']);
});

/** All schemas inside a schema, itself among them. */
function list(schema: Json): Json[] {
  const { $defs = {}, properties = {}, items, additionalProperties, anyOf = [] } = schema;
  const parts = [
    ...Object.values($defs as Json),
    ...Object.values(properties as Json),
    ...(anyOf as unknown[]),
  ];
  const inner = [...parts, items, additionalProperties].filter((part) => typeof part === "object");
  return [schema, ...(inner as Json[]).flatMap(list)];
}

function findUndescribed(schema: Json, place: string, root: Json): string[] {
  const { $defs = {}, properties = {}, items, anyOf = [] } = schema;
  const named = [...Object.entries($defs as Json), ...Object.entries(properties as Json)];
  const bare = named.filter(([, part]) => !isDescribed(part as Json, root)).map(([key]) => `${place}/${key}`);
  const others = [items, ...(anyOf as unknown[])].filter((part) => typeof part === "object");
  return [
    ...bare,
    ...named.flatMap(([key, part]) => findUndescribed(part as Json, `${place}/${key}`, root)),
    ...others.flatMap((part) => findUndescribed(part as Json, place, root)),
  ];
}

function isDescribed(schema: Json, root: Json): boolean {
  if (typeof schema["description"] === "string") return true;
  const reference = schema["$ref"];
  if (typeof reference !== "string") return false;
  const [file = "", name = ""] = reference.split("#/$defs/");
  const target = file === "" ? root : loadSchemas().get(file.replace(".schema.json", ""));
  if (target === undefined) return false;
  return isDescribed((target["$defs"] as Record<string, Json>)[name] as Json, target as Json);
}

function isBoundedPattern(pattern: unknown): boolean {
  return (
    typeof pattern === "string" &&
    /^\^.*\$$/.test(pattern) &&
    !/[*+](?![^[]*\])/.test(pattern.replace(/\[[^\]]*\]/g, "[]"))
  );
}
