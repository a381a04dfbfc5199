// What an upgrade makes of a map whose layout changed, by what the map is.
import { expect, test } from "vitest";
import { MAP_TYPE } from "../../src/bpf/constants.ts";
import { beginsAnew, isCounted } from "../../src/bpf/map-change.ts";

test.each([
  ["rule_counters", MAP_TYPE.perCpuArray, { counted: true, anew: false }],
  ["fw_scratch", MAP_TYPE.perCpuArray, { counted: false, anew: true }],
  ["carry_scratch", MAP_TYPE.perCpuArray, { counted: false, anew: true }],
  ["connections", MAP_TYPE.hash, { counted: false, anew: false }],
])("%s is added to, begun anew or carried over as it must", (name, type, { counted, anew }) => {
  expect({ counted: isCounted({ name, type }), anew: beginsAnew({ name, type }) }).toEqual({ counted, anew });
});
