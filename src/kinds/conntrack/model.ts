// The reference model of connection tracking: what each packet is to the connections before it, and what it makes of
// them. Written from the RFCs and not from the C code, which is tested against it. Plain
// objects in a Map; time passes only when somebody says so.

/** Whether a packet begins a connection, belongs to one, tells of one, or fits to none. */
export type PacketState = "new" | "established" | "related" | "invalid";

export type TcpState =
  | "syn-sent"
  | "syn-recv"
  | "established"
  | "fin-wait"
  | "close-wait"
  | "last-ack"
  | "time-wait"
  | "closed";

/** What a connection is in; everything but TCP knows only whether an answer came. */
export type ConnectionState = TcpState | "new" | "replied";

export interface Endpoint {
  /** As text, in one spelling for each address. */
  readonly address: string;
  /** 0 for protocols without ports; of an echo both endpoints have its identifier. */
  readonly port: number;
}

export interface TcpFields {
  readonly syn: boolean;
  readonly ack: boolean;
  readonly fin: boolean;
  readonly rst: boolean;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly window: number;
  /** Bytes behind the header. */
  readonly length: number;
  /** The window scale option. */
  readonly scale: number | undefined;
}

/** A packet, as far as connections are concerned. */
export interface TrackedPacket {
  readonly kind: "packet";
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** IANA number. */
  readonly protocol: number;
  readonly tcp?: TcpFields;
  /** ICMP or ICMPv6 echo. */
  readonly echo?: "request" | "reply";
}

/** An ICMP error about `inner`, and to whom it was sent. */
export interface TrackedError {
  readonly kind: "error";
  readonly destination: string;
  readonly inner: TrackedPacket;
}

interface Side {
  /** Behind the last byte sent. */
  end: number;
  /** The highest that the other side allows. */
  allowed: number;
  /** The largest window advertised. */
  window: number;
  scale: number | undefined;
  fin: "none" | "sent" | "acknowledged";
}

export interface ModelConnection {
  state: ConnectionState;
  readonly opener: Endpoint;
  replied: boolean;
  simultaneous: boolean;
  readonly pickedUp: boolean;
  /** By `nameOf` an endpoint; a side is undefined before its first packet. TCP only. */
  readonly sides: Map<string, Side>;
}

export interface ModelSettings {
  readonly pickUp: boolean;
  readonly liberal: boolean;
}

type Effect = "invalid" | "none" | "move" | "replace";

/** Older acknowledgements than this are let through whatever the window. */
const acknowledgementSlack = 66_000;

export class ConnectionModel {
  readonly connections = new Map<string, ModelConnection>();
  readonly #settings: ModelSettings;

  constructor(settings: ModelSettings) {
    this.#settings = settings;
  }

  /** Takes a packet as it comes by, and says what it is. */
  take(packet: TrackedPacket | TrackedError): PacketState {
    if (packet.kind === "error") return this.#takeError(packet);
    const key = connectionKey(packet);
    const connection = this.connections.get(key);
    if (connection === undefined) return this.#begin(key, packet);
    const effect = packet.tcp
      ? stepTcp(connection, packet, packet.tcp, connection.pickedUp || this.#settings.liberal)
      : stepOther(connection, packet);
    const isReply = nameOf(packet.source) !== nameOf(connection.opener);
    if (effect === "replace") {
      this.connections.delete(key);
      return this.#begin(key, packet);
    }
    if (effect === "invalid") return "invalid";
    if (effect === "move" && isReply) connection.replied = true;
    if (effect === "none" && packet.echo === "request" && isReply && !connection.replied) return "new";
    return isReply || connection.replied ? "established" : "new";
  }

  #takeError({ destination, inner }: TrackedError): PacketState {
    const known = this.connections.has(connectionKey(inner));
    return known && inner.source.address === destination ? "related" : "invalid";
  }

  #begin(key: string, packet: TrackedPacket): PacketState {
    const { tcp, source, destination } = packet;
    const base = { opener: source, replied: false, simultaneous: false };
    if (tcp === undefined) {
      if (packet.echo === "reply") return "invalid";
      this.connections.set(key, { ...base, state: "new", pickedUp: false, sides: new Map() });
      return "new";
    }
    if (tcp.syn && !tcp.ack && !tcp.fin && !tcp.rst) {
      const sides = new Map([[nameOf(source), sideOfSyn(tcp)]]);
      this.connections.set(key, { ...base, state: "syn-sent", pickedUp: false, sides });
      return "new";
    }
    if (!this.#settings.pickUp || !tcp.ack || tcp.syn || tcp.rst) return "invalid";
    const end = endOf(tcp);
    const from: Side = {
      end,
      allowed: end,
      window: tcp.window || 1,
      scale: undefined,
      fin: tcp.fin ? "sent" : "none",
    };
    // What the other side has sent is known from the acknowledgement only.
    const to = { ...unseenSide(), end: tcp.acknowledgement, allowed: add(tcp.acknowledgement, tcp.window) };
    const sides = new Map([
      [nameOf(source), from],
      [nameOf(destination), to],
    ]);
    this.connections.set(key, {
      ...base,
      state: tcp.fin ? "fin-wait" : "established",
      pickedUp: true,
      sides,
    });
    return "new";
  }
}

/** The same for both directions. */
export function connectionKey({ protocol, source, destination }: TrackedPacket): string {
  return `${protocol} ${[nameOf(source), nameOf(destination)].sort().join(" ")}`;
}

function nameOf({ address, port }: Endpoint): string {
  return `${address}|${port}`;
}

function stepOther(connection: ModelConnection, packet: TrackedPacket): Effect {
  const isReply = nameOf(packet.source) !== nameOf(connection.opener);
  // Both sides may ping each other with one identifier: a request of the other side answers nothing.
  if (packet.echo !== undefined && isReply !== (packet.echo === "reply")) return "none";
  if (isReply) connection.state = "replied";
  return "move";
}

function stepTcp(
  connection: ModelConnection,
  packet: TrackedPacket,
  tcp: TcpFields,
  liberal: boolean,
): Effect {
  const from = connection.sides.get(nameOf(packet.source)) ?? unseenSide();
  const to = connection.sides.get(nameOf(packet.destination)) ?? unseenSide();
  connection.sides.set(nameOf(packet.source), from);
  connection.sides.set(nameOf(packet.destination), to);
  const fromOpener = nameOf(packet.source) === nameOf(connection.opener);
  const step = { connection, from, to, tcp, fromOpener, liberal };
  if (tcp.rst) return tcp.syn || tcp.fin ? "invalid" : stepReset(step);
  if (tcp.syn) {
    if (tcp.fin) return "invalid";
    return tcp.ack ? stepSynAck(step) : stepSyn(step);
  }
  return tcp.ack ? stepAck(step) : "invalid";
}

interface Step {
  readonly connection: ModelConnection;
  readonly from: Side;
  readonly to: Side;
  readonly tcp: TcpFields;
  readonly fromOpener: boolean;
  readonly liberal: boolean;
}

function stepSyn({ connection, from, tcp, fromOpener }: Step): Effect {
  if (connection.state === "time-wait" || connection.state === "closed") return "replace";
  if (connection.state !== "syn-sent") return "none";
  if (fromOpener) return add(tcp.sequence, 1) === from.end ? "move" : "replace";
  Object.assign(from, sideOfSyn(tcp));
  connection.simultaneous = true;
  connection.state = "syn-recv";
  return "move";
}

function stepSynAck({ connection, from, to, tcp, fromOpener }: Step): Effect {
  const { state, simultaneous } = connection;
  if (state === "time-wait" || state === "closed") return "invalid";
  if (state === "syn-sent") {
    if (fromOpener || !isWithin(tcp.acknowledgement, to.end, to.allowed)) return "invalid";
    Object.assign(from, sideOfSyn(tcp));
    from.allowed = add(from.allowed, to.window);
    to.end = to.allowed;
    allow(to, tcp, from.window);
    connection.state = "syn-recv";
    return "move";
  }
  if (state !== "syn-recv") return "none";
  if (add(tcp.sequence, 1) !== from.end) return "invalid";
  if (!simultaneous) return fromOpener ? "invalid" : "move";
  if (tcp.acknowledgement !== to.end) return "invalid";
  allow(to, tcp, from.window);
  if (fromOpener) connection.state = "established";
  return "move";
}

function stepReset({ connection, from, to, tcp, fromOpener }: Step): Effect {
  const { state } = connection;
  if (state === "closed" || state === "time-wait") return "none";
  if (state === "syn-sent" && fromOpener) return "none";
  const last = isBehind(from.end, from.allowed) ? from.end : from.allowed;
  const plausible =
    from.window === 0
      ? tcp.ack && isWithin(tcp.acknowledgement, to.end, to.allowed)
      : isWithin(tcp.sequence, add(from.end, -to.window), last);
  if (!plausible) return "invalid";
  connection.state = "closed";
  return "move";
}

function stepAck(step: Step): Effect {
  const { connection, from, to, tcp, fromOpener, liberal } = step;
  if (connection.state === "closed") return "invalid";
  if (connection.state === "syn-sent") return fromOpener || tcp.fin ? "invalid" : "none";
  const scaled = from.scale !== undefined && to.scale !== undefined;
  const window = Math.max(1, tcp.window * (scaled ? 2 ** (from.scale ?? 0) : 1));
  const end = endOf(tcp);
  const seen = from.window > 0;
  const begin = seen ? from : { end, allowed: add(end, to.window) };
  const fits =
    to.window === 0 ||
    (!isBehind(tcp.sequence, begin.allowed) &&
      !isBehind(add(begin.end, -to.window), end) &&
      isWithin(tcp.acknowledgement, add(to.end, -Math.max(from.window, acknowledgementSlack)), to.end));
  if (!fits && !liberal) return "invalid";
  from.allowed = begin.allowed;
  from.end = isBehind(end, begin.end) ? end : begin.end;
  from.window = Math.max(from.window, window);
  allow(to, tcp, window);
  if (tcp.fin && from.fin === "none") from.fin = "sent";
  if (to.fin === "sent" && !isBehind(to.end, tcp.acknowledgement)) to.fin = "acknowledged";
  connection.state = stateAfter(step);
  return "move";
}

function stateAfter({ connection, from, to, tcp, fromOpener }: Step): ConnectionState {
  const fins = [from.fin, to.fin];
  if (fins.every((fin) => fin === "acknowledged")) return "time-wait";
  if (fins.every((fin) => fin !== "none")) return "last-ack";
  if (fins.includes("acknowledged")) return "close-wait";
  if (fins.includes("sent")) return "fin-wait";
  const confirms = connection.state === "syn-recv" && fromOpener && tcp.acknowledgement === to.end;
  return confirms ? "established" : connection.state;
}

function unseenSide(): Side {
  return { end: 0, allowed: 0, window: 0, scale: undefined, fin: "none" };
}

function sideOfSyn(tcp: TcpFields): Side {
  const { window, scale } = tcp;
  return {
    end: add(tcp.sequence, 1),
    allowed: endOf(tcp),
    window: window || 1,
    scale: scale === undefined ? undefined : Math.min(scale, 14),
    fin: "none",
  };
}

/** Behind the last byte; SYN and FIN count for one each. */
function endOf(tcp: TcpFields): number {
  return add(tcp.sequence, tcp.length + Number(tcp.syn) + Number(tcp.fin));
}

function allow(side: Side, tcp: TcpFields, window: number): void {
  const allowed = add(tcp.acknowledgement, window);
  if (isBehind(allowed, side.allowed)) side.allowed = allowed;
}

// Sequence numbers wrap at 2^32 and are compared by their distance (RFC 9293, 3.4).
function add(sequence: number, by: number): number {
  return (sequence + by) >>> 0;
}

function isBehind(a: number, b: number): boolean {
  return ((a - b) | 0) > 0;
}

function isWithin(sequence: number, first: number, last: number): boolean {
  return !isBehind(first, sequence) && !isBehind(sequence, last);
}
