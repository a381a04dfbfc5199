// Words for messages and reasons, so that each is put the same way everywhere.
import type { PenstockError } from "../base/index.ts";

/** `1 place`, `2 places` */
export function countOf(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** `source-unreachable` as a condition's reason: `SourceUnreachable`. */
export function reasonOf(error: PenstockError): string {
  return error.code.replace(/(^|-)([a-z])/g, (_, __, letter: string) => letter.toUpperCase());
}

/** `Applied`, `Healed`, ... */
export function verbOf(kind: string): string {
  const verbs: Record<string, string> = {
    applied: "Applied",
    unchanged: "Applied without change",
    healed: "Healed",
  };
  return verbs[kind] ?? "Rolled back to";
}
