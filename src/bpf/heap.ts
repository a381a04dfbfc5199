// How the C library's allocator, which holds the memory of all buffers, treats large ones.
import koffi from "koffi";

const M_MMAP_THRESHOLD = -3;
const largeBytes = 1024 * 1024;

/**
 * From now on buffers of a megabyte go back to the system as soon as they are free. By itself glibc raises the size
 * from which on it does that with every such buffer, up to 32 MiB, and keeps what is smaller: after a large policy
 * that is some 70 MiB that nobody uses. False if the C library has no such choice.
 */
export function returnLargeBuffers(): boolean {
  try {
    const mallopt = koffi.load(null).func("int mallopt(int parameter, int value)");
    return mallopt(M_MMAP_THRESHOLD, largeBytes) === 1;
  } catch {
    // Other C libraries do not know the function, and do not need it to work.
    return false;
  }
}
