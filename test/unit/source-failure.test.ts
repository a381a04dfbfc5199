// Errors of the system, said as errors of the source: which of them a person has to mend, and which pass.
import { expect, it } from "vitest";
import { storeFailed } from "../../src/source/errors.ts";
import { describeFailure } from "../../src/source/http-failure.ts";
import { explainLocal } from "../../src/source/local.ts";

const systemError = (code: string) =>
  Object.assign(new Error(`${code}: secret detail`), { code, syscall: "open" });

it.each([
  ["EACCES", "source-unauthorized", "stalled"],
  ["EPERM", "source-unauthorized", "stalled"],
  ["ENOENT", "source-corrupt", "stalled"],
  ["EIO", "source-unreachable", "transient"],
])("reading a local repository: %s is %s, %s", (code, ours, disposition) => {
  expect(explainLocal(systemError(code), "/srv/x")).toMatchObject({ code: ours, disposition });
});

it("leaves other errors as they are", () => {
  const error = new TypeError("x");
  expect(explainLocal(error, "/srv/x")).toBe(error);
});

it.each([
  ["EACCES", "stalled"],
  ["EROFS", "stalled"],
  ["ENOSPC", "transient"],
  ["EMFILE", "transient"],
])("writing the store: %s is %s", (errno, disposition) => {
  expect(storeFailed("/state", systemError(errno))).toMatchObject({
    code: "store-failed",
    disposition,
    data: { errno },
  });
});

const calm = { timedOut: false, outerReason: undefined };

it.each([
  ["ECONNREFUSED", "source-unreachable", /refused/],
  ["ECONNRESET", "source-unreachable", /cut off/],
  ["EAI_AGAIN", "source-unreachable", /resolve/],
  ["HPE_INVALID_CONSTANT", "source-unreachable", /not HTTP/],
  ["SOMETHING_NEW", "source-unreachable", /cut off/],
  ["CERT_HAS_EXPIRED", "source-tls", /expired/],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "source-tls", /self-signed/],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "source-tls", /another name/],
])("a request: %s is %s", (code, ours, text) => {
  // As Node's fetch throws it, with the attempts by several addresses below.
  const cause = new AggregateError([systemError(code), systemError("EHOSTUNREACH")]);
  const error = describeFailure(new TypeError("fetch failed", { cause }), {
    label: "x",
    timeoutMs: 1,
    silence: calm,
  });
  expect(error).toMatchObject({ code: ours });
  expect(error.message).toMatch(text);
  expect(`${error.message} ${String(error.cause)}`).not.toContain("secret detail");
});

it("tells an expired certificate, which passes, from one that nobody trusts", () => {
  const describe = (code: string) =>
    describeFailure(systemError(code), { label: "x", timeoutMs: 1, silence: calm });
  expect(describe("CERT_HAS_EXPIRED").disposition).toBe("transient");
  expect(describe("SELF_SIGNED_CERT_IN_CHAIN").disposition).toBe("stalled");
});
