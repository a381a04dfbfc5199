// What the demo runs in: a client and a server namespace joined by veth, a bare repository served over HTTP on the
// server's loopback, two TCP services there, and an agent. Everything has this process's id in its name.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

export const clientAddress = "10.77.0.1";
export const serverAddress = "10.77.0.2";
export const serverInterface = "wan0";

const root = new URL("../../", import.meta.url).pathname;
const cli = join(root, "dist/cli/main.js");

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class DemoWorld {
  readonly #id = `pk-${process.pid}-demo`;
  readonly #client = `${this.#id}-client`;
  readonly #server = `${this.#id}-server`;
  readonly #pins = `/sys/fs/bpf/${this.#id}`;
  #folder = "";
  #children: ChildProcess[] = [];
  #agent: ChildProcess | undefined;
  repositoryUrl = "";

  async build(): Promise<void> {
    this.#folder = mkdtempSync(join(tmpdir(), "penstock-demo-"));
    for (const name of [this.#client, this.#server]) run("ip", ["netns", "add", name]);
    run("ip", [
      "-n",
      this.#client,
      "link",
      "add",
      "lan0",
      "type",
      "veth",
      "peer",
      "name",
      serverInterface,
      "netns",
      this.#server,
    ]);
    run("ip", ["-n", this.#client, "address", "add", `${clientAddress}/24`, "dev", "lan0"]);
    run("ip", ["-n", this.#server, "address", "add", `${serverAddress}/24`, "dev", serverInterface]);
    for (const [name, link] of [
      [this.#client, "lan0"],
      [this.#server, serverInterface],
      [this.#client, "lo"],
      [this.#server, "lo"],
    ] as const) {
      run("ip", ["-n", name, "link", "set", link, "up"]);
    }
    run("git", ["init", "--quiet", "--bare", "--initial-branch=main", join(this.#folder, "git/policy.git")]);
    run("git", ["-C", join(this.#folder, "git/policy.git"), "config", "http.receivepack", "true"]);
    const url = await this.#start("git-server", [
      process.execPath,
      "--import",
      "tsx",
      "test/fixtures/git-server.ts",
      "--root",
      join(this.#folder, "git"),
    ]);
    this.repositoryUrl = `${url}/policy.git`;
    run("git", ["init", "--quiet", "--initial-branch=main", this.work]);
    this.git("remote", "add", "origin", this.repositoryUrl);
    // In the work tree's own configuration, so that whoever looks around can commit and push there too.
    this.git("config", "user.name", "Dana Reviewer");
    this.git("config", "user.email", "dana@example.org");
    await this.#start("services", [process.execPath, "-e", services]);
    writeFileSync(this.config, this.#configuration());
  }

  /** The work tree that policy is edited in. */
  get work(): string {
    return join(this.#folder, "work");
  }

  get config(): string {
    return join(this.#folder, "agent.yaml");
  }

  get pinDirectory(): string {
    return this.#pins;
  }

  /** Writes a file of the work tree. */
  write(path: string, content: string): void {
    mkdirSync(dirname(join(this.work, path)), { recursive: true });
    writeFileSync(join(this.work, path), content);
  }

  /** Commits everything and pushes it; returns the commit's id. */
  push(subject: string): string {
    this.git("add", "--all");
    this.git("commit", "--quiet", "--message", subject);
    this.git("push", "--quiet", "--set-upstream", "origin", "main");
    return this.git("rev-parse", "HEAD").trim();
  }

  git(...words: string[]): string {
    return inNamespace(this.#server, ["git", "-C", this.work, ...words]).stdout;
  }

  /** Runs the command line in the server's namespace, whatever its exit code. */
  penstock(...words: string[]): CommandResult {
    return inNamespace(
      this.#server,
      [process.execPath, cli, ...words, "--config", this.config],
      [0, 1, 2, 3],
    );
  }

  /** Any other program in the server's namespace. */
  server(...words: string[]): CommandResult {
    return inNamespace(this.#server, words);
  }

  /** Whether the client can open a TCP connection to a port of the server, within a second. */
  connects(port: number): boolean {
    const script = `exec 3<>/dev/tcp/${serverAddress}/${port} && read -r -t 1 line <&3 && test "$line" = "port ${port}"`;
    return inNamespace(this.#client, ["timeout", "1", "bash", "-c", script], [0, 1, 124]).status === 0;
  }

  /** Starts the agent; returns when it says that it is ready. */
  async startAgent(): Promise<void> {
    const log = openSync(join(this.#folder, "agent.log"), "a");
    const command = [
      `--net=/run/netns/${this.#server}`,
      process.execPath,
      cli,
      "agent",
      "--config",
      this.config,
    ];
    const agent = spawn("nsenter", command, { cwd: root, stdio: ["ignore", "pipe", log] });
    closeSync(log);
    this.#agent = agent;
    await firstLine(agent, "the agent");
  }

  killAgent(): void {
    this.#agent?.kill("SIGKILL");
  }

  agentLogTail(): string {
    const path = join(this.#folder, "agent.log");
    if (this.#folder === "" || !existsSync(path)) return "";
    return `The agent's log ends with:\n${readFileSync(path, "utf8").split("\n").slice(-15).join("\n")}`;
  }

  /** Ends what was started and removes what was made; every part is tried, whatever fails. */
  remove(): void {
    this.#agent?.kill("SIGKILL");
    for (const child of this.#children) child.kill("SIGKILL");
    if (this.#folder !== "" && existsSync(`/run/netns/${this.#server}`)) {
      inNamespace(this.#server, [process.execPath, cli, "detach", "--yes", "--config", this.config], [0, 1]);
    }
    for (const name of [this.#client, this.#server])
      spawnSync("ip", ["netns", "delete", name], { stdio: "ignore" });
    rmSync(this.#pins, { recursive: true, force: true });
    if (this.#folder !== "") rmSync(this.#folder, { recursive: true, force: true });
  }

  howToLookAround(): string {
    const prefix = `nsenter --net=/run/netns/${this.#server}`;
    return [
      "\nEverything is left running. To look around:",
      `  ${prefix} node ${cli} status --config ${this.config}`,
      `  ${prefix} node ${cli} counters --config ${this.config}`,
      `  edit ${this.work}/policies/edge.yaml, then: ${prefix} git -C ${this.work} commit -a -m change && ${prefix} git -C ${this.work} push`,
      `  nsenter --net=/run/netns/${this.#client} bash -c '</dev/tcp/${serverAddress}/8080'`,
      "To remove it:",
      `  kill ${[this.#agent, ...this.#children].map((child) => child?.pid).join(" ")}`,
      `  ${prefix} node ${cli} detach --yes --config ${this.config}`,
      `  ip netns delete ${this.#client}; ip netns delete ${this.#server}; rm -r ${this.#folder}`,
    ].join("\n");
  }

  #configuration(): string {
    return [
      "source:",
      `  url: ${this.repositoryUrl}`,
      "  ref: main",
      "  path: policies",
      "node: { name: demo }",
      'schedule: { poll: "* * * * * *", scan: "*/4 * * * * *" }',
      `stateDirectory: ${join(this.#folder, "state")}`,
      `runDirectory: ${join(this.#folder, "run")}`,
      `pinDirectory: ${this.#pins}`,
      "",
    ].join("\n");
  }

  async #start(name: string, command: readonly string[]): Promise<string> {
    const child = spawn("nsenter", [`--net=/run/netns/${this.#server}`, ...command], {
      cwd: root,
      stdio: ["ignore", "pipe", "inherit"],
      detached: false,
    });
    this.#children.push(child);
    return firstLine(child, name);
  }
}

const readyMs = 20_000;

/** Two services that say which port they are. */
const services = `
const net = require("node:net");
let left = 2;
for (const port of [8080, 9000]) {
  net.createServer((socket) => socket.on("error", () => {}).end("port " + port + "\\n"))
    .listen(port, "0.0.0.0", () => --left === 0 && console.log("ready"));
}
`;

function firstLine(child: ChildProcess, name: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const late = () => reject(new Error(`${name} was not ready within ${readyMs / 1000} s`));
    const timer = setTimeout(late, readyMs);
    timer.unref();
    child.stdout?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      const end = text.indexOf("\n");
      if (end >= 0) resolve(text.slice(0, end).trim());
    });
    child.once("exit", (code) =>
      reject(new Error(`${name} ended with exit code ${code} before it was ready`)),
    );
    child.once("error", reject);
  });
}

function inNamespace(
  namespace: string,
  command: readonly string[],
  allowed: readonly number[] = [0],
): CommandResult {
  return run("nsenter", [`--net=/run/netns/${namespace}`, ...command], allowed);
}

function run(command: string, args: readonly string[], allowed: readonly number[] = [0]): CommandResult {
  const limits = { timeout: 30_000, maxBuffer: 256 * 1024 * 1024 };
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    cwd: root,
    ...limits,
  });
  if (error !== undefined) throw error;
  if (status === null || !allowed.includes(status)) {
    throw new Error(`${command} ${args.join(" ")} ended with ${status}:\n${stdout}${stderr}`);
  }
  return { status, stdout, stderr };
}
