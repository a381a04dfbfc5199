// Checks policy of a working tree as the agent would on each kind of host that the policy tells apart.
import {
  type Diagnostic,
  formatDiagnostic,
  hasErrors,
  PenstockError,
  sortDiagnostics,
} from "../base/index.ts";
import { compilePolicy, idRangesFor } from "../compile/index.ts";
import { type GeoFile, type GeoLookup, openGeo } from "../geo/index.ts";
import { kinds } from "../kinds/index.ts";
import { type ParsedPolicy, type PolicySet, parsePolicy, selectForNode } from "../policy/index.ts";
import { readGeoFile } from "./geo-file.ts";
import { parseNumber } from "./usage.ts";
import { readWorkingTree } from "./working-tree.ts";

export interface ValidationView {
  readonly files: number;
  readonly documents: number;
  readonly errors: number;
  readonly warnings: number;
  readonly diagnostics: readonly Diagnostic[];
}

type Labels = Readonly<Record<string, string>>;

/** Kinds of hosts that are tried; a policy that tells more apart is rather generated. */
const nodesMax = 64;

const rulesMaxDefault = "32768";

/** Checks all files together. Throws `no-policy` if there is none. */
export function validatePaths(
  paths: readonly string[],
  options: { readonly rulesMax?: string; readonly geo?: string; readonly now: number },
): ValidationView {
  const bounds = { min: 1, max: 65_536 };
  const rulesMax = parseNumber(options.rulesMax ?? rulesMaxDefault, "--rules-max", bounds);
  const geo = openGeo(options.geo === undefined ? undefined : geoFileAt(options.geo), "unasked").lookUp;
  const { files, findings } = readWorkingTree(paths);
  if (files.length === 0 && findings.length === 0) throw noPolicy(paths);
  const parsed = parsePolicy(files);
  const all = new Map<string, Diagnostic>();
  const add = (diagnostics: readonly Diagnostic[]) => {
    for (const diagnostic of diagnostics) all.set(formatDiagnostic(diagnostic), diagnostic);
  };
  add(findings);
  add(parsed.diagnostics);
  for (const labels of nodesOf(parsed.policy))
    add(compileFor(labels, parsed, { rulesMax, now: options.now, geo }));
  const diagnostics = sortDiagnostics([...all.values()]);
  const errors = diagnostics.filter((d) => d.severity === "error").length;
  return {
    files: files.length,
    documents: parsed.policy.documents.length,
    errors,
    warnings: diagnostics.length - errors,
    diagnostics,
  };
}

/** Its age is the agents' business. */
function geoFileAt(path: string): GeoFile {
  return readGeoFile({ database: path, maxAgeDays: Number.POSITIVE_INFINITY });
}

function compileFor(
  labels: Labels,
  parsed: ParsedPolicy,
  given: { readonly rulesMax: number; readonly now: number; readonly geo: () => GeoLookup },
): readonly Diagnostic[] {
  const { diagnostics } = compilePolicy({
    policy: selectForNode(parsed.checkable, labels),
    kinds,
    interfaces: [],
    knownIds: [],
    // No host, so no old names that would need room beside the new ones.
    idRanges: { ...idRangesFor(given.rulesMax), rule: { first: 1, last: given.rulesMax } },
    now: given.now,
    geo: given.geo,
  });
  // Of documents with errors a part may be missing: that others refer to it is no finding of its own then.
  const broken = hasErrors(parsed.diagnostics);
  return diagnostics.filter((d) => !broken || (d.code !== "unknown-set" && d.code !== "needs-conntrack"));
}

/** The hosts that documents tell apart: one without labels, and one for each selector. */
function nodesOf(policy: PolicySet): Labels[] {
  const nodes = new Map<string, Labels>([["[]", {}]]);
  for (const { spec } of policy.documents) {
    const labels = spec.nodes?.matchLabels;
    if (labels === undefined || nodes.size >= nodesMax) continue;
    nodes.set(JSON.stringify(Object.entries(labels).sort()), labels);
  }
  return [...nodes.values()];
}

function noPolicy(paths: readonly string[]): PenstockError {
  return new PenstockError({
    code: "no-policy",
    disposition: "stalled",
    message: `Cannot validate ${paths.join(", ")}: there are no files in it`,
    remedy: "Name files or folders that hold policy (.yaml, .yml, .json)",
  });
}
