// Reads packet events from the ring buffer, which has room for one reader: the agent, or a command alone. Keeps the
// newest and hands each on.
import { join } from "node:path";
import { type PacketEvent, packetEventCodec } from "../abi/index.ts";
import {
  acquireLock,
  type FileLock,
  type KernelDatapath,
  listInterfaces,
  type MapSource,
  RingBuffer,
} from "../bpf/index.ts";
import { BootClock } from "./boot-clock.ts";
import { RuleNames } from "./directory.ts";
import { eventsLockName } from "./places.ts";
import { type EventView, viewEvent } from "./views/event.ts";

/** Events that are kept for whoever asks later. */
export const eventsKept = 1000;

/** Records taken at once before anything else gets its turn. */
const batchMax = 4096;

export class EventReader {
  readonly #ring: RingBuffer;
  readonly #lock: FileLock;
  readonly #names: RuleNames;
  readonly #clock = new BootClock();
  readonly #kept: EventView[] = [];
  readonly #followers = new Set<(event: EventView) => void>();
  #interfaces = new Map<number, string>();

  constructor(datapath: KernelDatapath<MapSource>, lock: FileLock) {
    this.#lock = lock;
    this.#ring = new RingBuffer(datapath.object.map("events"));
    this.#names = new RuleNames(datapath);
  }

  /** Reads until `signal` says so. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.take();
      try {
        await this.#ring.wait({ signal });
      } catch (thrown) {
        if (!signal.aborted) throw thrown;
      }
    }
    await this.take();
  }

  /** Takes what waits in the ring; returns how many events there were. */
  async take(): Promise<number> {
    const events: PacketEvent[] = [];
    this.#ring.read((view, offset, length) => {
      if (length !== packetEventCodec.size) return;
      events.push(packetEventCodec.decode(new Uint8Array(view.buffer, view.byteOffset + offset, length)));
    }, batchMax);
    if (events.length === 0) return 0;
    await this.#names.refresh();
    const unknown = events.some(({ interface: index }) => !this.#interfaces.has(index));
    if (unknown) this.#interfaces = new Map(listInterfaces().map(({ index, name }) => [index, name]));
    for (const event of events) this.#publish(this.#view(event));
    return events.length;
  }

  /** The newest kept events, oldest first. */
  recent(limit: number): readonly EventView[] {
    return limit === 0 ? [] : this.#kept.slice(-limit);
  }

  /** Calls `onEvent` from now on; the returned function ends that. */
  follow(onEvent: (event: EventView) => void): () => void {
    this.#followers.add(onEvent);
    return () => this.#followers.delete(onEvent);
  }

  close(): void {
    this.#ring.close();
    this.#lock.release();
  }

  #view(event: PacketEvent): EventView {
    return viewEvent(event, {
      wallClockMs: (bootNs) => this.#clock.wallClockMs(bootNs),
      ruleName: (ruleId, generation) => this.#names.nameOf(ruleId, generation),
      interfaceName: (index) => this.#interfaces.get(index),
    });
  }

  #publish(event: EventView): void {
    this.#kept.push(event);
    if (this.#kept.length > eventsKept) this.#kept.shift();
    for (const follower of this.#followers) follower(event);
  }
}

/** Opens the ring as its only reader. Throws `already-running` if somebody reads it already. */
export function openEventReader(datapath: KernelDatapath<MapSource>, runDirectory: string): EventReader {
  const lock = acquireLock(join(runDirectory, eventsLockName));
  try {
    return new EventReader(datapath, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}
