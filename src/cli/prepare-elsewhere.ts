// Where policy is parsed and compiled. What is small is done here and now. A large one would hold up everything else
// that the agent does, and its documents would leave the heap large: it gets a thread of its own, within limits, whose
// memory goes back to the system when it ends.
import { totalmem } from "node:os";
import { Worker } from "node:worker_threads";
import { PenstockError } from "../base/index.ts";
import type { GeoFile } from "../geo/index.ts";
import { type PolicyInput, type PreparedPolicy, policyTooCostly, preparePolicy } from "../reconcile/index.ts";

export interface PrepareLimits {
  /** MiB of the thread's heap. */
  readonly heapMaxMib: number;
  readonly timeMaxMs: number;
}

/** What the thread is given. It has the kinds from its own imports: functions cannot be handed over. */
export type ThreadInput = Omit<PolicyInput, "kinds">;

/** With less text than this, starting a thread takes longer than the work itself. */
const bytesHereMax = 1024 * 1024;

const MiB = 1024 * 1024;

/**
 * A million prefixes need some 200 MiB written one a line, and 1.5 GiB as one line of YAML; the 64 MiB of text that
 * a revision may have can ask for more than most hosts have to spare.
 */
export const defaultPrepareLimits: PrepareLimits = Object.freeze({
  heapMaxMib: Math.min(2048, Math.floor(totalmem() / 2 / MiB)),
  timeMaxMs: 5 * 60_000,
});

/**
 * Prepares policy as `preparePolicy` does. Throws `policy-too-costly` if that takes more than the limits,
 * `policy-thread-ended` if the thread ends for another reason, and `aborted` at `signal`.
 */
export function prepareElsewhere(
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly limits?: Partial<PrepareLimits>;
    /** Reads the database of countries, which is asked for when the policy may name some. */
    readonly readGeo?: (() => GeoFile) | undefined;
  } = {},
): (input: PolicyInput) => Promise<PreparedPolicy> {
  const limits = { ...defaultPrepareLimits, ...options.limits };
  return async (input) => {
    const bytes = input.files.reduce((sum, file) => sum + file.content.length, 0);
    const geo = mayNameCountries(input) ? options.readGeo?.() : undefined;
    // A database of countries takes a second or more, and somebody else has made it.
    if (bytes < bytesHereMax && geo === undefined) return preparePolicy(input);
    return prepareInThread(geo === undefined ? input : { ...input, geo }, limits, options.signal);
  };
}

/** Also where the word stands for something else: that costs the reading, and no more. */
function mayNameCountries({ files }: PolicyInput): boolean {
  return files.some(({ content }) =>
    Buffer.from(content.buffer, content.byteOffset, content.length).includes("countries"),
  );
}

interface Ending {
  readonly answer: PreparedPolicy | undefined;
  /** What the thread died of. */
  readonly failure: unknown;
  readonly code: number;
}

async function prepareInThread(
  input: PolicyInput,
  limits: PrepareLimits,
  signal: AbortSignal | undefined,
): Promise<PreparedPolicy> {
  const late = AbortSignal.timeout(limits.timeMaxMs);
  const stop = signal === undefined ? late : AbortSignal.any([signal, late]);
  if (stop.aborted) throw aborted(stop);
  const { answer, failure, code } = await runThread(startThread(input, limits), stop);
  if (answer !== undefined) return answer;
  if (signal?.aborted === true) throw aborted(signal);
  if (late.aborted) throw tooSlow(limits);
  throw describeFailure(failure, code, limits);
}

function startThread(input: PolicyInput, limits: PrepareLimits): Worker {
  const { kinds: _, ...plain } = input;
  // The caller keeps the files. A copy that is handed over is never serialised, so it is the only one.
  const files = input.files.map(({ path, content }) => ({ path, content: new Uint8Array(content) }));
  const workerData: ThreadInput = { ...plain, files };
  return new Worker(start, {
    eval: isSource,
    workerData,
    transferList: files.map(({ content }) => content.buffer),
    resourceLimits: { maxOldGenerationSizeMb: limits.heapMaxMib },
  });
}

/** Beside this file, and compiled if this file is. */
const entry = new URL(import.meta.url.replace(/[\w-]+(\.[jt]s)$/, "prepare-worker$1"));
const isSource = entry.pathname.endsWith(".ts");
/** A thread does not inherit a loader of TypeScript, so it registers one before it comes to the file. */
const start = isSource
  ? `import("tsx/esm/api").then(({ register }) => { register(); return import("${entry}"); })`
  : entry;

/** Waits until the thread has ended, so that its memory is free again before anything else is done. */
function runThread(thread: Worker, stop: AbortSignal): Promise<Ending> {
  return new Promise((resolve) => {
    let answer: PreparedPolicy | undefined;
    let failure: unknown;
    const terminate = () => void thread.terminate();
    const fail = (error: unknown) => {
      failure ??= error;
    };
    thread.on("message", (message: PreparedPolicy) => {
      answer = message;
    });
    thread.on("messageerror", fail);
    thread.on("error", fail);
    thread.on("exit", (code) => {
      stop.removeEventListener("abort", terminate);
      resolve({ answer, failure, code });
    });
    stop.addEventListener("abort", terminate);
  });
}

function aborted(signal: AbortSignal): PenstockError {
  return new PenstockError({
    code: "aborted",
    disposition: "transient",
    message: "Cannot prepare the policy: it was told to stop",
    remedy: "Try again",
    cause: signal.reason,
  });
}

function tooSlow({ timeMaxMs }: PrepareLimits): PenstockError {
  return policyTooCostly({
    message: `Cannot prepare the policy: it takes more than ${timeMaxMs / 1000} seconds`,
    remedy: "Make the policy smaller, or try again when the host is less busy",
    data: { timeMaxMs },
  });
}

function describeFailure(failure: unknown, code: number, { heapMaxMib }: PrepareLimits): PenstockError {
  const { code: reason, message } = (failure ?? {}) as {
    readonly code?: unknown;
    readonly message?: unknown;
  };
  if (reason === "ERR_WORKER_OUT_OF_MEMORY") {
    return policyTooCostly({
      message: `Cannot prepare the policy: it takes more than ${heapMaxMib} MiB of memory`,
      remedy: "Write long lists with one entry a line, or make the policy smaller",
      data: { heapMaxMib },
      cause: failure,
    });
  }
  const isOurs = failure !== undefined && reason !== "ERR_WORKER_INIT_FAILED";
  const how = failure === undefined ? `exit code ${code}` : String(message ?? failure);
  return new PenstockError({
    code: "policy-thread-ended",
    disposition: isOurs ? "bug" : "transient",
    message: `Cannot prepare the policy: its thread ended without a result (${how})`,
    remedy: isOurs
      ? "Report this with the output of the command"
      : "See whether the host is short of memory or processes, and try again",
    cause: failure,
  });
}
