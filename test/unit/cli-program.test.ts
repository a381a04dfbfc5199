// The command line's own rules: exit codes, where output goes, and that every help says what it must.
import { describe, expect, test } from "vitest";
import { commands } from "../../src/cli/commands.ts";
import { runCli } from "./cli-terminal.ts";

const names = commands.flatMap(([, members]) => members.map(({ name }) => name));

describe("help", () => {
  test.each([...names, "audit", "conntrack"])(
    "of %s shows examples and exit codes, on stdout, and is no error",
    async (name) => {
      const { code, out, err } = await runCli([...name.split(" "), "--help"]);
      expect(code).toBe(0);
      expect(err).toBe("");
      expect(out).toMatch(new RegExp(`^Usage: penstock ${name}`));
      expect(out).toContain("\nExamples:\n  penstock ");
      expect(out).toMatch(/\nExit codes:\n {3}0 {2}\S[\s\S]*\n {3}1 {2}\S[\s\S]*\n {2}64 {2}wrong usage/);
    },
  );

  test("of the program lists every command", async () => {
    const { code, out } = await runCli(["--help"]);
    expect(code).toBe(0);
    for (const name of names) expect(out).toMatch(new RegExp(`^ {2}${name.split(" ")[0]}\\b`, "m"));
    expect(out).toContain("Exit codes:");
  });

  test("promises only exit codes that the program says it has", () => {
    for (const [, members] of commands) {
      for (const { exits } of members) {
        for (const code of Object.keys(exits)) expect(["0", "1", "2", "3"]).toContain(code);
      }
    }
  });
});

describe("wrong usage exits with 64, says why on stderr and leaves stdout alone", () => {
  const rows: { readonly name: string; readonly words: readonly string[]; readonly says: RegExp }[] = [
    { name: "no command", words: [], says: /Usage: penstock/ },
    { name: "an unknown command", words: ["plam"], says: /Unknown command 'plam'\n\(Did you mean plan\?\)/ },
    { name: "an unknown command of a group", words: ["audit", "lst"], says: /Unknown command 'lst'/ },
    { name: "a group without a command", words: ["audit"], says: /Usage: penstock audit/ },
    { name: "an unknown option", words: ["status", "--frob"], says: /Unknown option '--frob'/ },
    { name: "an unknown format", words: ["status", "-o", "xml"], says: /Allowed choices are text, json/ },
    { name: "too few words", words: ["validate"], says: /Missing required argument 'path'/ },
    { name: "too many words", words: ["status", "now"], says: /Too many arguments/ },
    { name: "no number", words: ["history", "-n", "many"], says: /--limit many: it is not a number/ },
    { name: "no commit", words: ["rollback", "HEAD~1"], says: /HEAD~1 as a commit/ },
    {
      name: "a label without a value",
      words: ["plan", "--label", "edge"],
      says: /--label edge: it has no "="/,
    },
    {
      name: "a folder and a revision",
      words: ["plan", "abcd12", "--dir", "."],
      says: /both a folder and a revision/,
    },
    { name: "no packet", words: ["explain", "-i", "eth0"], says: /a packet has a protocol/ },
    { name: "no anchor", words: ["audit", "verify", "--anchor", "3"], says: /--anchor 3/ },
  ];
  test.each(rows)("$name", async ({ words, says }) => {
    const { code, out, err } = await runCli(words);
    expect(code).toBe(64);
    expect(err).toMatch(says);
    expect(out).toBe("");
  });
});

describe("errors", () => {
  test("have a remedy in text, and everything in JSON", async () => {
    const words = ["status", "--config", "/nonexistent/agent.yaml"];
    const text = await runCli(words);
    expect(text).toEqual({
      code: 1,
      out: "",
      err: "Error: Cannot read the configuration /nonexistent/agent.yaml: ENOENT\n  Check the path and its mode, or name another file with --config\n",
    });
    const json = await runCli([...words, "-o", "json"]);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.err)).toEqual({
      error: {
        code: "configuration-unreadable",
        message: "Cannot read the configuration /nonexistent/agent.yaml: ENOENT",
        remedy: "Check the path and its mode, or name another file with --config",
        data: { path: "/nonexistent/agent.yaml" },
      },
    });
  });

  test("show where they come from only with --debug", async () => {
    const words = ["status", "--config", "/nonexistent/agent.yaml"];
    expect((await runCli(words)).err).not.toContain(" at ");
    expect((await runCli([...words, "--debug"])).err).toMatch(/\n {4}at .*\nCaused by:\n.*ENOENT/);
  });
});

describe("colour", () => {
  const rows: {
    readonly name: string;
    readonly env: Record<string, string>;
    readonly isTerminal: boolean;
    readonly colour: boolean;
  }[] = [
    { name: "on a terminal", env: {}, isTerminal: true, colour: true },
    { name: "not into a pipe", env: {}, isTerminal: false, colour: false },
    { name: "not with NO_COLOR", env: { NO_COLOR: "1" }, isTerminal: true, colour: false },
    { name: "with an empty NO_COLOR", env: { NO_COLOR: "" }, isTerminal: true, colour: true },
    { name: "not on a dumb terminal", env: { TERM: "dumb" }, isTerminal: true, colour: false },
  ];
  test.each(rows)("$name", async ({ env, isTerminal, colour }) => {
    const words = ["validate", "test/fixtures/policy/bad/kinds.yaml"];
    const { out, err } = await runCli(words, { env, outIsTerminal: isTerminal, errIsTerminal: isTerminal });
    expect(out.includes("\u001b[")).toBe(colour);
    expect(err.includes("\u001b[")).toBe(false);
  });
});

test("version says the same in both ways", async () => {
  const { out } = await runCli(["--version"]);
  const { out: json } = await runCli(["version", "-o", "json"]);
  expect(out.trim()).toBe(JSON.parse(json).penstock);
});
