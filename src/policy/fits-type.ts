// Whether a value is of a sort (text, number, list, mapping) that a schema takes at all.
import type { SchemaNode } from "./schemas.ts";

/** True if one of the schema's branches, or its type, or the type of one of its fixed values fits. */
export function fitsType(value: unknown, schema: SchemaNode): boolean {
  if (schema.anyOf !== undefined) return schema.anyOf.some((branch) => fitsType(value, branch));
  if (schema.const !== undefined) return typeof value === typeof schema.const;
  if (schema.enum !== undefined) return schema.enum.some((member) => typeof member === typeof value);
  switch (schema.type) {
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    case "array":
      return Array.isArray(value);
    case "integer":
      return Number.isInteger(value);
    case "number":
      return Number.isFinite(value);
    case "null":
      return value === null;
    case undefined:
      return true;
    default:
      return typeof value === schema.type;
  }
}
