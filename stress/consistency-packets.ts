// The process that is nothing but packets: runs the program with the id that it was given over one frame, again and
// again, until it is killed or its parent is gone.
import { attachXdp, createTestRunner, inNewNamespace, openProgramById } from "../src/bpf/index.ts";

/** The kernel holds the RCU read lock for one call: short enough that grace periods do not wait for packets. */
const repeat = 2048;
const frame = new Uint8Array(64);

const program = openProgramById(Number(process.argv[2]));
const runner = createTestRunner(program);
const parent = process.ppid;
inNewNamespace(() => {
  // For a program that is attached nowhere the kernel rewrites its dispatcher at each call, and waits for a grace
  // period: ten times as long as the call. Nothing comes in through this loopback.
  attachXdp({ program, ifindex: 1, interfaceName: "lo", mode: "generic" });
  while (process.ppid === parent) for (let call = 0; call < 256; call++) runner.run(frame, { repeat });
});
