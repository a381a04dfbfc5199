// Reading a BPF ring buffer through its memory, without a call per record. Layout: one page with the consumer's
// position, one with the producer's, then the data twice in a row, so that no record is ever split. A record is
// 8 bytes of header (length, with a busy and a discard bit) and its bytes, padded to 8.
import koffi from "koffi";
import { abortedError, bug } from "../base/index.ts";
import { MAP_TYPE } from "./constants.ts";
import { pageBytes } from "./libc.ts";
import type { MapHandle } from "./map-handle.ts";
import { mapMemory } from "./mapping.ts";

/**
 * Takes one record: `length` bytes at `offset` of `view`, which is the kernel's memory and valid only during the
 * call. It is read-only: writing to it ends the process.
 */
export type OnRecord = (view: DataView, offset: number, length: number) => void;

export interface RingBufferWait {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

const BUSY = 0x8000_0000;
const DISCARD = 0x4000_0000;
const LENGTH_MASK = 0x3fff_ffff;
const HEADER_BYTES = 8;

/** The consumer's side of a ring buffer, read through memory. Close it before its map. */
export class RingBuffer {
  readonly #map: MapHandle;
  readonly #closers: readonly (() => void)[];
  readonly #consumer: BigUint64Array;
  readonly #producer: BigUint64Array;
  readonly #headers: Uint32Array;
  readonly #view: DataView;
  readonly #mask: number;
  #poll: ReturnType<typeof koffi.node.poll> | undefined;
  #wake: (() => void) | undefined;
  #position: number;
  #open = true;

  constructor(map: MapHandle) {
    if (map.type !== MAP_TYPE.ringBuffer) throw bug(`Cannot read map ${map.name}: it is not a ring buffer`);
    const page = pageBytes();
    const request = { fd: map.fd, object: `ring buffer ${map.name}` };
    const own = mapMemory({ ...request, offset: 0, length: page, writable: true });
    const data = mapMemory({ ...request, offset: page, length: page + 2 * map.entriesMax, writable: false });
    this.#map = map;
    this.#closers = [own.close, data.close];
    this.#consumer = new BigUint64Array(own.buffer, 0, 1);
    this.#producer = new BigUint64Array(data.buffer, 0, 1);
    this.#headers = new Uint32Array(data.buffer, page, (2 * map.entriesMax) / 4);
    this.#view = new DataView(data.buffer, page, 2 * map.entriesMax);
    this.#mask = map.entriesMax - 1;
    this.#position = Number(Atomics.load(this.#consumer, 0));
  }

  /** Bytes that wait to be read, headers included. */
  get pendingBytes(): number {
    return Number(Atomics.load(this.#producer, 0)) - this.#position;
  }

  /**
   * Hands over the records that are complete, at most `max`, and returns their number (discarded ones are passed
   * over uncounted). If `onRecord` throws, that record counts as read and the error goes on to the caller.
   */
  read(onRecord: OnRecord, max = Number.POSITIVE_INFINITY): number {
    this.#checkOpen();
    const end = Number(Atomics.load(this.#producer, 0));
    const releaseBytes = (this.#mask + 1) >> 2;
    let released = this.#position;
    let count = 0;
    try {
      while (this.#position < end && count < max) {
        // A position stays exact as a number up to 2^53 bytes; the ring's size is a power of two.
        const offset = this.#position % (this.#mask + 1);
        const header = Atomics.load(this.#headers, offset >>> 2);
        if (header >= BUSY) break;
        const length = header & LENGTH_MASK;
        this.#position += HEADER_BYTES + ((length + 7) & ~7);
        if ((header & DISCARD) !== 0) continue;
        count++;
        onRecord(this.#view, offset + HEADER_BYTES, length);
        if (this.#position - released >= releaseBytes) {
          released = this.#position;
          Atomics.store(this.#consumer, 0, BigInt(released));
        }
      }
    } finally {
      if (this.#position !== released) Atomics.store(this.#consumer, 0, BigInt(this.#position));
    }
    return count;
  }

  /**
   * Waits until there is something to read: true, or false after `timeoutMs`. Throws `aborted`. One wait at a time.
   */
  wait(options: RingBufferWait = {}): Promise<boolean> {
    this.#checkOpen();
    if (this.#wake !== undefined) throw bug(`Cannot wait for ring buffer ${this.#map.name} twice`);
    const { signal, timeoutMs } = options;
    const action = `wait for ring buffer ${this.#map.name}`;
    if (signal?.aborted === true) return Promise.reject(abortedError(action, signal.reason, 0));
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void) => {
        this.#wake = undefined;
        this.#poll?.stop();
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        finish();
      };
      const onAbort = () => settle(() => reject(abortedError(action, signal?.reason, 0)));
      const onTimeout = () => settle(() => resolve(false));
      const timer = timeoutMs === undefined ? undefined : setTimeout(onTimeout, timeoutMs);
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#wake = () => settle(() => resolve(this.#open));
      this.#startPoll();
    });
  }

  /** Ends a wait (with false) and lets go of the memory. The map stays open. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#wake?.();
    this.#poll?.close();
    for (const close of this.#closers) close();
  }

  #startPoll(): void {
    const onReadable = () => this.#wake?.();
    if (this.#poll === undefined) this.#poll = koffi.node.poll(this.#map.fd, { readable: true }, onReadable);
    else this.#poll.start({ readable: true }, onReadable);
  }

  #checkOpen(): void {
    if (!this.#open) throw bug(`Cannot read ring buffer ${this.#map.name}: it was closed`);
  }
}
