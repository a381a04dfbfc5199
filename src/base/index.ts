// What every stage may use: errors, diagnostics, identities, addresses, time. Pure.
export * from "./clock.ts";
export * from "./diagnostics.ts";
export * from "./duration.ts";
export * from "./errors.ts";
export * from "./pace.ts";
export * from "./packet.ts";
export * from "./ports.ts";
export * from "./prefix.ts";
export * from "./revision.ts";
