// A host of its own for agents that are killed: a network namespace, a folder, a pin directory, a Git repository with
// two policies. What it holds is looked at from outside, through the pins alone.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AuditVerification, readAuditRecords, verifyAuditLog } from "../src/audit/index.ts";
import { inNamespace, openPinnedDatapath, queryXdp, uninstallDatapath, unpinAll } from "../src/bpf/index.ts";
import { policyTables } from "../src/kinds/index.ts";
import { observe, readApplied } from "../src/reconcile/index.ts";
import { WorkTree } from "../test/fixtures/git-repository.ts";
import {
  joinProbes,
  leftovers,
  type PacketView,
  type Probes,
  probesOf,
  viewPackets,
} from "../test/fixtures/packet-view.ts";
import { interfaceNames, type PolicyPair } from "./crash-policies.ts";

const limits = { rulesMax: 64, addressesMax: 256, interfacesMax: 16, connectionsMax: 64 };
/** Outcomes after which the record's revision is the one in force. */
const inForce = ["applied", "unchanged", "rolled-back", "healed"];
let made = 0;

/** What the kernel holds, by itself. */
export interface KernelState {
  readonly generation: bigint;
  /** The names of the revision in force and of the one that must not come again. */
  readonly applied: string;
  /** What packets see, as text. */
  readonly view: string;
  /** Entries that packets do not see and that a table at rest does not have. */
  readonly leftovers: readonly string[];
}

/** What there is on a host besides what packets see; equal at every rest under one policy. */
export interface Rest {
  /** Names below the pin directory, those of interrupted pins too. */
  readonly pins: readonly string[];
  /** Programs on interfaces, and entries of the tables that keep those in use only. */
  readonly kernel: readonly string[];
  /** Files of the agent's directories. */
  readonly files: readonly string[];
}

export class CrashHost {
  readonly namespacePath: string;
  readonly configPath: string;
  readonly #folder: string;
  readonly #pins: string;
  readonly #namespace: string;
  /** Commit ids by name: `old` and two of the new policy, so that one that was rolled back can be passed by. */
  readonly #commits = new Map<string, string>();
  #probes: Probes = {};

  constructor(policies: PolicyPair) {
    const name = `pk-${process.pid}-stress-${made++}`;
    this.#namespace = name;
    this.namespacePath = `/run/netns/${name}`;
    this.#pins = `/sys/fs/bpf/${name}`;
    this.#folder = mkdtempSync(join(tmpdir(), "pk-stress-"));
    this.configPath = join(this.#folder, "agent.json");
    run("ip", "netns", "add", name);
    for (const interfaceName of Object.values(interfaceNames)) {
      const ip = ["--net=/run/netns/".concat(name), "ip", "link"];
      run("nsenter", ...ip, "add", interfaceName, "type", "veth", "peer", "name", `${interfaceName}-peer`);
      for (const end of [interfaceName, `${interfaceName}-peer`])
        run("nsenter", ...ip, "set", end, "addrgenmode", "none", "up");
    }
    const tree = new WorkTree(join(this.#folder, "policy"));
    const absent = Object.fromEntries(Object.keys(policies.old).map((path) => [path, undefined]));
    const old = tree.commit(policies.old);
    this.#commits.set("old", old);
    this.#commits.set("new", tree.commit({ ...absent, ...policies.new }));
    tree.git("reset", "--quiet", "--hard", old);
    this.#commits.set("new-again", tree.commit({ ...absent, ...policies.new }));
    for (const commit of this.#commits) this.#writeRef(commit);
    this.#writeConfiguration();
  }

  /** Moves the branch that agents follow. */
  pointTo(name: "old" | "new" | "new-again"): void {
    const commit = this.#commits.get(name);
    if (commit === undefined) throw new RangeError(name);
    this.#writeRef(["main", commit]);
  }

  /** What the kernel holds; undefined if nothing (whole) is pinned. */
  async look(): Promise<KernelState | undefined> {
    const datapath = this.#openPinned();
    if (datapath === undefined) return undefined;
    try {
      const applied = readApplied(await observe(datapath));
      // When a revision was applied differs from run to run; which one is told beside.
      const { applied: _, ...view } = (await viewPackets(datapath, this.#probes)) as PacketView & {
        applied: unknown;
      };
      return {
        generation: datapath.generation().current,
        applied: `${this.nameOf(applied?.commit)}${applied?.held === undefined ? "" : `, not ${this.nameOf(applied.held)}`}`,
        view: JSON.stringify(view, null, 1),
        leftovers: await leftovers(datapath),
      };
    } finally {
      datapath.close();
    }
  }

  /** From now on looking asks about the addresses too that the kernel's tables name now. */
  async learnProbes(): Promise<void> {
    const datapath = this.#openPinned();
    if (datapath === undefined) return;
    this.#probes = joinProbes(this.#probes, await probesOf(datapath));
    datapath.close();
  }

  async rest(): Promise<Rest> {
    const kernel: string[] = [];
    const datapath = this.#openPinned();
    for (const spec of datapath?.tables ?? []) {
      const keeps = spec.shape === "keyed" || spec.shape === "prefix";
      if (keeps) kernel.push(`${spec.name}: ${(await datapath?.read(spec))?.count} entries`);
    }
    inNamespace(this.namespacePath, () => {
      for (const { program, interface: name, current } of datapath?.attached() ?? [])
        kernel.push(`${program} on ${name}${current ? "" : ", another build"}`);
      for (const { name, index } of datapath?.interfaces() ?? [])
        kernel.push(`${name}: ${queryXdp(index)?.mode ?? "nothing attached"}`);
    });
    datapath?.close();
    return { pins: listFiles(this.#pins), kernel: kernel.sort(), files: this.#listOwnFiles() };
  }

  /** Whether the audit log is sound, and which revision it says is in force. */
  async readAudit(): Promise<{ readonly verification: AuditVerification; readonly applied: string }> {
    const directory = join(this.#folder, "state", "audit");
    const verification = await verifyAuditLog(directory);
    for await (const { outcome, revision } of readAuditRecords(directory, { limit: 1000 }))
      if (inForce.includes(outcome)) return { verification, applied: this.nameOf(revision?.commit) };
    return { verification, applied: "nothing" };
  }

  /** Takes the datapath and the audit log away, as if no agent had ever run. */
  uninstall(): void {
    uninstallDatapath(this.#pins);
    rmSync(join(this.#folder, "state", "audit"), { recursive: true, force: true });
  }

  /** The two commits of the new policy are called the same: what they mean is. */
  nameOf(commit: string | undefined): string {
    const found = [...this.#commits].find(([, id]) => id === commit)?.[0];
    return commit === undefined ? "nothing" : (found?.replace("-again", "") ?? commit);
  }

  remove(): void {
    uninstallDatapath(this.#pins);
    unpinAll(this.#pins);
    run("ip", "netns", "delete", this.#namespace);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #openPinned() {
    try {
      return openPinnedDatapath({ pinDirectory: this.#pins, tables: policyTables });
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "pins-incomplete") return undefined;
      throw error;
    }
  }

  #writeRef([name, commit]: readonly [string, string]): void {
    const heads = join(this.#folder, "policy", ".git", "refs", "heads");
    mkdirSync(heads, { recursive: true });
    writeFileSync(join(heads, name), `${commit}\n`);
  }

  #writeConfiguration(): void {
    writeFileSync(
      this.configPath,
      JSON.stringify({
        source: { url: join(this.#folder, "policy"), allowRewrite: true },
        limits,
        stateDirectory: join(this.#folder, "state"),
        runDirectory: join(this.#folder, "run"),
        pinDirectory: this.#pins,
      }),
    );
  }

  #listOwnFiles(): string[] {
    return ["state", "run"].flatMap((name) =>
      listFiles(join(this.#folder, name))
        // What is left of a record that was torn is kept on purpose.
        .filter((file) => !file.startsWith("audit/audit.torn-"))
        .map((file) => `${name}/${file}`),
    );
  }
}

function listFiles(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
  } catch {
    return [];
  }
}

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
}
