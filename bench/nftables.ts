// The same addresses in a set of nftables, in a network namespace of its own: what an operator would do without us.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ListStyle } from "./addresses.ts";
import { folder, namespace } from "./places.ts";

/** Milliseconds of one `nft -f` each, its start and its reading of the file among them. */
export interface NftTimes {
  readonly loadMs: number;
  readonly replaceMs: number;
  readonly oneMs: number;
}

/** Undefined if this machine has no nft. */
export function timeNftables(style: ListStyle, list: readonly string[], one: string): NftTimes | undefined {
  if (spawnSync("nft", ["--version"]).status !== 0) return undefined;
  run("ip", ["netns", "add", namespace]);
  const time = (text: string) => {
    const file = join(folder, "set.nft");
    writeFileSync(file, text);
    const started = performance.now();
    run("nsenter", [`--net=/run/netns/${namespace}`, "--", "nft", "-f", file]);
    return performance.now() - started;
  };
  try {
    const flags = style === "networks" ? "; flags interval" : "";
    time(`table inet bench {\nset listed { type ipv4_addr${flags}; }\n}\n`);
    const elements = (addresses: readonly string[]) =>
      `add element inet bench listed { ${addresses.join(",\n")} }\n`;
    return {
      loadMs: time(elements(list)),
      replaceMs: time(`flush set inet bench listed\n${elements(list)}`),
      oneMs: time(elements([one])),
    };
  } finally {
    run("ip", ["netns", "delete", namespace]);
  }
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr.slice(0, 400)}`);
}
