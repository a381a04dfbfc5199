// validate: everything that is wrong with a working tree at once, in the project's one format, without a kernel.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runCli } from "./cli-terminal.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "penstock-validate-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string): void {
  mkdirSync(join(folder, name, ".."), { recursive: true });
  writeFileSync(join(folder, name), text);
}

function firewall(name: string, spec: string): string {
  return `apiVersion: penstock/v1\nkind: Firewall\nmetadata: { name: ${name} }\nspec:\n  interfaces: [eth0]\n${spec}`;
}

test("the policies that ship are right", async () => {
  const { code, out, err } = await runCli(["validate", "policies"]);
  expect({ code, out }).toEqual({ code: 0, out: "" });
  expect(err).toMatch(/^6 files, \d+ documents: 0 errors, 0 warnings\n$/);
});

test("findings of all files come at once, on stdout, with a summary on stderr", async () => {
  write("a.yaml", firewall("a", "  rules:\n    - { name: r, action: pas, match: { protocol: tcp } }\n"));
  write(
    "deep/b.yaml",
    firewall("b", "  rules:\n    - name: r\n      action: pass\n      match: { destinationPort: [22] }\n"),
  );
  write("note.txt", "not policy");
  const { code, out, err } = await runCli(["validate", folder]);
  expect(code).toBe(1);
  const lines = out.trim().split("\n");
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatch(/\/a\.yaml:7:26 error not-allowed .*did you mean "pass"\?$/);
  expect(lines[1]).toMatch(
    /\/deep\/b\.yaml:9:16 error unknown-field "destinationPort" is not a field of match; did you mean "destinationPorts"\?$/,
  );
  expect(err).toBe("3 files, 0 documents: 2 errors, 0 warnings\n");
});

test("JSON has each finding in fields and as a line", async () => {
  write("a.yaml", "kind: Firewal\n");
  const { code, out } = await runCli(["validate", folder, "-o", "json"]);
  const view = JSON.parse(out);
  expect(code).toBe(1);
  expect(view.errors).toBe(view.diagnostics.length);
  const [first] = view.diagnostics;
  expect(first.text).toBe(
    `${first.file}:${first.line}:${first.column} ${first.severity} ${first.code} ${first.message}`,
  );
});

describe("references", () => {
  const uses = firewall(
    "a",
    "  rules:\n    - { name: r, action: pass, match: { source: { sets: [office] } } }\n",
  );
  const set = (nodes: string) =>
    `apiVersion: penstock/v1\nkind: AddressSet\nmetadata: { name: office }\nspec: { ${nodes}prefixes: [192.0.2.0/24] }\n`;

  test("hold across files", async () => {
    write("a.yaml", uses);
    expect((await runCli(["validate", folder])).out).toContain(
      ' error unknown-set there is no AddressSet "office"',
    );
    write("b.yaml", set(""));
    expect((await runCli(["validate", folder])).code).toBe(0);
  });

  test("must hold on every kind of host that the policy tells apart", async () => {
    write("a.yaml", uses);
    write("b.yaml", set("nodes: { matchLabels: { role: edge } }, "));
    const { code, out } = await runCli(["validate", folder]);
    expect(code).toBe(1);
    expect(out.match(/unknown-set/g)).toHaveLength(1);
  });

  test("are looked at on hosts that only a selector reaches", async () => {
    write("a.yaml", uses.replace("spec:\n", "spec:\n  nodes: { matchLabels: { role: edge } }\n"));
    const { code, out } = await runCli(["validate", folder]);
    expect(code).toBe(1);
    expect(out).toContain(' error unknown-set there is no AddressSet "office"');
  });
});

describe("what the agent would refuse of a commit is refused here", () => {
  test("a symbolic link", async () => {
    write("a.yaml", firewall("a", "  rules: []\n"));
    symlinkSync(join(folder, "a.yaml"), join(folder, "b.yaml"));
    const { code, out } = await runCli(["validate", folder]);
    expect(code).toBe(1);
    expect(out).toMatch(/\/b\.yaml:1:1 error not-a-file /);
  });

  test("nothing at all", async () => {
    const { code, err } = await runCli(["validate", folder]);
    expect(code).toBe(1);
    expect(err).toMatch(/^Error: Cannot validate .*: there are no files in it\n {2}Name files/);
  });

  test("a path that does not exist", async () => {
    const { code, err } = await runCli(["validate", join(folder, "none")]);
    expect(code).toBe(1);
    expect(err).toContain("there is no such file or folder");
  });
});

test("hidden files of a hidden folder are policy if they are named, and not if they are met", async () => {
  write(".hidden/a.yaml", "kind: Firewal\n");
  write("b.yaml", firewall("b", "  rules: []\n"));
  expect((await runCli(["validate", folder])).code).toBe(0);
  const named = await runCli(["validate", join(folder, ".hidden", "a.yaml")]);
  expect(named.code).toBe(1);
  expect(named.out).toContain("a.yaml:1:7 error unknown-kind ");
});

test("more names than an agent has room for", async () => {
  const rules = Array.from({ length: 4 }, (_, i) => `    - { name: r${i}, action: pass }\n`).join("");
  write("a.yaml", firewall("a", `  rules:\n${rules}`));
  expect((await runCli(["validate", folder])).code).toBe(0);
  const { code, out } = await runCli(["validate", folder, "--rules-max", "3"]);
  expect(code).toBe(1);
  expect(out).toContain("error too-many-names ");
});
