// Git's pkt-line framing: four hex digits of length (counting themselves), then the payload; 0000 to 0002 are
// marks without payload. https://git-scm.com/docs/protocol-common#_pkt_line_format
import { Buffer } from "node:buffer";

export type Mark = "flush" | "delimiter" | "end";

/** A payload, or a mark: flush (0000), delimiter (0001), response end (0002). */
export type Packet = Buffer | Mark;

const marks: readonly Mark[] = ["flush", "delimiter", "end"];

/** Frames lines; a mark is given as an object, as any string is a line. */
export function encodePackets(packets: readonly (string | { readonly mark: Mark })[]): Buffer {
  const pieces = packets.map((packet) => {
    if (typeof packet !== "string") return `000${marks.indexOf(packet.mark)}`;
    return `${(Buffer.byteLength(packet) + 4).toString(16).padStart(4, "0")}${packet}`;
  });
  return Buffer.from(pieces.join(""));
}

/**
 * Takes a stream apart; keeps at most one packet (64 KiB) and the piece at hand. A stream that ends inside a
 * packet or is not made of packets ends with what `fail` makes of it.
 */
export async function* decodePackets(
  stream: AsyncIterable<Uint8Array>,
  fail: (how: "cut-off" | "malformed") => Error,
): AsyncGenerator<Packet, void> {
  let pieces: Buffer[] = [];
  let held = 0;
  let need = 4;
  for await (const piece of stream) {
    pieces.push(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength));
    held += piece.byteLength;
    // Joined only when a whole packet is there, so that a stream of tiny pieces costs no more than others.
    if (held < need) continue;
    let data = pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
    need = 4;
    while (data.length >= 4) {
      const length = readLength(data);
      if (length < 0 || length === 3) throw fail("malformed");
      const mark = marks[length];
      if (mark !== undefined) {
        yield mark;
        data = data.subarray(4);
        continue;
      }
      if (data.length < length) {
        need = length;
        break;
      }
      yield data.subarray(4, length);
      data = data.subarray(length);
    }
    pieces = [data];
    held = data.length;
  }
  if (held > 0) throw fail("cut-off");
}

function readLength(data: Buffer): number {
  const digits = data.toString("latin1", 0, 4);
  return /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1;
}
