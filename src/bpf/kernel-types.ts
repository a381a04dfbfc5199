// What maps in the kernel hold, as the kernel itself keeps it: the BTF that each was made with.
import { type EntryTypes, makeEntryTypeReader } from "../abi/index.ts";
import { ownDescriptor } from "./descriptor.ts";
import { ERRNO } from "./errno.ts";
import { checkResult } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import type { BpfMap } from "./map.ts";
import { readBtfBytes } from "./object-info.ts";

type EntryTypeReader = ReturnType<typeof makeEntryTypeReader>;

/** Reads entry types of maps; maps of one object share one BTF, which is read once. */
export class KernelTypes {
  readonly #readers = new Map<number, EntryTypeReader>();
  #isBlind = false;

  /** Whether types were asked for that this process may not look at: BTF is opened with CAP_SYS_ADMIN. */
  get isBlind(): boolean {
    return this.#isBlind;
  }

  /** Types of the map's entries. Throws `kernel-call-failed`, `bad-btf` and `unsupported-layout`. */
  of(map: BpfMap): EntryTypes {
    const { id, key, value } = map.info().btf;
    const reader = id === 0 ? undefined : this.#reader(id);
    return reader?.(map.name, { key, value }) ?? { key: undefined, value: undefined };
  }

  #reader(id: number): EntryTypeReader | undefined {
    const known = this.#readers.get(id);
    if (known !== undefined) return known;
    const bytes = readBtf(id);
    if (bytes === undefined) {
      this.#isBlind = true;
      return undefined;
    }
    const reader = makeEntryTypeReader(bytes);
    this.#readers.set(id, reader);
    return reader;
  }
}

/** Undefined if it may not be read. */
function readBtf(id: number): Uint8Array | undefined {
  const call = "bpf_btf_get_fd_by_id";
  const object = `BTF with id ${id}`;
  const fd = libbpf()[call](id);
  if (fd === -ERRNO.EPERM) return undefined;
  const descriptor = ownDescriptor(checkResult(fd, { action: "open", object, call }), object);
  try {
    return readBtfBytes(descriptor.fd, object);
  } finally {
    descriptor.close();
  }
}
