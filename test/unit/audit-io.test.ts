// The contract of the AuditIo port, kept by the real disk and by the fake one that the other tests use; and the
// line readers above it, against a plain split.
import { mkdir, mkdtemp, rm, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type AuditIo, diskIo, errorCode, readFully, writeFully } from "../../src/audit/io.ts";
import { type Line, readLines, readLinesBackward } from "../../src/audit/lines.ts";
import { recordBytesMax } from "../../src/audit/record.ts";
import { MemoryDisk } from "./audit-memory-disk.ts";
import { collect } from "./audit-support.ts";

// Sweeps and synced writes: seconds on an idle machine, more on a busy one.
vi.setConfig({ testTimeout: 60_000 });

const bytes = (text: string) => Buffer.from(text, "utf8");
const codeOf = (promise: Promise<unknown>) => promise.then(() => "done", errorCode);

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "penstock-audit-io-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

describe.each([
  { name: "the disk", make: (): AuditIo => diskIo },
  { name: "the memory disk", make: (): AuditIo => new MemoryDisk() },
])("AuditIo on $name", ({ make }) => {
  let io: AuditIo;
  let directory: string;
  beforeEach(async () => {
    io = make();
    directory = join(root, "audit");
    await io.makeDirectory(directory);
  });
  const read = async (name: string) => {
    const file = await io.open(join(directory, name), "read");
    const out = Buffer.from(await readFully(file, 0, 1000)).toString("utf8");
    await file.close();
    return out;
  };

  test("what is missing", async () => {
    expect(await io.stat(join(directory, "a"))).toBeNull();
    expect(await io.list(directory)).toEqual([]);
    expect(await codeOf(io.open(join(directory, "a"), "read"))).toBe("ENOENT");
    expect(await codeOf(io.open(join(directory, "a"), "update"))).toBe("ENOENT");
    expect(await codeOf(io.rename(join(directory, "a"), join(directory, "b")))).toBe("ENOENT");
  });

  test("the directory has mode 0700, and making it again is nothing", async () => {
    await io.makeDirectory(directory);
    expect((await io.stat(directory))?.mode).toBe(0o700);
  });

  test("write, read, truncate, write behind the end", async () => {
    const file = await io.open(join(directory, "a"), "create");
    await writeFully(file, bytes("hello world"), 0);
    await file.truncate(5);
    await writeFully(file, bytes("!"), 7);
    await file.sync();
    expect(await file.stat()).toMatchObject({ size: 8, mode: 0o600 });
    await file.close();
    expect(await read("a")).toBe("hello\0\0!");
  });

  test("create refuses, replace empties, update keeps", async () => {
    const path = join(directory, "a");
    const file = await io.open(path, "create");
    await writeFully(file, bytes("one"), 0);
    await file.close();
    expect(await codeOf(io.open(path, "create"))).toBe("EEXIST");
    await (await io.open(path, "update")).close();
    expect(await read("a")).toBe("one");
    await (await io.open(path, "replace")).close();
    expect(await read("a")).toBe("");
  });

  test("a rename replaces the target and leaves open files theirs", async () => {
    const one = await io.open(join(directory, "a"), "create");
    const two = await io.open(join(directory, "b"), "create");
    await writeFully(one, bytes("one"), 0);
    await writeFully(two, bytes("two"), 0);
    const { inode } = await one.stat();
    await io.rename(join(directory, "a"), join(directory, "b"));
    await io.syncDirectory(directory);
    expect(await io.list(directory)).toEqual(["b"]);
    expect((await io.stat(join(directory, "b")))?.inode).toBe(inode);
    expect(Buffer.from(await readFully(two, 0, 10)).toString()).toBe("two");
    await Promise.all([one.close(), two.close()]);
    expect(await read("b")).toBe("one");
  });

  test("modes and space", async () => {
    const file = await io.open(join(directory, "a"), "create");
    await file.setMode(0o644);
    await writeFully(file, Buffer.alloc(10_000, 1), 0);
    await file.sync();
    const facts = await file.stat();
    expect(facts.mode).toBe(0o644);
    expect(facts.allocated).toBeGreaterThanOrEqual(10_000);
    await file.close();
  });
});

describe("the disk", () => {
  test("refuses a symbolic link in place of a file", async () => {
    await symlink("/etc/hostname", join(root, "link"));
    expect(await codeOf(diskIo.open(join(root, "link"), "update"))).toBe("ELOOP");
    expect(await codeOf(diskIo.open(join(root, "link"), "replace"))).toBe("ELOOP");
  });

  test("does not change a directory that exists", async () => {
    await mkdir(join(root, "shared"), { mode: 0o755 });
    await diskIo.makeDirectory(join(root, "shared"));
    expect((await stat(join(root, "shared"))).mode & 0o777).toBe(0o755);
  });
});

describe("the memory disk", () => {
  test("writes short and then not at all when it is full", async () => {
    const disk = new MemoryDisk();
    disk.capacity = 4096;
    const file = await disk.open("/x/audit/a", "create");
    expect(await file.write(Buffer.alloc(5000), 0)).toBe(4096);
    expect(await codeOf(file.write(Buffer.alloc(1), 4096))).toBe("ENOSPC");
    expect(await file.write(Buffer.alloc(100), 50)).toBe(100);
  });

  test("loses what was not synced: content and names", async () => {
    const disk = new MemoryDisk();
    const file = await disk.open("/x/audit/a", "create");
    await file.write(bytes("kept"), 0);
    await file.sync();
    expect(disk.afterCrash(() => 0).names()).toEqual([]);
    await disk.syncDirectory();
    await file.write(bytes(" lost"), 4);
    await disk.open("/x/audit/b", "create");
    expect(disk.afterCrash(() => 0).names()).toEqual(["a"]);
    expect(
      disk
        .afterCrash(() => 0)
        .content("a")
        .toString(),
    ).toBe("kept");
    expect(
      disk
        .afterCrash((max) => max)
        .content("a")
        .toString(),
    ).toBe("kept lost");
    expect(
      disk
        .afterCrash((max) => Math.min(max, 2))
        .content("a")
        .toString(),
    ).toBe("kept l");
  });
});

describe("line readers", () => {
  const linesOf = async (content: Buffer, read: typeof readLines) => {
    const disk = new MemoryDisk();
    disk.put("a", content);
    const file = await disk.open("/x/audit/a", "read");
    return await collect(read(file, content.length));
  };
  const textOf = (line: Line) => ({
    text: line.bytes === null ? null : Buffer.from(line.bytes).toString("latin1"),
    terminated: line.terminated,
  });
  const split = (text: string) => {
    const parts = text.split("\n").map((part, i, all) => ({ text: part, terminated: i < all.length - 1 }));
    return parts.at(-1)?.text === "" ? parts.slice(0, -1) : parts;
  };

  test("agree with a split, in both directions, at any length of line", async () => {
    // 262,144 is the length of a chunk: lines that end just before, at and behind its edge. A number is so many "b".
    const part = fc.oneof(
      fc.string({ unit: fc.constantFrom("a", "\n"), maxLength: 20 }),
      fc.integer({ min: 262_140, max: 262_148 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(part, { maxLength: 3 }), async (parts) => {
        const text = parts.map((item) => (typeof item === "number" ? "b".repeat(item) : item)).join("");
        const content = Buffer.from(text, "latin1");
        const forward = await linesOf(content, readLines);
        const backward = await linesOf(content, readLinesBackward);
        const sameText = JSON.stringify(forward.map(textOf)) === JSON.stringify(split(text));
        const sameLines = JSON.stringify(backward.reverse().map(textOf)) === JSON.stringify(split(text));
        const edges = (lines: Line[]) => lines.map(({ start, end }) => [start, end]);
        expect(edges(backward)).toEqual(edges(forward));
        return sameText && sameLines;
      }),
      { numRuns: 60 },
    );
  });

  test("a line longer than any record comes without its bytes", async () => {
    const content = Buffer.from(`a\n${"x".repeat(recordBytesMax)}\nb\n`);
    expect((await linesOf(content, readLines)).map(textOf)).toEqual([
      { text: "a", terminated: true },
      { text: null, terminated: true },
      { text: "b", terminated: true },
    ]);
    const backward = (await linesOf(content, readLinesBackward)).map(textOf);
    expect(backward).toEqual([
      { text: "b", terminated: true },
      { text: null, terminated: true },
    ]);
  });

  test("the longest line that a record can have comes with its bytes", async () => {
    const content = Buffer.from(`${"x".repeat(recordBytesMax - 1)}\n`);
    for (const read of [readLines, readLinesBackward]) {
      expect((await linesOf(content, read))[0]?.bytes?.length).toBe(recordBytesMax - 1);
    }
  });
});
