// Connections in a new table: of another size or layout, or because what is kept beside them has become another. Slots,
// counts and candidates are made anew by the program that enters each connection, so none of them is ever copied and
// all are right while programs of both tables see packets.
import { startPace } from "../base/index.ts";
import { capacityRefused, type MapChange } from "./map-change.ts";
import { convertAll } from "./migrate.ts";
import type { BpfProgram } from "./program.ts";
import { tcCommands } from "./tc-chain.ts";
import { createTestRunner } from "./test-run.ts";

/** The table itself, of which alone anything is carried over. */
export const connectionTable = "connections";

/** Maps that refer to each other's entries: all of them are taken over as they are, or none. */
const kin: readonly string[] = [
  connectionTable,
  "ct_slots",
  "ct_sweeper",
  "ct_candidates",
  "source_counts",
  "rule_counts",
];

/** If a map is one of those that keep connections: all of them. */
export function connectionKin(name: string): readonly string[] | undefined {
  return kin.includes(name) ? kin : undefined;
}

const headerBytes = 16;
/** A frame has to fit into a page; the kernel takes no longer ones into the test run of a TC program. */
const frameBytesMax = 3072;

/** Takes over connections, by the new version's own program. */
export class ConnectionMover {
  readonly #run: (frame: Uint8Array) => void;

  constructor(programs: ReadonlyMap<string, BpfProgram>) {
    const program = programs.get(tcCommands.adopt);
    const runner = program && createTestRunner(program);
    this.#run = (frame) => void runner?.run(frame);
  }

  /** Throws `migration-refused` if there are more than the new table has room for. */
  async refuseTooMany(change: MapChange | undefined): Promise<void> {
    if (change === undefined) return;
    const { count } = await change.from.readAll();
    if (count > change.entriesMax) throw capacityRefused(change, count);
  }

  /**
   * Enters what the old table holds, and moves on what the new one has already. `isMoving` while programs of the old one
   * see packets: what they saw until they were all replaced comes with the next call.
   */
  async adopt(change: MapChange, isMoving: boolean): Promise<void> {
    const { count, keys, values } = await convertAll(change, await change.from.readAll(), {
      generation: 0n,
    });
    if (count === 0) return;
    const [keyBytes, valueBytes] = [keys.length / count, values.length / count];
    const room = Math.floor((frameBytesMax - headerBytes) / (keyBytes + valueBytes));
    const pace = startPace("take over connections");
    for (let at = 0; at < count; at += room) {
      const some = Math.min(room, count - at);
      const frame = new Uint8Array(headerBytes + some * (keyBytes + valueBytes));
      frame[0] = Number(isMoving);
      for (let i = 0; i < some; i++) {
        const place = headerBytes + i * (keyBytes + valueBytes);
        frame.set(keys.subarray((at + i) * keyBytes, (at + i + 1) * keyBytes), place);
        frame.set(values.subarray((at + i) * valueBytes, (at + i + 1) * valueBytes), place + keyBytes);
      }
      this.#run(frame);
      await pace.step(at);
    }
  }
}
