// A MaxMind database of countries as lists of networks. The file is somebody else's and may be damaged or made to do harm:
// whatever it holds, reading it ends soon, within bounds, with networks or with `geo-database-unusable`.
import { type CountryResponse, Reader } from "mmdb-lib";
import { type Address, formatAddress, PenstockError, type Prefix } from "../base/index.ts";
import { damaged } from "./damage.ts";
import { NetworkList } from "./network-list.ts";
import { SearchTree, type TreeNetwork } from "./tree.ts";
import { ValueBounds } from "./value-bounds.ts";

/** Zeros between the tree and the data. */
const separatorBytes = 16;
const metadataMarker = Buffer.from("\xab\xcd\xefMaxMind.com", "latin1");
/** The metadata is a mapping of nine fields. One of 15 could pass for a part of the marker, which readers take differently. */
const metadataControl = { min: 0xe1, max: 0xee };

/** The networks of each country, and the country of each address. Prefixes and addresses are in network byte order. */
export class CountryDatabase {
  /** What the file calls itself: `GeoLite2-Country`. */
  readonly type: string;
  /** Milliseconds since the epoch. */
  readonly builtAt: number;
  readonly #reader: Reader<CountryResponse>;
  readonly #tree: SearchTree;
  readonly #bounds: ValueBounds;
  /** From a record of the tree to where its data stands in the file. */
  readonly #dataOffset: number;
  readonly #networks = { 4: new NetworkList(4), 6: new NetworkList(6) } as const;
  readonly #labels = new Map<string, number>();
  /** Of records; undefined for those without a country. */
  readonly #countries = new Map<number, string | undefined>();

  /** Reads the content of a file. Throws `geo-database-unusable`. */
  constructor(content: Uint8Array) {
    const buffer = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
    const marker = findMetadata(buffer);
    this.#reader = readerOf(buffer);
    const { metadata } = this.#reader;
    checkMetadata(metadata, marker);
    this.type = metadata.databaseType;
    this.builtAt = metadata.buildEpoch.getTime();
    const { nodeCount, recordSize, ipVersion, searchTreeSize } = metadata;
    this.#tree = new SearchTree(buffer, { nodeCount, recordSize, ipVersion: ipVersion === 4 ? 4 : 6 });
    this.#bounds = new ValueBounds({ content: buffer, base: searchTreeSize + separatorBytes, end: marker });
    this.#dataOffset = searchTreeSize - nodeCount;
    this.#tree.walk((network) => this.#add(network));
    if (this.#labels.size === 0) {
      throw damaged(`no network of it has a country, it is of the type ${JSON.stringify(this.type)}`);
    }
  }

  /** Whether any network is in the country. */
  has(country: string): boolean {
    return this.#labels.has(country);
  }

  /** The networks in any of the countries, as few as hold the same addresses. */
  *prefixesOf(countries: readonly string[]): Iterable<Prefix> {
    const labels = new Set(countries.flatMap((country) => this.#labels.get(country) ?? []));
    yield* this.#networks[4].select(labels).prefixes();
    yield* this.#networks[6].select(labels).prefixes();
  }

  /** The country that an address is in, asked of the file itself; undefined for IPv6 addresses that stand for IPv4 ones. */
  countryOf(address: Address): string | undefined {
    const record = this.#tree.find(address.bytes);
    return record === undefined ? undefined : this.#countryAt(record, address);
  }

  #add({ family, bytes, length, record }: TreeNetwork): void {
    const country = this.#countryAt(record, { family, bytes });
    if (country === undefined) return;
    const label = this.#labels.get(country) ?? this.#labels.size;
    this.#labels.set(country, label);
    this.#networks[family].add(bytes, length, label);
  }

  /** What the record says that `address` leads to. */
  #countryAt(record: number, address: Address): string | undefined {
    if (this.#countries.has(record)) return this.#countries.get(record);
    this.#bounds.check(record + this.#dataOffset);
    const country = isoCodeOf(guarded(() => this.#reader.get(formatAddress(address))));
    this.#countries.set(record, country);
    return country;
  }
}

/** Where the marker of the metadata stands. mmdb-lib takes the last one too. */
function findMetadata(content: Buffer): number {
  const marker = content.lastIndexOf(metadataMarker);
  if (marker < 0) throw damaged("it is no MaxMind file");
  const start = marker + metadataMarker.length;
  const control = content[start] ?? 0;
  if (control < metadataControl.min || control > metadataControl.max)
    throw damaged("its metadata is damaged");
  new ValueBounds({ content, base: start, end: content.length }).check(start);
  return marker;
}

function readerOf(content: Buffer): Reader<CountryResponse> {
  return guarded(() => new Reader<CountryResponse>(content));
}

function checkMetadata(metadata: Reader<CountryResponse>["metadata"], marker: number): void {
  const { binaryFormatMajorVersion, ipVersion, nodeCount, searchTreeSize } = metadata;
  const { databaseType, buildEpoch } = metadata;
  if (binaryFormatMajorVersion !== 2) throw damaged("its format is not version 2");
  if (ipVersion !== 4 && ipVersion !== 6) throw damaged("its metadata names neither IPv4 nor IPv6");
  if (!Number.isSafeInteger(nodeCount) || nodeCount < 1) throw damaged("its metadata is damaged");
  if (searchTreeSize + separatorBytes > marker) throw damaged("its end is missing");
  const isNamed = typeof databaseType === "string" && /^[\x20-\x7e]{1,128}$/.test(databaseType);
  if (!isNamed || Number.isNaN(buildEpoch.getTime())) throw damaged("its metadata is damaged");
}

/** mmdb-lib throws whatever reading outside of a buffer throws. */
function guarded<T>(read: () => T): T {
  try {
    return read();
  } catch (thrown) {
    if (thrown instanceof PenstockError) throw thrown;
    throw damaged("a part of it is damaged", thrown);
  }
}

function isoCodeOf(data: unknown): string | undefined {
  const code = (data as { readonly country?: { readonly iso_code?: unknown } | null } | null)?.country
    ?.iso_code;
  return typeof code === "string" && /^[A-Z]{2}$/.test(code) ? code : undefined;
}
