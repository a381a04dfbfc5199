// Where a process can die: in front of every operation that changes something outside of it, halfway through those
// that change many things, and behind the last one. Points are numbered as they are passed; between two of them
// something has changed, so that no two are the same death.
import type { AuditFile, AuditIo } from "../src/audit/io.ts";
import type { TableSpec } from "../src/compile/index.ts";

export class KillPoints {
  #armed = false;
  /** Nothing was changed since the last point. */
  #still = false;
  #killAt: number | undefined;
  #passed: string[] = [];

  /** From now on points count; at number `killAt` the process dies. */
  arm(killAt: number | undefined): void {
    this.#armed = true;
    this.#still = false;
    this.#killAt = killAt;
    this.#passed = [];
  }

  /** The point behind the last operation; gives the names of all that were passed. */
  disarm(): readonly string[] {
    this.#point("the end");
    this.#armed = false;
    return this.#passed;
  }

  /** An operation with the points around it. */
  around<T>(operation: string, work: () => T): T {
    this.#point(`before ${operation}`);
    return this.#after(work);
  }

  /** Two halves of one operation, with a point in between too. */
  async halves<T>(operation: string, first: () => Promise<T>, second: () => Promise<T>): Promise<T[]> {
    const half = await this.around(operation, first);
    this.#point(`halfway through ${operation}`);
    return [half, await this.#after(second)];
  }

  #after<T>(work: () => T): T {
    const done = () => {
      this.#still = false;
    };
    let result: T | undefined;
    try {
      result = work();
      return result instanceof Promise ? (result.finally(done) as T) : result;
    } finally {
      if (!(result instanceof Promise)) done();
    }
  }

  #point(name: string): void {
    if (!this.#armed || this.#still) return;
    this.#still = true;
    if (this.#passed.length === this.#killAt) process.kill(process.pid, "SIGKILL");
    this.#passed.push(name);
  }
}

export interface WatchOptions {
  readonly points: KillPoints;
  /** Methods that only look; every other one counts as one that changes something. */
  readonly looks: readonly string[];
  /** In front of the operations' names. */
  readonly of?: string;
}

/** Puts a point in front of every method that is not known to look only. */
export function watch<T extends object>(target: T, options: WatchOptions): T {
  const { points, looks, of = "" } = options;
  return new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      const call = (...args: unknown[]) => Reflect.apply(value, target, args) as unknown;
      if (typeof name === "symbol" || looks.includes(name)) return call;
      return (...args: unknown[]) => {
        const halves = halvesOf(args);
        const operation = halves === undefined ? `${of}${name}` : `${name} ${(args[0] as TableSpec).name}`;
        if (halves === undefined) return points.around(operation, () => call(...args));
        const [first, second] = halves.map((some) => () => call(...some) as Promise<unknown>);
        return first !== undefined && second !== undefined
          ? points.halves(operation, first, second).then(([, last]) => last)
          : points.around(operation, () => call(...args));
      };
    },
  });
}

/** The arguments of an operation on many entries of a table as those of two; one if it is one entry. */
function halvesOf(args: readonly unknown[]): unknown[][] | undefined {
  const [table, keys, values] = args;
  if (!isTable(table) || !(keys instanceof Uint8Array)) return undefined;
  const count = keys.length / table.keySize;
  if (count < 2) return [[...args]];
  const at = Math.floor(count / 2);
  const part = (start: number, end: number) =>
    values instanceof Uint8Array
      ? [
          keys.subarray(start * table.keySize, end * table.keySize),
          values.subarray(start * table.valueSize, end * table.valueSize),
          ...args.slice(3),
        ]
      : [keys.subarray(start * table.keySize, end * table.keySize), ...args.slice(2)];
  return [
    [table, ...part(0, at)],
    [table, ...part(at, count)],
  ];
}

function isTable(value: unknown): value is TableSpec {
  return typeof value === "object" && value !== null && "keySize" in value && "valueSize" in value;
}

/** The audit log's disk: every file operation is a point, and a record may be torn. */
export function watchDisk(io: AuditIo, points: KillPoints): AuditIo {
  const open: AuditIo["open"] = async (path, how) => watchFile(await io.open(path, how), points);
  return watch({ ...io, open }, { points, looks: ["stat", "list"], of: "audit file " });
}

function watchFile(file: AuditFile, points: KillPoints): AuditFile {
  const write = async (bytes: Uint8Array, position: number) => {
    const half = bytes.length >> 1;
    const written = await points.halves(
      "audit file write",
      () => file.write(bytes.subarray(0, half), position),
      () => file.write(bytes.subarray(half), position + half),
    );
    return written.reduce((sum, count) => sum + count, 0);
  };
  const watched = watch(file, { points, looks: ["read", "stat", "close"], of: "audit file " });
  return { ...watched, write };
}
