// What the kernel says of an open map, program or link (BPF_OBJ_GET_INFO_BY_FD). The kernel fills as much of
// the structure as it knows and as fits, so a longer or shorter structure on its side does no harm.
import { checkResult } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";

export interface MapInfo {
  readonly id: number;
  /** As the kernel keeps it: at most 15 bytes. */
  readonly name: string;
  /** A number of MAP_TYPE. */
  readonly type: number;
  readonly keySize: number;
  /** Bytes of one value on one CPU. */
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
}

export interface ProgramInfo {
  readonly id: number;
  readonly name: string;
  readonly type: number;
  /** 16 hex digits over the program's instructions. */
  readonly tag: string;
  /** Nanoseconds since boot. */
  readonly loadTimeNs: bigint;
  /** Ids of the maps that it uses are not read; their number is. */
  readonly mapCount: number;
}

export type LinkType = "xdp" | "tcx" | "perf-event" | "other";

export interface LinkInfo {
  readonly id: number;
  readonly type: LinkType;
  readonly programId: number;
  /** For xdp and tcx: the interface, or 0 if it is gone or the link was detached. */
  readonly ifindex: number | undefined;
  /** For xdp and tcx: a number of ATTACH_TYPE. */
  readonly attachType: number | undefined;
}

const INFO_BYTES = 256;
const LINK_TYPES: Readonly<Record<number, LinkType>> = { 6: "xdp", 7: "perf-event", 11: "tcx" };
const ATTACH_XDP = 37;

/** struct bpf_map_info. `object` is for messages: `map flows`. */
export function readMapInfo(fd: number, object: string): MapInfo {
  const info = readInfo(fd, object);
  return {
    type: info.getUint32(0, true),
    id: info.getUint32(4, true),
    keySize: info.getUint32(8, true),
    valueSize: info.getUint32(12, true),
    maxEntries: info.getUint32(16, true),
    flags: info.getUint32(20, true),
    name: readName(info, 24),
  };
}

/** struct bpf_prog_info. */
export function readProgramInfo(fd: number, object: string): ProgramInfo {
  const info = readInfo(fd, object);
  return {
    type: info.getUint32(0, true),
    id: info.getUint32(4, true),
    tag: Buffer.from(info.buffer, 8, 8).toString("hex"),
    loadTimeNs: info.getBigUint64(40, true),
    mapCount: info.getUint32(52, true),
    name: readName(info, 64),
  };
}

/** struct bpf_link_info. */
export function readLinkInfo(fd: number, object: string): LinkInfo {
  const info = readInfo(fd, object);
  const type = LINK_TYPES[info.getUint32(0, true)] ?? "other";
  const hasInterface = type === "xdp" || type === "tcx";
  return {
    type,
    id: info.getUint32(4, true),
    programId: info.getUint32(8, true),
    ifindex: hasInterface ? info.getUint32(16, true) : undefined,
    attachType: type === "xdp" ? ATTACH_XDP : type === "tcx" ? info.getUint32(20, true) : undefined,
  };
}

function readInfo(fd: number, object: string): DataView {
  const info = new Uint8Array(INFO_BYTES);
  const length = new Uint8Array(new Uint32Array([INFO_BYTES]).buffer);
  const call = "bpf_obj_get_info_by_fd";
  checkResult(libbpf()[call](fd, info, length), { action: "read the facts of", object, call });
  return new DataView(info.buffer);
}

function readName(info: DataView, offset: number): string {
  const bytes = Buffer.from(info.buffer, offset, 16);
  const end = bytes.indexOf(0);
  return bytes.toString("utf8", 0, end < 0 ? 16 : end);
}
