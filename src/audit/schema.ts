// The exact shape of a record, for the writer (a wrong entry is a bug) and for the verifier (a foreign or
// missing field is a finding). Every text has a limit: see recordBytesMax.
import { Ajv, type ErrorObject, type SchemaObject } from "ajv";
import { type AuditRecord, auditOutcomes, auditTriggers } from "./record.ts";

const count = { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const text = (maxLength: number) => ({ type: "string", maxLength });
const hash = { type: "string", pattern: "^[0-9a-f]{64}$" };
const name = { type: "string", minLength: 1, maxLength: 128 };
const digest = { type: "string", pattern: "^[\\x21-\\x7e]{1,128}$" };
const objectId = { type: "string", pattern: "^[0-9a-f]{40}([0-9a-f]{24})?$" };

/** An object with exactly these fields, those named in `optional` being allowed to be absent. */
function exactly(properties: Record<string, SchemaObject>, optional: readonly string[] = []): SchemaObject {
  const required = Object.keys(properties).filter((key) => !optional.includes(key));
  return { type: "object", properties, required, additionalProperties: false };
}

function orNull(schema: SchemaObject): SchemaObject {
  return { ...schema, type: [schema["type"], "null"] };
}

function byName(values: SchemaObject, maxProperties: number): SchemaObject {
  return { type: "object", maxProperties, propertyNames: name, additionalProperties: values };
}

const person = exactly({ name: text(300), email: text(300), timestampS: { type: "integer" } });
const counts = { add: count, change: count, remove: count };

const recordSchema = exactly(
  {
    outcome: { type: "string", enum: auditOutcomes },
    reason: { type: "string", pattern: "^[A-Z][A-Za-z0-9]{0,63}$" },
    message: text(4000),
    revision: orNull(
      exactly({
        commit: objectId,
        ref: text(500),
        tree: objectId,
        subject: text(200),
        author: person,
        committer: person,
      }),
    ),
    generation: orNull(exactly({ before: count, after: count })),
    plan: orNull(
      exactly({
        summary: exactly(counts),
        digest,
        tables: { type: "array", maxItems: 256, items: exactly({ table: name, ...counts }) },
      }),
    ),
    digests: orNull(exactly({ before: byName(digest, 256), after: byName(digest, 256) })),
    timingsMs: byName({ type: "number", minimum: 0 }, 64),
    diagnostics: { type: "array", maxItems: 100, items: text(500) },
    diagnosticsTotal: count,
    host: text(255),
    agentVersion: text(64),
    trigger: { type: "string", enum: auditTriggers },
    sequence: { ...count, minimum: 1 },
    time: { type: "string", pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\.\\d{3}Z$" },
    previous: hash,
    hash,
  },
  ["diagnostics", "diagnosticsTotal"],
);
recordSchema["dependencies"] = {
  diagnostics: ["diagnosticsTotal"],
  diagnosticsTotal: ["diagnostics"],
};

const validate = new Ajv({ allowUnionTypes: true, strict: true, strictRequired: false }).compile<AuditRecord>(
  recordSchema,
);

export interface ShapeFault {
  readonly kind: "foreign-field" | "missing-field" | "wrong-field";
  /** JSON pointer of the field. */
  readonly field: string;
  /** What is wrong with it, for people. */
  readonly detail: string;
}

/** The first thing that keeps `value` from being a record, or null. */
export function findShapeFault(value: unknown): ShapeFault | null {
  if (validate(value)) return null;
  const error = validate.errors?.[0];
  if (error === undefined) return { kind: "wrong-field", field: "", detail: "not an audit record" };
  return toFault(error);
}

function toFault(error: ErrorObject): ShapeFault {
  const params = error.params as Readonly<Record<string, unknown>>;
  const child = (key: string) => `${error.instancePath}/${String(params[key])}`;
  switch (error.keyword) {
    case "additionalProperties":
      return {
        kind: "foreign-field",
        field: child("additionalProperty"),
        detail: "is not a field of a record",
      };
    case "required":
    case "dependencies":
      return { kind: "missing-field", field: child("missingProperty"), detail: "is missing" };
    default:
      return { kind: "wrong-field", field: error.instancePath, detail: error.message ?? error.keyword };
  }
}
