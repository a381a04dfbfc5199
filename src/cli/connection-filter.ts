// Which connections a person means, by the options of `conntrack list` and `conntrack flush`.
import { Option } from "commander";
import { ctStateNames } from "../abi/index.ts";
import { parsePrefix, prefixContains } from "../base/index.ts";
import { protocolNumbers } from "../kinds/firewall/index.ts";
import { parseNumber, UsageError } from "./usage.ts";
import { addressesOf, type ConnectionFilter } from "./views/connections.ts";

export interface FilterWords {
  readonly protocol?: string;
  readonly address?: string;
  readonly port?: string;
  readonly state?: string;
}

export const filterOptions = [
  new Option("--protocol <name>", "of this protocol: tcp, udp, icmp, icmpv6, or a number"),
  new Option("--address <prefix>", "with an end in this prefix"),
  new Option("--port <number>", "with an end on this port"),
  new Option("--state <name>", "in this state: established, syn-sent, udp-new, ..."),
];

/** All that is said must fit. Throws a usage error for what cannot be understood. */
export function parseFilter(words: FilterWords): ConnectionFilter {
  const filters: ConnectionFilter[] = [];
  const { protocol, address, port, state } = words;
  if (protocol !== undefined) {
    const number = protocolNumbers[protocol] ?? parseNumber(protocol, "--protocol", { min: 0, max: 255 });
    filters.push(({ decodedKey }) => decodedKey.protocol === number);
  }
  if (address !== undefined) {
    const prefix = parsePrefix(address);
    if (!prefix.ok)
      throw new UsageError(
        `Cannot use --address ${address}: ${prefix.message}`,
        "Write an address or a prefix",
      );
    filters.push(({ decodedKey }) =>
      addressesOf(decodedKey).some((end) => prefixContains(prefix.value, end)),
    );
  }
  if (port !== undefined) {
    const number = parseNumber(port, "--port", { min: 0, max: 65535 });
    filters.push(({ decodedKey }) => decodedKey.lowPort === number || decodedKey.highPort === number);
  }
  if (state !== undefined) {
    const known: readonly string[] = ctStateNames;
    if (!known.includes(state)) {
      const message = `Cannot use --state ${state}: there is no such state`;
      throw new UsageError(message, `States are ${known.filter((name) => name !== "ended").join(", ")}`);
    }
    filters.push((found) => found.state === state);
  }
  return (found) => filters.every((filter) => filter(found));
}
