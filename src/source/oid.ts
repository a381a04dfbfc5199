// Object ids and the four types of objects.
import { createHash } from "node:crypto";

export type ObjectType = "commit" | "tree" | "blob" | "tag";

/**
 * The id of an object: SHA-1 over its type, length and content, 20 bytes. Unlike git this does not look for
 * the traces of a SHA-1 collision attack: whoever can push a file made to collide is trusted with its content.
 */
export function hashObject(type: ObjectType, content: Uint8Array): Buffer {
  return createHash("sha1").update(`${type} ${content.byteLength}\0`).update(content).digest();
}
