// What the loader prints, as it comes over a serial line: read whole or not at all, and shown to people.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { expect, it } from "vitest";
import { listObjects, readLoad } from "../../scripts/verifier/loader.ts";
import { formatLoad } from "../../scripts/verifier/report.ts";

const firmware = "\x1bc\x1b[?7lBooting from ROM..";
const lines = [
  firmware,
  "kernel\t6.1.0-test\tx86_64",
  "program\tfirewall\tjudge\txdp.frags\txdp\t1500\t12345\t6789\t45678\t2",
  "[    1.234567] a word of the kernel's",
  "message\tlibbpf: prog 'track': failed to load: -22",
  "refused\tconntrack\ttrack\tInvalid argument",
  "log\tback-edge from insn 668 to 669",
  "end",
];

it("reads programs and refusals among whatever else is on the line", () => {
  const load = readLoad(lines.join("\r\r\n"), "");
  expect(load).toEqual({
    kernel: "6.1.0-test",
    programs: [
      {
        object: "firewall",
        program: "judge",
        section: "xdp.frags",
        type: "xdp",
        instructions: 1500,
        xlatedBytes: 12345,
        jitedBytes: 6789,
        verifiedInstructions: 45678,
        verdict: "pass",
      },
    ],
    refusals: [
      {
        object: "conntrack",
        program: "track",
        reason: "Invalid argument",
        log: ["libbpf: prog 'track': failed to load: -22", "back-edge from insn 668 to 669"],
      },
    ],
  });
  expect(formatLoad(load)).toBe(`Linux 6.1.0-test
  program         section    type  instructions  xlated bytes  jited bytes  verified  verdict
  firewall/judge  xdp.frags  xdp          1,500        12,345        6,789    45,678  pass
  REFUSED conntrack/track: Invalid argument
    libbpf: prog 'track': failed to load: -22
    back-edge from insn 668 to 669`);
});

it("shows the last that was seen where the loader did not get to its end", () => {
  const panic = [...lines.slice(0, 3), "Kernel panic - not syncing"].join("\n");
  expect(() => readLoad(panic, "ETIMEDOUT")).toThrow(
    /did not get to its end[\s\S]*Kernel panic[\s\S]*ETIMEDOUT/,
  );
  expect(() => readLoad(lines.join("\n").replace("\t45678\t2", ""), "")).toThrow("Not a line of the loader");
});

it("loads the firewall first and the others by name, or in the order that is given", () => {
  const folder = mkdtempSync(join(tmpdir(), "pk-objects-"));
  for (const name of ["tc.bpf.o", "xdp_firewall.bpf.o", "a.bpf.o", "notes.txt"])
    writeFileSync(join(folder, name), "");
  const order = (first?: string[]) => listObjects(folder, first).map((path) => basename(path, ".bpf.o"));
  expect(order()).toEqual(["xdp_firewall", "a", "tc"]);
  expect(order(["tc", "absent"])).toEqual(["tc", "a", "xdp_firewall"]);
  rmSync(folder, { recursive: true });
});
