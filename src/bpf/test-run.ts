// Running a loaded program over bytes (BPF_PROG_TEST_RUN): the kernel's own verdict on a packet, with no packet
// on a wire. The buffers are made once, so that a run costs little more than the system call.
import { bug } from "../base/index.ts";
import { PROGRAM_TYPE } from "./constants.ts";
import { kernelError } from "./kernel-error.ts";
import { libbpf } from "./libbpf.ts";
import { addressOf } from "./libc.ts";

/** What a run needs of a program; BpfProgram is one. */
export interface RunnableProgram {
  readonly fd: number;
  readonly name: string;
  readonly type: number;
}

export interface RunOptions {
  /** Interface that the packet seems to come in on; it must exist in this network namespace. Default: loopback. */
  readonly ifindex?: number;
  /** TC: interface that the packet came in on; 0 for one of the host's own, as egress sees them. Default: `ifindex`. */
  readonly ingressIfindex?: number;
  /** XDP: receive queue, only together with ifindex. */
  readonly queue?: number;
  /** TC: skb->mark, skb->priority and the five words of skb->cb. */
  readonly mark?: number;
  readonly priority?: number;
  readonly cb?: readonly number[];
  /** XDP: the first bytes of the frame are metadata (`data_meta`), this many; a multiple of 4, at most 32. */
  readonly metadataBytes?: number;
  /** Runs in one call; the verdict is the last one's. Default 1. */
  readonly repeat?: number;
}

/** The outcome of the last run; the same object is filled again by the next. */
export interface RunResult {
  /** The program's return value: for XDP and TC the verdict. */
  verdict: number;
  /** Mean time of one run, in nanoseconds. */
  durationNs: number;
  /** The frame after the run; a view that the next run overwrites. Metadata comes first, see `metadataBytes`. */
  frame: Uint8Array;
  /** XDP: bytes of metadata at the start of `frame`. */
  metadataBytes: number;
  /** TC: the context after the run (struct __sk_buff), for reading mark, priority and cb. */
  context: DataView;
}

export interface TestRunner {
  /** Throws `kernel-call-failed`: EINVAL for a frame of less than 14 bytes or too long, ENODEV for no interface. */
  run(frame: Uint8Array, options?: RunOptions): RunResult;
}

/** More than the longest IPv6 packet with its link header; the kernel takes about this much. */
const FRAME_BYTES_MAX = 68 * 1024;
const XDP_CONTEXT_BYTES = 24;
const SKB_CONTEXT_BYTES = 192;
// struct bpf_test_run_opts.
const AT = {
  dataIn: 8,
  dataOut: 16,
  dataSizeIn: 24,
  dataSizeOut: 28,
  contextIn: 32,
  contextOut: 40,
  contextSizeIn: 48,
  contextSizeOut: 52,
  retval: 56,
  repeat: 60,
  duration: 64,
} as const;
const OPTS_BYTES = 80;
// struct __sk_buff: the fields that a test run takes.
const SKB = { mark: 8, priority: 32, ingressIfindex: 36, ifindex: 40, cb: 48 } as const;

/** Runs of one XDP or TC program. */
export function createTestRunner(program: RunnableProgram): TestRunner {
  const isXdp = program.type === PROGRAM_TYPE.xdp;
  if (!isXdp && program.type !== PROGRAM_TYPE.schedCls) {
    throw bug(`Cannot run program ${program.name}: it is neither XDP nor TC`);
  }
  const memory = allocate(isXdp ? XDP_CONTEXT_BYTES : SKB_CONTEXT_BYTES);
  const writeContext = isXdp ? writeXdpContext : writeSkbContext;
  const { opts, optsBytes, frameIn, frameOut, contextIn, contextOut } = memory;
  const result: RunResult = {
    verdict: 0,
    durationNs: 0,
    frame: frameOut,
    metadataBytes: 0,
    context: contextOut,
  };
  return {
    run(frame, options = {}) {
      if (frame.length > FRAME_BYTES_MAX) throw bug(`Cannot run ${program.name} over ${frame.length} bytes`);
      frameIn.set(frame);
      writeContext(contextIn, frame.length, options);
      opts.setUint32(AT.dataSizeIn, frame.length, true);
      opts.setUint32(AT.dataSizeOut, frameOut.length, true);
      opts.setUint32(AT.contextSizeOut, contextOut.byteLength, true);
      opts.setUint32(AT.repeat, options.repeat ?? 1, true);
      const code = libbpf().bpf_prog_test_run_opts(program.fd, optsBytes);
      if (code < 0) throw runError(program.name, -code, frame.length);
      result.verdict = opts.getInt32(AT.retval, true);
      result.durationNs = opts.getUint32(AT.duration, true);
      const frameEnd = opts.getUint32(AT.dataSizeOut, true);
      if (result.frame.length !== frameEnd) result.frame = frameOut.subarray(0, frameEnd);
      if (isXdp) result.metadataBytes = contextOut.getUint32(0, true);
      return result;
    },
  };
}

// Frame and context are copied into buffers whose addresses stand in `opts` from the start.
function allocate(contextBytes: number) {
  const optsBytes = new Uint8Array(OPTS_BYTES);
  const opts = new DataView(optsBytes.buffer);
  const frameIn = new Uint8Array(FRAME_BYTES_MAX);
  const frameOut = new Uint8Array(FRAME_BYTES_MAX);
  const contextIn = new Uint8Array(contextBytes);
  const contextOut = new Uint8Array(contextBytes);
  opts.setBigUint64(0, BigInt(OPTS_BYTES), true);
  opts.setBigUint64(AT.dataIn, addressOf(frameIn), true);
  opts.setBigUint64(AT.dataOut, addressOf(frameOut), true);
  opts.setBigUint64(AT.contextIn, addressOf(contextIn), true);
  opts.setBigUint64(AT.contextOut, addressOf(contextOut), true);
  opts.setUint32(AT.contextSizeIn, contextBytes, true);
  return {
    opts,
    optsBytes,
    frameIn,
    frameOut,
    contextIn: new DataView(contextIn.buffer),
    contextOut: new DataView(contextOut.buffer),
  };
}

// struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex. The kernel wants
// data_end to be the length of the input, data the bytes of metadata before the frame, and data_meta 0.
function writeXdpContext(context: DataView, length: number, options: RunOptions): void {
  context.setUint32(0, options.metadataBytes ?? 0, true);
  context.setUint32(4, length, true);
  context.setUint32(12, options.ifindex ?? 0, true);
  context.setUint32(16, options.queue ?? 0, true);
}

function writeSkbContext(context: DataView, _length: number, options: RunOptions): void {
  context.setUint32(SKB.mark, options.mark ?? 0, true);
  context.setUint32(SKB.priority, options.priority ?? 0, true);
  context.setUint32(SKB.ingressIfindex, options.ingressIfindex ?? options.ifindex ?? 0, true);
  context.setUint32(SKB.ifindex, options.ifindex ?? 0, true);
  for (let i = 0; i < 5; i++) context.setUint32(SKB.cb + 4 * i, options.cb?.[i] ?? 0, true);
}

function runError(program: string, errno: number, length: number): Error {
  return kernelError({
    action: "run",
    object: `program ${program} over ${length} bytes`,
    call: "bpf_prog_test_run_opts",
    errno,
    data: { program, bytes: length },
  });
}
