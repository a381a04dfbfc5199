// A policy that is large enough for a thread of its own, with the built program: it arrives in the kernel, and an
// agent that is at it answers, and ends when told to.
import { beforeAll, expect, test } from "vitest";
import { WorkTree } from "../fixtures/git-repository.ts";
import { describeKernel } from "../fixtures/kernel-gate.ts";
import { buildProgram, firewall, makeFolder, passTcp, TestHost } from "./cli-support.ts";

const head = "apiVersion: penstock/v1\nkind: AddressSet\nmetadata: { name: big }\nspec:\n";

/** Different addresses. */
function addresses(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
}

describeKernel("a large policy", () => {
  let host: TestHost;
  let tree: WorkTree;
  const repo = () => ["--repo", tree.path];

  beforeAll(() => {
    buildProgram();
    host = new TestHost();
    tree = new WorkTree(makeFolder(host, "repo"));
  });

  test("is planned and applied", async () => {
    const list = addresses(80_000).map((address) => `    - ${address}\n`);
    tree.commit(
      {
        "policies/big.yaml": `${head}  prefixes:\n${list.join("")}`,
        "policies/edge.yaml": firewall(passTcp("ssh", 22)),
      },
      "Many addresses",
    );
    expect(await host.run("plan", ...repo())).toMatchObject({ code: 0, err: "" });
    expect(await host.run("apply", ...repo())).toMatchObject({ code: 0, err: "" });
    const { tables } = await host.json("status");
    expect(tables).toContainEqual(expect.objectContaining({ table: "address_set_v4", entries: 80_000 }));
    expect([host.reaches(22), host.reaches(23)]).toEqual([true, false]);
  });

  test("is refused with its findings", async () => {
    const list = addresses(80_000).map((address) => `    - ${address}\n`);
    tree.commit({ "policies/big.yaml": `${head}  prefixes:\n${list.join("")}    - 10.0.0.0/33\n` }, "A typo");
    const { code, err } = await host.run("apply", ...repo());
    expect(code).toBe(1);
    expect(err).toContain("policies/big.yaml:80006:7 error");
  });

  test("does not keep the agent from answering, or from ending when it is told to", async () => {
    // In one line of YAML it takes the parser seconds.
    tree.commit(
      { "policies/big.yaml": `${head}  prefixes: [${addresses(900_000).join(", ")}]\n` },
      "A long line",
    );
    const agent = host.start("agent", ...repo());
    const reconciling = async () => {
      const { agent: answers, conditions } = await host.json("status");
      const progress = expect.objectContaining({ type: "Reconciling", status: "True" });
      expect(answers).not.toBeNull();
      expect(conditions).toContainEqual(progress);
      return true;
    };
    await expect.poll(reconciling, { timeout: 30_000 }).toBe(true);
    expect(await agent.stop("SIGTERM")).toBe(0);
    const { out } = await host.run("audit", "list", "-o", "json");
    expect(out).toContain("Cannot prepare the policy: it was told to stop");
    expect([host.reaches(22), host.reaches(23)]).toEqual([true, false]);
  });
});
