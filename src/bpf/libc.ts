// The C library's functions that Node does not offer, and the two ways in which memory crosses the border:
// `addressOf` for bytes of ours that C reads or writes, `viewMemory` for memory of C that we read or write.
import koffi from "koffi";

/** What a C pointer argument may be: our bytes (passed without copy), an address, or NULL. */
export type Memory = Uint8Array | bigint | null;

export interface Libc {
  mmap(address: Memory, length: number, prot: number, flags: number, fd: number, offset: number): bigint;
  munmap(address: bigint, length: number): number;
  syscall(number: number, a: number, b: number | bigint, c: number): number;
  flock(fd: number, operation: number): number;
  if_nametoindex(name: string): number;
  sysconf(name: number): number;
  setns(fd: number, kind: number): number;
  unshare(flags: number): number;
  vsnprintf(out: Uint8Array, size: number, format: bigint, args: bigint): number;
}

// `syscall` is variadic in C; three more arguments in registers are the same call on every 64-bit ABI of Linux,
// and a fixed argument list is what allows the asynchronous form.
const PROTOTYPES: Readonly<Record<keyof Libc, string>> = {
  mmap: "void *mmap(void *address, size_t length, int prot, int flags, int fd, int64_t offset)",
  munmap: "int munmap(void *address, size_t length)",
  syscall: "long syscall(long number, long a, long b, long c)",
  flock: "int flock(int fd, int operation)",
  if_nametoindex: "unsigned int if_nametoindex(const char *name)",
  sysconf: "long sysconf(int name)",
  setns: "int setns(int fd, int kind)",
  unshare: "int unshare(int flags)",
  vsnprintf: "int vsnprintf(void *out, size_t size, void *format, void *args)",
};

let loaded: Libc | undefined;

/** The C library of this process. */
export function libc(): Libc {
  loaded ??= bindLibrary<Libc>(koffi.load(null), PROTOTYPES);
  return loaded;
}

/** Declares each prototype; the interface is the prototypes' twin in TypeScript. */
export function bindLibrary<T>(
  library: ReturnType<typeof koffi.load>,
  prototypes: Record<keyof T, string>,
): T {
  const bound = Object.entries<string>(prototypes).map(([name, text]) => [name, library.func(text)]);
  return Object.fromEntries(bound) as T;
}

/**
 * Calls a bound function on a worker thread. The caller keeps every buffer that it passes alive and untouched
 * until the promise settles. errno of the worker is lost, so only use it with calls that return it.
 */
export function callAsync(bound: (...args: never[]) => number, ...args: unknown[]): Promise<number> {
  const worker = bound as unknown as { async(...args: unknown[]): void };
  return new Promise((resolve, reject) => {
    worker.async(...args, (error: unknown, result: number) => {
      if (error === null || error === undefined) resolve(result);
      else reject(error);
    });
  });
}

/** The same on this thread. */
export function callNow(bound: (...args: never[]) => number, ...args: unknown[]): number {
  return (bound as (...args: unknown[]) => number)(...args);
}

/** errno of the last synchronous call. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Address of our bytes, for struct fields. The bytes must stay referenced for as long as C may use them. */
export function addressOf(bytes: Uint8Array): bigint {
  return koffi.address(bytes);
}

/** Memory of C as an ArrayBuffer, without copy. The memory must stay mapped for as long as the view is used. */
export function viewMemory(address: bigint, length: number): ArrayBuffer {
  return koffi.view(address, length);
}

/** A NUL-terminated copy, for struct fields of type `const char *`. */
export function cString(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(`${text}\0`, "utf8"));
}

const SC_PAGESIZE = 30;
let pageSize: number | undefined;

/** Bytes of a memory page. */
export function pageBytes(): number {
  pageSize ??= libc().sysconf(SC_PAGESIZE);
  return pageSize;
}
