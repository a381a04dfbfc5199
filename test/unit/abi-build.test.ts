// scripts/build-bpf.sh: objects are reproducible, made again exactly when something they are made of has changed,
// and never left half-written or stale.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { build, hasClang, makeTemporaryFolder, preamble } from "../fixtures/abi/clang.ts";

// Bounds a hang, and is far above what a busy machine needs.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const program = `${preamble}#include "lib/part.h"
struct part *emit_part;
SEC("xdp") int judge(struct xdp_md *ctx) { return part(ctx->data_end - ctx->data); }
`;
const header = `#pragma once
#include <linux/types.h>
struct part { __u64 a; };
static __always_inline int part(__u32 x) { return x > PART_LIMIT; }
`;

let source: string;
let output: string;

function write(name: string, text: string): void {
  writeFileSync(join(source, name), text);
}

function writeProject(): void {
  mkdirSync(join(source, "lib"), { recursive: true });
  write("lib/part.h", header.replace("PART_LIMIT", "7"));
  write("one.bpf.c", program);
  write("two.bpf.c", program.replaceAll("judge", "second"));
}

/** Names of the objects that a run made. */
function rebuild(): string[] {
  const { status, stderr } = build(source, output);
  expect(stderr).not.toContain("error");
  expect(status).toBe(0);
  return [...stderr.matchAll(/^(\w+)\.bpf\.c -> /gm)].map((match) => match[1] ?? "");
}

describe.skipIf(!hasClang())("build-bpf.sh", () => {
  beforeEach(() => {
    source = makeTemporaryFolder();
    output = makeTemporaryFolder();
    writeProject();
  });

  it("makes one object for each program and nothing else", () => {
    expect(rebuild()).toEqual(["one", "two"]);
    expect(readdirSync(output).sort()).toEqual([".made-of", "one.bpf.o", "two.bpf.o"]);
    expect(statSync(join(output, "one.bpf.o")).mode & 0o777).toBe(0o644);
  });

  it("does nothing when nothing changed, whatever the times of the files say", () => {
    rebuild();
    writeProject();
    expect(rebuild()).toEqual([]);
  });

  const changes: { name: string; change: () => void; made: string[] }[] = [
    {
      name: "one program",
      change: () => write("two.bpf.c", `${program}\nint unused_variable;\n`),
      made: ["two"],
    },
    {
      name: "a header",
      change: () => write("lib/part.h", header.replace("PART_LIMIT", "8")),
      made: ["one", "two"],
    },
    { name: "a new header", change: () => write("lib/more.h", "#pragma once\n"), made: ["one", "two"] },
    { name: "a lost object", change: () => rmSync(join(output, "one.bpf.o")), made: ["one"] },
    {
      name: "an object that nobody knows the origin of",
      change: () => rmSync(join(output, ".made-of/two.bpf")),
      made: ["two"],
    },
  ];
  it.each(changes)("makes again what depends on $name", ({ change, made }) => {
    rebuild();
    change();
    expect(rebuild()).toEqual(made);
    expect(rebuild()).toEqual([]);
  });

  it("removes objects whose source is gone", () => {
    rebuild();
    rmSync(join(source, "two.bpf.c"));
    rebuild();
    expect(readdirSync(output).sort()).toEqual([".made-of", "one.bpf.o"]);
  });

  it("makes the same object in another folder", () => {
    rebuild();
    const first = readFileSync(join(output, "one.bpf.o"));
    const folder = source;
    source = join(makeTemporaryFolder(), "a/deeper/place");
    output = makeTemporaryFolder();
    writeProject();
    rebuild();
    expect(readFileSync(join(output, "one.bpf.o")).equals(first)).toBe(true);
    expect(first.includes(folder)).toBe(false);
    expect(first.includes(process.cwd())).toBe(false);
  });

  it("leaves the object before, and nothing half-written, when a program does not compile", () => {
    rebuild();
    const before = readFileSync(join(output, "one.bpf.o"));
    write("one.bpf.c", `${program}int broken = ;\n`);
    const { status, stderr } = build(source, output);
    expect(status).not.toBe(0);
    expect(stderr).toContain("one.bpf.c");
    expect(readFileSync(join(output, "one.bpf.o")).equals(before)).toBe(true);
    expect(readdirSync(output).sort()).toEqual([".made-of", "one.bpf.o", "two.bpf.o"]);
    writeProject();
    expect(rebuild()).toEqual([]);
  });

  it("takes a warning for an error", () => {
    write(
      "one.bpf.c",
      program.replace("int judge(struct xdp_md *ctx) {", "int judge(struct xdp_md *ctx) { int unused;"),
    );
    expect(build(source, output)).toMatchObject({ status: 1, stderr: expect.stringContaining("unused") });
    expect(existsSync(join(output, "one.bpf.o"))).toBe(false);
  });
});

describe("build-bpf.sh without a compiler", () => {
  it("says what to install", () => {
    const folder = makeTemporaryFolder();
    for (const tool of ["realpath"]) {
      writeFileSync(join(folder, tool), `#!/bin/sh\nexec /usr/bin/${tool} "$@"\n`, { mode: 0o755 });
    }
    const { status, stderr } = build(folder, folder, { PATH: folder });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^Cannot compile the BPF programs: no clang was found\nInstall clang 15 or later/);
  });
});
