// The Bloom filter before a keyed table. Keys are added before their entries are written and cannot be removed; when
// most of what is in it is stale, a new filter is filled beside it from the table itself, and put in its place in the
// map of maps: programs meet the old one or the new one, and both hold every key of the table.
import { startPace } from "../base/index.ts";
import { MAP_TYPE } from "./constants.ts";
import { type BpfMap, createMap, openMapById } from "./map.ts";

/** More stale keys than the table can hold, and than this, make a filter that says "maybe" too often. */
const staleFloor = 1024;

export class KeyFilter {
  readonly #outer: BpfMap;
  readonly #table: BpfMap;
  #bloom: BpfMap | undefined;
  /** Keys that were removed since the filter was made; unknown for one that somebody else filled. */
  #stale: number | undefined;
  #busy: Promise<void> = Promise.resolve();

  /** `outer` is an array of one filter; `table` what it stands before. */
  constructor(outer: BpfMap, table: BpfMap) {
    this.#outer = outer;
    this.#table = table;
  }

  add(keys: Uint8Array): Promise<void> {
    return this.#alone(async () => {
      const bloom = this.#current() ?? (await this.#rebuild());
      await pushAll(bloom, keys);
    });
  }

  /** After the entries were removed. */
  forget(keys: Uint8Array): Promise<void> {
    return this.#alone(() => this.#forget(keys));
  }

  /** One thing at a time: keys that are added while a filter is made anew would be in the old one only. */
  #alone(work: () => Promise<void>): Promise<void> {
    const turn = this.#busy.then(work, work);
    this.#busy = turn.catch(() => undefined);
    return turn;
  }

  async #forget(keys: Uint8Array): Promise<void> {
    const removed = keys.length / this.#table.keyBytes;
    this.#stale = this.#stale === undefined ? undefined : this.#stale + removed;
    const most = Math.max(staleFloor, this.#table.entriesMax);
    if (this.#stale === undefined || this.#stale > most) await this.#rebuild();
  }

  close(): void {
    this.#bloom?.close();
  }

  /** The filter that programs ask; undefined if there is none yet. */
  #current(): BpfMap | undefined {
    if (this.#bloom !== undefined) return this.#bloom;
    const id = this.#outer.lookup(new Uint8Array(4));
    if (id === undefined) return undefined;
    this.#bloom = openMapById(new DataView(id.buffer).getUint32(0, true), this.#outer.name);
    return this.#bloom;
  }

  async #rebuild(): Promise<BpfMap> {
    const { keyBytes, entriesMax } = this.#table;
    const bloom = createMap({
      name: this.#outer.name,
      type: MAP_TYPE.bloomFilter,
      keySize: 0,
      valueSize: keyBytes,
      entriesMax,
      extra: hashFunctions,
    });
    try {
      const { keys } = await this.#table.readAll();
      await pushAll(bloom, keys);
      const fd = new Uint8Array(4);
      new DataView(fd.buffer).setUint32(0, bloom.fd, true);
      this.#outer.update(new Uint8Array(4), fd);
    } catch (cause) {
      bloom.close();
      throw cause;
    }
    this.#bloom?.close();
    this.#bloom = bloom;
    this.#stale = 0;
    return bloom;
  }
}

/** The C side's map_extra. */
const hashFunctions = 3;

async function pushAll(bloom: BpfMap, keys: Uint8Array): Promise<void> {
  const { valueBytes } = bloom;
  const pace = startPace(`add keys to ${bloom.name}`);
  for (let at = 0, n = 0; at < keys.length; at += valueBytes, n++) {
    bloom.push(keys.subarray(at, at + valueBytes));
    if (n % 256 === 255) await pace.step(n);
  }
}
