// Reads ranges of a file through one window, so that a pack of any size costs a fixed amount of memory.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

export class FileView {
  readonly size: number;
  readonly #windowBytes: number;
  #fd: number;
  #window: Buffer = Buffer.alloc(0);
  #start = 0;

  constructor(path: string, windowBytes: number) {
    this.#fd = openSync(path, "r");
    this.size = fstatSync(this.#fd).size;
    this.#windowBytes = windowBytes;
  }

  /** Bytes from `offset`, fewer than `length` only at the end of the file. Good until the next call. */
  view(offset: number, length: number): Buffer {
    const wanted = Math.max(0, Math.min(length, this.size - offset));
    const at = offset - this.#start;
    if (at >= 0 && at + wanted <= this.#window.length) return this.#window.subarray(at, at + wanted);
    const bytes = Math.min(Math.max(wanted, this.#windowBytes), Math.max(0, this.size - offset));
    const target = this.#reuse(bytes);
    let filled = 0;
    while (filled < bytes) {
      const read = readSync(this.#fd, target, filled, bytes - filled, offset + filled);
      if (read === 0) break;
      filled += read;
    }
    this.#window = target.subarray(0, filled);
    this.#start = offset;
    return this.#window.subarray(0, Math.min(wanted, filled));
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
    this.#window = Buffer.alloc(0);
  }

  /** The old window's memory if it fits and is of the usual size; one large range is not held on to. */
  #reuse(bytes: number): Buffer {
    const usual = this.#window.buffer.byteLength === this.#windowBytes;
    if (bytes > this.#windowBytes) return Buffer.allocUnsafeSlow(bytes);
    return usual ? Buffer.from(this.#window.buffer) : Buffer.allocUnsafeSlow(this.#windowBytes);
  }
}
