// Which map an object's map stands for: one that is open or pinned already, if its layout is the same, or else a
// new one. State outlives the agent and its upgrades only because a pinned map is taken over, never made anew.
import { join } from "node:path";
import { PenstockError } from "../base/index.ts";
import { MAP_FLAG, MAP_TYPE, mapTypeName } from "./constants.ts";
import { checkResult } from "./kernel-error.ts";
import { type Handle, libbpf } from "./libbpf.ts";
import { type MapInfo, readMapInfo } from "./object-info.ts";
import { openPin } from "./pins.ts";

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

/**
 * Lets the opened, not yet loaded map use the one that is pinned in `pinDirectory`; false if none is pinned.
 * Throws `map-layout-changed` if the pinned one is of another layout.
 */
export function reusePinned(map: Handle, name: string, pinDirectory: string): boolean {
  const path = mapPinPath(pinDirectory, name);
  const pin = openPin(path, `map ${name}`);
  if (pin === undefined) return false;
  try {
    reuseOpen(map, name, { fd: pin.fd, origin: `pinned at ${path}` });
    return true;
  } finally {
    pin.close();
  }
}

/** Lets the opened, not yet loaded map use an open one. Throws `map-layout-changed`. */
export function reuseOpen(
  map: Handle,
  name: string,
  source: { readonly fd: number; readonly origin: string },
): void {
  const existing = readMapInfo(source.fd, `map ${name}`);
  const wanted = readWantedLayout(map);
  if (!equalLayouts(existing, wanted)) throw layoutError(name, source.origin, [existing, wanted]);
  const call = "bpf_map__reuse_fd";
  checkResult(libbpf()[call](map, source.fd), { action: "reuse", object: `map ${name}`, call });
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

function layoutError(
  name: string,
  origin: string,
  [existing, wanted]: readonly [Layout, Layout],
): PenstockError {
  return new PenstockError({
    code: "map-layout-changed",
    disposition: "stalled",
    message: `Cannot reuse map ${name}: it is ${origin} as ${describeLayout(existing)}, but the program wants ${describeLayout(wanted)}`,
    remedy: "Keep the capacity as it was, or migrate or remove the pinned map first",
    data: { map: name, existing: describeLayout(existing), wanted: describeLayout(wanted) },
  });
}
