// Writes src/policy/generated/*.ts from schema/*.schema.json: one file a schema, readonly throughout, and the
// list of kinds, which is every schema that fixes `kind`. With --check nothing is written, and the exit code is 1 if a file is missing, stale or left over.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { compile, type JSONSchema } from "json-schema-to-typescript";
import ts from "typescript";

type Schema = Record<string, unknown>;

const schemaFolder = new URL("../schema/", import.meta.url);
const outputFolder = new URL("../src/policy/generated/", import.meta.url);
const commonName = "common";
/** Its type is what the agent gets: properties that have a default are always there. */
const filledNames = new Set(["agent-configuration"]);

async function main(): Promise<number> {
  const checking = process.argv.includes("--check");
  const names = readdirSync(schemaFolder)
    .filter((file) => file.endsWith(".schema.json"))
    .map((file) => basename(file, ".schema.json"))
    .sort();
  const common = readSchema(commonName);
  const texts = new Map<string, string>([["kinds.ts", generateKinds(names)]]);
  for (const name of names) texts.set(`${name}.ts`, await generateTypes(name, common));
  mkdirSync(outputFolder, { recursive: true });
  const stale: string[] = [];
  for (const [file, text] of texts) {
    const target = new URL(file, outputFolder);
    if (readIfThere(target) === text) continue;
    stale.push(file);
    if (!checking) writeFileSync(target, text);
  }
  for (const file of readdirSync(outputFolder)) {
    if (texts.has(file)) continue;
    stale.push(file);
    if (!checking) rmSync(new URL(file, outputFolder));
  }
  if (stale.length === 0) return 0;
  const list = stale.join(", ");
  if (checking)
    console.error(`src/policy/generated is stale (${list}); run npx tsx scripts/generate-policy-types.ts`);
  else console.error(`wrote ${list}`);
  return checking ? 1 : 0;
}

/** The list of policy kinds: every schema with a fixed `kind`. */
function generateKinds(names: readonly string[]): string {
  const kinds = names.flatMap((name) => {
    const { title, properties } = readSchema(name) as { title?: string; properties?: Record<string, Schema> };
    const kind = properties?.["kind"]?.["const"];
    return typeof kind === "string" ? [{ kind, name, type: title ?? kind }] : [];
  });
  const lines = (each: (entry: (typeof kinds)[number]) => string) => kinds.map(each).join("\n");
  return `// Generated from schema/*.schema.json by scripts/generate-policy-types.ts. Do not edit.
${lines(({ name, type }) => `import type { ${type} } from "./${name}.ts";`)}

/** The type of each kind's documents. */
export interface DocumentTypes {
${lines(({ kind, type }) => `  readonly ${kind}: ${type};`)}
}

/** The schema of each kind, by its file name in schema/ without \`.schema.json\`. */
export const schemaNames = {
${lines(({ kind, name }) => `  ${kind}: "${name}",`)}
} as const;
`;
}

async function generateTypes(name: string, common: Schema): Promise<string> {
  const schema = readSchema(name);
  const imports = new Set<string>();
  const prepared = name === commonName ? prepareCommon(schema) : inlineCommon(schema, common, imports);
  if (filledNames.has(name)) requireDefaulted(prepared);
  const compiled = await compile(prepared as JSONSchema, name, {
    additionalProperties: false,
    ignoreMinAndMaxItems: true,
    unknownAny: true,
    strictIndexSignatures: false,
    unreachableDefinitions: name === commonName,
    bannerComment: "",
    style: { printWidth: 110 },
  });
  const banner = `// Generated from schema/${name}.schema.json by scripts/generate-policy-types.ts. Do not edit.\n`;
  const importLine =
    imports.size === 0
      ? ""
      : `import type { ${[...imports].sort().join(", ")} } from "./${commonName}.ts";\n\n`;
  return `${banner}${importLine}${makeReadonly(dropRoot(compiled, name))}`;
}

/** The titled definitions of the common schema; the others are spelled out where they are used. */
function prepareCommon(schema: Schema): Schema {
  const definitions = Object.entries(schema["$defs"] as Record<string, Schema>);
  const titled = definitions.filter(([, definition]) => definition["title"] !== undefined);
  const inlined = titled.map(([key, definition]) => [key, inlineLocal(definition, schema)]);
  return { title: "Common", type: "object", $defs: Object.fromEntries(inlined) };
}

/** The common schema has definitions only; the empty root type and remarks about it are left out. */
function dropRoot(text: string, name: string): string {
  if (name !== commonName) return text;
  return text
    .replace(/export interface Common \{\}\n/, "")
    .replace(/ \*\n \* This interface was referenced by .*\n \* via the .*\n/g, "");
}

/**
 * Replaces references: by the name of a type where the definition has a title (imported, if it is a common
 * one), else by what they stand for.
 */
function inlineCommon(root: Schema, common: Schema, imports: Set<string>): Schema {
  const resolved = transform(root, (schema) => {
    const reference = schema["$ref"];
    if (typeof reference !== "string") return schema;
    const { $ref: _, ...siblings } = schema;
    const isLocal = reference.startsWith("#");
    const definition = definitionOf(isLocal ? root : common, reference.slice(reference.indexOf("#")));
    const title = definition["title"];
    if (typeof title !== "string") return { ...definition, ...siblings };
    if (isLocal) {
      // A description beside a reference would make a second, numbered type of the same shape.
      return "default" in siblings ? { $ref: reference, default: siblings["default"] } : { $ref: reference };
    }
    imports.add(title);
    return { ...siblings, tsType: title };
  });
  return resolved as Schema;
}

function inlineLocal(value: unknown, root: Schema): unknown {
  return transform(value, (schema) => {
    const reference = schema["$ref"];
    if (typeof reference !== "string") return schema;
    const { $ref: _, ...siblings } = schema;
    return { ...definitionOf(root, reference), ...siblings };
  });
}

/** Applies `change` to every object inside `value`, the innermost first, on a copy. */
function transform(value: unknown, change: (schema: Schema) => Schema): unknown {
  if (Array.isArray(value)) return value.map((item) => transform(item, change));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, transform(item, change)]);
  return change(Object.fromEntries(entries) as Schema);
}

function definitionOf(root: Schema, pointer: string): Schema {
  const found = (root["$defs"] as Record<string, Schema>)[pointer.replace("#/$defs/", "")];
  if (found === undefined) throw new Error(`Cannot resolve ${pointer}: there is no such definition`);
  return found;
}

/** Makes every property with a default a required one, in place. */
function requireDefaulted(schema: unknown): void {
  if (typeof schema !== "object" || schema === null) return;
  for (const item of Object.values(schema)) requireDefaulted(item);
  const { properties, required } = schema as { properties?: Record<string, Schema>; required?: string[] };
  if (properties === undefined || Array.isArray(properties)) return;
  const defaulted = Object.keys(properties).filter((key) => "default" in (properties[key] ?? {}));
  (schema as Schema)["required"] = [...new Set([...(required ?? []), ...defaulted])];
}

/** Inserts `readonly` before every property, index signature and array type. */
function makeReadonly(text: string): string {
  const source = ts.createSourceFile("generated.ts", text, ts.ScriptTarget.Latest, true);
  const insertions: number[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isPropertySignature(node) || ts.isIndexSignatureDeclaration(node) || ts.isArrayTypeNode(node)) {
      insertions.push(node.getStart(source));
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  insertions.sort((a, b) => b - a);
  let out = text;
  for (const at of insertions) out = `${out.slice(0, at)}readonly ${out.slice(at)}`;
  return out;
}

function readSchema(name: string): Schema {
  return JSON.parse(readFileSync(new URL(`${name}.schema.json`, schemaFolder), "utf8")) as Schema;
}

function readIfThere(file: URL): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

process.exitCode = await main();
