// The object store after everything that can happen to it: any file of it damaged, shortened or removed, and
// the process killed at any moment of a fetch. The next fetch gives the right revision, and says what it did.
import { spawn } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readStoreIdentity } from "../../src/source/index.ts";
import { buildPack } from "../fixtures/git-pack.ts";
import { git, gitBytes } from "../fixtures/git-repository.ts";
import { errorOf, type PolicyHost, startPolicyHost } from "../fixtures/git-source.ts";

let host: PolicyHost;
let repository: ReturnType<PolicyHost["repository"]>;
let commits: string[];
/** A store that holds two packs. */
let sound: string;
beforeAll(async () => {
  host = await startPolicyHost();
  repository = host.repository();
  commits = [repository.work.commit({ "a.yaml": "1", "folder/b.yaml": "b" })];
  await repository.work.push(repository.url);
  const { source, state } = host.open({ url: repository.url });
  await source.fetch();
  commits.push(repository.work.commit({ "a.yaml": "2" }));
  await repository.work.push(repository.url);
  await source.fetch();
  await source.close();
  sound = state;
});
afterAll(() => host.close());

/** Files below the store, relative to the state directory. */
function storeFiles(state: string, pattern: RegExp): string[] {
  const all = readdirSync(join(state, "repository.git"), { recursive: true, encoding: "utf8" });
  return all
    .map((name) => join(state, "repository.git", name))
    .filter((p) => pattern.test(p) && statSync(p).isFile());
}

const files = (revision: { files: readonly { path: string; content: Uint8Array }[] }) =>
  revision.files.map((f) => `${f.path}=${Buffer.from(f.content)}`);

type Damage = readonly [name: string, apply: (path: string) => void];

const damages: readonly Damage[] = [
  ["removed", (path) => rmSync(path)],
  ["empty", (path) => writeFileSync(path, "")],
  ["cut in half", (path) => writeFileSync(path, readFileSync(path).subarray(0, statSync(path).size >> 1))],
  ["all zeros", (path) => writeFileSync(path, Buffer.alloc(statSync(path).size))],
  ["text", (path) => writeFileSync(path, "garbage\n".repeat(1 + (statSync(path).size >> 3)))],
  [
    "with all bytes inverted",
    (path) =>
      writeFileSync(
        path,
        readFileSync(path).map((byte) => ~byte & 0xff),
      ),
  ],
];

describe("the identity of a store", () => {
  it("is what it was opened for; that of no store, or of one that does not say, is unknown", () => {
    expect(readStoreIdentity(sound)).toEqual({ url: repository.url, ref: "main" });
    const state = host.newFolder();
    expect(readStoreIdentity(state)).toBeUndefined();
    cpSync(sound, state, { recursive: true });
    const [path = ""] = storeFiles(state, /penstock-source\.json$/);
    for (const text of ["", "{}", '{"url":1,"ref":"main"}', "null"]) {
      writeFileSync(path, text);
      expect(readStoreIdentity(state), text).toBeUndefined();
    }
  });
});

describe("a damaged store", () => {
  it.each(damages)("is repaired: any pack or index %s", async (_, apply) => {
    for (const [i] of storeFiles(sound, /\.(pack|idx)$/).entries()) {
      const state = host.newFolder();
      cpSync(sound, state, { recursive: true });
      const path = storeFiles(state, /\.(pack|idx)$/)[i]!;
      apply(path);
      const { source, events } = host.open({ url: repository.url, stateDirectory: state });
      const revision = await source.fetch();
      expect(files(revision), path).toEqual(["a.yaml=2", "folder/b.yaml=b"]);
      expect(events.every((event) => event.kind === "store-rebuilt")).toBe(true);
      expect(await source.history(9)).toHaveLength(2);
      expect(files(await source.revision(commits[0]!))).toEqual(["a.yaml=1", "folder/b.yaml=b"]);
      expect(git(join(state, "repository.git"), ["fsck", "--full"])).toBe("");
      await source.close();
    }
  });

  it("is repaired, or still sound, whatever byte of it is changed", async () => {
    let rebuilt = 0;
    for (const [i, original] of storeFiles(sound, /\.(pack|idx)$/).entries()) {
      const { size } = statSync(original);
      const step = original.endsWith("idx") ? 53 : 17;
      for (let at = 0; at < size; at += step) {
        const state = host.newFolder();
        cpSync(sound, state, { recursive: true });
        const path = storeFiles(state, /\.(pack|idx)$/)[i]!;
        const bytes = readFileSync(path);
        bytes[at] = bytes[at]! ^ 0x55;
        writeFileSync(path, bytes);
        const { source, events } = host.open({ url: repository.url, stateDirectory: state });
        expect(files(await source.fetch()), `${path} byte ${at}`).toEqual(["a.yaml=2", "folder/b.yaml=b"]);
        rebuilt += events.length;
        await source.close();
      }
    }
    expect(rebuilt).toBeGreaterThan(5);
  });

  it("says so once, and keeps the last known tip", async () => {
    const state = host.newFolder();
    cpSync(sound, state, { recursive: true });
    for (const path of storeFiles(state, /\.pack$/)) writeFileSync(path, "garbage");
    const { source, events } = host.open({ url: repository.url, stateDirectory: state });
    expect(await source.poll()).toEqual({ commit: commits[1], changed: false });
    await source.fetch();
    await source.fetch();
    expect(events).toEqual([
      { kind: "store-rebuilt", reason: expect.stringContaining("Cannot read the repository") },
    ]);
  });

  it("gives what is left of it while the server is away, and is not thrown away", async () => {
    const state = host.newFolder();
    cpSync(sound, state, { recursive: true });
    // The newer pack is small: it holds the second commit.
    const packs = storeFiles(state, /\.pack$/).sort((a, b) => statSync(a).size - statSync(b).size);
    const head = git(join(state, "repository.git"), ["rev-parse", `${commits[1]}:a.yaml`]);
    expect(head).toMatch(/^[0-9a-f]{40}$/);
    const bytes = readFileSync(packs[0]!);
    writeFileSync(packs[0]!, Buffer.concat([bytes.subarray(0, 12), Buffer.alloc(bytes.length - 12)]));
    const { source } = host.open({ url: repository.url, stateDirectory: state });
    host.server.setFault({ kind: "status", status: 503 });
    try {
      expect((await errorOf(source.fetch())).code).toBe("source-unreachable");
      expect((await errorOf(source.revision(commits[1]!))).code).toBe("source-corrupt");
      expect((await errorOf(source.fetch())).code).toBe("source-unreachable");
      expect(storeFiles(state, /\.pack$/)).toHaveLength(2);
    } finally {
      host.server.setFault();
    }
    expect(await source.fetch()).toMatchObject({ commit: commits[1] });
    expect(files(await source.revision(commits[0]!))).toEqual(["a.yaml=1", "folder/b.yaml=b"]);
  });

  it("is not the cause when the server leaves objects out: that is said after one try", async () => {
    const { source, events } = host.open({ url: repository.url });
    const content = gitBytes(repository.work.path, ["cat-file", "commit", commits[1]!]);
    const pack = buildPack([{ type: "commit", content }]);
    const packet = Buffer.concat([
      Buffer.from((pack.length + 5).toString(16).padStart(4, "0")),
      Buffer.from([1]),
      pack,
    ]);
    const body = Buffer.concat([Buffer.from("0008NAK\n"), packet, Buffer.from("0000")]);
    host.server.setFault({ kind: "body", contentType: "application/x-git-upload-pack-result", body }, "pack");
    try {
      const error = await errorOf(source.fetch());
      expect(error).toMatchObject({ code: "source-corrupt", disposition: "stalled" });
      expect(error.message).toMatch(/the object [0-9a-f]{40} is missing/);
      expect(events).toHaveLength(1);
    } finally {
      host.server.setFault();
    }
    expect(files(await source.fetch())).toEqual(["a.yaml=2", "folder/b.yaml=b"]);
  });
});

describe("a killed process", () => {
  const script = (url: string, state: string) => `
    import { openSource } from ${JSON.stringify(join(import.meta.dirname, "../../src/source/index.ts"))};
    const source = openSource({ url: ${JSON.stringify(url)}, ref: "main", path: "", stateDirectory: ${JSON.stringify(state)} });
    console.log("start");
    await source.fetch();
    console.log("done");
    setTimeout(() => undefined, 1000);`;

  /** Runs a fetch in a process of its own and kills it so many milliseconds after it started to work. */
  async function fetchAndKill(url: string, state: string, afterMs: number): Promise<void> {
    const args = ["--import", "tsx", "--input-type=module", "-e", script(url, state)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise((done) => child.on("close", done));
    child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), afterMs));
    await ended;
  }

  it("at any time leaves a store from which the next one goes on", async () => {
    const large = host.repository();
    const entries = Object.fromEntries(
      Array.from({ length: 300 }, (_, i) => [`p${i}.yaml`, `policy ${i}\n`.repeat(50)]),
    );
    const tip = large.work.commit(entries);
    await large.work.push(large.url);
    const goOn = async (state: string) => {
      const { source, events } = host.open({ url: large.url, stateDirectory: state });
      const revision = await source.fetch();
      expect(revision).toMatchObject({ commit: tip });
      expect(revision.files).toHaveLength(300);
      expect(events).toEqual([]);
      expect(git(join(state, "repository.git"), ["fsck", "--full"])).toBe("");
      await source.close();
    };
    // While the store is made: a new one each time. Later: one on top of the other.
    for (const afterMs of [0, 1, 2, 3, 4, 6, 8, 12]) {
      const state = host.newFolder();
      await fetchAndKill(large.url, state, afterMs);
      await goOn(state);
    }
    const state = host.newFolder();
    for (const afterMs of [20, 30, 40, 60, 80, 120]) await fetchAndKill(large.url, state, afterMs);
    await goOn(state);
  });

  it("while it makes the store, after each of its steps, does no harm", async () => {
    const { url } = repository;
    const identity = `${JSON.stringify({ url, ref: "main" })}\n`;
    const steps: ((store: string) => void)[] = [
      (store) => mkdirSync(store, { recursive: true }),
      (store) => writeFileSync(join(store, "tmp-1"), identity.slice(0, 5)),
      (store) => writeFileSync(join(store, "penstock-source.json"), identity),
      (store) => mkdirSync(join(store, "objects", "info"), { recursive: true }),
      (store) => writeFileSync(join(store, "config"), ""),
      (store) =>
        writeFileSync(join(store, "config"), "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"),
      (store) => writeFileSync(join(store, "HEAD"), "ref: refs/heads/main\n"),
    ];
    for (let count = 1; count <= steps.length; count++) {
      const state = host.newFolder();
      for (const step of steps.slice(0, count)) step(join(state, "repository.git"));
      const { source, events } = host.open({ url, stateDirectory: state });
      expect(await source.fetch(), `after ${count} steps`).toMatchObject({ commit: commits[1] });
      expect(events).toEqual([]);
      expect(git(join(state, "repository.git"), ["fsck", "--full"])).toBe("");
      await source.close();
    }
  });

  it("in the middle of receiving leaves a file that is removed later", async () => {
    const state = host.newFolder();
    host.server.setFault({ kind: "hang", afterBytes: 200 }, "pack");
    await fetchAndKill(repository.url, state, 700);
    host.server.setFault();
    const folder = join(state, "repository.git", "objects", "pack");
    const [left, ...others] = readdirSync(folder);
    expect(left).toMatch(/^tmp-.*\.pack$/);
    expect(others).toEqual([]);
    const first = host.open({ url: repository.url, stateDirectory: state });
    expect(await first.source.fetch()).toMatchObject({ commit: commits[1] });
    // It might be another process's work: it goes when that cannot be any more.
    expect(readdirSync(folder)).toContain(left);
    await first.source.close();
    const old = new Date(Date.now() - 2 * 60 * 60 * 1000);
    utimesSync(join(folder, left!), old, old);
    writeFileSync(join(folder, "pack-lonely.pack"), "no index came");
    utimesSync(join(folder, "pack-lonely.pack"), old, old);
    const second = host.open({ url: repository.url, stateDirectory: state });
    expect(await second.source.fetch()).toMatchObject({ commit: commits[1] });
    expect(readdirSync(folder).filter((name) => /^tmp-|lonely/.test(name))).toEqual([]);
  });
});
