// Packet events to one client: one JSON object a line, the kept ones first, then (if asked) each new one. A client
// that does not read is cut off rather than waited for or buffered without bound.
import type { ServerResponse } from "node:http";
import type { AgentControl, Answer } from "./control.ts";

/** Bytes that may wait for a slow client. */
const waitingBytesMax = 4 * 1024 * 1024;

/** Sends events until the client goes away or `signal` ends it; without `follow`, the kept ones. */
export async function streamEvents(
  control: AgentControl,
  response: ServerResponse,
  how: { readonly limit: number; readonly follow: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const send = (event: Answer) => {
    if (response.destroyed) return;
    response.write(`${JSON.stringify(event)}\n`);
    if (response.writableLength > waitingBytesMax) response.destroy();
  };
  // Listening starts before the kept events are read, so that none falls in between.
  const held: Answer[] = [];
  let pass: (event: Answer) => void = (event) => held.push(event);
  const stop = how.follow ? control.followEvents((event) => pass(event)) : () => undefined;
  try {
    const kept = await control.recentEvents(how.limit);
    response.writeHead(200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
    response.flushHeaders();
    const known = new Set(kept);
    for (const event of kept) send(event);
    for (const event of held) if (!known.has(event)) send(event);
    pass = send;
    if (how.follow) await untilGone(response, how.signal);
  } finally {
    stop();
  }
  response.end();
}

function untilGone(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      signal.removeEventListener("abort", done);
      response.off("close", done);
      resolve();
    };
    if (signal.aborted || response.destroyed) return resolve();
    signal.addEventListener("abort", done, { once: true });
    response.once("close", done);
  });
}
