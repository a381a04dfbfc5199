// Builds the loader (loader.c), runs it on this kernel, and reads what it prints. The same program loads the objects
// here and in the virtual machine, so that the figures of both can be compared.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runCompiler } from "../../test/fixtures/bpf-compiler.ts";

/** What the kernel says of one loaded program. */
export interface ProgramLoad {
  readonly object: string;
  readonly program: string;
  readonly section: string;
  readonly type: string;
  /** In the object, with those of the functions that the program calls. */
  readonly instructions: number;
  /** After the verifier has rewritten it. */
  readonly xlatedBytes: number;
  /** As machine code; 0 without JIT. */
  readonly jitedBytes: number;
  /** Steps that the verifier took: each instruction once for every way to it that it could not fold. */
  readonly verifiedInstructions: number;
  /** What it returned for a TCP packet while its maps were empty, or why it could not be run. */
  readonly verdict: string;
}

export interface Refusal {
  readonly object: string;
  /** `-` if it was no program's fault. */
  readonly program: string;
  readonly reason: string;
  /** The end of the verifier's log, or what libbpf said if there is none. */
  readonly log: readonly string[];
}

/** What one kernel made of the objects. */
export interface KernelLoad {
  /** As in `uname -r`. */
  readonly kernel: string;
  readonly programs: readonly ProgramLoad[];
  readonly refusals: readonly Refusal[];
}

/** The limit on a program's verified instructions (BPF_COMPLEXITY_LIMIT_INSNS). */
export const verifiedInstructionsMax = 1_000_000;

const source = fileURLToPath(new URL("loader.c", import.meta.url));
const suffix = ".bpf.o";
const timeoutMs = 120_000;
const consoleLines = 40;

/** Paths of the objects of a folder: those named in `first`, then the others by name. */
export function listObjects(folder: string, first: readonly string[] = ["xdp_firewall"]): string[] {
  const names = readdirSync(folder)
    .filter((file) => file.endsWith(suffix))
    .map((file) => basename(file, suffix))
    .sort();
  const order = [...first.filter((name) => names.includes(name)), ...names];
  return [...new Set(order)].map((name) => join(folder, `${name}${suffix}`));
}

/** Builds the loader in `folder` and returns its path. */
export function buildLoader(folder: string, options: readonly string[] = []): string {
  const output = join(folder, "loader");
  const libraries = ["-lbpf", "-lelf", "-lz"];
  runCompiler(["-O2", "-Wall", "-Wextra", "-Werror", ...options, source, "-o", output, ...libraries]);
  return output;
}

/** Loads the objects into the running kernel, in this order. Needs root; `folder` is for the loader. */
export function loadHere(objects: readonly string[], folder: string): KernelLoad {
  const { stdout, stderr, error } = spawnSync(buildLoader(folder), objects, {
    encoding: "utf8",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  return readLoad(stdout ?? "", `${stderr ?? ""}\n${error?.message ?? ""}`);
}

/** Reads the loader's lines among whatever else is there; `rest` is shown if the loader did not get to its end. */
export function readLoad(output: string, rest: string): KernelLoad {
  const lines = output.split(/\r*\n/);
  let kernel: string | undefined;
  let complete = false;
  const programs: ProgramLoad[] = [];
  const refusals: (Refusal & { log: string[] })[] = [];
  let messages: string[] = [];
  for (const line of lines) {
    const [word, ...fields] = line.split("\t");
    if (word === "kernel") kernel = fields[0];
    else if (word === "program") programs.push(readProgram(fields));
    else if (word === "message") messages.push(fields.join("\t"));
    else if (word === "log") refusals.at(-1)?.log.push(fields.join("\t"));
    else if (word === "end") complete = true;
    else if (word === "refused") {
      const [object = "", program = "", reason = ""] = fields;
      refusals.push({ object, program, reason, log: messages });
      messages = [];
    }
  }
  if (kernel !== undefined && complete) return { kernel, programs, refusals };
  const shown = [...lines, ...rest.split("\n")].filter((line) => line.trim() !== "").slice(-consoleLines);
  throw new Error(`The loader did not get to its end. The last that was seen of it:\n${shown.join("\n")}`);
}

function readProgram(fields: readonly string[]): ProgramLoad {
  const [object = "", program = "", section = "", type = ""] = fields;
  const [instructions, xlatedBytes, jitedBytes, verifiedInstructions] = fields.slice(4, 8).map(Number);
  const known = [instructions, xlatedBytes, jitedBytes, verifiedInstructions].every(Number.isInteger);
  if (!known || fields.length !== 9) throw new Error(`Not a line of the loader: ${fields.join(" ")}`);
  return {
    ...{ object, program, section, type },
    instructions: instructions ?? 0,
    xlatedBytes: xlatedBytes ?? 0,
    jitedBytes: jitedBytes ?? 0,
    verifiedInstructions: verifiedInstructions ?? 0,
    verdict: nameVerdict(type, fields[8] ?? ""),
  };
}

const verdicts: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  xdp: { 0: "aborted", 1: "drop", 2: "pass", 3: "tx", 4: "redirect" },
  sched_cls: { "-1": "next", 0: "ok", 2: "shot", 7: "redirect" },
};

function nameVerdict(type: string, verdict: string): string {
  return verdicts[type]?.[verdict] ?? verdict;
}
