// What end-to-end tests of the command line share: a host (a network namespace with an uplink to a peer), its
// directories, the built program, and a policy repository behind a real Git server.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { unpinAll } from "../../src/bpf/index.ts";
import type { GitServerFault, GitServerOptions, GitServerStage } from "../fixtures/git-server.ts";
import { makeNamespace, type TestNamespace } from "../fixtures/network-namespace.ts";
import type { GitServerOrder } from "./cli-git-server.ts";

const main = join(process.cwd(), "dist", "cli", "main.js");

/** Builds the program if a source is newer than it. */
export function buildProgram(): void {
  const builtMs = existsSync(main) ? statSync(main).mtimeMs : 0;
  const sources = readdirSync("src", { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".ts"),
  );
  if (!sources.some((name) => statSync(join("src", name)).mtimeMs > builtMs)) return;
  const { stdout } = spawnSync("node_modules/.bin/tsc", ["-p", "tsconfig.build.json"], { encoding: "utf8" });
  if (!existsSync(main)) throw new Error(`the program was not built: ${stdout}`);
}

export interface CliResult {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

let hosts = 0;
const leavings: (() => unknown)[] = [];

// Registered when the test file is loaded: a hook that is registered inside another one is never run.
afterAll(async () => {
  for (const remove of leavings) await remove();
});

/** A host: everything that one agent has of its own. Removed after the tests of the file. */
export class TestHost {
  readonly namespace: TestNamespace;
  readonly peer: TestNamespace;
  readonly folder: string;
  readonly pins: string;
  readonly #agents: RunningAgent[] = [];

  constructor() {
    // The folder's name is short: a socket's path has to fit into 107 bytes.
    this.folder = mkdtempSync(join(tmpdir(), "pk-"));
    this.pins = `/sys/fs/bpf/penstock-test-${process.pid}-${hosts++}`;
    this.namespace = makeNamespace();
    this.peer = makeNamespace();
    const { namespace, peer } = this;
    namespace.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far", "netns", peer.name);
    namespace.run("ip", "address", "add", "192.0.2.1/24", "dev", "eth0");
    peer.run("ip", "address", "add", "192.0.2.7/24", "dev", "far");
    namespace.run("ip", "link", "set", "eth0", "up");
    peer.run("ip", "link", "set", "far", "up");
    leavings.push(() => this.#remove());
  }

  get directories(): string[] {
    return [
      "--run-dir",
      join(this.folder, "run"),
      "--state-dir",
      join(this.folder, "state"),
      "--pin-dir",
      this.pins,
    ];
  }

  /** Runs the program on this host to its end. */
  run(...words: string[]): Promise<CliResult> {
    return this.runWith({}, ...words);
  }

  runWith(env: Readonly<Record<string, string>>, ...words: string[]): Promise<CliResult> {
    const child = this.#spawn([...words, ...this.directories], env);
    return collect(child);
  }

  /** The same without the host's directories, for commands that take none. */
  runBare(...words: string[]): Promise<CliResult> {
    return collect(this.#spawn(words, {}));
  }

  /** Starts something that goes on, and waits for nothing. */
  start(...words: string[]): RunningAgent {
    const agent = new RunningAgent(this.#spawn([...words, ...this.directories], {}));
    this.#agents.push(agent);
    return agent;
  }

  /** Starts an agent and waits for its one line; returns it with the line. */
  async startAgent(
    ...words: string[]
  ): Promise<{ readonly agent: RunningAgent; readonly ready: Record<string, unknown> }> {
    const agent = this.start("agent", "-o", "json", ...words);
    const line = await agent.line();
    return { agent, ready: JSON.parse(line) };
  }

  /** JSON of a command that must succeed. */
  async json(...words: string[]): Promise<Record<string, unknown> & { readonly [key: string]: never }> {
    const { code, out, err } = await this.run(...words, "-o", "json");
    if (code !== 0) throw new Error(`penstock ${words.join(" ")} exited with ${code}: ${err}`);
    return JSON.parse(out);
  }

  /** True if a TCP connection from the peer is answered, be it with a refusal: the packet came through. */
  reaches(port: number): boolean {
    const script = `timeout 0.5 bash -c '</dev/tcp/192.0.2.1/${port}' 2>&1; echo "rc=$?"`;
    const { stdout } = spawnSync("nsenter", [`--net=/run/netns/${this.peer.name}`, "bash", "-c", script], {
      encoding: "utf8",
    });
    return !stdout.includes("rc=124");
  }

  #spawn(words: readonly string[], env: Readonly<Record<string, string>>): ChildProcess {
    const path = `/run/netns/${this.namespace.name}`;
    return spawn("nsenter", [`--net=${path}`, "--", process.execPath, main, ...words], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
  }

  async #remove(): Promise<void> {
    for (const agent of this.#agents) await agent.stop("SIGKILL");
    unpinAll(this.pins);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class RunningAgent {
  readonly child: ChildProcess;
  out = "";
  err = "";
  readonly #ended: Promise<number | null>;

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on("data", (piece: Buffer) => {
      this.out += piece;
    });
    child.stderr?.on("data", (piece: Buffer) => {
      this.err += piece;
    });
    this.#ended = new Promise((resolve) => child.once("close", (code) => resolve(code)));
  }

  /** The first line on stdout. */
  async line(): Promise<string> {
    const deadline = Date.now() + 30_000;
    while (!this.out.includes("\n")) {
      if (Date.now() > deadline || this.child.exitCode !== null) {
        throw new Error(`no line on stdout; stderr: ${this.err}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return this.out.slice(0, this.out.indexOf("\n"));
  }

  /** Sends a signal and waits for the end; returns the exit code, null if a signal ended it. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    this.child.kill(signal);
    return this.#ended;
  }
}

function collect(child: ChildProcess): Promise<CliResult> {
  const running = new RunningAgent(child);
  return new Promise((resolve) => {
    child.once("close", (code) => resolve({ code, out: running.out, err: running.err }));
  });
}

/** A Firewall document on eth0 whose rules are given in flow style. */
export function firewall(...rules: string[]): string {
  return [
    "apiVersion: penstock/v1",
    "kind: Firewall",
    "metadata: { name: edge }",
    "spec:",
    "  interfaces: [eth0]",
    "  default: drop",
    "  nonIp: pass",
    "  rules:",
    ...rules.map((rule) => `    - ${rule}`),
    "",
  ].join("\n");
}

/** A rule that passes TCP to a port. */
export function passTcp(name: string, port: number, more = ""): string {
  return `{ name: ${name}, action: pass, ${more}match: { protocol: tcp, destinationPorts: [${port}] } }`;
}

/** Makes a folder below a host's. */
export function makeFolder(host: TestHost, name: string): string {
  const path = join(host.folder, name);
  mkdirSync(path, { recursive: true });
  return path;
}

/** A Git server in a host's namespace, on its loopback interface. */
export class GitServerProcess {
  readonly #child: ChildProcess;
  url = "";

  constructor(host: TestHost) {
    const script = [process.execPath, "--import", "tsx", "test/e2e/cli-git-server.ts"];
    this.#child = spawn("nsenter", [`--net=/run/netns/${host.namespace.name}`, "--", ...script], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    leavings.push(() => {
      this.#child.kill("SIGKILL");
    });
  }

  /** Serves the bare repositories below a folder. */
  async start(options: GitServerOptions): Promise<void> {
    this.url = await this.#order({ kind: "start", options });
  }

  /** Misbehaves from the next request on, or no more. */
  async setFault(fault?: GitServerFault, stage?: GitServerStage): Promise<void> {
    await this.#order({ kind: "fault", fault, stage });
  }

  #order(order: GitServerOrder): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#child.once("message", (answer) => resolve(String(answer)));
      this.#child.once("exit", () => reject(new Error("the Git server has ended")));
      this.#child.send(order);
    });
  }
}
