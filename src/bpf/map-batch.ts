// Many writes to one map. BPF_MAP_UPDATE_BATCH and BPF_MAP_DELETE_BATCH are loops in the kernel and no
// transaction: a batch that stops halfway leaves what it wrote, and the error says how much that is.
import { bug, type PaceOptions, type PenstockError, startPace } from "../base/index.ts";
import { ENTRY_FLAG } from "./constants.ts";
import { ERRNO } from "./errno.ts";
import { kernelError } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import { callAsync, callNow } from "./libc.ts";
import type { MapHandle } from "./map-handle.ts";

export interface BatchOptions extends PaceOptions {
  /** Entries of one system call; default 4096. */
  readonly chunkEntries?: number | undefined;
  /**
   * Writing: entries that exist are changed where they are (BPF_F_LOCK) and not replaced; only for hash maps whose
   * values have a `struct bpf_spin_lock`.
   */
  readonly inPlace?: boolean | undefined;
}

export const CHUNK_ENTRIES = 4096;

/** Packed entries: n times keyBytes and n times valueBytes. Both stay untouched until the call has settled. */
export interface PackedEntries {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

/** One system call over `count` entries from `start`: entries done, and the error that stopped it, if any. */
interface BatchStep {
  readonly done: number;
  readonly errno: number;
}

/**
 * Creates or replaces every entry; returns their number. On a refused entry throws `kernel-call-failed` whose
 * data says in `written` how many entries, in the order given, were written before. When aborted, data.done says it.
 */
export async function updateEntries(
  map: MapHandle,
  { keys, values }: PackedEntries,
  options: BatchOptions = {},
): Promise<number> {
  const count = countKeys(map, keys);
  if (values.length !== count * map.valueBytes) {
    throw bug(`Cannot update map ${map.name}: ${values.length} bytes of values for ${count} keys`);
  }
  const step = batchStep(map, { keys, values, inPlace: options.inPlace });
  const pace = startPace(`update map ${map.name}`, options);
  const chunk = options.chunkEntries ?? CHUNK_ENTRIES;
  for (let start = 0; start < count; start += chunk) {
    const wanted = Math.min(chunk, count - start);
    const { done, errno } = await step(start, wanted);
    if (errno !== 0) throw updateError(map, errno, { call: "bpf_map_update_batch", written: start + done });
    if (start + wanted < count) await pace.step(start + wanted);
  }
  return count;
}

/**
 * Removes every key that is there and returns how many were; missing keys are passed over. Any other refusal
 * throws `kernel-call-failed` with `removed` in its data.
 */
export async function removeEntries(
  map: MapHandle,
  keys: Uint8Array,
  options: BatchOptions = {},
): Promise<number> {
  const count = countKeys(map, keys);
  const step = batchStep(map, { keys });
  const pace = startPace(`remove keys of map ${map.name}`, options);
  const chunk = options.chunkEntries ?? CHUNK_ENTRIES;
  let removed = 0;
  let at = 0;
  while (at < count) {
    const { done, errno } = await step(at, Math.min(chunk, count - at));
    removed += done;
    at += done;
    if (errno === ERRNO.ENOENT) at++;
    else if (errno !== 0) throw removeError(map, errno, removed);
    if (at < count) await pace.step(removed);
  }
  return removed;
}

/** The error of a refused write, saying so if the table is full. */
export function updateError(
  map: MapHandle,
  errno: number,
  { call, written }: { readonly call: string; readonly written?: number },
): PenstockError {
  const full = errno === ERRNO.E2BIG || errno === ERRNO.ENOSPC;
  const detail: string[] = [];
  if (full) detail.push(`table is full at ${map.entriesMax} entries`);
  if (written !== undefined) detail.push(`${written} entries were written before`);
  return kernelError({
    action: "update",
    object: `map ${map.name}`,
    call,
    errno,
    detail: detail.length === 0 ? undefined : detail.join(", "),
    remedy: full ? `Raise the capacity of ${map.name}, or write less to it` : undefined,
    data: { map: map.name, ...(written === undefined ? {} : { written }) },
  });
}

function removeError(map: MapHandle, errno: number, removed: number): PenstockError {
  return kernelError({
    action: "remove keys of",
    object: `map ${map.name}`,
    call: "bpf_map_delete_batch",
    errno,
    detail: `${removed} entries were removed before`,
    data: { map: map.name, removed },
  });
}

function countKeys(map: MapHandle, keys: Uint8Array): number {
  if (keys.length % map.keyBytes === 0) return keys.length / map.keyBytes;
  throw bug(`Cannot use map ${map.name}: ${keys.length} bytes are no whole number of keys`);
}

/** From so many entries on a call is worth a thread of its own, while this one prepares the next. */
const manyEntries = 1024;

// Without `values` the entries are removed, with them they are written.
function batchStep(
  map: MapHandle,
  entries: {
    readonly keys: Uint8Array;
    readonly values?: Uint8Array;
    readonly inPlace?: boolean | undefined;
  },
) {
  // struct bpf_map_batch_opts: sz at 0, elem_flags at 8.
  const flags = entries.inPlace === true ? ENTRY_FLAG.lock : 0;
  const opts = new Uint8Array(BigUint64Array.of(24n, BigInt(flags), 0n).buffer);
  const counter = new Uint32Array(1);
  const counterBytes = new Uint8Array(counter.buffer);
  const slice = (bytes: Uint8Array, size: number, start: number, count: number) =>
    bytes.subarray(start * size, (start + count) * size);
  return async (start: number, count: number): Promise<BatchStep> => {
    counter[0] = count;
    const keys = slice(entries.keys, map.keyBytes, start, count);
    const values = entries.values && slice(entries.values, map.valueBytes, start, count);
    const { bpf_map_delete_batch, bpf_map_update_batch } = libbpf();
    const call = count < manyEntries ? callNow : callAsync;
    const result =
      values === undefined
        ? await call(bpf_map_delete_batch, map.fd, keys, counterBytes, null)
        : await call(bpf_map_update_batch, map.fd, keys, values, counterBytes, opts);
    if (result === 0) return { done: count, errno: 0 };
    if (result === -ERRNO.ENOTSUPP) return stepByEntry(map, keys, values);
    // After EFAULT the kernel's count means nothing; it cannot happen with buffers of the right size.
    return { done: Math.min(counter[0] ?? 0, count), errno: -result };
  };
}

// Map types without batch operations (device maps, program arrays): one call an entry.
function stepByEntry(map: MapHandle, keys: Uint8Array, values: Uint8Array | undefined): BatchStep {
  const count = keys.length / map.keyBytes;
  for (let i = 0; i < count; i++) {
    const key = keys.subarray(i * map.keyBytes, (i + 1) * map.keyBytes);
    const value = values?.subarray(i * map.valueBytes, (i + 1) * map.valueBytes);
    const result =
      value === undefined
        ? libbpf().bpf_map_delete_elem(map.fd, key)
        : libbpf().bpf_map_update_elem(map.fd, key, value, 0);
    if (result < 0) return { done: i, errno: -result };
  }
  return { done: count, errno: 0 };
}
