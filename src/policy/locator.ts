// Finds lines and columns for documents long after they were read. Positions of the files read last are kept
// within a budget; those of the others are found by reading the file again.
import type { PolicyFile, Position } from "../base/index.ts";
import type { PolicyLimits } from "./limits.ts";
import { findValue, type LineIndex, type PositionNode } from "./positions.ts";
import { type ReadFile, readPolicyFile } from "./read.ts";
import type { PolicyPath } from "./types.ts";

export interface Locator {
  /** Keeps what reading `file` has found out, as long as the budget allows. */
  keep(file: PolicyFile, read: ReadFile): void;
  /** The position of a value in the document with number `index`, from 0, of `file`. */
  locate(file: PolicyFile, index: number, path: PolicyPath): Position;
}

/** Bytes of text whose positions are kept: about as much memory again. */
const budgetBytes = 32 * 1024 * 1024;

interface Kept {
  readonly bytes: number;
  readonly documents: readonly PositionNode[];
  readonly lines: LineIndex;
}

export function createLocator(limits: PolicyLimits, budget = budgetBytes): Locator {
  const kept = new Map<PolicyFile, Kept>();
  let total = 0;
  const put = (file: PolicyFile, read: ReadFile): Kept => {
    const entry: Kept = {
      bytes: file.content.length,
      documents: read.documents.map((document) => document.positions),
      lines: read.lines(),
    };
    kept.set(file, entry);
    total += entry.bytes;
    for (const [oldest, { bytes }] of kept) {
      if (total <= budget || oldest === file) break;
      kept.delete(oldest);
      total -= bytes;
    }
    return entry;
  };
  return {
    keep(file, read) {
      if (file.content.length <= budget) put(file, read);
    },
    locate(file, index, path) {
      const { documents, lines } = kept.get(file) ?? put(file, readPolicyFile(file, limits));
      const root = documents[index];
      if (root === undefined) return { file: file.path, line: 1, column: 1 };
      return { file: file.path, ...lines.positionAt(findValue(root, path)) };
    },
  };
}
