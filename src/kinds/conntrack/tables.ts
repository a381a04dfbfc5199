// The table of settings: one slot a document, named by the bindings of the interfaces that it applies to.
import { tcConntrackMaps } from "../../abi/index.ts";
import { type TableSpec, tableSpec } from "../../compile/index.ts";

export const settingsTable: TableSpec = tableSpec(tcConntrackMaps.ct_settings, {
  shape: "slots",
  presence: "present",
});

/** What sees the packets of connections, on their way in and out. */
export const trackingPrograms = ["tc_conntrack_ingress", "tc_conntrack_egress"] as const;
