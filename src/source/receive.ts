// Receives a pack into the store: to disk as it comes, its sum computed on the way, indexed, and only then moved
// into place. Nothing of a pack that is cut off, altered or over a limit stays.
import { createHash } from "node:crypto";
import { open, rm } from "node:fs/promises";
import * as errors from "./errors.ts";
import type { Pace } from "./pace.ts";
import { type IndexLimits, indexPack } from "./pack-indexer.ts";
import type { Remote } from "./remote.ts";
import type { Store } from "./store.ts";

const sumBytes = 20;

/** Fetches what `wants` reach and `haves` do not; returns the pack's name. */
export async function receivePack(
  parts: {
    readonly remote: Remote;
    readonly store: Store;
    readonly pace: Pace;
    readonly packBytesMax: number;
  },
  request: { readonly wants: readonly string[]; readonly haves: readonly string[] },
): Promise<string> {
  const { remote, store, pace, packBytesMax } = parts;
  const temporary = store.temporaryPack();
  try {
    const file = await open(temporary, "wx", 0o600).catch((error: unknown) => {
      throw errors.storeFailed(store.directory, error);
    });
    const sum = createHash("sha1");
    // The last 20 bytes are the sum itself; which those are is known only at the end.
    let tail = Buffer.alloc(0);
    let size = 0;
    const sink = async (bytes: Uint8Array): Promise<void> => {
      size += bytes.byteLength;
      if (size > packBytesMax) throw tooLong(size, packBytesMax);
      const joined = Buffer.concat([tail, bytes]);
      const whole = Math.max(0, joined.length - sumBytes);
      sum.update(joined.subarray(0, whole));
      tail = joined.subarray(whole);
      await file.writeFile(bytes).catch((error: unknown) => {
        throw errors.storeFailed(store.directory, error);
      });
    };
    try {
      await remote.fetchPack({ ...request, sink }, pace.signal);
      await file.sync();
    } finally {
      await file.close();
    }
    if (size === 0) throw errors.corrupt("the server sent no pack");
    if (!sum.digest().equals(tail))
      throw errors.corrupt("the pack that the server sent has a wrong checksum");
    const limits: IndexLimits = {
      objectsMax: 2_000_000,
      objectBytesMax: objectBytesMax(packBytesMax),
      heldBytesMax: packBytesMax * 2,
    };
    const index = await indexPack(temporary, tail, { limits, pace });
    await store.install(temporary, tail.toString("hex"), index);
    return tail.toString("hex");
  } catch (error) {
    // Not the store is damaged but what was sent: nothing to repair here.
    throw errors.hasCode(error, "source-corrupt") ? errors.packInvalid(error) : error;
  } finally {
    await rm(temporary, { force: true });
    await rm(`${temporary}.idx`, { force: true });
  }
}

/** The largest object that is taken into memory, policy or not. */
export function objectBytesMax(packBytesMax: number): number {
  return Math.floor(packBytesMax / 2);
}

function tooLong(found: number, allowed: number) {
  return errors.overLimit("a pack of so many bytes", { limit: "limits.packBytesMax", found, allowed });
}
