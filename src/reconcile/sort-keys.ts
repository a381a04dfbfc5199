// Puts packed keys into the order of their bytes, for digests that do not depend on where a hash map keeps an entry.
import { startPace } from "../base/index.ts";

/** Numbers of keys, in the order of the keys' bytes. A radix sort from the last 16 bits to the first. */
export async function sortKeys(keys: Uint8Array, keySize: number): Promise<Uint32Array> {
  const count = keys.length / keySize;
  const view = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
  let order = countUp(count);
  if (count < fewKeys) return order.sort((a, b) => compareAt(keys, a * keySize, { b: b * keySize, keySize }));
  let sorted = new Uint32Array(count);
  const pace = startPace("sort keys");
  for (let at = keySize - 2; at >= 0; at -= 2) {
    const starts = new Uint32Array(0x10001);
    for (let i = 0; i < count; i++) {
      const digit = view.getUint16(i * keySize + at) + 1;
      starts[digit] = (starts[digit] ?? 0) + 1;
    }
    // Most digits of most tables are the same for all keys: the id of the only set, the length of a host.
    const first = view.getUint16(at);
    if (starts[first + 1] !== count) {
      for (let digit = 1; digit < starts.length; digit++)
        starts[digit] = (starts[digit] ?? 0) + (starts[digit - 1] ?? 0);
      for (let n = 0; n < count; n++) {
        const entry = order[n] ?? 0;
        const digit = view.getUint16(entry * keySize + at);
        const place = starts[digit] ?? 0;
        sorted[place] = entry;
        starts[digit] = place + 1;
        if (n % stepKeys === 0) await pace.step(n);
      }
      [order, sorted] = [sorted, order];
    }
    await pace.step(at);
  }
  return order;
}

/** 0, 1, 2, ... */
export function countUp(count: number): Uint32Array<ArrayBuffer> {
  const numbers = new Uint32Array(count);
  for (let i = 0; i < count; i++) numbers[i] = i;
  return numbers;
}

/** Below this a comparing sort is faster. */
const fewKeys = 4096;

const stepKeys = 65_536;

function compareAt(
  keys: Uint8Array,
  a: number,
  { b, keySize }: { readonly b: number; readonly keySize: number },
): number {
  for (let i = 0; i < keySize; i++) {
    const difference = (keys[a + i] ?? 0) - (keys[b + i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
