// The agent, from push to packet: follows a Git server, applies, refuses, puts drift right, streams events, and
// leaves its policy in force whether it is stopped, killed or started again.
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openPinnedMap } from "../../src/bpf/index.ts";
import { git, makeBareRepository, WorkTree } from "../fixtures/git-repository.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import {
  buildProgram,
  firewall,
  GitServerProcess,
  makeFolder,
  passTcp,
  type RunningAgent,
  TestHost,
} from "./cli-support.ts";

const secret = "correct-horse-battery-staple";

describeKernel("the agent", () => {
  let host: TestHost;
  let server: GitServerProcess;
  let tree: WorkTree;
  let bare = "";
  let config = "";
  let agent: RunningAgent;
  const said: RunningAgent[] = [];

  const policy = (...ports: number[]) => ({
    "policies/edge.yaml": firewall(...ports.map((port) => passTcp(`port-${port}`, port, "log: true, "))),
  });

  /** Commits and pushes; returns the commit. */
  const push = (files: Record<string, string | undefined>, subject: string): string => {
    const commit = tree.commit(files, subject);
    git(tree.path, ["push", "--quiet", bare, "main"]);
    return commit;
  };

  const applied = async () => (await host.json("status", "-c", config))["applied"];

  const start = async () => {
    const started = await host.startAgent("-c", config);
    agent = started.agent;
    said.push(agent);
    return started.ready;
  };

  beforeAll(async () => {
    buildProgram();
    host = new TestHost();
    bare = join(makeFolder(host, "served"), "policy.git");
    makeBareRepository(bare);
    tree = new WorkTree(makeFolder(host, "tree"));
    server = new GitServerProcess(host);
    await server.start({
      root: join(host.folder, "served"),
      auth: { username: "penstock", password: secret },
    });
    config = join(host.folder, "agent.yaml");
    writeFileSync(join(host.folder, "password"), `${secret}\n`, { mode: 0o600 });
    writeFileSync(
      config,
      [
        "source:",
        `  url: ${server.url}/policy.git`,
        "  username: penstock",
        `  passwordFile: ${join(host.folder, "password")}`,
        "node: { name: edge-1 }",
        'schedule: { poll: "* * * * * *", scan: "* * * * * *" }',
        "",
      ].join("\n"),
    );
  });

  test("is ready with what it has applied, and can be asked by its owner alone", async () => {
    const first = push(policy(22), "First");
    const ready = await start();
    expect(ready).toEqual({
      type: "ready",
      pid: agent.child.pid,
      socket: join(host.folder, "run", "agent.sock"),
      applied: `main@sha1:${first.slice(0, 12)}`,
      generation: 1,
      outcome: "applied",
      error: null,
    });
    expect(statSync(String(ready["socket"])).mode & 0o777).toBe(0o600);
    expect([host.reaches(22), host.reaches(23)]).toEqual([true, false]);
    const status = await host.json("status", "-c", config);
    expect(status).toMatchObject({
      host: "edge-1",
      applied: first,
      seen: first,
      agent: { pid: agent.child.pid },
    });
    expect(status["conditions"]).toContainEqual(expect.objectContaining({ type: "Ready", status: "True" }));
  });

  test("applies what is pushed, at its next poll", async () => {
    const second = push(policy(22, 80), "Web");
    await expect.poll(applied, { timeout: 10_000, interval: 200 }).toBe(second);
    expect(host.reaches(80)).toBe(true);
    const { out } = await host.run("history", "-n", "1", "-c", config);
    expect(out).toMatch(new RegExp(`applied {2}main@sha1:${second.slice(0, 12)} {2}Web\n$`));
    const { records } = (await host.json("audit", "list", "-n", "1", "-c", config)) as unknown as {
      readonly records: readonly unknown[];
    };
    expect(records).toMatchObject([
      { outcome: "applied", trigger: "poll", host: "edge-1", revision: { commit: second } },
    ]);
  });

  test("is alone: who else wants to work is told so", async () => {
    for (const words of [["agent"], ["detach", "--yes"]]) {
      const { code, err } = await host.run(...words, "-c", config);
      expect(code).toBe(1);
      expect(err).toContain(`process ${agent.child.pid} holds it`);
    }
    const other = await host.run("apply", "-c", config, "--repo", "https://other.example.org/x.git");
    expect(other).toMatchObject({
      code: 1,
      err: expect.stringContaining("Cannot apply this: an agent runs"),
    });
  });

  test("refuses wrong policy once, keeps what is in force, and tries again when asked", async () => {
    const before = await applied();
    const bad = push({ "policies/edge.yaml": firewall("{ name: ssh, action: pas }") }, "Break it");
    await expect
      .poll(async () => (await host.json("status", "-c", config))["seen"], { timeout: 10_000 })
      .toBe(bad);
    const plan = await host.run("plan", "-c", config);
    expect(plan).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^policies\/edge\.yaml:9:28 error not-allowed /),
    });
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    const outcomes = async () => {
      const { records } = (await host.json("audit", "list", "-c", config)) as unknown as {
        readonly records: readonly {
          readonly outcome: string;
          readonly revision: { readonly commit: string } | null;
        }[];
      };
      return records.filter(({ revision }) => revision?.commit === bad).map(({ outcome }) => outcome);
    };
    expect(await outcomes()).toEqual(["refused"]);
    const again = await host.run("reconcile", "-c", config);
    expect(again).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringContaining("the policy has 1 error, and nothing was changed"),
    });
    expect(await outcomes()).toEqual(["refused", "refused"]);
    expect(await applied()).toBe(before);
  });

  test("applies at once when asked, by command or by signal", async () => {
    const third = push(policy(22, 80, 443), "Secure web");
    const { code, out } = await host.run("reconcile", "-c", config);
    expect(code).toBe(0);
    expect(out).toMatch(/^(Applied|Up to date)|\+ rule edge\/port-443/);
    expect(await applied()).toBe(third);
    const fourth = push(policy(22, 80, 443, 8080), "More web");
    agent.child.kill("SIGHUP");
    await expect.poll(applied, { timeout: 10_000 }).toBe(fourth);
  });

  test("goes back when told, and stays there", async () => {
    const back = await host.run("rollback", "-c", config);
    expect(back).toMatchObject({ code: 0, out: expect.stringContaining("Rolled back to main@sha1:") });
    expect(host.reaches(8080)).toBe(false);
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    const status = await host.json("status", "-c", config);
    expect(status["held"]).toBe(status["seen"]);
    const forward = push(policy(22, 80), "Forward");
    await expect.poll(applied, { timeout: 10_000 }).toBe(forward);
    expect((await host.json("status", "-c", config))["held"]).toBeNull();
  });

  test("puts drift right by itself, and records it", async () => {
    const map = openPinnedMap(`${host.pins}/maps/interfaces`, "interfaces");
    const { keys } = await (map?.readAll() ?? Promise.reject(new Error("the map is not pinned")));
    expect(map?.remove(keys)).toBe(true);
    map?.close();
    await expect.poll(() => host.reaches(23), { timeout: 10_000 }).toBe(false);
    const { out } = await host.run("audit", "list", "-n", "2", "-c", config);
    expect(out).toMatch(/^ *\d+ {2}\S+ \S+ {2}healed +schedule .*\n *\d+ {2}\S+ \S+ {2}drift +schedule /);
    expect((await host.run("drift", "-c", config)).code).toBe(0);
  });

  describe("events", () => {
    test("go to everybody who follows, and are kept for who asks later", async () => {
      const followers = [
        host.start("events", "-f", "-n", "0"),
        host.start("events", "-f", "-n", "0", "-o", "json"),
      ];
      // Both have asked once the agent has answered them; a packet more or less shows that.
      const [text, json] = await Promise.all(
        followers.map(async (follower) => {
          const knock = setInterval(() => host.reaches(22), 1_000);
          try {
            return await follower.line();
          } finally {
            clearInterval(knock);
          }
        }),
      );
      expect(text).toMatch(
        / pass +eth0 +tcp +192\.0\.2\.7:\d+ -> 192\.0\.2\.1:22 +edge\/port-22 \(rule-pass\)$/,
      );
      expect(JSON.parse(json ?? "")).toMatchObject({ rule: "edge/port-22", source: "192.0.2.7" });
      for (const follower of followers) expect(await follower.stop("SIGINT")).toBe(0);
      const kept = await host.run("events", "-n", "2", "-o", "json");
      expect(
        kept.out
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line).rule),
      ).toEqual(["edge/port-22", "edge/port-22"]);
    });

    test("end for a follower when the agent ends", async () => {
      const follower = host.start("events", "-f", "-n", "1");
      await follower.line();
      expect(await agent.stop()).toBe(0);
      expect(await follower.stop("SIGCONT")).toBe(0);
      await start();
    });
  });

  test("explains and counts through the socket", async () => {
    const words = [
      "-i",
      "eth0",
      "-p",
      "tcp",
      "-s",
      "192.0.2.7",
      "-d",
      "192.0.2.1",
      "--destination-port",
      "80",
    ];
    const { out } = await host.run("explain", ...words);
    expect(out).toContain("Decided by edge/port-80  policies/edge.yaml:10");
    expect((await host.run("counters")).out).toMatch(/^Rule +packets +bytes\nedge\//);
  });

  test("answers while the Git server does not, and goes on when it does again", async () => {
    await server.setFault({ kind: "hang" });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const asked = Date.now();
    expect((await host.run("status", "-c", config)).code).toBe(0);
    expect(Date.now() - asked).toBeLessThan(5_000);
    await server.setFault();
    const next = push(policy(22), "After the silence");
    await expect.poll(applied, { timeout: 40_000, interval: 500 }).toBe(next);
  });

  test("stops at once though the Git server hangs, and leaves its policy in force", async () => {
    await server.setFault({ kind: "hang" });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const asked = Date.now();
    expect(await agent.stop("SIGTERM")).toBe(0);
    expect(Date.now() - asked).toBeLessThan(5_000);
    await server.setFault();
    expect(existsSync(join(host.folder, "run", "agent.sock"))).toBe(false);
    expect([host.reaches(22), host.reaches(23)]).toEqual([true, false]);
    expect((await host.run("audit", "verify", "-c", config)).code).toBe(0);
  });

  test("starts without its Git server, keeps what is in force, and says what is wrong", async () => {
    await server.setFault({ kind: "status", status: 503 });
    const ready = await start();
    expect(ready).toMatchObject({
      outcome: "failed",
      applied: expect.stringMatching(/^main@sha1:/),
      error: expect.any(String),
    });
    const status = await host.json("status", "-c", config);
    expect(status["conditions"]).toContainEqual(
      expect.objectContaining({ type: "SourceReady", status: "False" }),
    );
    await server.setFault();
    const next = push(policy(22, 25), "Mail");
    await expect.poll(applied, { timeout: 20_000, interval: 500 }).toBe(next);
  });

  test("can be killed at any time: packets see no difference, and the next one takes over", async () => {
    expect(await agent.stop("SIGKILL")).toBeNull();
    expect([host.reaches(22), host.reaches(23)]).toEqual([true, false]);
    expect(existsSync(join(host.folder, "run", "agent.sock"))).toBe(true);
    const alone = await host.json("status", "-c", config);
    expect(alone).toMatchObject({ agent: null, installed: true });
    const none = await host.run("reconcile", "-c", config);
    expect(none).toMatchObject({
      code: 1,
      err: expect.stringContaining("Cannot ask the agent: none listens on "),
    });
    const ready = await start();
    expect(ready).toMatchObject({ outcome: "up-to-date", generation: alone["generation"] });
    expect((await host.run("drift", "-c", config)).code).toBe(0);
  });

  test("leaves events to a command that reads them already, and takes them over when that ends", async () => {
    expect(await agent.stop()).toBe(0);
    const follower = host.start("events", "-f", "-n", "0");
    await expect
      .poll(() => readFileSync(join(host.folder, "run", "events.lock"), "utf8"), { timeout: 10_000 })
      .toBe(`${follower.child.pid}\n`);
    await start();
    const taken = await host.run("events");
    expect(taken).toMatchObject({ code: 1, err: expect.stringContaining("another process reads them") });
    expect(await follower.stop("SIGINT")).toBe(0);
    await expect.poll(async () => (await host.run("events")).code, { timeout: 15_000 }).toBe(0);
  });

  test("logs JSON lines, and never a secret", async () => {
    expect(await agent.stop("SIGINT")).toBe(0);
    const log = said.map(({ err }) => err).join("");
    for (const line of log.trim().split("\n")) {
      expect(JSON.parse(line)).toMatchObject({
        level: expect.any(Number),
        host: "edge-1",
        msg: expect.any(String),
      });
    }
    const records = readFileSync(join(host.folder, "state", "audit", "audit.jsonl"), "utf8");
    writeFileSync(join(host.folder, "password"), "wrong-password-here\n");
    const refused = await host.run("plan", "-c", config);
    expect(refused).toMatchObject({
      code: 1,
      err: expect.stringContaining("the server refuses access (HTTP 401)"),
    });
    const everything = [log, records, refused.err, ...said.map(({ out }) => out)].join("\n");
    for (const word of [
      secret,
      "wrong-password-here",
      Buffer.from(`penstock:${secret}`).toString("base64"),
    ]) {
      expect(everything).not.toContain(word);
    }
  });
});
