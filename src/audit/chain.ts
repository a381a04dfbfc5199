// Follows the chain record by record and says where it is broken. After a fault it joins the chain again as
// soon as it can, so that one fault gives one or two findings and not one for each record that follows. Pure.
import { decodeLine, type LineFaultKind } from "./decode.ts";
import { type ChainEnd, emptyChain } from "./record.ts";

export type FindingKind =
  | LineFaultKind
  | "wrong-sequence"
  | "wrong-previous"
  | "unfinished-line"
  | "wrong-file-name"
  | "misnamed-file"
  | "head-missing"
  | "head-unreadable"
  | "head-mismatch"
  | "head-behind"
  | "truncated-end"
  | "anchor-mismatch";

/** One thing that is wrong with a log. */
export interface AuditFinding {
  readonly kind: FindingKind;
  readonly file: string;
  /** From 1; null if the finding is about the file. */
  readonly line: number | null;
  /** Of the record that is wrong or missing; null if it cannot be told. */
  readonly sequence: number | null;
  readonly expected: string;
  readonly found: string;
}

export type Report = (finding: AuditFinding) => void;

/**
 * Sequences that the next record may have, each with the previous hashes that go with it; null stands for any,
 * after a record that could not be read. Without faults there is one sequence with one hash.
 */
type Accepted = ReadonlyMap<number, readonly string[] | null>;

/** Possibilities that are kept; after more faults in a row, one fault may give more than one finding. */
const acceptedMax = 16;

export class ChainFollower {
  readonly #report: Report;
  #accepted: Accepted = new Map([[1, [emptyChain.hash]]]);
  /** The sequence to name in a finding. */
  #expected = 1;
  #records = 0;
  #last: readonly ChainEnd[] = [emptyChain];

  constructor(report: Report) {
    this.#report = report;
  }

  /** Lines that hold a record, sound or not. */
  get records(): number {
    return this.#records;
  }

  /** The sequence that the next record should have. */
  get nextSequence(): number {
    return this.#expected;
  }

  /** The last two positions in the chain, latest first. */
  get lastEnds(): readonly ChainEnd[] {
    return this.#last;
  }

  /** Takes the next line, without its newline; null stands for one longer than any record. */
  follow(file: string, line: number, bytes: Uint8Array | null): ChainEnd | null {
    const decoded = decodeLine(bytes);
    if (!decoded.ok) {
      const { fault, claims } = decoded;
      if (fault.kind !== "unparsable-line") this.#records++;
      this.#report({ file, line, sequence: claims.sequence ?? this.#expected, ...fault });
      this.#stepOverFault(claims);
      return null;
    }
    this.#records++;
    const { sequence, previous, hash } = decoded.record;
    const place = { file, line, sequence };
    const hashes = this.#accepted.get(sequence);
    if (hashes === undefined) {
      const expected = `sequence ${this.#expected}`;
      this.#report({ ...place, kind: "wrong-sequence", expected, found: `sequence ${sequence}` });
      this.#stepOverMisplaced({ sequence, hash });
    } else {
      if (hashes !== null && !hashes.includes(previous)) {
        const expected = `previous hash ${hashes[0]}`;
        this.#report({ ...place, kind: "wrong-previous", expected, found: `previous hash ${previous}` });
      }
      this.#goOnFrom({ sequence, hash });
    }
    return { sequence, hash };
  }

  #goOnFrom(end: ChainEnd): void {
    this.#accepted = new Map([[end.sequence + 1, [end.hash]]]);
    this.#expected = end.sequence + 1;
    this.#pass(end);
  }

  #stepOverMisplaced(end: ChainEnd): void {
    // A record from before was repeated or moved here: the chain goes on from where it was.
    if (end.sequence < this.#expected) return;
    // Either those between are missing, or this one is misplaced and they follow.
    this.#accepted = limit(new Map([...this.#accepted, [end.sequence + 1, [end.hash]]]));
    this.#pass(end);
  }

  /** The faulty line was either the record of this place or put in between. */
  #stepOverFault(claims: { readonly hash?: string; readonly computedHash?: string }): void {
    const hashes = [claims.hash, claims.computedHash].filter((hash) => hash !== undefined);
    const accepted = new Map(this.#accepted);
    for (const sequence of this.#accepted.keys()) {
      if (!accepted.has(sequence + 1)) accepted.set(sequence + 1, hashes.length > 0 ? hashes : null);
    }
    this.#accepted = limit(accepted);
    this.#pass({ sequence: this.#expected, hash: claims.hash ?? "" });
    this.#expected++;
  }

  #pass(end: ChainEnd): void {
    this.#last = [end, ...this.#last.slice(0, 1)];
  }
}

/** Keeps the oldest possibilities and the newest. */
function limit(accepted: Map<number, readonly string[] | null>): Accepted {
  for (const sequence of [...accepted.keys()].slice(acceptedMax / 2, -acceptedMax / 2))
    accepted.delete(sequence);
  return accepted;
}
