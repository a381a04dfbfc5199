// What `penstock check` reports: does this kernel, and do these rights, carry the datapath? Everything is tried
// for real where that leaves no trace. A check never throws: what fails becomes a line with a remedy.
import { existsSync, statfsSync } from "node:fs";
import { release } from "node:os";
import { asPenstockError } from "../base/index.ts";
import { missingCapabilities } from "./capabilities.ts";
import { ATTACH_TYPE, MAP_FLAG, MAP_TYPE, PROGRAM_TYPE, XDP_FLAG } from "./constants.ts";
import { ERRNO } from "./errno.ts";
import { hasMembarrier } from "./grace.ts";
import { describeErrno, isKernelError } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import { createLink } from "./link.ts";
import { createMap, type MapLayout } from "./map.ts";
import { inNewNamespace } from "./namespace.ts";
import { encodeVerdict, loadProgram } from "./program.ts";

export type FeatureStatus = "ok" | "warn" | "fail";

export interface FeatureCheck {
  /** Stable, kebab-case: `kernel-version`, `map-lpm-trie`, ... */
  readonly name: string;
  /** `warn`: Penstock runs without it, in some respect worse. */
  readonly status: FeatureStatus;
  readonly found: string;
  readonly needed: string;
  readonly remedy?: string;
}

type Finding = Omit<FeatureCheck, "name" | "needed">;

interface Probe {
  readonly name: string;
  readonly needed: string;
  run(): Finding;
}

/** bpf_xdp_get_buff_len and programs of the section xdp.frags. */
const KERNEL_MIN: readonly [number, number] = [5, 18];
/** The oldest kernel on which the programs are tried (docs/verifier.md): verifiers before may refuse them. */
const KERNEL_TRIED_MIN: readonly [number, number] = [6, 1];
const LIBBPF_MIN: readonly [number, number] = [1, 1];
const BPFFS_MAGIC = 0xcafe4a11;
const BTF_PATH = "/sys/kernel/btf/vmlinux";
const HELPER_LOOP = 181;
const XDP_PASS = 2;
const TCX_NEXT = -1;
const LOOPBACK = 1;
const NO_INTERFACE = 0x7fff_ffff;

/** All checks, in the order in which a person would mend them. `bpffs` is where pins will lie. */
export function checkFeatures(options: { readonly bpffs?: string } = {}): FeatureCheck[] {
  const probes: Probe[] = [
    { name: "kernel-version", needed: `Linux ${KERNEL_TRIED_MIN.join(".")} or later`, run: probeKernel },
    { name: "capabilities", needed: "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON", run: probeCapabilities },
    { name: "libbpf", needed: `libbpf.so.1, ${LIBBPF_MIN.join(".")} or later`, run: probeLibbpf },
    { name: "btf", needed: `kernel types in ${BTF_PATH}`, run: probeBtf },
    {
      name: "bpffs",
      needed: "a mounted bpf file system",
      run: () => probeBpffs(options.bpffs ?? "/sys/fs/bpf"),
    },
    ...MAPS.map(mapProbe),
    { name: "batch-operations", needed: "BPF_MAP_LOOKUP_BATCH and UPDATE_BATCH", run: probeBatches },
    { name: "xdp-program", needed: "loading of an XDP program", run: probeXdpProgram },
    { name: "bpf-loop", needed: "the helper bpf_loop in XDP programs", run: probeLoop },
    { name: "xdp-link", needed: "XDP through BPF_LINK_CREATE", run: probeXdpLink },
    {
      name: "tcx-link",
      needed: "TCX links (Linux 6.6), for policy that needs TC programs",
      run: probeTcxLink,
    },
    {
      name: "grace-period",
      needed: "membarrier; without it the update of a map in a map",
      run: probeMembarrier,
    },
    { name: "memory-accounting", needed: "maps charged to the control group (Linux 5.11)", run: probeMemory },
  ];
  return probes.map(({ name, needed, run }) => ({ name, needed, ...attempt(run) }));
}

const MAPS: readonly MapLayout[] = [
  { name: "map-hash", type: MAP_TYPE.hash, keySize: 4, valueSize: 8, entriesMax: 2 },
  {
    name: "map-lpm-trie",
    type: MAP_TYPE.lpmTrie,
    keySize: 8,
    valueSize: 8,
    entriesMax: 2,
    flags: MAP_FLAG.noPrealloc,
  },
  { name: "map-ring-buffer", type: MAP_TYPE.ringBuffer, keySize: 0, valueSize: 0, entriesMax: 65_536 },
  {
    name: "map-mmapable-array",
    type: MAP_TYPE.array,
    keySize: 4,
    valueSize: 8,
    entriesMax: 2,
    flags: MAP_FLAG.mmapable,
  },
  { name: "map-per-cpu", type: MAP_TYPE.perCpuArray, keySize: 4, valueSize: 8, entriesMax: 2 },
];

function attempt(run: () => Finding): Finding {
  try {
    return run();
  } catch (thrown) {
    const error = asPenstockError(thrown);
    const remedy = error.remedy;
    return { status: "fail", found: error.message, ...(remedy === undefined ? {} : { remedy }) };
  }
}

function probeKernel(): Finding {
  const found = `Linux ${release()}`;
  const remedy = `Boot Linux ${KERNEL_TRIED_MIN.join(".")} or later`;
  if (isAtLeast(release().split("."), KERNEL_TRIED_MIN)) return { status: "ok", found };
  if (!isAtLeast(release().split("."), KERNEL_MIN)) return { status: "fail", found, remedy };
  return { status: "warn", found: `${found}, on which the programs are not tried`, remedy };
}

function isAtLeast(
  version: readonly (string | number)[],
  [major, minor]: readonly [number, number],
): boolean {
  const [haveMajor = 0, haveMinor = 0] = version.map((part) => Number.parseInt(String(part), 10));
  return haveMajor > major || (haveMajor === major && haveMinor >= minor);
}

function probeCapabilities(): Finding {
  const missing = missingCapabilities();
  if (missing.length === 0) return { status: "ok", found: "all" };
  return {
    status: "fail",
    found: `without ${missing.join(", ")}`,
    remedy: "Run as root, or with AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON in the service",
  };
}

function probeLibbpf(): Finding {
  const version = [libbpf().libbpf_major_version(), libbpf().libbpf_minor_version()];
  const found = `libbpf ${version.join(".")}`;
  if (isAtLeast(version, LIBBPF_MIN)) return { status: "ok", found };
  return { status: "fail", found, remedy: "Install libbpf 1.1 or later: apt-get install libbpf1" };
}

function probeBtf(): Finding {
  if (existsSync(BTF_PATH)) return { status: "ok", found: "present" };
  return { status: "fail", found: "absent", remedy: "Boot a kernel with CONFIG_DEBUG_INFO_BTF=y" };
}

function probeBpffs(path: string): Finding {
  const remedy = `mount -t bpf bpf ${path}`;
  if (!existsSync(path)) return { status: "fail", found: `${path} does not exist`, remedy };
  const isBpffs = statfsSync(path).type === BPFFS_MAGIC;
  if (isBpffs) return { status: "ok", found: `mounted at ${path}` };
  return { status: "fail", found: `${path} is not on a bpf file system`, remedy };
}

function mapProbe(layout: MapLayout): Probe {
  return {
    name: layout.name,
    needed: `maps of type ${layout.name.slice("map-".length)}`,
    run() {
      createMap({ ...layout, name: "penstock_check" }).close();
      return { status: "ok", found: "can be created" };
    },
  };
}

function probeBatches(): Finding {
  const map = createMap({
    name: "penstock_check",
    type: MAP_TYPE.hash,
    keySize: 4,
    valueSize: 8,
    entriesMax: 4,
  });
  try {
    const lib = libbpf();
    const counter = new Uint32Array([1]);
    const count = new Uint8Array(counter.buffer);
    const [key, value, place] = [new Uint8Array(4), new Uint8Array(8), new Uint8Array(8)];
    const update = lib.bpf_map_update_batch(map.fd, key, value, count, null);
    const lookup = lib.bpf_map_lookup_batch(map.fd, null, place, key, value, count, null);
    if (update === 0 && lookup === -ERRNO.ENOENT && counter[0] === 1)
      return { status: "ok", found: "present" };
    return { status: "fail", found: "refused by the kernel", remedy: "Boot a newer kernel" };
  } finally {
    map.close();
  }
}

function probeXdpProgram(): Finding {
  withVerdict(PROGRAM_TYPE.xdp, XDP_PASS, () => undefined);
  return { status: "ok", found: "can be loaded" };
}

function probeLoop(): Finding {
  // libbpf takes a load that is refused for lack of rights for a helper that is there.
  probeXdpProgram();
  const result = libbpf().libbpf_probe_bpf_helper(PROGRAM_TYPE.xdp, HELPER_LOOP, null);
  if (result === 1) return { status: "ok", found: "present" };
  const found = result === 0 ? "absent" : `cannot be tried: ${describeErrno(-result)}`;
  return { status: "fail", found, remedy: "Boot a newer kernel, and run as root" };
}

// On the loopback interface of a namespace that is gone a moment later.
function probeXdpLink(): Finding {
  return withVerdict(PROGRAM_TYPE.xdp, XDP_PASS, (program) => {
    const request = { program, ifindex: LOOPBACK, attachType: ATTACH_TYPE.xdp, flags: XDP_FLAG.generic };
    try {
      const link = inNewNamespace(() => {
        const created = createLink(request, "XDP link of the check");
        if (typeof created !== "number") created.close();
        return created;
      });
      if (typeof link !== "number") return { status: "ok", found: "present" };
      return { status: "fail", found: describeErrno(link), remedy: "Boot a newer kernel" };
    } catch (thrown) {
      if (!isKernelError(thrown, "EPERM")) throw thrown;
      return {
        status: "warn",
        found: "not tried: no right to make a network namespace",
        remedy: "Run as root",
      };
    }
  });
}

// A kernel with TCX looks for the interface (ENODEV), one without refuses the attach type (EINVAL).
function probeTcxLink(): Finding {
  return withVerdict(PROGRAM_TYPE.schedCls, TCX_NEXT, (program) => {
    const result = createLink(
      { program, ifindex: NO_INTERFACE, attachType: ATTACH_TYPE.tcxIngress },
      "probe",
    );
    if (result === ERRNO.ENODEV) return { status: "ok", found: "present" };
    return {
      status: "warn",
      found: "absent, TC programs cannot be attached",
      remedy: "Boot Linux 6.6 or later",
    };
  });
}

function probeMembarrier(): Finding {
  if (hasMembarrier()) return { status: "ok", found: "membarrier" };
  return {
    status: "warn",
    found: "no membarrier (nohz_full CPUs, or a system call filter): map in map will be used",
    remedy: "Allow the system call membarrier",
  };
}

function probeMemory(): Finding {
  if (isAtLeast(release().split("."), [5, 11])) return { status: "ok", found: "present" };
  return { status: "warn", found: "maps count against RLIMIT_MEMLOCK", remedy: "Set LimitMEMLOCK=infinity" };
}

function withVerdict<T>(
  type: number,
  verdict: number,
  work: (program: { fd: number; name: string }) => T,
): T {
  const program = loadProgram({ name: "penstock_check", type, instructions: encodeVerdict(verdict) });
  try {
    return work(program);
  } finally {
    program.close();
  }
}
