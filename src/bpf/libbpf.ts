// libbpf, the C library that brings object files into the kernel. The library is loaded with the first call, so
// that commands which need no kernel work without it. libbpf prints nothing by itself; what it has to say about
// a failure is collected by `collectMessages`.
import koffi from "koffi";
import { PenstockError } from "../base/index.ts";
import { type Libbpf, PROTOTYPES } from "./libbpf-functions.ts";
import { bindLibrary, libc } from "./libc.ts";

export type { Handle, Libbpf } from "./libbpf-functions.ts";

const LIBRARY = "libbpf.so.1";
const MESSAGES_MAX = 32;

interface Loaded {
  readonly functions: Libbpf;
  setPrint(callback: bigint | null): void;
  readonly callback: bigint;
}

let loaded: Loaded | undefined;
let collector: string[] | undefined;

/** libbpf 1.x. Throws `libbpf-missing` if the library cannot be loaded. */
export function libbpf(): Libbpf {
  loaded ??= loadLibrary();
  return loaded.functions;
}

/**
 * Runs `work` and gives back what libbpf had to say meanwhile: its warnings, one line each, at most 32.
 * libbpf's return codes do not say which map or section a load stumbled over; these messages do.
 */
export function collectMessages<T>(work: () => T): { readonly result: T; readonly messages: string[] } {
  libbpf();
  const { setPrint, callback } = loaded as Loaded;
  const messages: string[] = [];
  collector = messages;
  setPrint(callback);
  try {
    return { result: work(), messages };
  } finally {
    setPrint(null);
    collector = undefined;
  }
}

function loadLibrary(): Loaded {
  try {
    const library = koffi.load(LIBRARY);
    const printer = koffi.pointer(koffi.proto("int (int level, void *format, void *args)"));
    const setPrint = library.func("libbpf_set_print", "void *", [printer]);
    setPrint(null);
    return {
      functions: bindLibrary<Libbpf>(library, PROTOTYPES),
      setPrint,
      callback: koffi.register(collectMessage, printer),
    };
  } catch (cause) {
    throw new PenstockError({
      code: "libbpf-missing",
      disposition: "stalled",
      message: `Cannot load ${LIBRARY}: ${cause instanceof Error ? cause.message : String(cause)}`,
      remedy: "Install libbpf 1.1 or later: apt-get install libbpf1",
      data: { library: LIBRARY },
      cause,
    });
  }
}

// A va_list is handed on by address on every 64-bit ABI that Node runs on, so vsnprintf can take it as it came.
function collectMessage(level: number, format: bigint, args: bigint): number {
  if (level !== 0 || collector === undefined || collector.length >= MESSAGES_MAX) return 0;
  const out = new Uint8Array(1024);
  const length = Math.min(libc().vsnprintf(out, out.length, format, args), out.length - 1);
  const text = Buffer.from(out.buffer, 0, Math.max(length, 0)).toString("utf8");
  collector.push(text.replace(/^libbpf: /, "").trimEnd());
  return 0;
}
