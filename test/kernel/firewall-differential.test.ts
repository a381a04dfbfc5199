// The program against the reference model: random policies, each applied by a real transaction on top of the one
// before, times random and hostile packets and real captures. Verdict, reason, the deciding rule and every rule's
// count must agree. PENSTOCK_SEED repeats a run, PENSTOCK_PAIRS sets its length.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { CarriedFlag, carriedCodec, FwReason } from "../../src/abi/index.ts";
import { type BpfMap, createTestRunner, type KernelDatapath, type TestRunner } from "../../src/bpf/index.ts";
import type { HostInterface } from "../../src/compile/index.ts";
import { type Judgement, prepareModel } from "../../src/kinds/firewall/model.ts";
import type { FirewallRule } from "../../src/policy/index.ts";
import {
  arbitraryInterface,
  arbitraryPolicy,
  type PolicyDocuments,
  policyNow,
  pooledInterfaces,
} from "../fixtures/firewall-arbitraries.ts";
import { describeKernel, makePinDirectory } from "../fixtures/kernel-gate.ts";
import { makeNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";
import { arbitraryFrame } from "../fixtures/packet-arbitraries.ts";
import { frameAfter } from "../fixtures/packet-outcome.ts";
import { readCapture } from "../fixtures/pcap.ts";
import { applyDocuments, openTestDatapath, PolicyRefused } from "../fixtures/test-datapath.ts";

const pairs = Number(process.env["PENSTOCK_PAIRS"] ?? 120_000);
const seed = Number(process.env["PENSTOCK_SEED"] ?? Date.now() % 0x7fffffff);
const framesPerPolicy = 200;
/** BPF_PROG_TEST_RUN takes no frame shorter than an Ethernet header. */
const frameBytesMin = 14;
const outcomes: Readonly<Record<number, "drop" | "pass" | "answer">> = { 1: "drop", 2: "pass", 3: "answer" };

const captureDirectory = new URL("../../../shared/data/pcaps/", import.meta.url);

if (!existsSync(captureDirectory)) console.warn(`SKIPPED: no captures in ${captureDirectory.pathname}`);

describeKernel("xdp_firewall against the model", () => {
  let datapath: KernelDatapath;
  let namespace: TestNamespace;
  let interfaces: HostInterface[];
  let runner: TestRunner;
  const pins = makePinDirectory();

  beforeAll(async () => {
    namespace = makeNamespace();
    interfaces = makeInterfaces(namespace);
    datapath = await openTestDatapath(pins);
    runner = createTestRunner(datapath.object.program("xdp_firewall"));
  });
  afterAll(() => {
    datapath?.close();
  });

  async function compare(documents: PolicyDocuments, interfaceName: string, frames: readonly Uint8Array[]) {
    const options = { interfaces, now: policyNow };
    const { ruleIds } = await applyDocuments(datapath, documents, options);
    const names = interfaces.map(({ name }) => name);
    const model = prepareModel({ policy: documents, interfaceName, interfaces: names, now: policyNow });
    const ifindex = interfaces.find(({ name }) => name === interfaceName)?.index ?? 0;
    const counters = new Counters(datapath);
    const before = counters.all(ruleIds);
    const expected = new Map<string, number>();
    const count = (rule: string) => expected.set(rule, (expected.get(rule) ?? 0) + 1);
    namespace.enter(() => {
      for (const frame of frames) {
        const judged = model.judgeFrame(frame);
        const reasonsBefore = counters.reason(judged);
        const { verdict, frame: left, metadataBytes } = runner.run(frame, { ifindex });
        const found = {
          outcome: outcomes[verdict] ?? verdict,
          frame: hex(left.subarray(metadataBytes)),
          ...carriedBy(left, metadataBytes),
        };
        const counted = counters.reason(judged) - reasonsBefore;
        const wanted = wantedOutcome(frame, judged, ruleIds);
        if (!agree(found, wanted) || counted !== 1n) {
          const facts = {
            found,
            wanted,
            counted: Number(counted),
            judged,
            interfaceName,
            frame: hex(frame),
          };
          expect.fail(`seed ${seed}: ${JSON.stringify(facts)} under ${JSON.stringify(documents)}`);
        }
        for (const { document, rule } of judged.logged) count(`${document}/${rule}`);
        if (judged.rule !== undefined) count(`${judged.rule.document}/${judged.rule.rule}`);
      }
    });
    const after = counters.all(ruleIds);
    const audits = documents.firewalls.filter(({ spec }) => spec.mode === "audit");
    const audited = new Set(audits.map(({ metadata }) => metadata.name));
    for (const name of ruleIds.keys()) {
      // What enforcing documents say by default is counted too, but the model names no rule for it.
      if (name.endsWith(")") && !audited.has(name.split("/")[0] ?? "")) continue;
      const counted = Number((after.get(name) ?? 0n) - (before.get(name) ?? 0n));
      expect({ seed, name, counted }).toEqual({ seed, name, counted: expected.get(name) ?? 0 });
    }
  }

  it(`agrees on ${pairs} pairs of policy and packet`, { timeout: 600_000 }, async () => {
    console.log(`differential test: seed ${seed}, ${pairs} pairs (PENSTOCK_SEED=${seed} repeats it)`);
    const runs = Math.ceil(pairs / framesPerPolicy);
    const frame = arbitraryFrame.filter((bytes) => bytes.length >= frameBytesMin);
    const policies = fc.sample(fc.tuple(acceptedPolicy, arbitraryInterface), { seed, numRuns: runs * 2 });
    let compared = 0;
    let refused = 0;
    for (const [i, [documents, name]] of policies.entries()) {
      if (compared === runs) break;
      const frames = fc.sample(frame, { seed: seed + i, numRuns: framesPerPolicy });
      try {
        await compare(documents, name, frames);
        compared++;
      } catch (thrown) {
        if (!isExpectedRefusal(thrown)) throw thrown;
        refused++;
      }
    }
    expect(compared).toBe(runs);
    expect(refused).toBeLessThan(runs / 5);
  });

  it.skipIf(!existsSync(captureDirectory))("agrees on every frame of the captures", async () => {
    const frames: Uint8Array[] = [];
    for (const name of readdirSync(captureDirectory).filter((file) => file.endsWith(".pcap"))) {
      const capture = readCapture(readFileSync(new URL(name, captureDirectory)));
      if (capture.kind !== "capture") continue;
      for (const { frame } of capture.frames) if (frame.length >= frameBytesMin) frames.push(frame);
    }
    expect(frames.length).toBeGreaterThan(100);
    for (const [i, documents] of fc.sample(acceptedPolicy, { seed, numRuns: 40 }).entries()) {
      const name = pooledInterfaces[i % pooledInterfaces.length] ?? "eth0";
      await compare(documents, name, frames).catch((thrown: unknown) => {
        if (!isExpectedRefusal(thrown)) throw thrown;
      });
    }
  });
});

interface Outcome {
  readonly outcome: "drop" | "pass" | "answer" | number;
  /** Nobody sees it if it was dropped. */
  readonly frame?: string;
  readonly ruleId?: number;
  readonly mark?: number;
}

function wantedOutcome(frame: Uint8Array, judged: Judgement, ruleIds: ReadonlyMap<string, number>): Outcome {
  const left = frameAfter(frame, judged);
  if (left === undefined) return { outcome: "drop" };
  if (judged.verdict === "reject") return { outcome: "answer", frame: hex(left) };
  const ruleId = judged.rule && ruleIds.get(`${judged.rule.document}/${judged.rule.rule}`);
  return { outcome: "pass", frame: hex(left), ruleId: ruleId ?? 0, mark: judged.mark ?? 0 };
}

function agree(found: Outcome, wanted: Outcome): boolean {
  return Object.entries(wanted).every(([field, value]) => found[field as keyof Outcome] === value);
}

/** What goes along with a packet that passes. */
function carriedBy(left: Uint8Array, metadataBytes: number): Pick<Outcome, "ruleId" | "mark"> {
  if (metadataBytes === 0) return {};
  const { ruleId, mark, flags } = carriedCodec.decode(left);
  return { ruleId, mark: flags & CarriedFlag.mark ? mark : 0 };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}

/** Only TCP and UDP have ports: the compiler refuses rules that say otherwise, so they say nothing here. */
const acceptedPolicy: fc.Arbitrary<PolicyDocuments> = arbitraryPolicy.map((documents) => ({
  ...documents,
  firewalls: documents.firewalls.map((firewall) => ({
    ...firewall,
    spec: {
      ...firewall.spec,
      rules: firewall.spec.rules.map(dropImpossibleProtocol),
    },
  })),
}));

function dropImpossibleProtocol(rule: FirewallRule): FirewallRule {
  const { protocol, ...match } = rule.match ?? {};
  const protocols: readonly (string | number)[] = Array.isArray(protocol)
    ? protocol
    : protocol === undefined
      ? []
      : [protocol];
  const ports = match.sourcePorts !== undefined || match.destinationPorts !== undefined;
  const impossible = ports && protocols.some((p) => !["tcp", "udp", 6, 17].includes(p));
  return impossible ? { ...rule, match } : rule;
}

/**
 * Some policies are valid for the generator and refused by the compiler: it goes by a group's name even where no
 * interface of this host is in it, and it knows lists of ports that leave none.
 */
function isExpectedRefusal(thrown: unknown): boolean {
  const expected = ["conflicting-default", "never-matches"];
  return thrown instanceof PolicyRefused && thrown.codes.every((code) => expected.includes(code));
}

class Counters {
  readonly #rules: BpfMap;
  readonly #reasons: BpfMap;
  readonly #key = new Uint8Array(4);

  constructor(datapath: KernelDatapath) {
    this.#rules = datapath.object.map("rule_counters");
    this.#reasons = datapath.object.map("fw_reasons");
  }

  reason(judged: Judgement): bigint {
    return this.#packets(this.#reasons, FwReason[judged.reason]);
  }

  all(ruleIds: ReadonlyMap<string, number>): Map<string, bigint> {
    return new Map([...ruleIds].map(([name, id]) => [name, this.#packets(this.#rules, id)]));
  }

  #packets(map: BpfMap, index: number): bigint {
    new DataView(this.#key.buffer).setUint32(0, index, true);
    const values = map.lookup(this.#key) ?? new Uint8Array(map.valueBytes);
    const view = new DataView(values.buffer);
    let sum = 0n;
    for (let cpu = 0; cpu < map.cpuCount; cpu++) sum += view.getBigUint64(cpu * map.valueStride, true);
    return sum;
  }
}

/** As many real interfaces as policies can name; the names that policies use are given to them here only. */
function makeInterfaces(namespace: TestNamespace): HostInterface[] {
  for (let i = 0; i < pooledInterfaces.length; i += 2) {
    namespace.run("ip", "link", "add", `p${i}`, "type", "veth", "peer", "name", `p${i + 1}`);
  }
  const links = JSON.parse(namespace.run("ip", "-json", "link", "show", "type", "veth")) as {
    ifindex: number;
  }[];
  return pooledInterfaces.map((name, i) => ({ name, index: links[i]?.ifindex ?? 0 }));
}
