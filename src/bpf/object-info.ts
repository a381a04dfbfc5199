// What the kernel says of an open map, program or link (BPF_OBJ_GET_INFO_BY_FD). The kernel fills as much of
// the structure as it knows and as fits, so a longer or shorter structure on its side does no harm.
import { checkResult } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import { addressOf } from "./libc.ts";

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
  /** Which BTF says what keys and values are, and the ids of their types in it; all 0 if none does. */
  readonly btf: { readonly id: number; readonly key: number; readonly value: number };
}

export interface ProgramInfo {
  readonly id: number;
  readonly name: string;
  readonly type: number;
  /** 16 hex digits over the program's instructions. */
  readonly tag: string;
  /** Nanoseconds since boot. */
  readonly loadTimeNs: bigint;
  /** See readProgramMapIds for their ids. */
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
    btf: { id: info.getUint32(64, true), key: info.getUint32(68, true), value: info.getUint32(72, true) },
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

/** Ids of the maps that a program uses or was bound to (struct bpf_prog_info: nr_map_ids, map_ids). */
export function readProgramMapIds(fd: number, object: string): readonly number[] {
  const ids = new Uint32Array(readProgramInfo(fd, object).mapCount);
  const info = new DataView(new ArrayBuffer(INFO_BYTES));
  info.setUint32(52, ids.length, true);
  info.setBigUint64(56, ids.length === 0 ? 0n : addressOf(new Uint8Array(ids.buffer)), true);
  fillInfo(fd, object, info);
  return [...ids.subarray(0, info.getUint32(52, true))];
}

/** The bytes of a BTF that is loaded in the kernel (struct bpf_btf_info: btf, btf_size). */
export function readBtfBytes(fd: number, object: string): Uint8Array {
  const bytes = new Uint8Array(readInfo(fd, object).getUint32(8, true));
  const info = new DataView(new ArrayBuffer(INFO_BYTES));
  info.setBigUint64(0, addressOf(bytes), true);
  info.setUint32(8, bytes.length, true);
  fillInfo(fd, object, info);
  return bytes;
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
  const info = new DataView(new ArrayBuffer(INFO_BYTES));
  fillInfo(fd, object, info);
  return info;
}

/** `info` says on the way in where the kernel shall put what does not fit into it. */
function fillInfo(fd: number, object: string, info: DataView): void {
  const length = new Uint8Array(new Uint32Array([INFO_BYTES]).buffer);
  const call = "bpf_obj_get_info_by_fd";
  const result = libbpf()[call](fd, new Uint8Array(info.buffer), length);
  checkResult(result, { action: "read the facts of", object, call });
}

function readName(info: DataView, offset: number): string {
  const bytes = Buffer.from(info.buffer, offset, 16);
  const end = bytes.indexOf(0);
  return bytes.toString("utf8", 0, end < 0 ? 16 : end);
}
