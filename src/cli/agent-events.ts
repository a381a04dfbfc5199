// The agent's reading of packet events. The ring has room for one reader: while a command alone has it, the agent
// waits for its turn and does everything else.
import { asPenstockError } from "../base/index.ts";
import type { KernelDatapath } from "../bpf/index.ts";
import type { Logger } from "../reconcile/index.ts";
import { type EventReader, openEventReader } from "./event-reader.ts";

interface AgentEventsOptions {
  readonly datapath: KernelDatapath;
  readonly runDirectory: string;
  readonly log: Logger;
}

const retryMs = 5_000;

export class AgentEvents {
  readonly #o: AgentEventsOptions;
  readonly #stopping = new AbortController();
  #reader: EventReader | undefined;
  #running: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;
  #told = false;

  constructor(options: AgentEventsOptions) {
    this.#o = options;
  }

  /** Undefined while another process reads the ring. */
  get reader(): EventReader | undefined {
    return this.#reader;
  }

  /** Begins to read, now or as soon as the ring is free. */
  start(): void {
    try {
      const reader = openEventReader(this.#o.datapath, this.#o.runDirectory);
      this.#reader = reader;
      this.#running = reader.run(this.#stopping.signal).catch((thrown: unknown) => {
        const { code, message } = asPenstockError(thrown);
        this.#o.log.error({ code }, message);
      });
    } catch (thrown) {
      const { code, message } = asPenstockError(thrown);
      if (!this.#told) this.#o.log.warn({ code }, `Packet events are not read for now: ${message}`);
      this.#told = true;
      this.#retry = setTimeout(() => this.start(), retryMs);
    }
  }

  async stop(): Promise<void> {
    clearTimeout(this.#retry);
    this.#stopping.abort();
    await this.#running;
    this.#reader?.close();
    this.#reader = undefined;
  }
}
