// What C programs and TypeScript share: layouts, constants and map definitions, generated from the compiled
// objects' own type information (scripts/generate-abi.ts), and the codecs that pack values by them.
export * from "./codec.ts";
export * from "./compare.ts";
export * from "./entry-types.ts";
export * from "./generated/index.ts";
export * from "./layout.ts";
export { kernelNameBytes, mergeAbis } from "./merge.ts";
export { readObjectAbi } from "./object-abi.ts";
