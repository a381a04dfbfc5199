// Which map an object's map stands for: one that is open already, if its layout is the same, or else a new one.
import { join } from "node:path";
import { PenstockError } from "../base/index.ts";
import { MAP_FLAG, MAP_TYPE, mapTypeName } from "./constants.ts";
import { checkResult } from "./kernel-error.ts";
import { type Handle, libbpf } from "./libbpf.ts";
import { type MapInfo, readMapInfo } from "./object-info.ts";

/** What the kernel asks of a map that is to stand for another: equal descriptions, equal layouts. */
export type Layout = Pick<MapInfo, "type" | "keySize" | "valueSize" | "maxEntries" | "flags">;

/** Where the pin of a map lies below the pin directory. */
export function mapPinPath(pinDirectory: string, name: string): string {
  return join(pinDirectory, "maps", name);
}

/** Where the pin of a program lies below the pin directory. */
export function programPinPath(pinDirectory: string, name: string): string {
  return join(pinDirectory, "programs", name);
}

/** Lets the opened, not yet loaded map use an open one. Throws `map-layout-changed`. */
export function reuseOpen(map: Handle, name: string, open: { readonly fd: number }): void {
  const existing = readMapInfo(open.fd, `map ${name}`);
  const wanted = readWantedLayout(map);
  if (!equalLayouts(existing, wanted)) throw layoutError(name, existing, wanted);
  const call = "bpf_map__reuse_fd";
  checkResult(libbpf()[call](map, open.fd), { action: "reuse", object: `map ${name}`, call });
}

function readWantedLayout(map: Handle): Layout {
  const lib = libbpf();
  return {
    type: lib.bpf_map__type(map),
    keySize: lib.bpf_map__key_size(map),
    valueSize: lib.bpf_map__value_size(map),
    maxEntries: lib.bpf_map__max_entries(map),
    flags: lib.bpf_map__map_flags(map),
  };
}

function equalLayouts(a: Layout, b: Layout): boolean {
  return describeLayout(a) === describeLayout(b);
}

/** `hash, key 4, value 8, 100 entries, flags 0x0` */
export function describeLayout(layout: Layout): string {
  const { type, keySize, valueSize, maxEntries } = layout;
  // The kernel adds this flag to device maps by itself.
  const isDeviceMap = type === MAP_TYPE.deviceMap || type === MAP_TYPE.deviceMapHash;
  const flags = isDeviceMap ? layout.flags & ~MAP_FLAG.readOnlyProgram : layout.flags;
  return `${mapTypeName(type)}, key ${keySize}, value ${valueSize}, ${maxEntries} entries, flags 0x${flags.toString(16)}`;
}

function layoutError(name: string, existing: Layout, wanted: Layout): PenstockError {
  return new PenstockError({
    code: "map-layout-changed",
    disposition: "stalled",
    message: `Cannot reuse map ${name}: it is open as ${describeLayout(existing)}, but the program wants ${describeLayout(wanted)}`,
    remedy: "Share only maps of the same layout and capacity",
    data: { map: name, existing: describeLayout(existing), wanted: describeLayout(wanted) },
  });
}
