// The JSON Schemas in schema/, compiled once: ajv says whether a value fits; the resolved tree lets explain.ts
// say why not.
import { readdirSync, readFileSync } from "node:fs";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { bug } from "../base/index.ts";
import { schemaNames } from "./generated/kinds.ts";
import type { PolicyKind } from "./types.ts";

/** A schema with its references resolved: the keywords that this project's schemas use. */
export interface SchemaNode {
  readonly title?: string;
  readonly description?: string;
  /** The description of the definition that this came from, where a reference has its own. */
  readonly rule?: string;
  /** The name of the definition that this came from. */
  readonly definition?: string;
  readonly type?: "object" | "array" | "string" | "integer" | "number" | "boolean" | "null";
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly items?: SchemaNode;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: boolean | SchemaNode;
  readonly required?: readonly string[];
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly anyOf?: readonly SchemaNode[];
  /** The value may hold a secret: messages do not repeat it. */
  readonly writeOnly?: boolean;
}

/** Keywords that explain.ts knows, and those that say nothing about validity. A test compares the schemas. */
export const knownKeywords: readonly string[] = [
  ...["type", "const", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "anyOf"],
  ...["items", "minItems", "maxItems", "uniqueItems"],
  ...["properties", "additionalProperties", "required", "minProperties", "maxProperties"],
  ...["$schema", "$id", "$ref", "$defs", "title", "description", "default", "writeOnly"],
];

export interface CompiledSchema {
  readonly tree: SchemaNode;
  readonly validate: ValidateFunction;
}

type Json = Readonly<Record<string, unknown>>;

const schemaFolder = new URL("../../schema/", import.meta.url);
const suffix = ".schema.json";

let texts: ReadonlyMap<string, Json> | undefined;
let policyAjv: Ajv2020 | undefined;
const compiled = new Map<string, CompiledSchema>();

/** The schema of one kind of documents. */
export function schemaOfKind(kind: PolicyKind): CompiledSchema {
  policyAjv ??= createAjv({});
  return compileSchema(policyAjv, schemaNames[kind]);
}

/** The schema of the agent's configuration; its `validate` fills in defaults, in place. */
export function schemaOfConfiguration(): CompiledSchema {
  return compileSchema(createAjv({ useDefaults: true }), "agent-configuration");
}

function createAjv(options: { useDefaults?: boolean }): Ajv2020 {
  // Without allErrors the work for a file of a million mistakes ends at the first one.
  const ajv = new Ajv2020({ strict: true, allErrors: false, ...options });
  ajv.addSchema([...loadSchemas().values()]);
  return ajv;
}

function compileSchema(ajv: Ajv2020, name: string): CompiledSchema {
  const known = compiled.get(name);
  if (known !== undefined) return known;
  const root = findSchema(name);
  const validate = ajv.getSchema(String(root["$id"]));
  if (validate === undefined) throw bug(`Cannot compile schema ${name}: ajv does not know its $id`);
  const result = { tree: resolveNode(root, root), validate };
  compiled.set(name, result);
  return result;
}

/** All schemas by their name, which is the file's name without `.schema.json`. */
export function loadSchemas(): ReadonlyMap<string, Json> {
  texts ??= new Map(
    readdirSync(schemaFolder)
      .filter((file) => file.endsWith(suffix))
      .sort()
      .map((file) => {
        const text = readFileSync(new URL(file, schemaFolder), "utf8");
        return [file.slice(0, -suffix.length), JSON.parse(text) as Json];
      }),
  );
  return texts;
}

function findSchema(name: string): Json {
  const schema = loadSchemas().get(name);
  if (schema === undefined) throw bug(`Cannot read schema ${name}: there is no such file in schema/`);
  return schema;
}

const maxResolveDepth = 64;

/** Copies `schema` with every reference replaced by what it refers to; `root` is the document it stands in. */
function resolveNode(schema: Json, root: Json, depth = 0): SchemaNode {
  if (depth > maxResolveDepth) throw bug("Cannot resolve a schema: it refers to itself");
  const { $ref: reference, $defs: _, properties, items, additionalProperties, anyOf, ...own } = schema;
  const inside = (value: unknown) => resolveNode(value as Json, root, depth + 1);
  const parts: Record<string, unknown> = { ...own };
  if (properties !== undefined) {
    const entries = Object.entries(properties as Json).map(([key, value]) => [key, inside(value)]);
    parts["properties"] = Object.fromEntries(entries);
  }
  if (items !== undefined) parts["items"] = inside(items);
  if (anyOf !== undefined) parts["anyOf"] = (anyOf as unknown[]).map(inside);
  if (typeof additionalProperties === "object") parts["additionalProperties"] = inside(additionalProperties);
  else if (additionalProperties !== undefined) parts["additionalProperties"] = additionalProperties;
  if (typeof reference !== "string") return parts as SchemaNode;
  const [file = "", pointer = ""] = reference.split("#");
  const target = file === "" ? root : findSchema(file.slice(0, -suffix.length));
  const definition = pointer.replace("/$defs/", "");
  const found = (target["$defs"] as Json | undefined)?.[definition] as Json | undefined;
  if (found === undefined) throw bug(`Cannot resolve ${reference}: there is no such definition`);
  const resolved = resolveNode(found, target, depth + 1);
  const rule = resolved.rule ?? resolved.description;
  return { ...resolved, definition, ...(rule === undefined ? {} : { rule }), ...parts } as SchemaNode;
}
