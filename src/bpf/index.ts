// The door of the kernel side: objects, maps, links, ring buffers, grace periods. The only folder that calls C.

export type { AttachedProgram } from "./attachments.ts";
export { missingCapabilities } from "./capabilities.ts";
export { ATTACH_TYPE, MAP_FLAG, MAP_TYPE, mapTypeName, PROGRAM_TYPE } from "./constants.ts";
export {
  type DatapathOptions,
  KernelDatapath,
  openDatapath,
  openPinnedDatapath,
  uninstallDatapath,
} from "./datapath.ts";
export { errnoName } from "./errno.ts";
export { checkFeatures, type FeatureCheck, type FeatureStatus } from "./features.ts";
export { type GraceMethod, type GraceOptions, hasMembarrier, waitForGracePeriod } from "./grace.ts";
export { returnLargeBuffers } from "./heap.ts";
export {
  findInterface,
  listInterfaces,
  listInterfacesAndProcessors,
  type NetworkInterface,
  type NetworkProcessor,
  processorCapacities,
} from "./interfaces.ts";
export { isKernelError } from "./kernel-error.ts";
export { type AttachableProgram, BpfLink, openPinnedLink } from "./link.ts";
export {
  attachTc,
  detachTcFilter,
  queryTcFilter,
  type TcAttachment,
  type TcFilter,
  type TcRequest,
  updateTcFilter,
} from "./link-tc.ts";
export type { TcDirection } from "./link-tcx.ts";
export { attachUprobe, type UprobeRequest } from "./link-uprobe.ts";
export {
  attachXdp,
  queryXdp,
  type XdpAttachment,
  type XdpMode,
  type XdpRequest,
  type XdpState,
} from "./link-xdp.ts";
export { acquireLock, type FileLock } from "./lock.ts";
export { BpfMap, createMap, type MapLayout, openPinnedMap, possibleCpus, type UpdateMode } from "./map.ts";
export type { BatchOptions } from "./map-batch.ts";
export type { MapMemory } from "./map-memory.ts";
export type { OnChunk, ScannedEntries } from "./map-scan.ts";
export { inNamespace, inNewNamespace } from "./namespace.ts";
export { BpfObject, type ObjectOptions, openObject } from "./object.ts";
export type { LinkInfo, LinkType, MapInfo, ProgramInfo } from "./object-info.ts";
export { mapPinPath, programPinPath } from "./object-reuse.ts";
export type { RodataValue } from "./object-rodata.ts";
export { type DatapathObject, datapathObjects, ObjectSet } from "./object-set.ts";
export { listPins, type Pin, type PinKind, unpin, unpinAll } from "./pins.ts";
export {
  BpfProgram,
  encodeVerdict,
  loadProgram,
  openPinnedProgram,
  openProgramById,
  type ProgramSource,
} from "./program.ts";
export { type OnRecord, RingBuffer, type RingBufferWait } from "./ring-buffer.ts";
export { checkIndexRoom } from "./table-index.ts";
export { type MapSource, VersionedTables } from "./tables.ts";
export { type TcChain, tcChain, tcCommands } from "./tc-chain.ts";
export {
  createTestRunner,
  type RunnableProgram,
  type RunOptions,
  type RunResult,
  type TestRunner,
} from "./test-run.ts";
