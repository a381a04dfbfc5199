// The values of an array map as memory (BPF_F_MMAPABLE). An aligned 8-byte store through `words` is one store
// for every program on every CPU: this is how a generation is committed without a system call.
import { pageBytes } from "./libc.ts";
import type { MapHandle } from "./map-handle.ts";
import { mapMemory } from "./mapping.ts";

export interface MapMemory {
  /** All values; value `i` starts at byte `i * stride`. */
  readonly bytes: Uint8Array;
  /** The same memory in 8-byte words for Atomics, signed and unsigned. */
  readonly words: BigInt64Array;
  readonly unsignedWords: BigUint64Array;
  /** Bytes from one value to the next: the value's size rounded up to 8. */
  readonly stride: number;
  /** Lets go of the map; the views read as zero afterwards and stores through them go nowhere. */
  close(): void;
}

/** Maps the whole array. Throws `kernel-call-failed`. */
export function mapArrayMemory(map: MapHandle): MapMemory {
  const bytes = map.entriesMax * map.valueStride;
  const page = pageBytes();
  const mapping = mapMemory({
    fd: map.fd,
    offset: 0,
    length: Math.ceil(bytes / page) * page,
    writable: true,
    object: `map ${map.name}`,
  });
  return {
    bytes: new Uint8Array(mapping.buffer, 0, bytes),
    words: new BigInt64Array(mapping.buffer, 0, bytes / 8),
    unsignedWords: new BigUint64Array(mapping.buffer, 0, bytes / 8),
    stride: map.valueStride,
    close: () => mapping.close(),
  };
}
