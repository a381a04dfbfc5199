// The command line without an agent: plans, applies, looks, finds drift, goes back, and takes everything out again,
// on a real kernel with a repository on this machine.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type BpfMap, openPinnedMap } from "../../src/bpf/index.ts";
import { WorkTree } from "../fixtures/git-repository.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { buildProgram, firewall, makeFolder, passTcp, TestHost } from "./cli-support.ts";

describeKernel("the command line alone", () => {
  let host: TestHost;
  let tree: WorkTree;
  let repo: string[] = [];
  let first = "";
  let second = "";

  beforeAll(() => {
    buildProgram();
    host = new TestHost();
    tree = new WorkTree(makeFolder(host, "repo"));
    repo = ["--repo", tree.path];
    first = tree.commit({ "policies/edge.yaml": firewall(passTcp("ssh", 22, "log: true, ")) }, "Let SSH in");
  });

  test("says so where nothing is installed", async () => {
    const status = await host.run("status");
    expect(status).toMatchObject({ code: 0, err: "" });
    expect(status.out).toContain("nothing is installed; packets pass unjudged");
    for (const words of [["drift"], ["counters"], ["events"]]) {
      const { code, err } = await host.run(...words);
      expect(code).toBe(1);
      expect(err).toContain(`Cannot read the datapath: nothing is installed in ${host.pins}`);
    }
    expect(existsSync(host.pins)).toBe(false);
  });

  test("needs to know the repository", async () => {
    const { code, err } = await host.run("apply");
    expect(code).toBe(1);
    expect(err).toContain("Cannot find the policy: no repository is configured");
  });

  test("plans against an empty kernel and changes nothing", async () => {
    const { code, out } = await host.run("plan", ...repo);
    expect(code).toBe(0);
    expect(out).toContain("Against   an empty kernel: nothing is installed here");
    expect(out).toMatch(/\+ rule edge\/ssh +policies\/edge\.yaml:9\n +pass tcp to port 22 /);
    expect(out).toMatch(/Programs\n {2}\+ xdp_firewall on eth0/);
    expect((await host.run("plan", ...repo, "--detailed-exitcode")).code).toBe(2);
    expect(existsSync(host.pins)).toBe(false);
    expect(existsSync(join(host.folder, "state"))).toBe(false);
  });

  test("applies, and the policy is in force without any process", async () => {
    expect([host.reaches(22), host.reaches(23)]).toEqual([true, true]);
    const { code, out } = await host.run("apply", ...repo);
    expect(code).toBe(0);
    expect(out).toContain(`Applied main@sha1:${first.slice(0, 12)} "Let SSH in" by Ada Author`);
    expect(out).toContain("generation 0 -> 1");
    expect([host.reaches(22), host.reaches(23)]).toEqual([true, false]);
  });

  test("has nothing to do the second time", async () => {
    const { code, out } = await host.run("apply", ...repo);
    expect(code).toBe(0);
    expect(out).toMatch(/^Up to date\./);
    const plan = await host.run("plan", ...repo, "--detailed-exitcode");
    expect(plan.code).toBe(0);
    expect(plan.out).toContain("No changes. The kernel holds what the policy says.");
  });

  test("shows what is in force, and what came of it", async () => {
    const status = await host.json("status");
    expect(status).toMatchObject({ agent: null, installed: true, applied: first, generation: 1 });
    expect(status["attached"]).toEqual([{ program: "xdp_firewall", interface: "eth0", mode: "native" }]);
    const counters = await host.json("counters");
    expect(counters["rules"]).toContainEqual(
      expect.objectContaining({ name: "edge/ssh", packets: expect.any(Number) }),
    );
    expect(counters["reasons"]).toContainEqual(expect.objectContaining({ name: "default-drop" }));
    const { out } = await host.run("history");
    expect(out).toMatch(
      new RegExp(`^\\S+ \\S+Z {2}applied {2}main@sha1:${first.slice(0, 12)} {2}Let SSH in\n$`),
    );
  });

  test("reads packet events once, and only one reader at a time", async () => {
    const { out } = await host.run("events", "-o", "json");
    const events = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events.at(-1)).toMatchObject({
      verdict: "pass",
      interface: "eth0",
      protocol: "tcp",
      source: "192.0.2.7",
      destination: "192.0.2.1",
      destinationPort: 22,
      rule: "edge/ssh",
      reason: "rule-pass",
      generation: 1,
    });
    expect(Math.abs(Date.parse(events.at(-1).time) - Date.now())).toBeLessThan(60_000);
    expect((await host.run("events")).out).toBe("");
    const follower = host.start("events", "--follow", "-n", "0");
    await expect.poll(() => existsSync(join(host.folder, "run", "events.lock"))).toBe(true);
    await expect
      .poll(async () => (await host.run("events")).err, { timeout: 10_000 })
      .toContain(`process ${follower.child.pid} holds it`);
    host.reaches(22);
    expect(await follower.line()).toMatch(
      / pass +eth0 +tcp +192\.0\.2\.7:\d+ -> 192\.0\.2\.1:22 +edge\/ssh \(rule-pass\)$/,
    );
    expect(await follower.stop("SIGINT")).toBe(0);
  });

  test("explains a packet under the policy in force", async () => {
    const packet = ["-i", "eth0", "-p", "tcp", "-s", "192.0.2.7", "-d", "192.0.2.1", "--destination-port"];
    const { code, out } = await host.run("explain", ...packet, "22");
    expect(code).toBe(0);
    expect(out).toContain("Verdict  PASS, by a rule (rule-pass)");
    expect(out).toContain("Decided by edge/ssh  policies/edge.yaml:9");
    expect((await host.run("explain", ...packet, "23")).out).toContain("Verdict  DROP, by the default");
    const other = await host.run("explain", "-i", "eth5", ...packet.slice(2), "22");
    expect(other).toMatchObject({ code: 1, err: expect.stringContaining("this host has no interface eth5") });
  });

  describe("drift", () => {
    const key = (index: number) => {
      const bytes = new Uint8Array(4);
      new DataView(bytes.buffer).setUint32(0, index, true);
      return bytes;
    };
    let interfaces: BpfMap;
    let index = 0;

    beforeAll(() => {
      const map = openPinnedMap(`${host.pins}/maps/interfaces`, "interfaces");
      if (map === undefined) throw new Error("the map is not pinned");
      interfaces = map;
      index = Number(host.namespace.run("cat", "/sys/class/net/eth0/ifindex").trim() || 0);
    });

    test("of nothing exits with 0", async () => {
      expect(await host.run("drift")).toMatchObject({ code: 0, out: expect.stringMatching(/^No drift\./) });
    });

    test("is found, told apart from changes, and put right by applying", async () => {
      // The namespace's own index: /sys shows the namespace of whoever mounted it.
      index = Number(/^(\d+):/.exec(host.namespace.run("ip", "-o", "link", "show", "eth0"))?.[1]);
      // Processors that have met the entry at this generation remember it, the others let everything through.
      expect(interfaces.remove(key(index))).toBe(true);
      const { code, out } = await host.run("drift");
      expect(code).toBe(3);
      expect(out).toContain(`Drift: the kernel departs from main@sha1:${first.slice(0, 12)} in 1 place.`);
      expect(out).toContain("- interface eth0 is missing");
      const plan = await host.run("plan", ...repo, "--detailed-exitcode");
      expect(plan.code).toBe(3);
      expect(plan.out).toContain("No changes. The policy is the applied one; only drift is to be put right.");
      const applied = await host.run("apply", ...repo);
      expect(applied.out).toContain("Put drift right; in force is main@sha1:");
      expect(host.reaches(23)).toBe(false);
      expect((await host.run("drift")).code).toBe(0);
    });

    test("of a program that was taken away is found too", async () => {
      const link = execFileSync("bpftool", [
        "-j",
        "link",
        "show",
        "pinned",
        `${host.pins}/links/xdp_firewall-${index}`,
      ]);
      execFileSync("bpftool", ["link", "detach", "id", String(JSON.parse(link.toString()).id)]);
      const { code, out } = await host.run("drift");
      expect({ code, out }).toMatchObject({
        code: 3,
        out: expect.stringContaining("xdp_firewall is not attached to eth0"),
      });
      expect((await host.run("apply", ...repo)).code).toBe(0);
      expect((await host.run("drift")).code).toBe(0);
    });
  });

  test("refuses wrong policy with its findings, and changes nothing", async () => {
    const bad = tree.commit({ "policies/edge.yaml": firewall("{ name: ssh, action: pas }") }, "Break it");
    const { code, out, err } = await host.run("apply", ...repo);
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err).toMatch(/^policies\/edge\.yaml:9:28 error not-allowed .*\n/);
    expect(err).toContain(
      `Error: Cannot apply main@sha1:${bad.slice(0, 12)}: the policy has 1 error, and nothing was changed\n  `,
    );
    const json = await host.run("plan", ...repo, "-o", "json");
    expect(json.code).toBe(1);
    expect(JSON.parse(json.err).error).toMatchObject({
      code: "invalid-policy",
      data: { findings: [expect.any(String)] },
    });
    expect((await host.json("status"))["applied"]).toBe(first);
    expect([host.reaches(22), host.reaches(23)]).toEqual([true, false]);
  });

  test("plans a branch and a folder without touching what the agent knows", async () => {
    tree.git("checkout", "--quiet", "-b", "trial", first);
    tree.commit(
      { "policies/edge.yaml": firewall(passTcp("ssh", 22, "log: true, "), passTcp("web", 80)) },
      "Web too",
    );
    tree.git("checkout", "--quiet", "main");
    const identity = join(host.folder, "state", "repository.git", "penstock-source.json");
    const before = readFileSync(identity, "utf8");
    const branch = await host.run("plan", ...repo, "--ref", "trial", "--detailed-exitcode");
    expect(branch.code).toBe(2);
    expect(branch.out).toMatch(/\+ rule edge\/web [\s\S]*Plan: 1 to add, 0 to change, 0 to remove\.\n$/);
    const folder = makeFolder(host, "draft");
    writeFileSync(join(folder, "edge.yaml"), firewall(passTcp("ssh", 2222, "log: true, ")));
    const draft = await host.run("plan", "--dir", folder);
    expect(draft.out).toMatch(/Revision {2}.*draft \(working tree\)/);
    expect(draft.out).toMatch(/~ rule edge\/ssh .*\n +- pass tcp to port 22 .*\n +\+ pass tcp to port 2222 /);
    expect(readFileSync(identity, "utf8")).toBe(before);
  });

  test("goes back, and does not come forward again by itself", async () => {
    second = tree.commit(
      { "policies/edge.yaml": firewall(passTcp("ssh", 22, "log: true, "), passTcp("web", 80)) },
      "Web",
    );
    expect((await host.run("apply", ...repo)).code).toBe(0);
    expect(host.reaches(80)).toBe(true);
    const back = await host.run("rollback", ...repo);
    expect(back.code).toBe(0);
    expect(back.out).toContain(`Rolled back to main@sha1:${first.slice(0, 12)} "Let SSH in"`);
    expect(host.reaches(80)).toBe(false);
    const again = await host.run("apply", ...repo);
    expect(again.code).toBe(1);
    expect(again.err).toContain(
      `Cannot apply main@sha1:${second.slice(0, 12)}: it was rolled back, and stays out until main moves`,
    );
    expect((await host.json("status"))["held"]).toBe(second);
    const plan = await host.run("plan", ...repo);
    expect(plan.out).toContain("Held back: this revision was rolled back");
    expect((await host.run("rollback", second.slice(0, 8), ...repo)).code).toBe(0);
    expect(host.reaches(80)).toBe(true);
    const unknown = await host.run("rollback", "ffffffffff", ...repo);
    expect(unknown).toMatchObject({
      code: 1,
      err: expect.stringContaining('Cannot find the commit "ffffffffff"'),
    });
  });

  test("keeps an audit record of every attempt, and notices when one is changed", async () => {
    const { records } = (await host.json("audit", "list", "-n", "1000")) as unknown as {
      readonly records: readonly {
        readonly outcome: string;
        readonly sequence: number;
        readonly hash: string;
      }[];
    };
    const outcomes = records.map(({ outcome }) => outcome).reverse();
    expect(outcomes.slice(0, 2)).toEqual(["applied", "healed"]);
    expect(outcomes).toContain("refused");
    expect(outcomes.filter((outcome) => outcome === "rolled-back")).toHaveLength(2);
    expect(outcomes.at(-1)).toBe("failed");
    const verified = await host.run("audit", "verify");
    expect(verified.code).toBe(0);
    expect(verified.out).toContain(`The audit log is sound: ${records.length} records in 1 file.`);
    const [last] = records;
    const anchor = ["audit", "verify", "--anchor", `${last?.sequence}:${last?.hash}`];
    expect((await host.run(...anchor)).code).toBe(0);
    const file = join(host.folder, "state", "audit", "audit.jsonl");
    const sound = readFileSync(file, "utf8");
    writeFileSync(file, sound.replace("Let SSH in", "Let SSH on"));
    const broken = await host.run("audit", "verify");
    expect(broken.code).toBe(1);
    expect(broken.out).toContain("audit.jsonl:1 record 1: wrong-hash");
    const refused = await host.run("apply", ...repo);
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining("Cannot continue audit log") });
    writeFileSync(file, sound);
  });

  test("takes everything out of the kernel, but not unasked", async () => {
    const unasked = await host.run("detach");
    expect(unasked.code).toBe(64);
    expect(unasked.err).toContain("this is not a terminal");
    expect(host.reaches(23)).toBe(false);
    const { code, out } = await host.run("detach", "--yes");
    expect(code).toBe(0);
    expect(out).toMatch(
      /^Detached xdp_firewall from eth0\nRemoved \d+ pins\. Packets pass unjudged from now on\.\n$/,
    );
    expect(host.reaches(23)).toBe(true);
    expect(existsSync(host.pins)).toBe(false);
    expect(host.namespace.run("ip", "link", "show", "eth0")).not.toContain("xdp");
    expect((await host.run("audit", "list", "-n", "1")).out).toMatch(
      /detached {2}command .*Detached xdp_firewall from eth0; /,
    );
    expect(await host.run("detach", "--yes")).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^Nothing is installed in /),
    });
  });

  test("has exit codes as any process sees them", async () => {
    expect((await host.runBare("--help")).code).toBe(0);
    expect((await host.runBare("plam")).code).toBe(64);
    expect((await host.runBare("validate", "policies")).code).toBe(0);
    expect((await host.runBare("check")).code).toBe(0);
  });
});
