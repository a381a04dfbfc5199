// The configuration as commands see it: file, options over it, and what must never happen with credentials.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import { readCredentials } from "../../src/cli/credentials.ts";
import { loadSettings, requireSource } from "../../src/cli/settings.ts";
import type { SourceConfiguration } from "../../src/policy/index.ts";

let folder = "";
let config = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "penstock-settings-"));
  config = join(folder, "agent.yaml");
  writeFileSync(
    config,
    [
      "source:",
      "  url: https://git.example.org/policy.git",
      "  ref: production",
      "  tokenEnv: POLICY_TOKEN",
      "node: { name: edge-1, labels: { role: edge, site: north } }",
      "stateDirectory: /srv/state",
      "runDirectory: /srv/run",
      "",
    ].join("\n"),
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof PenstockError) return thrown.code;
    throw thrown;
  }
  return "nothing thrown";
}

describe("without a file", () => {
  test("everything has its default, and there is no repository", () => {
    const settings = loadSettings({ runDir: "/tmp/run" });
    expect(settings).toMatchObject({
      host: hostname(),
      stateDirectory: "/var/lib/penstock",
      socketPath: "/tmp/run/agent.sock",
      lockPath: "/tmp/run/agent.lock",
      selfHeal: "enabled",
    });
    expect(settings.source).toBeUndefined();
    expect(codeOf(() => requireSource(settings))).toBe("no-repository");
  });

  test("--repo is enough", () => {
    expect(loadSettings({ repo: "https://git.example.org/x.git" }).source).toMatchObject({
      url: "https://git.example.org/x.git",
      ref: "main",
      path: "policies",
    });
  });

  test("a relative --repo is taken from here", () => {
    expect(loadSettings({ repo: "some/repo" }).source?.url).toBe(join(process.cwd(), "some/repo"));
  });
});

describe("options stand above the file", () => {
  test("labels are added to, and single ones replaced", () => {
    const { node, host } = loadSettings({ config, label: ["site=south", "tier=1=2"], nodeName: "edge-2" });
    expect(node.labels).toEqual({ role: "edge", site: "south", tier: "1=2" });
    expect(host).toBe("edge-2");
  });

  test("what is not given stays as the file has it", () => {
    const settings = loadSettings({ config, stateDir: "/other/state" });
    expect(settings).toMatchObject({
      stateDirectory: "/other/state",
      runDirectory: "/srv/run",
      host: "edge-1",
    });
    expect(settings.source).toMatchObject({ ref: "production", tokenEnv: "POLICY_TOKEN" });
  });

  test("another ref keeps the credentials, another repository does not get them", () => {
    expect(loadSettings({ config, ref: "trial" }).source).toMatchObject({
      ref: "trial",
      tokenEnv: "POLICY_TOKEN",
    });
    const other = loadSettings({ config, repo: "https://evil.example.org/policy.git" });
    expect(other.source).toMatchObject({ url: "https://evil.example.org/policy.git", ref: "production" });
    expect(other.source).not.toHaveProperty("tokenEnv");
    expect(other.fileSource).toMatchObject({ url: "https://git.example.org/policy.git" });
  });
});

describe("refuses", () => {
  const rows = [
    {
      name: "a file that is not there",
      flags: { config: "/nonexistent.yaml" },
      code: "configuration-unreadable",
    },
    {
      name: "a repository with a password in it",
      flags: { repo: "https://me:secret@git.example.org/x" },
      code: "wrong-usage",
    },
    { name: "an unusable node name", flags: { nodeName: "not a name" }, code: "wrong-usage" },
    {
      name: "the root of a file system as pin directory",
      flags: { pinDir: "/proc" },
      code: "pin-directory-shared",
    },
  ];
  test.each(rows)("$name", ({ flags, code }) => {
    expect(codeOf(() => loadSettings(flags))).toBe(code);
  });

  test("a wrong file, with all its findings", () => {
    const wrong = join(folder, "wrong.yaml");
    writeFileSync(wrong, "source: { urL: x }\nselfHeal: perhaps\n");
    try {
      loadSettings({ config: wrong });
      expect.fail("it was taken");
    } catch (thrown) {
      const error = thrown as PenstockError;
      expect(error.code).toBe("configuration-invalid");
      expect(error.data["findings"]).toEqual(
        expect.arrayContaining([
          expect.stringMatching(/wrong\.yaml:1:11 error unknown-field .*did you mean "url"/),
          expect.stringMatching(/wrong\.yaml:2:11 error not-allowed /),
        ]),
      );
    }
  });
});

describe("credentials", () => {
  const source = (more: Partial<SourceConfiguration>): SourceConfiguration => ({
    url: "https://git.example.org/x.git",
    ref: "main",
    path: "policies",
    timeoutSeconds: 30,
    allowRewrite: false,
    ...more,
  });

  test("come from the first line of a file, or from the environment", () => {
    const file = join(folder, "secret");
    writeFileSync(file, "s3cret\r\nsecond line\n");
    expect(readCredentials(source({ tokenFile: file }), {})).toEqual({ token: "s3cret" });
    expect(readCredentials(source({ username: "me", passwordFile: file }), {})).toEqual({
      username: "me",
      password: "s3cret",
    });
    expect(readCredentials(source({ tokenEnv: "T" }), { T: "abc" })).toEqual({ token: "abc" });
    expect(readCredentials(source({ username: "me", passwordEnv: "P" }), { P: "abc" })).toEqual({
      username: "me",
      password: "abc",
    });
    expect(readCredentials(source({}), { T: "abc" })).toBeUndefined();
  });

  test("that are missing are an error that names the place and not the secret", () => {
    const empty = join(folder, "empty");
    writeFileSync(empty, "\nlater\n");
    expect(codeOf(() => readCredentials(source({ tokenFile: empty }), {}))).toBe("credentials-unreadable");
    expect(codeOf(() => readCredentials(source({ tokenFile: "/nonexistent" }), {}))).toBe(
      "credentials-unreadable",
    );
    expect(codeOf(() => readCredentials(source({ tokenEnv: "T" }), { T: "" }))).toBe(
      "credentials-unreadable",
    );
  });
});
