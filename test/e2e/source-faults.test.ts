// A server or a network that misbehaves at every point: always a clear error of the right disposition, never a
// revision that is not whole, and the next fetch from a healthy server succeeds.

import { randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { encodePackets } from "../../src/source/pkt-line.ts";
import type { GitServerFault, GitServerStage } from "../fixtures/git-server.ts";
import { errorOf, type PolicyHost, startPolicyHost } from "../fixtures/git-source.ts";

let host: PolicyHost;
let url: string;
let commit: string;
/** Bytes of each stage's answer when all is well. */
const lengths: Record<"contact" | "refs" | "pack", number> = { contact: 0, refs: 0, pack: 0 };

beforeAll(async () => {
  host = await startPolicyHost();
  const repository = host.repository();
  url = repository.url;
  for (let i = 0; i < 4; i++)
    commit = repository.work.commit({ "a.yaml": `v: ${i}\n`, [`b${i}.yaml`]: `b${i}` });
  await repository.work.push(url);
  await measure();
});
afterEach(() => host.server.setFault());
afterAll(() => host.close());

/** Asks what the source asks. */
async function measure(): Promise<void> {
  const flush = { mark: "flush" } as const;
  const names = ["ref-prefix refs/heads/main\n", "ref-prefix refs/tags/main\n"];
  const refs = encodePackets(["command=ls-refs\n", { mark: "delimiter" }, "peel\n", ...names, flush]);
  const capabilities = "side-band-64k ofs-delta no-progress";
  const pack = encodePackets([`want ${commit} ${capabilities}\n`, flush, "done\n"]);
  const ask = async (path: string, protocol: string, body?: Buffer) => {
    const headers = { "git-protocol": protocol, "content-type": "application/x-git-upload-pack-request" };
    const options = body === undefined ? { headers } : { method: "POST", headers, body };
    return (await (await fetch(`${url}${path}`, options)).arrayBuffer()).byteLength;
  };
  lengths.contact = await ask("/info/refs?service=git-upload-pack", "version=2");
  lengths.refs = await ask("/git-upload-pack", "version=2", refs);
  lengths.pack = await ask("/git-upload-pack", "", pack);
}

/**
 * A source under this fault: what its fetch ends with; undefined if the answer came out too short for the fault. Then
 * the fault goes, and the same source has to work.
 */
async function tryFault(fault: GitServerFault, stage: GitServerStage, config: { timeoutMs?: number } = {}) {
  const { source, state } = host.open({ url, ...config });
  host.server.setFault(fault, stage);
  const taken = host.server.faultsTaken;
  const fetched = source.fetch();
  // An answer with a pack is a few bytes longer or shorter each time, as the backend happens to cut it into pieces.
  const missed = await fetched.then(() => host.server.faultsTaken === taken).catch(() => false);
  const error = missed ? undefined : await errorOf(fetched);
  host.server.setFault();
  expect(await source.fetch()).toMatchObject({ commit });
  const left = readdirSync(join(state, "repository.git", "objects", "pack")).filter((n) =>
    n.startsWith("tmp-"),
  );
  expect(left).toEqual([]);
  await source.close();
  return error;
}

/** The same, for faults that every answer meets. */
async function underFault(...words: Parameters<typeof tryFault>) {
  return (await tryFault(...words)) ?? expect.fail("the fault had no effect");
}

/** What one wrong byte may lead to, depending on where it is. */
const spoilt =
  /^(source-(unreachable|not-git|pack-invalid|server-error|limit)|ref-not-found|repository-empty|unsupported-repository)$/;

/** About twenty places in an answer, its first and last bytes among them. */
function places(length: number): number[] {
  const step = Math.max(1, Math.floor(length / 16));
  const regular = Array.from({ length: Math.floor(length / step) }, (_, i) => i * step);
  return [...new Set([...regular, 1, 3, 4, 5, length - 5, length - 4, length - 1])].filter(
    (n) => n >= 0 && n < length,
  );
}

/** Places that lie behind the end of an answer that came out shorter: the very last ones only. */
const missedMax = 3;

/** Ends the answer at each of its places: the error is always that the server is unreachable, and matches `message`. */
async function endAnywhere(kind: "cut-off" | "shorten", stage: keyof typeof lengths, message: RegExp) {
  let missed = 0;
  for (const afterBytes of places(lengths[stage])) {
    const error = await tryFault({ kind, afterBytes }, stage);
    if (error === undefined) {
      missed++;
      continue;
    }
    expect(error, `after ${afterBytes} bytes`).toMatchObject({
      code: "source-unreachable",
      disposition: "transient",
      message: expect.stringMatching(message),
    });
  }
  expect(missed).toBeLessThanOrEqual(missedMax);
}

describe.each(["contact", "refs", "pack"] as const)("the answer to %s", (stage) => {
  it("cut off anywhere is unreachable, and passes", () => endAnywhere("cut-off", stage, /cut off/));

  it("that ends early as if it were whole is noticed anywhere", () => endAnywhere("shorten", stage, /./));

  it("with one byte changed is an error or the same revision", async () => {
    for (const atByte of places(lengths[stage])) {
      const { source } = host.open({ url });
      host.server.setFault({ kind: "flip", atByte }, stage);
      try {
        expect(await source.fetch()).toMatchObject({ commit, files: { length: 5 } });
      } catch (error) {
        expect(error, `byte ${atByte}`).toMatchObject({ code: expect.stringMatching(spoilt) });
      }
      host.server.setFault();
      expect(await source.fetch()).toMatchObject({ commit });
      await source.close();
    }
  });

  it("that hangs, at once or halfway, is given up after the timeout", async () => {
    for (const fault of [{ kind: "hang" }, { kind: "hang", afterBytes: lengths[stage] >> 1 }] as const) {
      const before = performance.now();
      const error = await underFault(fault, stage, { timeoutMs: 200 });
      expect(error).toMatchObject({ code: "source-unreachable", disposition: "transient" });
      expect(error.message).toMatch(/nothing was heard for 200 ms/);
      expect(performance.now() - before).toBeLessThan(5000);
    }
  });

  it.each([
    [401, "source-unauthorized", "stalled"],
    [403, "source-unauthorized", "stalled"],
    [404, "source-not-found", "stalled"],
    [410, "source-not-found", "stalled"],
    [400, "source-refused", "stalled"],
    [418, "source-refused", "stalled"],
    [204, "source-refused", "stalled"],
    [408, "source-unreachable", "transient"],
    [429, "source-unreachable", "transient"],
    [500, "source-unreachable", "transient"],
    [503, "source-unreachable", "transient"],
  ])("of status %i is %s, %s", async (status, code, disposition) => {
    const error = await underFault({ kind: "status", status }, stage);
    expect(error).toMatchObject({ code, disposition });
    expect(error.remedy).toBeTruthy();
  });

  it("without end stops at a limit", async () => {
    // A packet of a progress message: the framing is sound, and never comes to an end.
    const body = Buffer.from(`fff0\x02${"x".repeat(0xfff0 - 5)}`, "latin1");
    const contentType =
      stage === "contact"
        ? "application/x-git-upload-pack-advertisement"
        : "application/x-git-upload-pack-result";
    const { source } = host.open({ url, limits: { packBytesMax: 1 << 20 } });
    host.server.setFault({ kind: "body", body, contentType, endless: true }, stage);
    const error = await errorOf(source.fetch());
    expect(error).toMatchObject({ code: "source-limit", disposition: "stalled" });
    expect(Number(error.data["found"])).toBeGreaterThan(Number(error.data["allowed"]));
    host.server.setFault();
    expect(await source.fetch()).toMatchObject({ commit });
  });
});

describe("what is no Git server", () => {
  it.each([
    ["a web page", "text/html", "<html>Sign in</html>"],
    [
      "a web page of the right type",
      "application/x-git-upload-pack-advertisement",
      "<html>Sign in</html>0000",
    ],
    ["the old file protocol", "text/plain", `${"1".repeat(40)}\trefs/heads/main\n`],
    ["nothing", "application/x-git-upload-pack-advertisement", "0000"],
    [
      "another service",
      "application/x-git-upload-pack-advertisement",
      "001f# service=git-receive-pack\n0000",
    ],
  ])("is said so: %s", async (_, contentType, body) => {
    const error = await underFault({ kind: "body", contentType, body }, "contact");
    expect(error).toMatchObject({ code: "source-not-git", disposition: "stalled" });
  });

  it("that sends escapes sends them to nobody's terminal", async () => {
    for (const [contentType, body] of [
      ["text/\u009b31mhtml", "x"],
      ["application/x-git-upload-pack-advertisement", "000e\x1b[31mred\n0000"],
    ] as const) {
      const error = await underFault({ kind: "body", contentType, body }, "contact");
      expect(error.message).not.toMatch(/\p{Cc}/u);
    }
  });

  it("with another object format is said so", async () => {
    const body = encodePackets(["version 2\n", "object-format=sha256\n", { mark: "flush" }]);
    const error = await underFault(
      { kind: "body", contentType: "application/x-git-upload-pack-advertisement", body },
      "contact",
    );
    expect(error.code).toBe("unsupported-repository");
    expect(error.message).toMatch(/sha256/);
  });

  it("hands on what the server says, without its escapes", async () => {
    const body = encodePackets(["\x03remote: \x1b[31mrepository is\u202e being moved, try later\n"]);
    const error = await underFault(
      { kind: "body", contentType: "application/x-git-upload-pack-result", body },
      "pack",
    );
    expect(error).toMatchObject({ code: "source-server-error", disposition: "transient" });
    expect(error.message).toContain('"remote: [31mrepository is being moved, try later"');
  });
});

describe("limits of a fetch", () => {
  it("stop a pack that is too large, with numbers, and keep nothing of it", async () => {
    const { url: large, work } = host.repository();
    const first = work.commit({ "a.yaml": randomBytes(300_000) });
    await work.push(large);
    const { source, state } = host.open({ url: large, limits: { packBytesMax: 20_000 } });
    const error = await errorOf(source.fetch());
    expect(error).toMatchObject({
      code: "source-limit",
      data: { limit: "limits.packBytesMax", allowed: 20_000 },
    });
    expect(readdirSync(join(state, "repository.git", "objects", "pack"))).toEqual([]);
    expect(await host.open({ url: large, stateDirectory: state }).source.fetch()).toMatchObject({
      commit: first,
    });
  });

  it("stop an object that unpacks to far more than it is, before memory is taken", async () => {
    const { url: bomb, work } = host.repository();
    work.commit({ "zeros.bin": Buffer.alloc(64 << 20) });
    await work.push(bomb);
    const { source } = host.open({ url: bomb, limits: { packBytesMax: 1 << 20 } });
    const before = process.memoryUsage().rss;
    const error = await errorOf(source.fetch());
    expect(error).toMatchObject({ code: "source-limit", data: { found: 64 << 20, allowed: 1 << 19 } });
    expect(process.memoryUsage().rss - before).toBeLessThan(48 << 20);
  });

  it("stop an operation that takes too long altogether, though something always comes", async () => {
    const { source } = host.open({ url, totalTimeoutMs: 300, timeoutMs: 10_000 });
    host.server.setFault({ kind: "hang" });
    const error = await errorOf(source.fetch());
    expect(error).toMatchObject({ code: "source-unreachable", disposition: "transient" });
    expect(error.message).toMatch(/longer than 300 ms/);
  });
});

describe("no server", () => {
  it("is unreachable: refused, unresolvable, silent, not HTTP", async () => {
    const closed = createServer();
    await new Promise<void>((done) => closed.listen(0, "127.0.0.1", done));
    const { port } = closed.address() as AddressInfo;
    await new Promise((done) => closed.close(done));
    const silent = createServer(() => undefined);
    const foreign = createServer(
      (socket) => void socket.on("error", () => undefined).end("SSH-2.0-OpenSSH_9.2\r\n"),
    );
    const ports: number[] = [];
    for (const server of [silent, foreign]) {
      await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
      ports.push((server.address() as AddressInfo).port);
    }
    try {
      for (const [target, text] of [
        [`http://127.0.0.1:${port}/x.git`, /refused/],
        ["http://no-such-host.invalid/x.git", /resolve/],
        [`http://127.0.0.1:${ports[0]}/x.git`, /nothing was heard for 300 ms/],
        [`http://127.0.0.1:${ports[1]}/x.git`, /not HTTP|cut off/],
        [`https://127.0.0.1:${ports[1]}/x.git`, /does not speak TLS/],
      ] as const) {
        const error = await errorOf(host.open({ url: target, timeoutMs: 300 }).source.poll());
        expect(error, target).toMatchObject({ code: "source-unreachable", disposition: "transient" });
        expect(error.message).toMatch(text);
        expect(error.message).toContain(target);
      }
    } finally {
      for (const server of [silent, foreign]) server.close();
    }
  });
});
