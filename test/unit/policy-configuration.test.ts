// The agent's configuration: what is filled in, what is refused and how it is said, and that secrets stay unsaid.
import { describe, expect, test } from "vitest";
import { formatDiagnostic } from "../../src/base/index.ts";
import { parseAgentConfiguration } from "../../src/policy/index.ts";

const parse = (text: string, path = "agent.yaml") =>
  parseAgentConfiguration(path, new TextEncoder().encode(text));
const url = "url: https://git.example.org/network/policy.git";
const source = `source:\n  ${url}\n`;

test("what is not said has its default", () => {
  const { configuration, diagnostics } = parse(source);
  expect(diagnostics).toEqual([]);
  expect(configuration).toEqual({
    source: {
      url: "https://git.example.org/network/policy.git",
      ref: "main",
      path: "policies",
      timeoutSeconds: 30,
      allowRewrite: false,
    },
    node: { labels: {} },
    schedule: { poll: "*/15 * * * * *", scan: "0 */5 * * * *" },
    selfHeal: "enabled",
    limits: { rulesMax: 32768, addressesMax: 1_000_000, interfacesMax: 1024, connectionsMax: 262_144 },
    events: { perSecondMax: 1000 },
    rejects: { perSecondMax: 1000 },
    stateDirectory: "/var/lib/penstock",
    runDirectory: "/run/penstock",
    pinDirectory: "/sys/fs/bpf/penstock",
    log: { level: "info" },
  });
  expect(Object.isFrozen(configuration?.limits)).toBe(true);
});

test("what is said stays, from YAML and from JSON", () => {
  const said = {
    source: {
      url: "file:///srv/policy.git",
      ref: "production",
      path: "hosts",
      tokenFile: "/etc/penstock/token",
    },
    node: { name: "edge-1.example", labels: { role: "edge" } },
    schedule: { poll: "* * * * *" },
    selfHeal: "warn",
    limits: { rulesMax: 100 },
    log: { level: "debug" },
  };
  for (const path of ["agent.yaml", "agent.json", "agent.conf"]) {
    const { configuration, diagnostics } = parse(JSON.stringify(said), path);
    expect(diagnostics).toEqual([]);
    expect(configuration).toMatchObject(said);
    expect(configuration?.limits.interfacesMax).toBe(1024);
  }
});

test("filling in defaults leaves no trace in the next configuration", () => {
  parse(`${source}node: { labels: { role: edge } }\n`);
  expect(parse(source).configuration?.node).toEqual({ labels: {} });
});

describe("refused", () => {
  const rows: { what: string; text: string; findings: (string | RegExp)[] }[] = [
    {
      what: "an empty file",
      text: "# later\n",
      findings: [/^1:1 warning empty-document/, /^1:1 error missing-field .*"source"/],
    },
    {
      what: "no source",
      text: "node: {}\n",
      findings: [/^1:1 error missing-field the configuration lacks "source"/],
    },
    {
      what: "an unknown field",
      text: `${source}selfheal: warn\n`,
      findings: [/^3:1 error unknown-field .*did you mean "selfHeal"\?/],
    },
    { what: "two documents", text: `${source}---\na: b\n`, findings: [/^4:1 error too-many/] },
    {
      what: "a bad level",
      text: `${source}log: { level: verbose }\n`,
      findings: [/^3:15 error not-allowed/],
    },
    { what: "no interval", text: `${source}schedule: { poll: often }\n`, findings: [/^3:19 error bad-cron/] },
    {
      what: "a second that no minute has",
      text: `${source}schedule: { poll: "61 * * * * *" }\n`,
      findings: [/^3:19 error bad-cron .*seconds first/],
    },
    {
      what: "a relative directory",
      text: `${source}stateDirectory: var\n`,
      findings: [/^3:17 error bad-path .*absolute/],
    },
    {
      what: "an absolute policy path",
      text: `source: { ${url}, path: /policies }\n`,
      findings: [/error bad-path/],
    },
    { what: "a ref with a space", text: `source: { ${url}, ref: "a b" }\n`, findings: [/error bad-ref/] },
    {
      what: "a strange variable",
      text: `source: { ${url}, tokenEnv: 1A }\n`,
      findings: [/error bad-variable/],
    },
    {
      what: "an unknown way to fetch",
      text: "source: { url: ftp://example.org/x }\n",
      findings: [/^1:16 error bad-url/],
    },
    {
      what: "two credentials",
      text: `source:\n  ${url}\n  tokenFile: /a\n  tokenEnv: B\n`,
      findings: [/^4:3 error conflicting-fields "tokenFile" and "tokenEnv"/],
    },
    {
      what: "a password without a user",
      text: `source: { ${url}, passwordFile: /a }\n`,
      findings: [/error missing-field "passwordFile" needs a "username"/],
    },
    {
      what: "limits out of range",
      text: `${source}limits: { rulesMax: 0 }\n`,
      findings: [/^3:21 error out-of-range/],
    },
    { what: "a repeated field", text: `${source}${source}`, findings: [/^3:1 error duplicate-key/] },
  ];
  test.each(rows)("$what", ({ text, findings }) => {
    const { configuration, diagnostics } = parse(text);
    expect(configuration).toBeUndefined();
    expect(diagnostics).toHaveLength(findings.length);
    diagnostics.forEach((finding, i) => {
      const line = formatDiagnostic(finding).replace("agent.yaml:", "");
      expect(line).toMatch(findings[i]!);
    });
  });
});

test("a password in the address is refused without being repeated", () => {
  const { configuration, diagnostics } = parse("source: { url: https://me:hunter2@git.example.org/x.git }\n");
  expect(configuration).toBeUndefined();
  expect(diagnostics.map(({ code }) => code)).toEqual(["bad-url"]);
  expect(JSON.stringify(diagnostics)).not.toContain("hunter2");
});
