// Adds to what programs count while they go on counting. User space can only replace the values of all processors at
// once, which would undo what was counted meanwhile; so a small program does it, run with BPF_PROG_TEST_RUN on whatever
// processor this is. The addition is one instruction: a program that interrupts it is done before or comes after, and no
// other processor uses this one's values. (Under PREEMPT_RT, where one program may interrupt another in mid-count, an
// addition may undo one packet's count.)
import { PROGRAM_TYPE } from "./constants.ts";
import type { BpfMap } from "./map.ts";
import { type BpfProgram, loadProgram } from "./program.ts";
import { createTestRunner, type TestRunner } from "./test-run.ts";

export class CountAdder {
  readonly #program: BpfProgram;
  readonly #runner: TestRunner;
  readonly #frame: Uint8Array;
  readonly #amountsAt: number;

  /** `words` are the offsets of 64-bit numbers in a value of the per-CPU map. Throws `kernel-call-failed`. */
  constructor(map: BpfMap, words: readonly number[]) {
    this.#amountsAt = (map.keyBytes + 7) & ~7;
    const frameBytes = this.#amountsAt + 8 * words.length;
    // The kernel runs no program over less than an Ethernet header.
    this.#frame = new Uint8Array(Math.max(16, frameBytes));
    this.#program = loadProgram({
      name: "add_counts",
      type: PROGRAM_TYPE.xdp,
      instructions: encodeAddition(map, words, this.#amountsAt),
    });
    this.#runner = createTestRunner(this.#program);
  }

  /** Adds an amount to each word of one processor's value; false if the map has no such key. */
  add(key: Uint8Array, amounts: readonly bigint[]): boolean {
    this.#frame.set(key);
    const view = new DataView(this.#frame.buffer);
    amounts.forEach((amount, i) => {
      view.setBigUint64(this.#amountsAt + 8 * i, amount, true);
    });
    return this.#runner.run(this.#frame).verdict === added;
  }

  close(): void {
    this.#program.close();
  }
}

const added = 1;

/** An instruction: operation, registers (destination in the low half), offset, constant. */
type Instruction = readonly [code: number, registers: number, offset: number, constant: number];

/** Operations of linux/bpf.h, with the size of what they move. */
const op = {
  load8: 0x71,
  load32: 0x61,
  load64: 0x79,
  store8: 0x73,
  store32: 0x63,
  atomicAdd64: 0xdb,
  move: 0xbf,
  moveConstant: 0xb7,
  addConstant: 0x07,
  loadMap: 0x18,
  jumpIfGreater: 0x2d,
  jumpIfEqualConstant: 0x15,
  call: 0x85,
  exit: 0x95,
} as const;

const lookUpElement = 1;
const both = (destination: number, source: number) => destination | (source << 4);

/** The frame is the key, padded to 8 bytes, and the amounts; r6 is where it begins, r7 where it ends. */
function encodeAddition(map: BpfMap, words: readonly number[], amountsAt: number): Uint8Array {
  const [load, store, unit] = map.keyBytes % 4 === 0 ? [op.load32, op.store32, 4] : [op.load8, op.store8, 1];
  const stack = -((map.keyBytes + 7) & ~7);
  const copyKey: Instruction[] = [];
  for (let at = 0; at < map.keyBytes; at += unit)
    copyKey.push([load, both(1, 6), at, 0], [store, both(10, 1), stack + at, 0]);
  const additions = words.flatMap((word, i): Instruction[] => [
    [op.load64, both(1, 6), amountsAt + 8 * i, 0],
    [op.atomicAdd64, both(0, 1), word, 0],
  ]);
  const rest: Instruction[] = [
    ...copyKey,
    [op.loadMap, both(1, 1), 0, map.fd],
    [0, 0, 0, 0],
    [op.move, both(2, 10), 0, 0],
    [op.addConstant, 2, 0, stack],
    [op.call, 0, 0, lookUpElement],
    [op.jumpIfEqualConstant, 0, additions.length + 2, 0],
    ...additions,
    [op.moveConstant, 0, 0, added],
    [op.exit, 0, 0, 0],
    [op.moveConstant, 0, 0, 0],
    [op.exit, 0, 0, 0],
  ];
  return encode([
    [op.load32, both(6, 1), 0, 0],
    [op.load32, both(7, 1), 4, 0],
    [op.move, both(2, 6), 0, 0],
    [op.addConstant, 2, 0, amountsAt + 8 * words.length],
    [op.jumpIfGreater, both(2, 7), rest.length - 2, 0],
    ...rest,
  ]);
}

function encode(instructions: readonly Instruction[]): Uint8Array {
  const code = new DataView(new ArrayBuffer(instructions.length * 8));
  instructions.forEach(([operation, registers, offset, constant], i) => {
    code.setUint8(i * 8, operation);
    code.setUint8(i * 8 + 1, registers);
    code.setInt16(i * 8 + 2, offset, true);
    code.setInt32(i * 8 + 4, constant, true);
  });
  return new Uint8Array(code.buffer);
}
