// Lines of a file, forwards and backwards, with bounded memory: a line longer than any record is reported
// without its bytes.
import { type AuditFile, readFully } from "./io.ts";
import { recordBytesMax } from "./record.ts";

export interface Line {
  /** Offset of the first byte. */
  readonly start: number;
  /** Offset behind the last byte, the newline included. */
  readonly end: number;
  /** Without the newline; null if the line is longer than any record. */
  readonly bytes: Uint8Array | null;
  /** False for what follows the last newline. */
  readonly terminated: boolean;
}

const chunkBytes = 256 * 1024;
const newline = 0x0a;

/** All lines of the first `size` bytes. */
export async function* readLines(file: AuditFile, size: number): AsyncGenerator<Line> {
  let start = 0;
  let kept: Uint8Array[] = [];
  let keptBytes = 0;
  const keep = (part: Uint8Array) => {
    keptBytes += part.length;
    if (keptBytes < recordBytesMax) kept.push(part);
    else kept = [];
  };
  const take = () => {
    const bytes = keptBytes < recordBytesMax ? Buffer.concat(kept) : null;
    kept = [];
    keptBytes = 0;
    return bytes;
  };
  for (let position = 0; position < size; ) {
    const chunk = await readFully(file, position, Math.min(chunkBytes, size - position));
    if (chunk.length === 0) break;
    let from = 0;
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
      keep(chunk.subarray(from, at));
      from = at + 1;
      const end = position + from;
      yield { start, end, bytes: take(), terminated: true };
      start = end;
    }
    keep(chunk.subarray(from));
    position += chunk.length;
  }
  if (keptBytes > 0) yield { start, end: start + keptBytes, bytes: take(), terminated: false };
}

/** The same lines, last first. Ends after a line that is longer than any record. */
export async function* readLinesBackward(file: AuditFile, size: number): AsyncGenerator<Line> {
  // `held` are the bytes from `position` to `end`; before `end` there is a newline exactly if `terminated`.
  let held: Uint8Array = new Uint8Array(0);
  let position = size;
  let end = size;
  let terminated = false;
  while (position > 0 || held.length > 0 || terminated) {
    const at = held.lastIndexOf(newline);
    if (at < 0 && position > 0) {
      if (held.length >= recordBytesMax) {
        yield { start: position, end, bytes: null, terminated };
        return;
      }
      const length = Math.min(chunkBytes, position);
      held = Buffer.concat([await readFully(file, position - length, length), held]);
      position -= length;
      continue;
    }
    const bytes = held.subarray(at + 1);
    if (terminated || bytes.length > 0) {
      const fits = bytes.length < recordBytesMax;
      yield { start: position + at + 1, end, bytes: fits ? bytes : null, terminated };
      if (!fits) return;
    }
    if (at < 0) return;
    end = position + at + 1;
    held = held.subarray(0, at);
    terminated = true;
  }
}
