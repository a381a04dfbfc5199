// The secret that opens the repository, from where the configuration says it is. It goes from here to the source
// and nowhere else: no message and no record holds any of it.
import { readFileSync, statSync } from "node:fs";
import { PenstockError } from "../base/index.ts";
import type { SourceConfiguration } from "../policy/index.ts";
import type { SourceCredentials } from "../source/index.ts";

/** A secret longer than this is somebody's mistake. */
const bytesMax = 64 * 1024;

/** The configured credentials; undefined if none are. Throws `credentials-unreadable`. */
export function readCredentials(
  source: SourceConfiguration,
  env: Readonly<Record<string, string | undefined>>,
): SourceCredentials | undefined {
  const { username, passwordFile, passwordEnv, tokenFile, tokenEnv } = source;
  const user = username === undefined ? {} : { username };
  if (tokenFile !== undefined) return { token: readSecret(tokenFile), ...user };
  if (tokenEnv !== undefined) return { token: readVariable(tokenEnv, env), ...user };
  if (passwordFile !== undefined) return { password: readSecret(passwordFile), ...user };
  if (passwordEnv !== undefined) return { password: readVariable(passwordEnv, env), ...user };
  return undefined;
}

function readSecret(path: string): string {
  let text: string;
  try {
    if (statSync(path).size > bytesMax) throw unreadable(path, `it is longer than ${bytesMax} bytes`);
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof PenstockError) throw cause;
    throw unreadable(path, cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error");
  }
  const secret = text.split(/\r?\n/, 1)[0] ?? "";
  if (secret === "") throw unreadable(path, "its first line is empty");
  return secret;
}

function readVariable(name: string, env: Readonly<Record<string, string | undefined>>): string {
  const secret = env[name];
  if (secret !== undefined && secret !== "") return secret;
  throw new PenstockError({
    code: "credentials-unreadable",
    disposition: "stalled",
    message: `Cannot read the repository's credentials: the environment variable ${name} is not set`,
    remedy: `Set ${name}, or keep the secret in a file (tokenFile, passwordFile)`,
    data: { variable: name },
  });
}

function unreadable(path: string, state: string): PenstockError {
  return new PenstockError({
    code: "credentials-unreadable",
    disposition: "stalled",
    message: `Cannot read the repository's credentials from ${path}: ${state}`,
    remedy: "Write the secret into the file's first line, readable for the agent alone",
    data: { path },
  });
}
