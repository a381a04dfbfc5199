// What the same entries cost without versions, plans and read-back: libbpf's batches, one after the other, on this
// thread, from buffers and into buffers that stand ready.
import { type BpfMap, createMap } from "../src/bpf/index.ts";
import { libbpf } from "../src/bpf/libbpf.ts";

const chunkEntries = 4096;

/** Milliseconds for writing these keys into an empty map of the layout of `map`. */
export function timeBareUpdate(map: BpfMap, keys: Uint8Array): number {
  const { type, keyBytes: keySize, valueBytes: valueSize, entriesMax, flags } = map;
  const bare = createMap({ name: "bare", type, keySize, valueSize, entriesMax, flags });
  try {
    const count = keys.length / keySize;
    const values = new Uint8Array(Math.min(count, chunkEntries) * valueSize).fill(1);
    const chunks = Array.from({ length: Math.ceil(count / chunkEntries) }, (_, i) =>
      keys.subarray(i * chunkEntries * keySize, Math.min(count, (i + 1) * chunkEntries) * keySize),
    );
    const counter = new Uint32Array(1);
    const counterBytes = new Uint8Array(counter.buffer);
    const { bpf_map_update_batch } = libbpf();
    const { fd } = bare;
    const started = performance.now();
    for (const chunk of chunks) {
      counter[0] = chunk.length / keySize;
      const result = bpf_map_update_batch(fd, chunk, values, counterBytes, null);
      if (result !== 0) throw new Error(`bpf_map_update_batch: ${result}`);
    }
    return performance.now() - started;
  } finally {
    bare.close();
  }
}

/** Milliseconds for reading the whole of `map`, which holds `count` entries. */
export function timeBareLookup({ fd, keyBytes, valueBytes }: BpfMap, count: number): number {
  const keys = new Uint8Array(chunkEntries * keyBytes);
  const values = new Uint8Array(chunkEntries * valueBytes);
  const placeBytes = Math.max(keyBytes, 8);
  let place: Uint8Array | null = null;
  let next = new Uint8Array(placeBytes);
  let other = new Uint8Array(placeBytes);
  const counter = new Uint32Array(1);
  const counterBytes = new Uint8Array(counter.buffer);
  const { bpf_map_lookup_batch } = libbpf();
  let found = 0;
  const started = performance.now();
  for (let result = 0; result === 0; ) {
    counter[0] = chunkEntries;
    result = bpf_map_lookup_batch(fd, place, next, keys, values, counterBytes, null);
    if (result !== 0 && result !== -2) throw new Error(`bpf_map_lookup_batch: ${result}`);
    found += counter[0] ?? 0;
    [place, next, other] = [next, other, next];
  }
  const ms = performance.now() - started;
  if (found !== count) throw new Error(`bpf_map_lookup_batch: ${found} entries of ${count}`);
  return ms;
}
