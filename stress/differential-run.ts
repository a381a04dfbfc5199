// The firewall's program against the reference model: random policies, each applied by a real transaction on top of
// the one before, times random states of connections, times random and hostile packets and real captures. What becomes
// of the packet, the reason, the deciding rule and every rule's count must agree. The program is built to take the state from the
// receive queue; everything else is as it ships.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { ConnectionState, FwReason, fwReasonNames } from "../src/abi/index.ts";
import {
  attachXdp,
  type BpfMap,
  createTestRunner,
  type KernelDatapath,
  type TestRunner,
} from "../src/bpf/index.ts";
import type { HostInterface } from "../src/compile/index.ts";
import {
  type FirewallModel,
  type Judgement,
  type PacketState,
  prepareModel,
} from "../src/kinds/firewall/model.ts";
import { compileObject } from "../test/fixtures/bpf-compiler.ts";
import {
  arbitraryPolicy,
  type PolicyDocuments,
  policyNow,
  pooledInterfaces,
} from "../test/fixtures/firewall-arbitraries.ts";
import { arbitraryFrame } from "../test/fixtures/packet-arbitraries.ts";
import { readCapture } from "../test/fixtures/pcap.ts";
import { applyDocuments, openTestDatapath, PolicyRefused } from "../test/fixtures/test-datapath.ts";
import { outcomeDiffers } from "./differential-outcome.ts";
import { Random } from "./random.ts";

/** The network namespace that everything happens in. */
export interface Place {
  run(command: string, ...args: string[]): string;
  enter<T>(work: () => T): T;
}

export interface DifferentialOptions {
  readonly seed: number;
  readonly place: Place;
  /** A directory in bpffs. */
  readonly pins: string;
}

export interface DifferentialReport {
  /** Of policy, state and packet. */
  readonly triples: number;
  readonly policies: number;
  /** Policies that the compiler did not take; they are not tried. */
  readonly refused: number;
  /** How many packets had each reason. */
  readonly reasons: Readonly<Record<string, number>>;
  /** Rules that decided or recorded at least one packet. */
  readonly rulesHit: number;
  readonly seconds: number;
  /** The first disagreement, in words. */
  readonly difference: string | undefined;
}

interface Triple {
  readonly frame: Uint8Array;
  readonly state: PacketState;
}

/** Frames on each interface under each policy; so many of them are new, the others were under the last few. */
const framesPerPolicy = 1500;
const freshFrames = 300;
/** Where no policy is bound there is little to compare. */
const framesUnbound = 20;
/** What is compared at once. */
const batchTriples = 100;
/** BPF_PROG_TEST_RUN takes no frame shorter than an Ethernet header. */
const frameBytesMin = 14;
const rulesMax = 1024;
const names: readonly string[] = pooledInterfaces;
const states: readonly PacketState[] = ["new", "established", "related", "invalid"];

const root = fileURLToPath(new URL("../", import.meta.url));
const programs = join(root, "bpf");
const captureDirectory = join(root, "../shared/data/pcaps");

const frames = arbitraryFrame.filter((bytes) => bytes.length >= frameBytesMin);

/** Every frame of the captures that come with the project's data; none where they are not. */
export function readCapturedFrames(): Uint8Array[] {
  if (!existsSync(captureDirectory)) return [];
  return readdirSync(captureDirectory)
    .filter((name) => name.endsWith(".pcap"))
    .map((name) => readCapture(readFileSync(join(captureDirectory, name))))
    .flatMap((capture) => (capture.kind === "capture" ? capture.frames : []))
    .map(({ frame }) => frame)
    .filter((frame) => frame.length >= frameBytesMin);
}

/** Compares until it is enough, or a difference is found. */
export class DifferentialRun {
  readonly #options: DifferentialOptions;
  readonly #random: Random;
  readonly #started = performance.now();
  readonly #folder: string;
  readonly #interfaces: readonly HostInterface[];
  readonly #datapath: KernelDatapath;
  readonly #runner: TestRunner;
  readonly #counters: Counters;
  readonly #recent: Uint8Array[] = [];
  readonly #detach: () => void;
  #policies = 0;
  #refused = 0;
  #triples = 0;
  #rulesHit = 0;
  readonly #reasons = new Map<string, number>();
  #difference: string | undefined;

  private constructor(options: DifferentialOptions, made: Made) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#folder = made.folder;
    this.#interfaces = made.interfaces;
    this.#datapath = made.datapath;
    this.#counters = new Counters(made.datapath);
    const program = made.datapath.object.program("xdp_firewall");
    this.#runner = createTestRunner(program);
    // For a program that is attached nowhere the kernel waits for a grace period at each call.
    const { link } = options.place.enter(() =>
      attachXdp({ program, ifindex: 1, interfaceName: "lo", mode: "generic" }),
    );
    this.#detach = () => link.close();
  }

  static async start(options: DifferentialOptions): Promise<DifferentialRun> {
    const folder = mkdtempSync(join(tmpdir(), "pk-differential-"));
    for (const source of readdirSync(programs).filter((name) => name.endsWith(".bpf.c")))
      compileObject(join(programs, source), join(folder, source.replace(/c$/, "o")), [
        "PENSTOCK_STATE_BY_QUEUE",
      ]);
    const datapath = await openTestDatapath(options.pins, { objects: folder, rulesMax });
    return new DifferentialRun(options, { folder, datapath, interfaces: makeInterfaces(options.place) });
  }

  close(): void {
    this.#detach();
    this.#datapath.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Random policies and frames, until it is enough. */
  async random(enough: (soFar: DifferentialReport) => boolean): Promise<void> {
    for (let i = 0; this.#difference === undefined && !enough(this.report()); i++) {
      const seed = (this.#options.seed + i) % 0x7fffffff;
      const [documents] = fc.sample(arbitraryPolicy, { seed, numRuns: 1 });
      if (documents === undefined) continue;
      const fresh = this.#recent.length === 0 ? framesPerPolicy : freshFrames;
      this.#recent.push(...fc.sample(frames, { seed, numRuns: fresh }));
      this.#recent.splice(0, this.#recent.length - framesPerPolicy);
      await this.#tryPolicy(documents, this.#recent);
    }
  }

  /** These frames under so many random policies. */
  async captured(captures: readonly Uint8Array[], policies: number): Promise<void> {
    const samples = fc.sample(arbitraryPolicy, { seed: this.#options.seed, numRuns: policies });
    for (const documents of samples)
      if (this.#difference === undefined) await this.#tryPolicy(documents, captures);
  }

  report(): DifferentialReport {
    return {
      triples: this.#triples,
      policies: this.#policies,
      refused: this.#refused,
      reasons: Object.fromEntries(this.#reasons),
      rulesHit: this.#rulesHit,
      seconds: (performance.now() - this.#started) / 1000,
      difference: this.#difference,
    };
  }

  async #tryPolicy(documents: PolicyDocuments, packets: readonly Uint8Array[]): Promise<void> {
    let ruleIds: ReadonlyMap<string, number>;
    try {
      const options = { interfaces: this.#interfaces, now: policyNow, rulesMax };
      ({ ruleIds } = await applyDocuments(this.#datapath, documents, options));
    } catch (thrown) {
      if (!isExpectedRefusal(thrown)) throw thrown;
      this.#refused++;
      return;
    }
    this.#policies++;
    const rules = countedRules(documents, ruleIds);
    const hit = new Set<string>();
    for (const { name, index } of this.#interfaces) {
      const model = prepareModel({
        policy: documents,
        interfaceName: name,
        interfaces: names,
        now: policyNow,
      });
      const isBound = model.judgeFrame(new Uint8Array(0)).reason !== "unbound";
      const taken = isBound ? packets : packets.slice(0, framesUnbound);
      this.#tryPackets({ documents, interfaceName: name, ifindex: index, model, rules, ruleIds, hit }, taken);
    }
    this.#rulesHit += hit.size;
  }

  #tryPackets(bench: Bench, packets: readonly Uint8Array[]): void {
    const triples = packets.map(
      (frame): Triple => ({ frame, state: states[this.#random.below(4)] ?? "new" }),
    );
    for (let at = 0; at < triples.length && this.#difference === undefined; at += batchTriples) {
      const batch = triples.slice(at, at + batchTriples);
      this.#options.place.enter(() => {
        // Sums tell that a batch differs; which packet it is, its own counts tell.
        if (this.#compare(bench, batch) !== undefined)
          this.#difference =
            this.#findDifference(bench, batch) ?? "a batch differs, and no packet of it alone";
      });
      this.#triples += batch.length;
    }
  }

  #findDifference(bench: Bench, batch: readonly Triple[]): string | undefined {
    const { documents, interfaceName } = bench;
    for (const triple of batch) {
      const differing = this.#compare(bench, [triple]);
      if (differing === undefined) continue;
      const judged = bench.model.judgeFrame(triple.frame, triple.state);
      const facts = { differing, judged, state: triple.state, interfaceName };
      const frame = Buffer.from(triple.frame).toString("hex");
      return `${JSON.stringify({ ...facts, frame })} under ${JSON.stringify(documents)}`;
    }
    return undefined;
  }

  /** What differs; undefined if nothing does. */
  #compare({ ifindex, model, rules, ruleIds, hit }: Bench, batch: readonly Triple[]): string | undefined {
    const before = this.#counters.read(rules);
    const expected = new Map<string, number>();
    const count = (name: string) => expected.set(name, (expected.get(name) ?? 0) + 1);
    let outcome: string | undefined;
    for (const { frame, state } of batch) {
      const judged = model.judgeFrame(frame, state);
      const ran = this.#runner.run(frame, { ifindex, queue: Math.log2(ConnectionState[state]) });
      outcome ??= outcomeDiffers(frame, { judged, ran }, ruleIds);
      for (const name of countedNames(judged)) count(name);
    }
    const after = this.#counters.read(rules);
    const differing = [...after].flatMap(([name, packets]) => {
      const counted = packets - (before.get(name) ?? 0);
      const modelled = expected.get(name) ?? 0;
      if (modelled > 0) {
        if (name.includes("/")) hit.add(name);
        else this.#reasons.set(name, (this.#reasons.get(name) ?? 0) + modelled);
      }
      return counted === modelled ? [] : [`${name}: ${counted} counted, ${modelled} by the model`];
    });
    const all = [...(outcome === undefined ? [] : [outcome]), ...differing];
    return all.length === 0 ? undefined : all.join("; ");
  }
}

interface Made {
  readonly folder: string;
  readonly datapath: KernelDatapath;
  readonly interfaces: readonly HostInterface[];
}

/** One policy in force, and the interface that packets come in on. */
interface Bench {
  readonly documents: PolicyDocuments;
  readonly interfaceName: string;
  readonly ifindex: number;
  readonly model: FirewallModel;
  /** By `document/rule`. */
  readonly ruleIds: ReadonlyMap<string, number>;
  /** Those of the rules whose counts the model knows. */
  readonly rules: ReadonlyMap<string, number>;
  /** Those that packets met. */
  readonly hit: Set<string>;
}

/** What enforcing documents say by default is counted too, but the model names no rule for it. */
function countedRules(documents: PolicyDocuments, ruleIds: ReadonlyMap<string, number>) {
  const audits = documents.firewalls.filter(({ spec }) => spec.mode === "audit");
  const audited = new Set(audits.map(({ metadata }) => metadata.name));
  return new Map(
    [...ruleIds].filter(([name]) => !name.endsWith(")") || audited.has(name.split("/")[0] ?? "")),
  );
}

/** The counters that one packet moves by one: its reason's, and those of the rules that it met. */
function countedNames({ reason, rule, logged }: Judgement): string[] {
  const rules = rule === undefined ? logged : [...logged, rule];
  // tc_firewall counts what it sends on; none stands behind the program here.
  return [...(reason === "routed" ? [] : [reason]), ...rules.map((met) => `${met.document}/${met.rule}`)];
}

/** Valid for the generator, and refused: the compiler goes by a group's name even where no interface is in it. */
function isExpectedRefusal(thrown: unknown): boolean {
  return thrown instanceof PolicyRefused && thrown.codes.every((code) => code === "conflicting-default");
}

class Counters {
  readonly #rules: BpfMap;
  readonly #reasons: BpfMap;
  readonly #key = new Uint8Array(4);

  constructor(datapath: KernelDatapath) {
    this.#rules = datapath.object.map("rule_counters");
    this.#reasons = datapath.object.map("fw_reasons");
  }

  /** Packets by the name of the reason or rule. */
  read(rules: ReadonlyMap<string, number>): Map<string, number> {
    const counts = new Map<string, number>();
    for (const [name, id] of rules) counts.set(name, this.#packets(this.#rules, id));
    for (const name of Object.values(fwReasonNames))
      counts.set(name, this.#packets(this.#reasons, FwReason[name]));
    return counts;
  }

  #packets(map: BpfMap, index: number): number {
    new DataView(this.#key.buffer).setUint32(0, index, true);
    const values = map.lookup(this.#key) ?? new Uint8Array(map.valueBytes);
    const view = new DataView(values.buffer);
    let sum = 0;
    for (let cpu = 0; cpu < map.cpuCount; cpu++)
      sum += Number(view.getBigUint64(cpu * map.valueStride, true));
    return sum;
  }
}

/**
 * As many real interfaces as policies can name, with a queue for each state; the names that policies use are given to
 * them here only.
 */
function makeInterfaces(place: Place): HostInterface[] {
  const queues = ["numrxqueues", `${states.length}`, "numtxqueues", `${states.length}`];
  for (let i = 0; i < pooledInterfaces.length; i += 2) {
    const peer = ["type", "veth", "peer", "name", `p${i + 1}`, ...queues];
    place.run("ip", "link", "add", `p${i}`, ...queues, ...peer);
  }
  const links = JSON.parse(place.run("ip", "-json", "link", "show", "type", "veth")) as { ifindex: number }[];
  return pooledInterfaces.map((name, i) => ({ name, index: links[i]?.ifindex ?? 0 }));
}
