// What a source takes for a URL, a ref and a policy path, what it refuses, and that no refusal repeats a secret.
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { PenstockError } from "../../src/base/index.ts";
import { checkConfig, defaultLimits, parseLocation } from "../../src/source/config.ts";
import { openSource } from "../../src/source/index.ts";

const good = {
  url: "https://git.example.org/net/policy.git",
  ref: "main",
  path: "",
  stateDirectory: "/tmp/state",
};

function refusal(work: () => unknown): PenstockError {
  try {
    work();
  } catch (error) {
    if (error instanceof PenstockError) return error;
    throw error;
  }
  throw new Error("was not refused");
}

describe("url", () => {
  it.each([
    ["https", "https://git.example.org/a/b.git", "https://git.example.org/a/b.git"],
    ["http with a port", "http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"],
    ["upper case scheme and host", "HTTPS://GIT.example.org/A.git", "https://git.example.org/A.git"],
    ["a slash at the end", "https://git.example.org/a/b/", "https://git.example.org/a/b"],
    ["the root", "https://git.example.org", "https://git.example.org"],
    ["an @ in the path", "https://git.example.org/@me/x", "https://git.example.org/@me/x"],
  ])("takes %s", (_, url, label) => {
    expect(parseLocation(url)).toMatchObject({ kind: "http", label });
  });

  it.each([
    ["absolute path", "/srv/policy.git", "/srv/policy.git"],
    ["file URL", "file:///srv/policy.git", "/srv/policy.git"],
    ["file URL on localhost", "file://localhost/srv/x", "/srv/x"],
    ["file URL with an escape", "file:///srv/a%20b", "/srv/a b"],
    ["relative path", "srv/x", `${process.cwd()}/srv/x`],
    ["relative path with a colon", "./a:b", `${process.cwd()}/a:b`],
  ])("takes a local %s", (_, url, path) => {
    expect(parseLocation(url)).toMatchObject({ kind: "local", path });
  });

  it.each([
    ["ssh", "ssh://git@host/x.git", "unsupported-transport"],
    ["short form of ssh", "git@github.com:net/policy.git", "unsupported-transport"],
    ["short form without a user", "host:policy.git", "unsupported-transport"],
    ["git", "git://host/x.git", "unsupported-transport"],
    ["git+ssh", "git+ssh://host/x.git", "unsupported-transport"],
    ["ftp", "ftp://host/x.git", "unsupported-transport"],
    ["user and password", "https://user:hunter2@host/x.git", "credentials-in-url"],
    ["password only", "https://:hunter2@host/x.git", "credentials-in-url"],
    ["token as user", "https://hunter2@host/x.git", "credentials-in-url"],
    ["upper case with credentials", "HTTPS://user:hunter2@host/x", "credentials-in-url"],
    ["credentials for ssh", "ssh://user:hunter2@host/x", "unsupported-transport"],
    ["token in the query", "https://host/x.git?private_token=hunter2", "source-url-invalid"],
    ["a fragment", "https://host/x.git#hunter2", "source-url-invalid"],
    ["no host", "https://", "source-url-invalid"],
    ["nothing", "", "source-url-invalid"],
    ["a NUL", "/srv/\0x", "source-url-invalid"],
    ["file URL with a host", "file://fileserver/x", "source-url-invalid"],
    ["file URL with a slash in an escape", "file:///a%2fb", "source-url-invalid"],
  ])("refuses %s", (_, url, code) => {
    const error = refusal(() => openSource({ ...good, url }));
    expect(error).toMatchObject({ code, disposition: "stalled" });
    expect(error.remedy).toBeTruthy();
    expect(inspect(error, { depth: 9 })).not.toContain("hunter2");
  });

  it("says what to use instead of ssh, and of credentials in the URL", () => {
    expect(refusal(() => parseLocation("git@host:x")).remedy).toMatch(/https:.*token/);
    expect(refusal(() => parseLocation("https://u:p@host/x")).remedy).toMatch(
      /credentials.*file or the environment/,
    );
  });

  it("shows no credentials when the source itself is inspected", () => {
    const source = openSource({ ...good, credentials: { token: "hunter2" } });
    expect(inspect(source, { depth: 9, showHidden: true })).not.toContain("hunter2");
  });
});

describe("ref", () => {
  it.each(["main", "release/1.x", "v1.2.3", "refs/heads/main", "HEAD", "0123abc", "a".repeat(40), "föhn"])(
    "takes %s",
    (ref) => {
      expect(checkConfig({ ...good, ref }).ref).toBe(ref);
    },
  );

  it.each([
    "",
    ".",
    "..",
    "../x",
    "a..b",
    "a//b",
    "/a",
    "a/",
    ".a",
    "a/.b",
    "-a",
    "a.lock",
    "a.lock/b",
    "a.",
    "@",
    "a@{1}",
    "a b",
    "a~1",
    "a^",
    "a:b",
    "a?",
    "a*",
    "a[b",
    "a\\b",
    "a\nb",
    "a\x1b[2J",
    "a\u202eb",
    "x".repeat(256),
  ])("refuses %j", (ref) => {
    const error = refusal(() => checkConfig({ ...good, ref }));
    expect(error.code).toBe("ref-invalid");
    expect(error.message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });
});

describe("policy path", () => {
  it.each([
    ["", ""],
    [".", ""],
    ["policies", "policies"],
    ["policies/", "policies"],
    ["a/b c/d", "a/b c/d"],
    ["..a/b..", "..a/b.."],
  ])("takes %j", (path, taken) => {
    expect(checkConfig({ ...good, path }).path).toBe(taken);
  });

  it.each(["/etc", "..", "../x", "a/..", "a/../../etc", "a//b", "./a", "a/./b", "a\0b", "a\nb"])(
    "refuses %j",
    (path) => {
      expect(refusal(() => checkConfig({ ...good, path })).code).toBe("policy-path-invalid");
    },
  );
});

it("fills in limits one by one, and keeps pack offsets below 2 GiB", () => {
  expect(checkConfig({ ...good, limits: { filesMax: 3 } }).limits).toEqual({ ...defaultLimits, filesMax: 3 });
  expect(checkConfig({ ...good, limits: { packBytesMax: 2 ** 40 } }).limits.packBytesMax).toBe(2 ** 31 - 1);
});
