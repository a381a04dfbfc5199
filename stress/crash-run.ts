// One host and the agent on it, with another process warming up to take its place; and what is demanded of the host
// each time that the agent was killed.
import type { Answer, Build, Order } from "./crash-agent.ts";
import { AgentProcess } from "./crash-child.ts";
import type { CrashHost, KernelState, Rest } from "./crash-host.ts";
import type { Kind } from "./crash-kinds.ts";

/** Something did not come out as it must. */
export class Broken extends Error {
  readonly leaks: readonly string[];

  constructor(message: string, leaks: readonly string[] = []) {
    super(message);
    this.leaks = leaks;
  }
}

/** What a run of this kind in which nobody is killed finds. */
export interface Undisturbed {
  /** Where the transaction can be killed. */
  readonly points: readonly string[];
  readonly old: KernelState;
  readonly new: KernelState;
  /** After a restart in the old state; and after everything. */
  readonly restOld: Rest;
  readonly restNew: Rest;
}

/** What agents are made of. */
export interface AgentCode {
  /** The agent process, compiled. */
  readonly program: string;
  /** What it loads: the first one, until an upgrade changes to the next one. */
  readonly builds: readonly Build[];
}

export type Death = "old" | "new" | "not reached";

export class CrashRun {
  readonly host: CrashHost;
  readonly #program: string;
  readonly #builds: readonly Build[];
  #build = 0;
  /** The agent at work, if it has started; and the next one, which has not. */
  #agent: AgentProcess | undefined;
  #next: AgentProcess;
  /** What the agent said last. */
  #last: Answer | undefined;
  /** Descriptors of an agent that was never killed; undefined until that was found out. */
  #most: Answer["descriptors"] | undefined;
  #newName: "new" | "new-again" = "new";

  /** Agents start with the first of the builds. */
  constructor(host: CrashHost, { program, builds }: AgentCode) {
    this.host = host;
    this.#program = program;
    this.#builds = builds;
    this.#next = new AgentProcess(program, host.namespacePath);
  }

  /** Orders something of the agent, which is started if none is at work. */
  async give(order: Order, outcomes: readonly string[]): Promise<void> {
    if (this.#agent === undefined) await this.#start();
    const answer = await this.#agent?.give(order);
    if (answer === undefined) throw new Broken(`The agent was killed during ${order.work}`);
    this.#last = answer;
    if (outcomes.includes(answer.outcome)) return;
    throw new Broken(`${order.work}: ${answer.outcome}, not ${outcomes.join(" or ")}${logOf(answer)}`);
  }

  /** Brings the host to one of the two policies. */
  async bringTo(name: "old" | "new"): Promise<void> {
    // A revision that was rolled back is not applied again: another one with the same policy is.
    if (name === "old") this.#newName = this.#newName === "new" ? "new-again" : "new";
    this.host.pointTo(name === "old" ? name : this.#newName);
    await this.give({ work: "reconcile" }, ["applied", "unchanged", "healed", "up-to-date"]);
  }

  /** Orders something that the agent does not survive. */
  async killDuring(order: Order): Promise<void> {
    if ((await this.#act(order, false)) !== undefined) throw new Broken("The agent lived on");
  }

  /** Kills the agent where nothing is under way. */
  async stop(): Promise<void> {
    await this.#agent?.kill();
    this.#agent = undefined;
  }

  async close(): Promise<void> {
    await this.stop();
    await this.#next.kill();
  }

  /** Goes through the kind's transaction without killing anybody. */
  async measure(kind: Kind): Promise<Undisturbed> {
    this.#most ??= await this.#warmUp();
    for (const step of ["begin", "finish"] as const) {
      await kind[step](this);
      await this.host.learnProbes();
    }
    await kind.begin(this);
    await this.stop();
    await this.#start();
    const restarted = await this.#look();
    await this.give({ work: "scan" }, ["quiet", "healed"]);
    const restOld = await this.host.rest();
    await kind.begin(this);
    const old = (await this.host.look()) ?? restarted;
    const answer = await this.#act(kind.order, kind.otherBuild === true);
    if (answer === undefined) throw new Broken("The agent died without having been killed");
    demandReserve(answer.points);
    await kind.finish(this);
    return { points: answer.points, old, new: await this.#look(), restOld, restNew: await this.host.rest() };
  }

  /**
   * Does for the first time what is not the same then: ids, the repository's store, a program that the agent loaded
   * itself. Gives the descriptors that an agent holds from then on, the most of each kind.
   */
  async #warmUp(): Promise<Answer["descriptors"]> {
    for (const name of ["old", "new", "old", "new", "old"] as const) await this.bringTo(name);
    await this.stop();
    await this.#start();
    const started = this.#descriptors();
    await this.bringTo("new");
    return mostOfEach([started, this.#descriptors()]);
  }

  /** Kills an agent at the given point of the kind's transaction, and demands what must be true then. */
  async killAt(kind: Kind, killAt: number, expected: Undisturbed): Promise<Death> {
    await kind.begin(this);
    const before = await this.host.look();
    if (before !== undefined) demandState("before", before, expected.old);
    const answer = await this.#act({ ...kind.order, killAt }, kind.otherBuild === true);
    if (answer !== undefined) return "not reached";
    const dead = await this.host.look();
    const committed = dead !== undefined && dead.generation !== (before?.generation ?? 0n);
    const state = committed ? expected.new : expected.old;
    if (dead !== undefined) demandState("after the kill", dead, state);

    await this.#start();
    const repaired = await this.#look();
    demandState("after the restart", repaired, state);
    demandNone("Entries that packets do not see, after the restart", repaired.leftovers);
    await this.#demandAudit(repaired);
    demandNoMore("after the restart", this.#descriptors(), this.#most);

    await this.give({ work: "scan" }, ["quiet", "healed"]);
    const scanned = committed || kind.scanFinishes === true;
    demandState("after a scan", await this.#look(), scanned ? expected.new : expected.old);
    demandRest("after a scan", await this.host.rest(), scanned ? expected.restNew : expected.restOld);

    await kind.finish(this);
    const done = await this.#look();
    demandState("in the end", done, expected.new);
    demandNone("Entries that packets do not see, in the end", done.leftovers);
    await this.#demandAudit(done);
    demandRest("in the end", await this.host.rest(), expected.restNew);
    demandNoMore("in the end", this.#descriptors(), this.#most);
    return committed ? "new" : "old";
  }

  /** The transaction itself; undefined if the process killed itself in it. */
  async #act(order: Order, otherBuild: boolean): Promise<Answer | undefined> {
    if (order.work === "open") {
      await this.stop();
      if (otherBuild) this.#build = (this.#build + 1) % this.#builds.length;
      this.#agent = this.#takeNext();
    } else if (this.#agent === undefined) await this.#start();
    const answer = await this.#agent?.give(this.#complete(order));
    if (answer === undefined) this.#agent = undefined;
    else this.#last = answer;
    return answer;
  }

  async #start(): Promise<void> {
    this.#agent = this.#takeNext();
    await this.give(this.#complete({ work: "open" }), ["open"]);
  }

  #takeNext(): AgentProcess {
    const taken = this.#next;
    this.#next = new AgentProcess(this.#program, this.host.namespacePath);
    return taken;
  }

  #complete(order: Order): Order {
    const build = this.#builds[this.#build];
    if (order.work !== "open" || build === undefined) return order;
    return { ...order, config: this.host.configPath, build };
  }

  async #look(): Promise<KernelState> {
    const state = await this.host.look();
    if (state === undefined) throw new Broken("Nothing is installed");
    return state;
  }

  #descriptors(): Answer["descriptors"] {
    return this.#last?.descriptors ?? {};
  }

  async #demandAudit(kernel: KernelState): Promise<void> {
    const { verification, applied } = await this.host.readAudit();
    if (!verification.ok)
      throw new Broken(`The audit log does not verify: ${JSON.stringify(verification.findings)}`);
    const [inForce] = kernel.applied.split(",");
    if (applied !== inForce)
      throw new Broken(`The audit log says that ${applied} is in force, the kernel says ${inForce}`);
  }
}

function demandState(when: string, found: KernelState, wanted: KernelState): void {
  if (found.applied !== wanted.applied)
    throw new Broken(`In force ${when}: ${found.applied}, and it must be ${wanted.applied}`);
  if (found.view !== wanted.view)
    throw new Broken(`What packets see ${when}:\n${differenceOf(found.view, wanted.view).join("\n")}`);
}

/** A commit whose record has no room could be in force without one. */
function demandReserve(points: readonly string[]): void {
  const [reserve, commit] = ["before reserve", "before commit"].map((name) => points.indexOf(name));
  if (commit !== undefined && commit >= 0 && (reserve === -1 || (reserve ?? 0) > commit))
    throw new Broken("The commit came before the audit log had made room for its record");
}

function demandNone(what: string, found: readonly string[]): void {
  if (found.length === 0) return;
  const shown = [...new Set(found)].map((line) => `\n  + ${line}`).join("");
  throw new Broken(`${what}, ${found.length} in all:${shown}`, found);
}

function demandRest(when: string, found: Rest, wanted: Rest): void {
  for (const part of ["pins", "kernel", "files"] as const)
    demandSame(`${part} ${when}`, found[part], wanted[part]);
}

function demandSame(what: string, found: object, wanted: object): void {
  const lines = differenceOf(JSON.stringify(found, null, 1), JSON.stringify(wanted, null, 1));
  if (lines.length > 0) throw new Broken(`${what}:\n${lines.join("\n")}`, lines);
}

function mostOfEach(all: readonly Answer["descriptors"][]): Record<string, number> {
  const most: Record<string, number> = {};
  for (const counts of all)
    for (const [what, count] of Object.entries(counts)) most[what] = Math.max(count, most[what] ?? 0);
  return most;
}

/** An agent may hold less than others did: a program that it loaded itself need not be opened from its pin. */
function demandNoMore(when: string, found: Answer["descriptors"], most: Answer["descriptors"] = {}): void {
  const lines = Object.entries(found)
    .filter(([what, count]) => count > (most[what] ?? 0))
    .map(([what, count]) => `  + ${what}: ${count}, not ${most[what] ?? 0}`);
  if (lines.length > 0) throw new Broken(`Descriptors ${when}:\n${lines.join("\n")}`, lines);
}

/** Lines that only one of both has: `+` too much, `-` missing; and that they stand in another order. */
function differenceOf(found: string, wanted: string): string[] {
  if (found === wanted) return [];
  const [foundLines, wantedLines] = [found.split("\n"), wanted.split("\n")];
  const lines = [
    ...foundLines.filter((line) => !wantedLines.includes(line)).map((line) => `  + ${line.trim()}`),
    ...wantedLines.filter((line) => !foundLines.includes(line)).map((line) => `  - ${line.trim()}`),
  ];
  return lines.length > 0 ? lines.slice(0, 20) : ["  the same lines, in another order or number"];
}

function logOf(answer: Answer): string {
  return answer.log.map((line) => `\n  log: ${line}`).join("");
}
