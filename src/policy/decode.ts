// Bytes of a policy file to text. Only UTF-8 without control characters goes on, so that what a person sees in
// an editor or a terminal is what the agent reads.
import type { PolicyCode } from "./codes.ts";
import { formatCount, type PolicyLimits } from "./limits.ts";

export type Decoded =
  | { readonly ok: true; readonly text: string }
  /** `text` is what could be read, for placing the finding at `at`. */
  | {
      readonly ok: false;
      readonly text: string;
      readonly at: number;
      readonly code: PolicyCode;
      readonly message: string;
    };

// Tab and line ends are text. The second part is direction marks, which make a line look like another one.
const forbidden = /[^\P{Cc}\t\n\r]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/u;
const forbiddenInValue = /[^\P{Cc}\t\n\r]|\p{Cs}|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/u;

/** Decodes UTF-8, with or without a byte order mark, which is dropped. */
export function decodeText(bytes: Uint8Array, limits: Pick<PolicyLimits, "bytesMax">): Decoded {
  if (bytes.length > limits.bytesMax) {
    const message = `The file has ${formatCount(bytes.length)} bytes; at most ${formatCount(limits.bytesMax)} are read, so split it into several files`;
    return { ok: false, text: "", at: 0, code: "too-large", message };
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return describeBadEncoding(bytes);
  }
  const at = text.search(forbidden);
  if (at < 0) return { ok: true, text };
  const message = `The character ${nameCharacter(text, at)} is not allowed; remove it, or write it as an escape where it is meant`;
  return { ok: false, text, at, code: "control-character", message };
}

/** The name of the first character that no value may contain, such as one written as an escape. */
export function findControlCharacter(value: string): string | undefined {
  const at = value.search(forbiddenInValue);
  return at < 0 ? undefined : nameCharacter(value, at);
}

function nameCharacter(text: string, at: number): string {
  const code = text.codePointAt(at) ?? 0;
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

function describeBadEncoding(bytes: Uint8Array): Decoded {
  const code = "not-utf8";
  const mark = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  if (mark === 0xfffe || mark === 0xfeff) {
    return { ok: false, text: "", at: 0, code, message: "The file is UTF-16; save it as UTF-8" };
  }
  // Replaced characters come back as other bytes: the first difference is the first byte that is not UTF-8.
  const lossy = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const back = new TextEncoder().encode(lossy);
  let bad = 0;
  while (bad < bytes.length && bytes[bad] === back[bad]) bad++;
  const text = new TextDecoder().decode(bytes.subarray(0, bad));
  const byte = (bytes[bad] ?? 0).toString(16).padStart(2, "0");
  return {
    ok: false,
    text,
    at: text.length,
    code,
    message: `The byte 0x${byte} is not UTF-8; save the file as UTF-8`,
  };
}
