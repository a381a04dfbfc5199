// libbpf's functions that Penstock uses: each one twice, as TypeScript sees it and as C declares it.
import type { Memory } from "./libc.ts";

/** An opaque struct of libbpf, by address; null where libbpf has none. */
export type Handle = bigint | null;

/** Functions returning number give a result of 0 or more, or `-errno`, unless they are plain getters. */
export interface Libbpf {
  libbpf_major_version(): number;
  libbpf_minor_version(): number;
  libbpf_num_possible_cpus(): number;
  libbpf_probe_bpf_helper(programType: number, helper: number, opts: null): number;

  bpf_object__open_file(path: string, opts: Memory): Handle;
  bpf_object__load(object: Handle): number;
  bpf_object__close(object: Handle): void;
  bpf_object__next_map(object: Handle, previous: Handle): Handle;
  bpf_object__next_program(object: Handle, previous: Handle): Handle;
  bpf_object__btf(object: Handle): Handle;
  btf__find_by_name_kind(btf: Handle, name: string, kind: number): number;
  btf__type_by_id(btf: Handle, id: number): Handle;
  btf__name_by_offset(btf: Handle, offset: number): string | null;

  bpf_map__name(map: Handle): string;
  bpf_map__fd(map: Handle): number;
  bpf_map__type(map: Handle): number;
  bpf_map__key_size(map: Handle): number;
  bpf_map__value_size(map: Handle): number;
  bpf_map__max_entries(map: Handle): number;
  bpf_map__map_flags(map: Handle): number;
  bpf_map__set_max_entries(map: Handle, entries: number): number;
  bpf_map__reuse_fd(map: Handle, fd: number): number;
  bpf_map__is_internal(map: Handle): boolean;
  bpf_map__initial_value(map: Handle, sizeOut: Uint8Array): Handle;

  bpf_program__name(program: Handle): string;
  bpf_program__section_name(program: Handle): string;
  bpf_program__type(program: Handle): number;
  bpf_program__fd(program: Handle): number;
  bpf_program__set_log_buf(program: Handle, buffer: Memory, size: number): number;
  bpf_program__attach_uprobe_opts(
    program: Handle,
    pid: number,
    path: string,
    offset: number,
    opts: Memory,
  ): Handle;
  bpf_link__fd(link: Handle): number;
  bpf_link__disconnect(link: Handle): void;
  bpf_link__destroy(link: Handle): number;

  bpf_map_create(
    type: number,
    name: string,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    opts: Memory,
  ): number;
  bpf_map_lookup_elem(fd: number, key: Memory, value: Memory): number;
  bpf_map_update_elem(fd: number, key: Memory, value: Memory, flags: number): number;
  bpf_map_delete_elem(fd: number, key: Memory): number;
  bpf_map_get_next_key(fd: number, key: Memory, next: Memory): number;
  bpf_map_lookup_batch(
    fd: number,
    inBatch: Memory,
    outBatch: Memory,
    keys: Memory,
    values: Memory,
    count: Memory,
    opts: Memory,
  ): number;
  bpf_map_update_batch(fd: number, keys: Memory, values: Memory, count: Memory, opts: Memory): number;
  bpf_map_delete_batch(fd: number, keys: Memory, count: Memory, opts: Memory): number;

  bpf_prog_load(
    type: number,
    name: string,
    license: string,
    instructions: Memory,
    count: number,
    opts: Memory,
  ): number;
  bpf_btf_get_fd_by_id(id: number): number;
  bpf_map_get_fd_by_id(id: number): number;
  bpf_prog_get_fd_by_id(id: number): number;
  bpf_prog_bind_map(programFd: number, mapFd: number, opts: null): number;
  bpf_prog_test_run_opts(fd: number, opts: Memory): number;
  bpf_obj_pin(fd: number, path: string): number;
  bpf_obj_get(path: string): number;
  bpf_obj_get_info_by_fd(fd: number, info: Memory, length: Memory): number;

  bpf_link_create(programFd: number, target: number, attachType: number, opts: Memory): number;
  bpf_link_update(linkFd: number, programFd: number, opts: Memory): number;
  bpf_link_detach(linkFd: number): number;
  bpf_xdp_query(ifindex: number, flags: number, opts: Memory): number;
  bpf_tc_hook_create(hook: Memory): number;
  bpf_tc_attach(hook: Memory, opts: Memory): number;
  bpf_tc_detach(hook: Memory, opts: Memory): number;
  bpf_tc_query(hook: Memory, opts: Memory): number;
}

export const PROTOTYPES: Readonly<Record<keyof Libbpf, string>> = {
  libbpf_major_version: "uint32_t libbpf_major_version()",
  libbpf_minor_version: "uint32_t libbpf_minor_version()",
  libbpf_num_possible_cpus: "int libbpf_num_possible_cpus()",
  libbpf_probe_bpf_helper: "int libbpf_probe_bpf_helper(int type, int helper, void *opts)",

  bpf_object__open_file: "void *bpf_object__open_file(const char *path, void *opts)",
  bpf_object__load: "int bpf_object__load(void *object)",
  bpf_object__close: "void bpf_object__close(void *object)",
  bpf_object__next_map: "void *bpf_object__next_map(void *object, void *previous)",
  bpf_object__next_program: "void *bpf_object__next_program(void *object, void *previous)",
  bpf_object__btf: "void *bpf_object__btf(void *object)",
  btf__find_by_name_kind: "int btf__find_by_name_kind(void *btf, const char *name, uint32_t kind)",
  btf__type_by_id: "void *btf__type_by_id(void *btf, uint32_t id)",
  btf__name_by_offset: "const char *btf__name_by_offset(void *btf, uint32_t offset)",

  bpf_map__name: "const char *bpf_map__name(void *map)",
  bpf_map__fd: "int bpf_map__fd(void *map)",
  bpf_map__type: "int bpf_map__type(void *map)",
  bpf_map__key_size: "uint32_t bpf_map__key_size(void *map)",
  bpf_map__value_size: "uint32_t bpf_map__value_size(void *map)",
  bpf_map__max_entries: "uint32_t bpf_map__max_entries(void *map)",
  bpf_map__map_flags: "uint32_t bpf_map__map_flags(void *map)",
  bpf_map__set_max_entries: "int bpf_map__set_max_entries(void *map, uint32_t entries)",
  bpf_map__reuse_fd: "int bpf_map__reuse_fd(void *map, int fd)",
  bpf_map__is_internal: "bool bpf_map__is_internal(void *map)",
  bpf_map__initial_value: "void *bpf_map__initial_value(void *map, void *size_out)",

  bpf_program__name: "const char *bpf_program__name(void *program)",
  bpf_program__section_name: "const char *bpf_program__section_name(void *program)",
  bpf_program__type: "int bpf_program__type(void *program)",
  bpf_program__fd: "int bpf_program__fd(void *program)",
  bpf_program__set_log_buf: "int bpf_program__set_log_buf(void *program, void *buffer, size_t size)",
  bpf_program__attach_uprobe_opts:
    "void *bpf_program__attach_uprobe_opts(void *program, int pid, const char *path, size_t offset, void *opts)",
  bpf_link__fd: "int bpf_link__fd(void *link)",
  bpf_link__disconnect: "void bpf_link__disconnect(void *link)",
  bpf_link__destroy: "int bpf_link__destroy(void *link)",

  bpf_map_create:
    "int bpf_map_create(int type, const char *name, uint32_t key_size, uint32_t value_size, uint32_t max, void *opts)",
  bpf_map_lookup_elem: "int bpf_map_lookup_elem(int fd, void *key, void *value)",
  bpf_map_update_elem: "int bpf_map_update_elem(int fd, void *key, void *value, uint64_t flags)",
  bpf_map_delete_elem: "int bpf_map_delete_elem(int fd, void *key)",
  bpf_map_get_next_key: "int bpf_map_get_next_key(int fd, void *key, void *next)",
  bpf_map_lookup_batch:
    "int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, void *count, void *opts)",
  bpf_map_update_batch: "int bpf_map_update_batch(int fd, void *keys, void *values, void *count, void *opts)",
  bpf_map_delete_batch: "int bpf_map_delete_batch(int fd, void *keys, void *count, void *opts)",

  bpf_prog_load:
    "int bpf_prog_load(int type, const char *name, const char *license, void *insns, size_t count, void *opts)",
  bpf_btf_get_fd_by_id: "int bpf_btf_get_fd_by_id(uint32_t id)",
  bpf_map_get_fd_by_id: "int bpf_map_get_fd_by_id(uint32_t id)",
  bpf_prog_get_fd_by_id: "int bpf_prog_get_fd_by_id(uint32_t id)",
  bpf_prog_bind_map: "int bpf_prog_bind_map(int program_fd, int map_fd, void *opts)",
  bpf_prog_test_run_opts: "int bpf_prog_test_run_opts(int fd, void *opts)",
  bpf_obj_pin: "int bpf_obj_pin(int fd, const char *path)",
  bpf_obj_get: "int bpf_obj_get(const char *path)",
  bpf_obj_get_info_by_fd: "int bpf_obj_get_info_by_fd(int fd, void *info, void *length)",

  bpf_link_create: "int bpf_link_create(int program_fd, int target, int attach_type, void *opts)",
  bpf_link_update: "int bpf_link_update(int link_fd, int program_fd, void *opts)",
  bpf_link_detach: "int bpf_link_detach(int link_fd)",
  bpf_xdp_query: "int bpf_xdp_query(int ifindex, int flags, void *opts)",
  bpf_tc_hook_create: "int bpf_tc_hook_create(void *hook)",
  bpf_tc_attach: "int bpf_tc_attach(void *hook, void *opts)",
  bpf_tc_detach: "int bpf_tc_detach(void *hook, void *opts)",
  bpf_tc_query: "int bpf_tc_query(void *hook, void *opts)",
};
