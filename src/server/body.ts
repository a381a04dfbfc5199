// Reads the body of a request or an answer, never more of it than allowed.
import type { IncomingMessage } from "node:http";
import { RequestError } from "./errors.ts";

/** Requests are a commit id or a described packet; anything longer is a mistake or an attack. */
export const requestBytesMax = 64 * 1024;

/** The parsed JSON of a body; undefined if it is empty. Throws a RequestError for what is too long or no JSON. */
export async function readJson(message: IncomingMessage, bytesMax: number): Promise<unknown> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of message as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > bytesMax) {
      throw new RequestError(
        413,
        "body-too-large",
        `Cannot read the body: it is longer than ${bytesMax} bytes`,
      );
    }
    pieces.push(piece);
  }
  if (bytes === 0) return undefined;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(pieces)));
  } catch {
    throw new RequestError(400, "bad-json", "Cannot read the body: it is not JSON");
  }
}
