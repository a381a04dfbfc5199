// Reading a whole map. The kernel gives no snapshot: an entry that is written during a scan may be seen in
// either state, and one that is added or removed meanwhile may be missed or, in a trie, be seen twice.
import { PenstockError, startPace } from "../base/index.ts";
import { MAP_TYPE } from "./constants.ts";
import { ERRNO } from "./errno.ts";
import { kernelError } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import { callAsync, callNow } from "./libc.ts";
import { type BatchOptions, CHUNK_ENTRIES } from "./map-batch.ts";
import type { MapHandle } from "./map-handle.ts";

/** Packed entries of one chunk. The buffers are filled anew for a later chunk: copy what is to be kept. */
export type OnChunk = (keys: Uint8Array, values: Uint8Array, count: number) => void;

export interface ScannedEntries {
  /** `count` times keyBytes. */
  readonly keys: Uint8Array;
  /** `count` times valueBytes. */
  readonly values: Uint8Array;
  readonly count: number;
}

interface Buffers {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

interface Chunk extends Buffers {
  readonly count: number;
  readonly end: boolean;
}

interface Reader {
  /** The next chunk; the one given before stays as it is until the one after it is asked for. */
  next(): Promise<Chunk>;
}

const INTERRUPTED_MAX = 16;

/**
 * Hands every entry to `onChunk` and returns how many there were. Falls back to key-by-key reading where the map
 * type has no batch lookup. Throws `kernel-call-failed`, `aborted`, or `map-unsteady` when writers keep the scan
 * of a trie from ever ending.
 */
export async function scanEntries(
  map: MapHandle,
  onChunk: OnChunk,
  options: BatchOptions = {},
): Promise<number> {
  const pace = startPace(`scan map ${map.name}`, options);
  const chunkEntries = Math.max(1, Math.min(options.chunkEntries ?? CHUNK_ENTRIES, map.entriesMax));
  const reader = openReader(map, chunkEntries);
  const entriesMax = 4 * map.entriesMax + chunkEntries;
  let total = 0;
  let coming = reader.next();
  try {
    for (;;) {
      const { count, end, keys, values } = await coming;
      total += count;
      if (!end && total > entriesMax) throw unsteadyError(map);
      // The kernel reads the next chunk, on another thread, while this one is looked at.
      if (!end) coming = reader.next();
      if (count > 0) {
        onChunk(keys.subarray(0, count * map.keyBytes), values.subarray(0, count * map.valueBytes), count);
      }
      if (end) return total;
      await pace.step(total);
    }
  } finally {
    await coming.catch(() => undefined);
  }
}

/** How a whole map is read. */
export interface ReadOptions extends BatchOptions {
  /** As many entries as there may be: buffers that hold them need not grow. */
  readonly entriesExpected?: number | undefined;
  /** Is told what was read so far each time that there is more, and which entries are new: those from `from` on. */
  readonly onRead?: ((sofar: ScannedEntries, from: number) => void) | undefined;
}

/** Every entry in two packed buffers, made for the caller. */
export async function readEntries(map: MapHandle, options: ReadOptions = {}): Promise<ScannedEntries> {
  let capacity = Math.min(map.entriesMax, Math.max(options.entriesExpected ?? 0, CHUNK_ENTRIES));
  let keys = new Uint8Array(capacity * map.keyBytes);
  let values = new Uint8Array(capacity * map.valueBytes);
  let count = 0;
  const sofar = () => ({
    keys: keys.subarray(0, count * map.keyBytes),
    values: values.subarray(0, count * map.valueBytes),
    count,
  });
  await scanEntries(
    map,
    (chunkKeys, chunkValues, entries) => {
      if (count + entries > capacity) {
        capacity = Math.max(Math.min(capacity * 2, map.entriesMax), count + entries);
        keys = grow(keys, capacity * map.keyBytes);
        values = grow(values, capacity * map.valueBytes);
      }
      keys.set(chunkKeys, count * map.keyBytes);
      values.set(chunkValues, count * map.valueBytes);
      count += entries;
      options.onRead?.(sofar(), count - entries);
    },
    options,
  );
  return sofar();
}

function grow(bytes: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  const grown = new Uint8Array(length);
  grown.set(bytes);
  return grown;
}

/** Starts with batches and, if the first is refused as unsupported, goes on key by key. */
function openReader(map: MapHandle, chunkEntries: number): Reader {
  let reader: Reader = batchReader(map, chunkEntries);
  let first = true;
  return {
    async next() {
      const chunk = await reader.next();
      const unsupported = first && chunk.count < 0;
      first = false;
      if (!unsupported) return chunk;
      reader = keyReader(map, chunkEntries);
      return reader.next();
    },
  };
}

const UNSUPPORTED: Chunk = { count: -1, end: true, keys: new Uint8Array(0), values: new Uint8Array(0) };

function batchReader(map: MapHandle, chunkEntries: number): Reader {
  // A hash keeps its place as a 4-byte bucket number, the others as a key.
  const placeBytes = Math.max(map.keyBytes, 8);
  let place = new Uint8Array(placeBytes);
  let nextPlace = new Uint8Array(placeBytes);
  let started = false;
  let capacity = chunkEntries;
  const make = (): Buffers => ({
    keys: new Uint8Array(capacity * map.keyBytes),
    values: new Uint8Array(capacity * map.valueBytes),
  });
  let buffers: Buffers | undefined;
  /** What was given last; what was given before it is filled again. */
  let given: Buffers | undefined;
  const counter = new Uint32Array(1);
  const counterBytes = new Uint8Array(counter.buffer);
  const read = async () => {
    buffers ??= make();
    const { keys, values } = buffers;
    counter[0] = capacity;
    // The first chunk may be all there is; further ones are read on another thread.
    const call = started ? callAsync : callNow;
    const from = started ? place : null;
    return call(libbpf().bpf_map_lookup_batch, map.fd, from, nextPlace, keys, values, counterBytes, null);
  };
  const give = (count: number, end: boolean): Chunk => {
    const chunk = { ...(buffers ?? make()), count, end };
    [buffers, given] = [given, buffers];
    return chunk;
  };
  return {
    async next() {
      for (let interrupted = 0; ; ) {
        const errno = -(await read());
        const count = counter[0] ?? 0;
        if (errno === ERRNO.ENOTSUPP && !started) return UNSUPPORTED;
        if (errno === ERRNO.ENOENT) return give(count, true);
        if (errno === ERRNO.ENOSPC && capacity <= map.entriesMax) {
          // One bucket of the hash holds more entries than the buffers: nothing was read, the place is unchanged.
          capacity *= 2;
          buffers = undefined;
          given = undefined;
          continue;
        }
        // Before 6.15 a key that vanished in mid-batch gives EINTR; what was read until then is good.
        if (errno === ERRNO.EINTR && count === 0 && ++interrupted <= INTERRUPTED_MAX) continue;
        if (errno !== 0 && !(errno === ERRNO.EINTR && count > 0)) throw scanError(map, errno);
        [place, nextPlace] = [nextPlace, place];
        started = true;
        return give(count, false);
      }
    },
  };
}

function keyReader(map: MapHandle, chunkEntries: number): Reader {
  const next = new Uint8Array(map.keyBytes);
  let previous: Uint8Array | null = null;
  return {
    async next() {
      const keys = new Uint8Array(chunkEntries * map.keyBytes);
      const values = new Uint8Array(chunkEntries * map.valueBytes);
      let count = 0;
      while (count < chunkEntries) {
        const step = libbpf().bpf_map_get_next_key(map.fd, previous, next);
        if (step === -ERRNO.ENOENT) return { count, end: true, keys, values };
        if (step < 0) throw scanError(map, -step);
        previous = next.slice();
        const value = values.subarray(count * map.valueBytes, (count + 1) * map.valueBytes);
        const result = libbpf().bpf_map_lookup_elem(map.fd, previous, value);
        // An empty slot of an array of objects, or a key that was removed since.
        if (result === -ERRNO.ENOENT) continue;
        if (result < 0) throw scanError(map, -result);
        keys.set(previous, count * map.keyBytes);
        count++;
      }
      return { count, end: false, keys, values };
    },
  };
}

function scanError(map: MapHandle, errno: number): PenstockError {
  const unsupported = errno === ERRNO.ENOTSUPP || errno === ERRNO.EOPNOTSUPP;
  return kernelError({
    action: "scan",
    object: `map ${map.name}`,
    call: "bpf_map_lookup_batch",
    errno,
    detail: unsupported ? `maps of type ${map.type} cannot be read` : undefined,
    data: { map: map.name },
  });
}

function unsteadyError(map: MapHandle): PenstockError {
  return new PenstockError({
    code: "map-unsteady",
    disposition: "transient",
    message: `Cannot scan map ${map.name}: it changes faster than it can be read`,
    data: { map: map.name, lpm: map.type === MAP_TYPE.lpmTrie },
  });
}
