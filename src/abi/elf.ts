// Reads sections and symbols of a compiled BPF object: an ELF64 file, little endian. Nothing is relocated,
// loaded or interpreted here; a file that is not such an object is an error, never a crash.
//
// Format: System V ABI, chapters 4 (sections and symbols); machine 247 is EM_BPF.
import { PenstockError } from "../base/index.ts";
import { BoundedView } from "./bounded-view.ts";

export interface ElfSection {
  readonly name: string;
  /** SHF_EXECINSTR is set: the section holds programs. */
  readonly executable: boolean;
  /** Bytes the section takes when loaded; more than `data` holds for `.bss`. */
  readonly size: number;
  /** A view of the file's bytes, empty for `.bss`. */
  readonly data: Uint8Array;
}

export interface ElfSymbol {
  readonly name: string;
  readonly kind: "object" | "function" | "other";
  readonly global: boolean;
  /** The section that the symbol lies in; undefined for undefined and absolute symbols. */
  readonly section: ElfSection | undefined;
  /** Byte offset in its section. */
  readonly offset: number;
  readonly size: number;
}

export interface ElfObject {
  readonly sections: readonly ElfSection[];
  readonly symbols: readonly ElfSymbol[];
  /** The first section of this name. */
  section(name: string): ElfSection | undefined;
}

const headerBytes = 64;
const sectionHeaderBytes = 64;
const symbolBytes = 24;
const machineBpf = 247;
const sectionTypeSymbols = 2;
const sectionTypeNoBits = 8;
const sectionFlagExecutable = 4n;

/** Reads the tables of an object. Throws `bad-object` if the bytes are anything else. */
export function parseElf(bytes: Uint8Array): ElfObject {
  const file = new BoundedView(bytes, badObject);
  checkHeader(file);
  const headers = readSectionHeaders(file);
  const names = headers[file.u16(62)];
  if (names === undefined || names.type === sectionTypeNoBits)
    throw badObject("it has no table of section names");
  const nameView = new BoundedView(file.slice(names.offset, names.size), badObject);
  const sections = headers.map(
    (header): ElfSection => ({
      name: nameView.text(header.nameOffset),
      executable: (header.flags & sectionFlagExecutable) !== 0n,
      size: header.size,
      data: header.type === sectionTypeNoBits ? new Uint8Array() : file.slice(header.offset, header.size),
    }),
  );
  return {
    sections,
    symbols: readSymbols(headers, sections),
    section: (name) => sections.find((section) => section.name === name),
  };
}

interface SectionHeader {
  readonly nameOffset: number;
  readonly type: number;
  readonly flags: bigint;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

function checkHeader(file: BoundedView): void {
  if (file.bytes.byteLength < headerBytes || file.u32(0) !== 0x464c457f) throw badObject("it is no ELF file");
  if (file.u8(4) !== 2 || file.u8(5) !== 1) throw badObject("it is not a 64-bit little-endian ELF file");
  if (file.u16(18) !== machineBpf) throw badObject(`it is for machine ${file.u16(18)}, not for BPF (247)`);
}

function readSectionHeaders(file: BoundedView): SectionHeader[] {
  const start = file.size64(40);
  const count = file.u16(60);
  if (count === 0 || file.u16(58) !== sectionHeaderBytes) throw badObject("it has no section headers");
  file.slice(start, count * sectionHeaderBytes);
  const headers: SectionHeader[] = [];
  for (let i = 0; i < count; i++) {
    const at = start + i * sectionHeaderBytes;
    // The first header stands for "no section" and holds nothing.
    const type = i === 0 ? sectionTypeNoBits : file.u32(at + 4);
    headers.push({
      nameOffset: file.u32(at),
      type,
      flags: file.u64(at + 8),
      offset: file.size64(at + 24),
      size: i === 0 ? 0 : file.size64(at + 32),
      link: file.u32(at + 40),
    });
  }
  return headers;
}

function readSymbols(headers: readonly SectionHeader[], sections: readonly ElfSection[]): ElfSymbol[] {
  const tableIndex = headers.findIndex((header) => header.type === sectionTypeSymbols);
  const table = sections[tableIndex];
  const strings = sections[headers[tableIndex]?.link ?? 0];
  if (table === undefined || strings === undefined) return [];
  const names = new BoundedView(strings.data, badObject);
  const view = new BoundedView(table.data, badObject);
  const symbols: ElfSymbol[] = [];
  for (let at = 0; at + symbolBytes <= table.data.byteLength; at += symbolBytes) {
    const info = view.u8(at + 4);
    const sectionIndex = view.u16(at + 6);
    symbols.push({
      name: names.text(view.u32(at)),
      kind: (info & 15) === 1 ? "object" : (info & 15) === 2 ? "function" : "other",
      global: info >> 4 === 1,
      section: sectionIndex === 0 ? undefined : sections[sectionIndex],
      offset: view.size64(at + 8),
      size: view.size64(at + 16),
    });
  }
  return symbols;
}

function badObject(problem: string): PenstockError {
  return new PenstockError({
    code: "bad-object",
    disposition: "stalled",
    message: `Cannot read the BPF object: ${problem}`,
    remedy: "Compile the object again with scripts/build-bpf.sh, or install the package again",
  });
}
