// What the functions over a whole map need to know of it; BpfMap is one.

export interface MapHandle {
  readonly name: string;
  readonly fd: number;
  readonly type: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly valueStride: number;
  readonly entriesMax: number;
}
