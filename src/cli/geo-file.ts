// Reads the database of countries from its file, into memory that threads share.
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from "node:fs";
import type { GeoFile } from "../geo/index.ts";
import type { GeoConfiguration } from "../policy/index.ts";

/** Databases of cities have 70 MiB. */
const bytesMax = 256 * 1024 * 1024;

/** The file's content, or why there is none; never throws. */
export function readGeoFile({ database: path, maxAgeDays }: GeoConfiguration): GeoFile {
  let fd: number | undefined;
  try {
    // Without waiting: a pipe has no end.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size, isRegular } = measure(fd);
    if (!isRegular) return { kind: "unreadable", path, reason: "it is no file" };
    if (size > bytesMax) {
      return { kind: "unreadable", path, reason: `it has more than ${bytesMax / 1024 / 1024} MiB` };
    }
    const content = new Uint8Array(new SharedArrayBuffer(size));
    let read = 0;
    for (let more = -1; read < size && more !== 0; read += more) {
      more = readSync(fd, content, read, size - read, read);
    }
    const whole = content.subarray(0, read);
    const sha256 = createHash("sha256").update(whole).digest("hex");
    return { kind: "content", path, content: whole, sha256, maxAgeDays };
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : String(error);
    return { kind: "unreadable", path, reason: reason === "ENOENT" ? "there is no such file" : reason };
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** A text that is another one when there is another file. Cheap. */
export function stampOfGeoFile({ database }: GeoConfiguration): string {
  try {
    const { dev, ino, size, mtimeMs } = statSync(database);
    return [dev, ino, size, mtimeMs].join(" ");
  } catch {
    return "";
  }
}

function measure(fd: number) {
  const stat = fstatSync(fd);
  return { size: stat.size, isRegular: stat.isFile() };
}
