// Turns what Node's fetch throws (a TypeError around an error with a code) into an error that says what to do.
import { PenstockError } from "../base/index.ts";
import * as errors from "./errors.ts";

interface FailureContext {
  readonly label: string;
  readonly timeoutMs: number;
  readonly silence: { readonly timedOut: boolean; readonly outerReason: unknown };
}

const networkStates: Readonly<Record<string, string>> = {
  ECONNREFUSED: "the connection was refused",
  ECONNRESET: "the connection was cut off",
  EPIPE: "the connection was cut off",
  UND_ERR_SOCKET: "the connection was cut off",
  ENOTFOUND: "its name does not resolve",
  EAI_AGAIN: "its name cannot be resolved right now",
  ETIMEDOUT: "the connection timed out",
  UND_ERR_CONNECT_TIMEOUT: "the connection timed out",
  UND_ERR_HEADERS_TIMEOUT: "the server does not answer",
  UND_ERR_BODY_TIMEOUT: "the server fell silent",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "the answer was cut off",
  EHOSTUNREACH: "there is no route to it",
  ENETUNREACH: "there is no route to it",
  EPROTO: "it does not speak TLS at this port",
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS at this port",
};

const untrusted: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: "it is self-signed",
  SELF_SIGNED_CERT_IN_CHAIN: "its authority is not known to this host",
  UNABLE_TO_GET_ISSUER_CERT: "its authority is not known to this host",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its authority is not known to this host",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its chain is incomplete or its authority is not known to this host",
  CERT_SIGNATURE_FAILURE: "its signature is wrong",
  CERT_REVOKED: "it was revoked",
  CERT_UNTRUSTED: "its authority is not trusted",
  CERT_REJECTED: "it was rejected",
  INVALID_CA: "its authority's certificate is not valid",
  INVALID_PURPOSE: "it is not for a server",
  HOSTNAME_MISMATCH: "it is for another name",
  ERR_TLS_CERT_ALTNAME_INVALID: "it is for another name",
};

const expired: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "it has expired",
  CERT_NOT_YET_VALID: "it is not valid yet",
};

/** Explains why a request, or reading its body, failed. The thrown thing's own text never gets into the result. */
export function describeFailure(error: unknown, context: FailureContext): PenstockError {
  const { label, silence, timeoutMs } = context;
  const reason = silence.outerReason;
  if (reason !== undefined) return reason instanceof PenstockError ? reason : errors.cancelled();
  if (silence.timedOut) return errors.unreachable(label, `nothing was heard for ${timeoutMs} ms`);
  const code = codeOf(error);
  const distrust = untrusted[code];
  if (distrust !== undefined) return errors.tlsRefused(label, distrust, "untrusted");
  const stale = expired[code];
  if (stale !== undefined) return errors.tlsRefused(label, stale, "expired");
  if (code.startsWith("HPE_")) return errors.unreachable(label, "its answer is not HTTP", { errno: code });
  const fallback = "the connection was cut off";
  return errors.unreachable(
    label,
    networkStates[code] ?? fallback,
    code === "" ? undefined : { errno: code },
  );
}

/** The first error code down the chain of causes; of several attempts (IPv6, IPv4) the first one's. */
function codeOf(error: unknown): string {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; depth++) {
    if ("code" in at && typeof at.code === "string") return at.code;
    at = at instanceof AggregateError ? at.errors[0] : at.cause;
  }
  return "";
}
