// Credentials: they get where they belong, they never get anywhere else, and TLS decides whom to trust.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createHttpClient } from "../../src/source/http.ts";
import type { SourceCredentials } from "../../src/source/index.ts";
import { encodePackets } from "../../src/source/pkt-line.ts";
import { temporaryFolder } from "../fixtures/git-repository.ts";
import type { GitServerFault } from "../fixtures/git-server.ts";
import { errorOf, everythingOf, type PolicyHost, startPolicyHost } from "../fixtures/git-source.ts";

const secret = "s3cret/T0ken+with=signs";
const auth = { username: "reader", password: secret };
const encoded = Buffer.from(`reader:${secret}`).toString("base64");
const tokenEncoded = Buffer.from(`git:${secret}`).toString("base64");

let host: PolicyHost;
let other: PolicyHost;
let repository: ReturnType<PolicyHost["repository"]>;
let commit: string;
beforeAll(async () => {
  host = await startPolicyHost();
  other = await startPolicyHost();
  repository = host.repository();
  commit = repository.work.commit({ "a.yaml": "x" });
  await repository.work.push(repository.url);
  host.server.setAuth(auth);
});
afterEach(() => {
  host.server.setFault();
  host.server.setAuth(auth);
});
afterAll(async () => {
  await host.close();
  await other.close();
});

function expectClean(thing: unknown): void {
  const text = typeof thing === "string" ? thing : everythingOf(thing);
  for (const form of [secret, encoded, tokenEncoded, encodeURIComponent(secret)])
    expect(text).not.toContain(form);
}

describe("credentials", () => {
  it("open the repository, for every request", async () => {
    const { source } = host.open({ url: repository.url, credentials: auth });
    host.server.requests.length = 0;
    expect(await source.fetch()).toMatchObject({ commit });
    expect(await source.poll()).toMatchObject({ changed: false });
    for (const request of host.server.requests)
      expect(request.headers.authorization).toBe(`Basic ${encoded}`);
    expect(host.server.requests.length).toBeGreaterThan(3);
  });

  it.each<[string, SourceCredentials, string]>([
    ["as the password of Basic", { token: secret }, `Basic ${tokenEncoded}`],
    ["with a user name", { token: secret, username: "reader" }, `Basic ${encoded}`],
    ["as Bearer", { token: secret, scheme: "bearer" }, `Bearer ${secret}`],
  ])("may be a token: %s", async (_, credentials, header) => {
    host.server.setAuth(undefined);
    host.server.requests.length = 0;
    await host.open({ url: repository.url, credentials }).source.poll();
    expect(host.server.requests[0]!.headers.authorization).toBe(header);
  });

  it("missing or wrong are said so, each with its remedy", async () => {
    const missing = await errorOf(host.open({ url: repository.url }).source.poll());
    expect(missing).toMatchObject({ code: "source-unauthorized", disposition: "stalled" });
    expect(missing.remedy).toMatch(/^Configure credentials/);
    const wrong = await errorOf(
      host.open({ url: repository.url, credentials: { token: secret } }).source.poll(),
    );
    expect(wrong.code).toBe("source-unauthorized");
    expect(wrong.remedy).toMatch(/valid, not expired/);
    expectClean(wrong);
  });

  it("are in no error, whatever goes wrong, also if the server sends them back", async () => {
    const echo = `${secret} ${encoded} ${encodeURIComponent(secret)}`;
    const packet = encodePackets([`\x03denied: ${echo}\n`]);
    const faults: [GitServerFault, "contact" | "refs" | "pack"][] = [
      [{ kind: "status", status: 401, body: echo }, "contact"],
      [{ kind: "status", status: 403, body: echo }, "refs"],
      [{ kind: "status", status: 500, body: echo }, "pack"],
      [{ kind: "status", status: 404, body: echo }, "contact"],
      [{ kind: "body", contentType: `text/${encoded}`, body: echo }, "contact"],
      [
        { kind: "body", contentType: "application/x-git-upload-pack-advertisement", body: `${echo}0000` },
        "contact",
      ],
      [{ kind: "body", contentType: "application/x-git-upload-pack-result", body: packet }, "pack"],
      [{ kind: "body", contentType: "application/x-git-upload-pack-result", body: echo }, "refs"],
      [{ kind: "redirect", to: `ftp://reader:${secret}@x.example/${secret}`, exact: true }, "contact"],
      [{ kind: "redirect", to: `https://x.example/${encoded}`, exact: true }, "pack"],
      [{ kind: "cut-off", afterBytes: 10 }, "pack"],
      [{ kind: "hang" }, "refs"],
    ];
    for (const [fault, stage] of faults) {
      const { source } = host.open({ url: repository.url, credentials: auth, timeoutMs: 500 });
      host.server.setFault(fault, stage);
      const error = await errorOf(source.fetch());
      expectClean(error);
      expectClean(inspect(source, { depth: 20, showHidden: true }));
      await source.close();
    }
  });

  it("are nowhere in the store", async () => {
    const { source, state } = host.open({ url: repository.url, credentials: auth });
    await source.fetch();
    for (const name of readdirSync(state, { recursive: true, withFileTypes: true })) {
      if (name.isFile()) expectClean(readFileSync(join(name.parentPath, name.name), "latin1"));
    }
  });
});

describe("redirects", () => {
  it("on the same server are followed, with the credentials", async () => {
    host.server.setFault(
      { kind: "redirect", to: `${repository.url}/info/refs?service=git-upload-pack`, exact: true },
      "contact",
    );
    // The first contact is sent away once, to where it is answered.
    const { source } = host.open({ url: host.server.urlOf("old-name.git"), credentials: auth });
    host.server.requests.length = 0;
    const first = source.poll();
    while (host.server.requests.length === 0) await new Promise((done) => setTimeout(done, 1));
    host.server.setFault();
    expect(await first).toMatchObject({ commit });
    expect(await source.fetch()).toMatchObject({ commit });
    for (const request of host.server.requests)
      expect(request.headers.authorization).toBe(`Basic ${encoded}`);
    expect(host.server.requests.at(-1)!.path).toContain(repository.name);
  });

  it.each([301, 302, 303, 307, 308])(
    "to another server (%i) are followed without the credentials",
    async (status) => {
      const elsewhere = other.repository();
      const moved = elsewhere.work.commit({ "a.yaml": "moved" });
      await elsewhere.work.push(elsewhere.url);
      host.server.setFault({ kind: "redirect", to: other.server.url, status }, "contact");
      const { source } = host.open({ url: host.server.urlOf(elsewhere.name), credentials: auth });
      other.server.requests.length = 0;
      expect(await source.fetch()).toMatchObject({ commit: moved });
      expect(other.server.requests.map((r) => r.stage)).toEqual(["contact", "refs", "pack"]);
      for (const request of other.server.requests) expect(request.headers.authorization).toBeUndefined();
    },
  );

  it.each<[string, GitServerFault, "contact" | "pack"]>([
    ["in circles", { kind: "redirect", to: "", exact: false }, "contact"],
    ["to another protocol", { kind: "redirect", to: "file:///etc/passwd", exact: true }, "contact"],
    [
      "with credentials of its own",
      { kind: "redirect", to: "http://u:p@127.0.0.1/", exact: true },
      "contact",
    ],
    ["to nowhere", { kind: "redirect", to: "http://", exact: true }, "contact"],
    [
      "that would send a request's body on",
      { kind: "redirect", to: "http://127.0.0.1:9/", exact: true, status: 307 },
      "pack",
    ],
  ])("%s are refused", async (_, fault, stage) => {
    host.server.setFault(fault, stage);
    const error = await errorOf(host.open({ url: repository.url, credentials: auth }).source.fetch());
    expect(error).toMatchObject({ code: "source-redirected", disposition: "stalled" });
    expectClean(error);
  });

  it("to a place that is no repository are refused", async () => {
    host.server.setFault({ kind: "redirect", to: `${other.server.url}/sign-in`, exact: true }, "contact");
    expect((await errorOf(host.open({ url: repository.url }).source.poll())).code).toBe("source-not-found");
  });
});

const openssl = process.env["OPENSSL"] ?? "openssl";
const hasOpenssl = spawnSync(openssl, ["version"]).status === 0;

describe.skipIf(!hasOpenssl)("TLS", () => {
  const folder = temporaryFolder();
  afterAll(() => folder.remove());

  function certificate(name: string, ...options: string[]) {
    const [key, cert] = [join(folder.path, `${name}.key`), join(folder.path, `${name}.crt`)];
    const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1"];
    const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    execFileSync(openssl, [...args, "-keyout", key, "-out", cert, ...subject, ...options], {
      stdio: "pipe",
    });
    return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8"), path: cert };
  }

  it("refuses a server that cannot be trusted, and names the way out", async () => {
    const tls = await startPolicyHost({ tls: certificate("self") });
    try {
      const error = await errorOf(
        tls.open({ url: tls.server.urlOf("x.git"), credentials: auth }).source.poll(),
      );
      expect(error).toMatchObject({ code: "source-tls", disposition: "stalled" });
      expect(error.message).toMatch(/self-signed/);
      expect(error.remedy).toMatch(/NODE_EXTRA_CA_CERTS/);
      expect(tls.server.requests).toEqual([]);
    } finally {
      await tls.close();
    }
  });

  it("takes that way out", async () => {
    const mine = certificate("mine");
    const tls = await startPolicyHost({ tls: mine });
    try {
      const { work, bare, url } = tls.repository();
      const pushed = work.commit({ "a.yaml": "x" });
      await work.push(bare);
      const script = `
        import { openSource } from ${JSON.stringify(join(import.meta.dirname, "../../src/source/index.ts"))};
        const source = openSource({ url: ${JSON.stringify(url)}, ref: "main", path: "", stateDirectory: ${JSON.stringify(tls.newFolder())} });
        console.log((await source.fetch()).commit);
        await source.close();`;
      const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
        env: { ...process.env, NODE_EXTRA_CA_CERTS: mine.path },
        stdio: ["ignore", "pipe", "inherit"],
      });
      let out = "";
      child.stdout.on("data", (piece: Buffer) => {
        out += piece.toString();
      });
      await new Promise((done) => child.on("close", done));
      expect(out.trim()).toBe(pushed);
    } finally {
      await tls.close();
    }
  });
});

it("a redirect from https to http is refused", async () => {
  const real = globalThis.fetch;
  globalThis.fetch = async () =>
    new Response(null, { status: 302, headers: { location: "http://127.0.0.1/x" } });
  try {
    const origin = "https://git.example.org";
    const client = createHttpClient({ origin, label: "x", credentials: undefined, timeoutMs: 1000 });
    const { signal } = new AbortController();
    const asked = client.request({ method: "GET", url: new URL(origin), bytesMax: 10, limit: "x", signal });
    expect((await errorOf(asked)).code).toBe("source-redirected");
  } finally {
    globalThis.fetch = real;
  }
});
