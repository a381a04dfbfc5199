// One policy file to raw documents: chooses the reader by the file's name, and sees to what both have in common.
import type { PolicyFile } from "../base/index.ts";
import { decodeText, findControlCharacter } from "./decode.ts";
import { collectFindings, type Findings, type Report } from "./findings.ts";
import { readJson } from "./json.ts";
import type { PolicyLimits } from "./limits.ts";
import { findKey, findValue, indexLines, type LineIndex, type PositionNode } from "./positions.ts";
import type { RawDocument } from "./raw.ts";
import { readYaml } from "./yaml.ts";

export interface ReadFile {
  readonly file: string;
  readonly documents: readonly RawDocument[];
  readonly lines: () => LineIndex;
  readonly findings: Findings;
}

type Format = "yaml" | "json";

/** What a file's name says about it; `ignored` files lie beside policy without harm. */
export function formatOf(path: string): Format | "ignored" | "unknown" {
  const name = path.slice(path.lastIndexOf("/") + 1).toLowerCase();
  if (/(^|\/)\./.test(path)) return "ignored";
  if (/\.ya?ml$/.test(name)) return "yaml";
  if (name.endsWith(".json")) return "json";
  return !name.includes(".") || /\.(md|txt)$/.test(name) ? "ignored" : "unknown";
}

export function readPolicyFile(file: PolicyFile, limits: PolicyLimits): ReadFile {
  const format = formatOf(file.path);
  if (format === "yaml" || format === "json") return readText(file.path, file.content, { format, limits });
  const findings = collectFindings({ file: file.path, findingsMax: 1, lines: () => indexLines("") });
  if (format === "unknown") {
    const message =
      "The file is ignored: policy files end in .yaml, .yml or .json; rename it or move it elsewhere";
    findings.report("ignored-file", 0, message, "warning");
  }
  return { file: file.path, documents: [], lines: () => indexLines(""), findings };
}

/** Reads `content` as a file of the given format, whatever its name. */
export function readText(
  file: string,
  content: Uint8Array,
  { format, limits }: { readonly format: Format; readonly limits: PolicyLimits },
): ReadFile {
  const decoded = decodeText(content, limits);
  let index: LineIndex | undefined;
  const lines = () => {
    index ??= indexLines(decoded.text);
    return index;
  };
  const findings = collectFindings({ file, findingsMax: limits.findingsMax, lines });
  if (!decoded.ok) {
    findings.report(decoded.code, decoded.at, decoded.message);
    return { file, documents: [], lines, findings };
  }
  const read = format === "json" ? readJson : readYaml;
  let documents = read(decoded.text, limits, findings.report);
  // The text itself has been searched already; only escapes can add such characters.
  if (decoded.text.includes("\\"))
    documents = documents.map((document) => checkTexts(document, findings.report));
  return { file, documents, lines, findings };
}

function checkTexts(document: RawDocument, report: Report): RawDocument {
  let hasErrors = document.hasErrors;
  const path: (string | number)[] = [];
  const check = (text: string, find: (root: PositionNode, path: readonly (string | number)[]) => number) => {
    const character = findControlCharacter(text);
    if (character === undefined) return;
    hasErrors = true;
    const message = `The escaped character ${character} is not allowed; remove it`;
    report("control-character", () => find(document.positions, path), message);
  };
  const walk = (value: unknown) => {
    if (typeof value === "string") check(value, findValue);
    if (typeof value !== "object" || value === null) return;
    const entries = Array.isArray(value) ? value.entries() : Object.entries(value);
    for (const [step, item] of entries) {
      path.push(step);
      if (typeof step === "string") check(step, findKey);
      walk(item);
      path.pop();
    }
  };
  walk(document.value);
  return { ...document, hasErrors };
}
