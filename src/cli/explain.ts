// Answers a question about a packet: under the policy in force on a host, or under that of a folder.
import { formatDiagnostic, PenstockError } from "../base/index.ts";
import { idRangesFor } from "../compile/index.ts";
import { type Geo, type GeoFile, openGeo } from "../geo/index.ts";
import { kinds } from "../kinds/index.ts";
import type { PolicySet } from "../policy/index.ts";
import { preparePolicy, type Reconciler } from "../reconcile/index.ts";
import { readGeoFile } from "./geo-file.ts";
import { requireInForce } from "./in-force.ts";
import type { Question } from "./question.ts";
import type { Settings } from "./settings.ts";
import { countOf } from "./text.ts";
import { type ExplainInput, type ExplainView, explainPacket } from "./views/explain.ts";
import { readWorkingTree } from "./working-tree.ts";

export interface HostFacts {
  readonly reconciler: Reconciler;
  readonly datapath: { interfaces(): readonly { readonly name: string }[] };
  readonly now: number;
  readonly settings: Pick<Settings, "geo">;
}

/** Under the policy in force, on an interface that exists. */
export function explainInForce(question: Question, facts: HostFacts): ExplainView {
  const { reconciler, datapath, now } = facts;
  const { name, revision, policy: readPolicy } = requireInForce(reconciler);
  const interfaces = datapath.interfaces().map((i) => i.name);
  if (!interfaces.includes(question.interface)) throw unknownInterface(question.interface, interfaces);
  const policy = readPolicy();
  const input = { name, policy, files: revision.files, interfaces, now };
  return explainPacket(question, { ...input, ...countriesOf(openGeo(readGeo(facts.settings))) });
}

/** Under the policy of a folder, on a host that has the interface that is asked about. */
export function explainFolder(
  question: Question,
  given: { readonly folder: string; readonly settings: Settings; readonly now: number },
): ExplainView {
  const { folder, settings, now } = given;
  const geo = readGeo(settings);
  const { files } = readWorkingTree([folder]);
  const prepared = preparePolicy({
    files,
    labels: settings.node.labels,
    kinds,
    interfaces: [{ name: question.interface, index: 1 }],
    knownIds: [],
    idRanges: idRangesFor(settings.limits.rulesMax),
    now,
    ...(geo === undefined ? {} : { geo }),
  });
  if (!prepared.ok) {
    const findings = prepared.diagnostics.map(formatDiagnostic);
    throw new PenstockError({
      code: "invalid-policy",
      disposition: "stalled",
      message: `Cannot explain a packet under ${folder}: the policy has ${countOf(findings.length, "finding")}`,
      remedy: "Correct what is named above",
      data: { findings },
    });
  }
  const { policy } = prepared;
  const interfaces = [question.interface, ...namedByRoutes(policy)];
  const input = { name: folder, policy, files, interfaces, now };
  return explainPacket(question, { ...input, ...countriesOf(openGeo(geo)) });
}

function readGeo({ geo }: Pick<Settings, "geo">): GeoFile | undefined {
  return geo && readGeoFile(geo);
}

/** Asks the database only when a rule does. Throws `no-countries` if it is not there any more, or was never. */
function countriesOf(geo: Geo): Pick<ExplainInput, "countryOf"> {
  return {
    countryOf(address) {
      const found = geo.lookUp();
      if (found.kind === "ready") return found.database.countryOf(address);
      const why =
        found.kind === "unusable" ? `${found.path} cannot be used: ${found.reason}` : "none is configured";
      throw new PenstockError({
        code: "no-countries",
        disposition: "stalled",
        message: `Cannot explain the packet: a rule asks for countries, and of their database ${why}`,
        remedy: "See geo.database in the agent's configuration",
      });
    },
  };
}

/** Interfaces that rules send packets to: a folder's policy is meant for a host that has them. */
function namedByRoutes(policy: PolicySet): string[] {
  const rules = policy.byKind("Firewall").flatMap(({ spec }) => spec.rules);
  return rules.flatMap(({ routeTo, dupTo }) =>
    [routeTo, dupTo].flatMap((route) => (route === undefined ? [] : [route.interface])),
  );
}

function unknownInterface(name: string, interfaces: readonly string[]): PenstockError {
  return new PenstockError({
    code: "unknown-interface",
    disposition: "stalled",
    message: `Cannot explain the packet: this host has no interface ${name}`,
    remedy: `It has ${interfaces.join(", ")}`,
    data: { interface: name, interfaces },
  });
}
