// How much memory the agent has with a million entries, written as one file of YAML and of JSON: measured in a process of
// its own that runs the compiled code.
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { objectDirectory } from "../src/cli/places.ts";
import { listAddresses } from "./addresses.ts";
import type { MemoryFigures } from "./memory-agent.ts";
import { folder, pinDirectory } from "./places.ts";
import { type Report, type Row, round, type Target } from "./report.ts";
import { addressSetFile } from "./tables.ts";

const prefixes = 1_000_000;
// The list itself, and the lists and mappings around it, are within what one file may hold.
const formats = ["yaml", "json"] as const;

export async function benchMemory(): Promise<Report> {
  const rows: Row[] = [];
  const targets: Target[] = [];
  const program = await compileAgent();
  for (const format of formats) {
    const { path, content } = addressSetFile("listed", listAddresses("networks", prefixes), format);
    const policyPath = join(folder, path.slice(path.lastIndexOf("/") + 1));
    writeFileSync(policyPath, content);
    const figures = await runAgent(program, policyPath);
    rows.push({
      format,
      prefixes,
      "resident MiB": figures.residentMib,
      "after gc() MiB": figures.residentAfterGcMib,
      "peak MiB": figures.peakMib,
      "reconcile ms": round(figures.reconcileMs),
      "scan ms": round(figures.scanMs),
      "loop p99 ms": round(figures.delayP99Ms),
      "loop most ms": round(figures.delayMostMs),
    });
    targets.push(
      { what: `${format}: resident`, figure: figures.residentMib, atMost: 300, unit: " MiB" },
      {
        what: `${format}, from text to record: p99 delay of the event loop`,
        figure: figures.delayP99Ms,
        atMost: 50,
        unit: " ms",
      },
    );
  }
  return { tables: { "agent with a million prefixes": rows }, targets, notes: [] };
}

/** The process's own source, over the compiled modules of `dist`: as the agent is run. */
async function compileAgent(): Promise<string> {
  const outfile = join(folder, "memory-agent.mjs");
  await build({
    entryPoints: [fileURLToPath(new URL("./memory-agent.ts", import.meta.url))],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    packages: "external",
    logLevel: "error",
    plugins: [
      {
        name: "compiled-modules",
        setup({ onResolve }) {
          onResolve({ filter: /\/src\/.*\.ts$/ }, ({ path }) => {
            const compiled = path.replace(/^.*\/src\//, "../dist/").replace(/\.ts$/, ".js");
            return { path: fileURLToPath(new URL(compiled, import.meta.url)), external: true };
          });
        },
      },
    ],
  });
  return outfile;
}

async function runAgent(program: string, policyPath: string): Promise<MemoryFigures> {
  const args = ["--expose-gc", program, policyPath, objectDirectory, pinDirectory, String(prefixes + 16)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return JSON.parse(stdout) as MemoryFigures;
}
