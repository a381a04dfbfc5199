// Debian 12's kernel 6.1 in a virtual machine that emulates its processor (no KVM, which not every host lends), with
// the loader as its only process. Nothing of the host is reachable from it; what it prints goes over a serial line.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildLoader, type KernelLoad, readLoad } from "./loader.ts";

const emulator = "qemu-system-x86_64";
const kernelScript = fileURLToPath(new URL("../get-kernel.sh", import.meta.url));
const timeoutMs = 240_000;

/** Why there can be no virtual machine here, and what to do about it; undefined if there can. */
export function guestUnavailable(): string | undefined {
  if (process.arch !== "x64") return "the second kernel is one for x86-64";
  if (spawnSync(emulator, ["--version"]).status !== 0) {
    return `${emulator} is missing: apt-get install --no-install-recommends qemu-system-x86`;
  }
  const { status, stderr } = findKernel(["--cached"]);
  return status === 0 ? undefined : stderr.trim();
}

/** Gets the kernel if it is not in the cache. */
export function getKernel(): void {
  const { status, stderr } = findKernel([]);
  if (status !== 0) throw new Error(stderr.trim());
}

function findKernel(options: readonly string[]) {
  return spawnSync("bash", [kernelScript, ...options], { encoding: "utf8" });
}

/** Loads the objects in this order into the kernel of a virtual machine; `folder` holds its files meanwhile. */
export function loadInGuest(objects: readonly string[], folder: string): KernelLoad {
  // Nothing else is there that it could be linked to.
  const loader = buildLoader(folder, ["-static"]);
  const initramfs = join(folder, "initramfs.cpio");
  const files = objects.map((path) => ({
    name: basename(path),
    content: readFileSync(path),
    mode: 0o100644,
  }));
  const init = { name: "init", content: readFileSync(loader), mode: 0o100755 };
  writeFileSync(
    initramfs,
    packCpio([{ name: "dev", content: Buffer.alloc(0), mode: 0o040755 }, init, ...files]),
  );
  // What follows `--` is handed to init.
  const commandLine = `console=ttyS0 quiet loglevel=0 panic=-1 -- ${files.map(({ name }) => `/${name}`).join(" ")}`;
  const machine = ["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2G", "-nodefaults", "-no-user-config"];
  const lines = ["-display", "none", "-serial", "stdio", "-no-reboot"];
  const kernel = findKernel(["--cached"]).stdout.trim();
  const boot = ["-kernel", kernel, "-initrd", initramfs, "-append", commandLine];
  const { stdout, stderr, error } = spawnSync(emulator, [...machine, ...lines, ...boot], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  return readLoad(stdout ?? "", `${stderr ?? ""}\n${error?.message ?? ""}`);
}

interface CpioFile {
  readonly name: string;
  readonly content: Buffer;
  /** Type and permissions, as in `st_mode`. */
  readonly mode: number;
}

/** The archive that the kernel unpacks ("newc", Documentation/driver-api/early-userspace/buffer-format.rst). */
function packCpio(files: readonly CpioFile[]): Buffer {
  const end = { name: "TRAILER!!!", content: Buffer.alloc(0), mode: 0 };
  return Buffer.concat([...files, end].flatMap(packFile));
}

function packFile({ name, content, mode }: CpioFile): Buffer[] {
  // Inode, mode, owner, group, links, time, size, four device numbers, length of the name with its NUL, checksum.
  const fields = [0, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
  const hex = fields.map((field) => field.toString(16).padStart(8, "0")).join("");
  return [padToWord(Buffer.from(`070701${hex}${name}\0`)), padToWord(content)];
}

function padToWord(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
