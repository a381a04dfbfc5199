// The agent's own configuration file: YAML (or JSON) text to a complete configuration, by the same rules and
// with the same messages as policy.
import { validate as isCronExpression } from "node-cron";
import type { Diagnostic } from "../base/index.ts";
import { joinWords, quote } from "./explain-words.ts";
import type { Report } from "./findings.ts";
import type { AgentConfiguration } from "./generated/agent-configuration.ts";
import { defaultPolicyLimits } from "./limits.ts";
import { deepFreeze } from "./policy-set.ts";
import { findKey, findValue } from "./positions.ts";
import type { RawDocument } from "./raw.ts";
import { readText } from "./read.ts";
import { schemaOfConfiguration } from "./schemas.ts";
import type { PolicyPath } from "./types.ts";
import { findFaults } from "./validate.ts";

export interface ParsedConfiguration {
  /** With all defaults filled in; undefined if there are errors. */
  readonly configuration: AgentConfiguration | undefined;
  readonly diagnostics: Diagnostic[];
}

/** Parses the content of the file at `path`, which is JSON if it is called so, else YAML. */
export function parseAgentConfiguration(path: string, content: Uint8Array): ParsedConfiguration {
  const format = path.endsWith(".json") ? "json" : "yaml";
  const { documents, findings } = readText(path, content, { format, limits: defaultPolicyLimits });
  const [raw, second] = documents;
  const { report } = findings;
  if (second !== undefined) {
    const message = "A configuration file holds one document; remove the others";
    report("too-many", () => findValue(second.positions, []), message);
  }
  let configuration: AgentConfiguration | undefined;
  if (raw !== undefined) configuration = completeConfiguration(raw, report);
  else if (findings.countErrors() === 0) report("missing-field", 0, 'The configuration lacks "source"');
  const isGood = findings.countErrors() === 0;
  return { configuration: isGood ? deepFreeze(configuration) : undefined, diagnostics: findings.list() };
}

function completeConfiguration(raw: RawDocument, report: Report): AgentConfiguration | undefined {
  const value: unknown = structuredClone(raw.value);
  const faults = findFaults(schemaOfConfiguration(), { ...raw, value, whole: "the configuration" }, report);
  if (faults.length > 0) return undefined;
  const configuration = value as AgentConfiguration;
  checkCredentials(configuration.source, raw, report);
  for (const name of ["poll", "scan"] as const) {
    const expression = configuration.schedule[name];
    if (isCronExpression(expression)) continue;
    const path = ["schedule", name];
    const message = `${quote(name)} cannot be ${quote(expression)}; write five numbers, lists, ranges or *, or six with seconds first: "*/15 * * * * *"`;
    report("bad-cron", () => findValue(raw.positions, path), message);
  }
  return configuration;
}

const credentials = ["passwordFile", "tokenFile", "passwordEnv", "tokenEnv"] as const;

function checkCredentials(source: AgentConfiguration["source"], raw: RawDocument, report: Report): void {
  const at = (path: PolicyPath) => () => findKey(raw.positions, path);
  const given = credentials.filter((name) => source[name] !== undefined);
  const [first, second] = given;
  if (first !== undefined && second !== undefined) {
    const message = `${joinWords(given.map(quote), "and")} cannot be used together; keep one of them`;
    report("conflicting-fields", at(["source", second]), message);
  }
  if ((first === "passwordFile" || first === "passwordEnv") && source.username === undefined) {
    report("missing-field", at(["source", first]), `${quote(first)} needs a "username" beside it`);
  }
}
