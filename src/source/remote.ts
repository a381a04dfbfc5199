// A Git server over HTTP: which refs it has, and the pack of what is new. The first contact goes through
// isomorphic-git; after it, asking a protocol 2 server for one ref is one request. The pack is taken off the
// wire here and not by isomorphic-git's fetch, which keeps it in memory several times, moves refs before the
// pack is whole, and does not check its sum.
import type { Buffer } from "node:buffer";
import { getRemoteInfo2 } from "isomorphic-git";
import type { PenstockError } from "../base/index.ts";
import { cleanText } from "./clean-text.ts";
import * as errors from "./errors.ts";
import { type HttpClient, readAll } from "./http.ts";
import { decodePackets, encodePackets } from "./pkt-line.ts";
import type { Ref, RefDirectory } from "./refs.ts";

export interface PackRequest {
  readonly wants: readonly string[];
  readonly haves: readonly string[];
  readonly sink: (bytes: Uint8Array) => Promise<void>;
}

export interface RemoteOptions {
  readonly url: URL;
  readonly label: string;
  readonly http: HttpClient;
  readonly packBytesMax: number;
}

/** What was learned at first contact: where the repository is after redirects, and how the server speaks. */
interface Contact {
  readonly base: string;
  readonly protocol: 1 | 2;
  /** A server without protocol 2 tells all its refs each time. */
  readonly refs: readonly Ref[];
}

/** Refs are about 70 bytes each: room for some 200,000. */
const refsBytesMax = 16 * 1024 * 1024;

const uploadPack = "application/x-git-upload-pack";

export class Remote implements RefDirectory {
  readonly #options: RemoteOptions;
  #contact: Omit<Contact, "refs"> | undefined;

  constructor(options: RemoteOptions) {
    this.#options = options;
  }

  async lookup(names: readonly string[], signal: AbortSignal): Promise<Ref[]> {
    return (await this.#list(names, signal)).filter((ref) => names.includes(ref.name));
  }

  async all(signal: AbortSignal): Promise<Ref[]> {
    const refs = await this.#list(["refs/heads/", "refs/tags/"], signal);
    return refs.filter((ref) => /^refs\/(heads|tags)\//.test(ref.name));
  }

  /**
   * Asks for everything that `wants` reach and `haves` do not, and hands the pack's bytes to `sink` piece by
   * piece. The bytes are not checked here. The request is protocol 0's, which every server understands:
   * https://git-scm.com/docs/pack-protocol
   */
  async fetchPack(request: PackRequest, signal: AbortSignal): Promise<void> {
    const { http, packBytesMax } = this.#options;
    const { base } = this.#contact ?? (await this.#meet(signal));
    const capabilities = " side-band-64k ofs-delta no-progress agent=penstock";
    const answer = await http.request({
      method: "POST",
      url: new URL(`${base}/git-upload-pack`),
      headers: { "content-type": `${uploadPack}-request`, accept: `${uploadPack}-result` },
      body: encodePackets([
        ...request.wants.map((oid, i) => `want ${oid}${i === 0 ? capabilities : ""}\n`),
        { mark: "flush" },
        ...request.haves.map((oid) => `have ${oid}\n`),
        "done\n",
      ]),
      // Framing adds 5 bytes to every 64 KiB; smaller packets and keep-alives get some room.
      bytesMax: packBytesMax * 1.125 + 1024 * 1024,
      limit: "limits.packBytesMax",
      signal,
    });
    let ended = false;
    for await (const packet of decodePackets(answer.body, this.#fail)) {
      ended = packet === "flush";
      if (typeof packet !== "string") await this.#takePacket(packet, request.sink);
    }
    if (!ended) throw this.#fail("cut-off");
  }

  async #list(prefixes: readonly string[], signal: AbortSignal): Promise<readonly Ref[]> {
    const known = this.#contact;
    // Whatever goes wrong, the next call starts from the first contact: the server may have changed.
    this.#contact = undefined;
    const contact: Contact = known?.protocol === 2 ? { ...known, refs: [] } : await this.#meet(signal);
    const refs = contact.protocol === 2 ? await this.#lsRefs(contact.base, prefixes, signal) : contact.refs;
    this.#contact = { base: contact.base, protocol: contact.protocol };
    return refs;
  }

  async #meet(signal: AbortSignal): Promise<Contact> {
    const { url, label, http } = this.#options;
    const answer = await http.request({
      method: "GET",
      url: new URL(`${url.href.replace(/\/$/, "")}/info/refs?service=git-upload-pack`),
      headers: { "git-protocol": "version=2" },
      bytesMax: refsBytesMax,
      limit: "refsBytesMax",
      signal,
    });
    const body = await readAll(answer.body);
    if (answer.contentType !== `${uploadPack}-advertisement`) {
      const type = answer.contentType === "" ? "no content type" : `"${http.quote(answer.contentType)}"`;
      throw errors.notGit(label, `it answers with ${type}, not as a smart Git server does`);
    }
    // isomorphic-git would take a shortened list of refs for the whole one.
    if (body.toString("latin1", Math.max(0, body.length - 4)) !== "0000") throw this.#fail("cut-off");
    const place = `${answer.url.origin}${answer.url.pathname}`;
    if (!place.endsWith("/info/refs")) throw errors.redirected(label, `"${http.quote(place)}"`);
    return this.#readContact(body, place.slice(0, -"/info/refs".length));
  }

  async #readContact(body: Buffer, base: string): Promise<Contact> {
    const { label, http } = this.#options;
    const headers = { "content-type": `${uploadPack}-advertisement` };
    const request = async () => ({
      url: base,
      method: "GET",
      statusCode: 200,
      statusMessage: "OK",
      headers,
      body: iterate(body),
    });
    const info = await getRemoteInfo2({ http: { request }, url: base }).catch((error: unknown) => {
      const text = error instanceof Error ? http.quote(error.message) : "";
      throw errors.notGit(label, `its answer is not in Git's protocol (${text})`);
    });
    const format = info.capabilities["object-format"] ?? "sha1";
    if (format !== "sha1") {
      throw errors.unsupportedRepository(label, `its object ids are ${cleanText(String(format), 20)}`);
    }
    const refs = (info.refs ?? []).flatMap((ref) => toRef(ref.ref, ref.oid, ref.peeled));
    return { base, protocol: info.protocolVersion, refs };
  }

  /** Protocol 2's `ls-refs`: https://git-scm.com/docs/protocol-v2#_ls_refs */
  async #lsRefs(base: string, prefixes: readonly string[], signal: AbortSignal): Promise<Ref[]> {
    const { label, http } = this.#options;
    const answer = await http.request({
      method: "POST",
      url: new URL(`${base}/git-upload-pack`),
      headers: { "git-protocol": "version=2", "content-type": `${uploadPack}-request` },
      body: encodePackets([
        "command=ls-refs\n",
        "agent=penstock\n",
        { mark: "delimiter" },
        "peel\n",
        ...prefixes.map((prefix) => `ref-prefix ${prefix}\n`),
        { mark: "flush" },
      ]),
      bytesMax: refsBytesMax,
      limit: "refsBytesMax",
      signal,
    });
    const refs: Ref[] = [];
    let ended = false;
    for await (const packet of decodePackets(answer.body, this.#fail)) {
      ended = packet === "flush";
      if (typeof packet === "string") continue;
      const text = packet.toString("utf8").replace(/\n$/, "");
      if (text.startsWith("ERR ")) throw errors.serverFailed(label, http.quote(text.slice(4)));
      const [oid = "", name = "", ...attributes] = text.split(" ");
      const peeled = attributes.find((attribute) => attribute.startsWith("peeled:"))?.slice("peeled:".length);
      refs.push(...toRef(name, oid, peeled));
    }
    if (!ended) throw this.#fail("cut-off");
    return refs;
  }

  async #takePacket(packet: Buffer, sink: PackRequest["sink"]): Promise<void> {
    const { label, http } = this.#options;
    const band = packet[0];
    if (band === 1) return sink(packet.subarray(1));
    if (band === 2) return;
    const text = packet.toString("utf8", band === 3 ? 1 : 0).trim();
    if (band === 3) throw errors.serverFailed(label, http.quote(text));
    if (text.startsWith("ERR ")) throw errors.serverFailed(label, http.quote(text.slice(4)));
    if (!/^(NAK|ACK [0-9a-f]{40}\b.*)$/.test(text)) throw this.#fail("malformed");
  }

  readonly #fail = (how: "cut-off" | "malformed"): PenstockError => {
    const { label } = this.#options;
    return how === "cut-off"
      ? errors.unreachable(label, "its answer was cut off")
      : errors.notGit(label, "its answer is not in Git's protocol");
  };
}

/** Nothing for a name or an id of a form that no Git server sends. */
function toRef(name: string, oid: string, peeled: string | undefined): Ref[] {
  const isOid = /^[0-9a-f]{40}$/;
  if (name === "" || !isOid.test(oid)) return [];
  return [{ name, oid, ...(peeled !== undefined && isOid.test(peeled) ? { peeled } : {}) }];
}

async function* iterate(body: Uint8Array): AsyncGenerator<Uint8Array> {
  yield body;
}
