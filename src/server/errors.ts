// Errors on their way through the socket: a PenstockError becomes an HTTP status and a JSON body on one side, and
// is the same PenstockError again on the other.
import { asPenstockError, type Disposition, PenstockError } from "../base/index.ts";

/** The body of every answer that is not a success. */
export interface ErrorBody {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly remedy: string | null;
    readonly disposition: Disposition;
    readonly data: PenstockError["data"];
  };
}

export interface ErrorAnswer {
  readonly status: number;
  readonly body: ErrorBody;
}

/** A request that no well-behaved client sends: the status is for HTTP, the rest for people. */
export class RequestError extends PenstockError {
  readonly status: number;

  constructor(status: number, code: string, message: string) {
    super({
      code,
      disposition: "stalled",
      message,
      remedy: "Use the penstock command of the same version as the agent",
    });
    this.status = status;
  }
}

/** 409: a person must act; 503: it may work later; 500: a bug. */
const statusOf: Readonly<Record<Disposition, number>> = { stalled: 409, transient: 503, bug: 500 };

export function answerError(thrown: unknown): ErrorAnswer {
  const error = asPenstockError(thrown);
  const { code, message, remedy, disposition, data } = error;
  const status = error instanceof RequestError ? error.status : statusOf[disposition];
  return { status, body: { error: { code, message, remedy: remedy ?? null, disposition, data } } };
}

/** The error that an answer's body carries; undefined if it carries none. */
export function readError(body: unknown): PenstockError | undefined {
  if (!isRecord(body) || !isRecord(body["error"])) return undefined;
  const { code, message, remedy, disposition, data } = body["error"];
  if (typeof code !== "string" || typeof message !== "string") return undefined;
  return new PenstockError({
    code,
    message,
    disposition: disposition === "transient" || disposition === "bug" ? disposition : "stalled",
    ...(typeof remedy === "string" ? { remedy } : {}),
    ...(isRecord(data) ? { data: data as PenstockError["data"] } : {}),
  });
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
