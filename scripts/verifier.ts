// `npm run verifier`: loads the compiled objects into the running kernel and into Debian 12's kernel 6.1, and says how
// large each program is and how far it is from the verifier's limit. Exit code 0: each of them loaded.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { getKernel, guestUnavailable, loadInGuest } from "./verifier/guest.ts";
import { type KernelLoad, listObjects, loadHere } from "./verifier/loader.ts";
import { formatLoad } from "./verifier/report.ts";

const usage =
  "usage: npm run verifier -- [--kernel running|6.1|both] [--objects FOLDER] [--order NAME,...] [--json FILE]";
const root = fileURLToPath(new URL("..", import.meta.url));

const kernels = ["running", "6.1", "both"];
const values = readOptions();
try {
  process.exitCode = main() ? 0 : 1;
} catch (error) {
  console.error(`verifier: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}

function readOptions() {
  const options = {
    kernel: { type: "string" },
    objects: { type: "string", default: join(root, "dist/objects") },
    order: { type: "string" },
    json: { type: "string" },
  } as const;
  try {
    const { values } = parseArgs({ options });
    if (values.kernel === undefined || kernels.includes(values.kernel)) return values;
  } catch {
    // Told by the usage, as is a kernel that is none of the three.
  }
  console.error(usage);
  process.exit(64);
}

function main(): boolean {
  const objects = listObjects(values.objects, values.order?.split(","));
  if (objects.length === 0) throw new Error(`There is no object in ${values.objects}`);
  const loads = loadAll(objects);
  for (const load of loads) console.log(`${formatLoad(load)}\n`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(loads, null, 2)}\n`);
  return loads.every((load) => load.refusals.length === 0);
}

function loadAll(objects: readonly string[]): KernelLoad[] {
  mkdirSync(join(root, "build"), { recursive: true });
  const folder = mkdtempSync(join(root, "build/verifier-"));
  try {
    const loads: KernelLoad[] = [];
    if (values.kernel !== "6.1") loads.push(loadHere(objects, folder));
    if (wantsGuest()) loads.push(loadInGuest(objects, folder));
    return loads;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Who asks for the second kernel gets it or an error; otherwise it is left out where it is not there. */
function wantsGuest(): boolean {
  if (values.kernel === "running") return false;
  if (values.kernel !== undefined) getKernel();
  const missing = guestUnavailable();
  if (missing === undefined) return true;
  if (values.kernel !== undefined) throw new Error(missing);
  console.error(`verifier: Linux 6.1 is left out: ${missing}`);
  return false;
}
