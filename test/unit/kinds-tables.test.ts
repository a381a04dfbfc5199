// What all kinds together ask of the kernel: no table without a size, and no size for a map that does not exist.
import { expect, it } from "vitest";
import { mergeAbis, objectAbis, tcConntrackMaps, xdpFirewallMaps } from "../../src/abi/index.ts";
import { capacitiesFor, policyTables } from "../../src/kinds/index.ts";

const capacities = capacitiesFor({ rulesMax: 10, addressesMax: 20, interfacesMax: 30, connectionsMax: 40 });

it("the limits give every table its size, but for those that are as large as anybody can need", () => {
  const sized = policyTables.map(({ name }) => name).filter((name) => capacities[name] !== undefined);
  const { applied, fw_cpus, fw_steering } = xdpFirewallMaps;
  // The place for processors is as large as the host: whoever loads the objects says so.
  const fixed = [tcConntrackMaps.ct_settings, applied, fw_steering, fw_cpus];
  expect([...sized, ...fixed.map(({ name }) => name)].sort()).toEqual(
    policyTables.map(({ name }) => name).sort(),
  );
  expect(fixed.map(({ maxEntries }) => maxEntries)).toEqual([256, 1, 256, 1]);
});

it("every table whose size a limit gives names that limit", () => {
  const given = { rulesMax: 10, addressesMax: 20, interfacesMax: 30, connectionsMax: 40 } as const;
  const before = capacitiesFor(given);
  for (const limit of ["rulesMax", "addressesMax", "interfacesMax"] as const) {
    const after = capacitiesFor({ ...given, [limit]: given[limit] + 1 });
    const sized = policyTables.filter(({ name }) => before[name] !== after[name]);
    expect(sized.map((table) => table.limit)).toEqual(sized.map(() => limit));
    expect(policyTables.filter((table) => table.limit === limit)).toEqual(sized);
  }
});

it("every size is that of a map of some program", () => {
  expect(Object.keys(mergeAbis(objectAbis).maps)).toEqual(expect.arrayContaining(Object.keys(capacities)));
});
