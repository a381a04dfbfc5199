// Kernel memory seen as a JavaScript buffer (mmap). A closed mapping never becomes a dangling pointer: JavaScript
// cannot take a buffer back from those who still hold it, so closing puts private zero pages under it, and the
// address range is returned when the last view of it has been collected.
import { kernelError } from "./kernel-error.ts";
import { lastErrno, libc, viewMemory } from "./libc.ts";

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

export interface MemoryMapping {
  /** The mapped memory. Writing to a mapping that is not writable ends the process (SIGSEGV). */
  readonly buffer: ArrayBuffer;
  /** Lets go of the kernel's memory; what still looks at `buffer` sees zeros from then on. */
  close(): void;
}

export interface MappingRequest {
  readonly fd: number;
  readonly offset: number;
  readonly length: number;
  readonly writable: boolean;
  /** For messages: `map generation`. */
  readonly object: string;
}

interface Range {
  readonly address: bigint;
  readonly length: number;
}

const ranges = new FinalizationRegistry<Range>(({ address, length }) => {
  libc().munmap(address, length);
});

/** Maps `length` bytes shared with the kernel. Throws `kernel-call-failed`. */
export function mapMemory(request: MappingRequest): MemoryMapping {
  const { fd, offset, length } = request;
  const prot = request.writable ? PROT_READ | PROT_WRITE : PROT_READ;
  const address = libc().mmap(null, length, prot, MAP_SHARED, fd, offset);
  if (address === MAP_FAILED) throw mmapError(request.object);
  const buffer = viewMemory(address, length);
  ranges.register(buffer, { address, length });
  let open = true;
  return {
    buffer,
    close() {
      if (open) coverWithZeros({ address, length }, request.object);
      open = false;
    },
  };
}

function coverWithZeros({ address, length }: Range, object: string): void {
  const flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE;
  const result = libc().mmap(address, length, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (result === MAP_FAILED) throw mmapError(object);
}

function mmapError(object: string): Error {
  return kernelError({ action: "map the memory of", object, call: "mmap", errno: lastErrno() });
}
