// Numbers of the kernel's user API (linux/bpf.h, linux/if_link.h): fixed for ever, one name each.

export const MAP_TYPE = {
  hash: 1,
  array: 2,
  programArray: 3,
  perCpuHash: 5,
  perCpuArray: 6,
  lruHash: 9,
  lruPerCpuHash: 10,
  lpmTrie: 11,
  arrayOfMaps: 12,
  hashOfMaps: 13,
  deviceMap: 14,
  cpuMap: 16,
  queue: 22,
  deviceMapHash: 25,
  ringBuffer: 27,
  bloomFilter: 30,
} as const;

/** Name of a map type for messages: `hash`, `lpmTrie`; `type-<number>` for one that is not listed. */
export function mapTypeName(type: number): string {
  return Object.entries(MAP_TYPE).find(([, number]) => number === type)?.[0] ?? `type-${type}`;
}

export const MAP_FLAG = {
  noPrealloc: 1 << 0,
  readOnlyProgram: 1 << 7,
  mmapable: 1 << 10,
} as const;

/** How one entry is written. */
export const ENTRY_FLAG = { lock: 4 } as const;

export const PROGRAM_TYPE = { schedCls: 3, xdp: 6 } as const;

export const ATTACH_TYPE = { xdp: 37, tcxIngress: 46, tcxEgress: 47 } as const;

export const XDP_FLAG = { generic: 2, native: 4 } as const;
