// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Loads BPF objects into the running kernel, one after the other, and says what the verifier made of each program:
 *
 *   loader OBJECT...
 *
 * An object takes over the maps that earlier ones have under the same names, as the agent's programs share theirs.
 * Nothing is attached or pinned, so all of it is gone when this ends. Each line printed is a word and its fields,
 * separated by tabs; the last line is `end`. Linked statically it is also the only process of a virtual machine:
 * as process 1 it mounts what loading needs, and powers off at the end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <linux/bpf.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define OBJECTS_MAX  32
#define PROGRAMS_MAX 64
/* Address space only: memory is taken as the kernel writes to it. */
#define LOG_BYTES  (256u << 20)
#define TAIL_BYTES 8192

static struct bpf_object *objects[OBJECTS_MAX];
static int object_count;

/* A TCP segment to port 443, from 192.0.2.1 to 192.0.2.2. */
static const unsigned char frame[64] = {
	0x02, 0,    0,	  0,	0, 2, 0x02, 0, 0,  0, 0,    1,	  0x08, 0x00, /* Ethernet */
	0x45, 0,    0,	  40,	0, 1, 0x40, 0, 64, 6, 0xb6, 0xcb, 192,	0,    2,    1, 192,
	0,    2,    2,								       /* IPv4 */
	0xc0, 0x00, 0x01, 0xbb, 0, 0, 0,    1, 0,  0, 0,    0,	  0x50, 0x02, 0x20, 0, /* TCP: SYN */
};

static int print_message(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level != LIBBPF_WARN)
		return 0;
	fputs("message\t", stdout);
	return vprintf(format, args);
}

static struct bpf_map *find_earlier(const char *name)
{
	for (int i = 0; i < object_count; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(objects[i], name);

		if (map)
			return map;
	}
	return NULL;
}

/* Returns 0, or a negative error number. */
static int share_maps(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		struct bpf_map *earlier = find_earlier(bpf_map__name(map));
		int error;

		if (!earlier || bpf_map__is_internal(map))
			continue;
		error = bpf_map__reuse_fd(map, bpf_map__fd(earlier));
		if (error)
			return error;
	}
	return 0;
}

/* A log for each program: after a refusal the one that is not empty tells which program it was. */
static int provide_logs(struct bpf_object *object, char *logs[PROGRAMS_MAX])
{
	struct bpf_program *program;
	int count = 0;

	bpf_object__for_each_program(program, object)
	{
		if (count == PROGRAMS_MAX)
			return -E2BIG;
		logs[count] = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (logs[count] == MAP_FAILED)
			return -errno;
		bpf_program__set_log_buf(program, logs[count++], LOG_BYTES);
	}
	return 0;
}

static void drop_logs(char *logs[PROGRAMS_MAX])
{
	for (int i = 0; i < PROGRAMS_MAX && logs[i]; i++)
		munmap(logs[i], LOG_BYTES);
}

/* Prints whole lines, at most TAIL_BYTES of them, each as `log<tab>line`. */
static void print_tail(char *log)
{
	size_t length = strnlen(log, LOG_BYTES - 1);
	char *tail = log, *line;

	if (length > TAIL_BYTES) {
		tail = strchr(log + length - TAIL_BYTES, '\n');
		tail = tail ? tail + 1 : log + length - TAIL_BYTES;
	}
	while ((line = strsep(&tail, "\n")))
		if (*line)
			printf("log\t%s\n", line);
}

static void report_refusal(struct bpf_object *object, char *logs[PROGRAMS_MAX], int error)
{
	struct bpf_program *program, *refused = NULL;
	char *log = NULL;
	int i = 0;

	bpf_object__for_each_program(program, object)
	{
		if (i < PROGRAMS_MAX && logs[i] && *logs[i]) {
			refused = program;
			log = logs[i];
		}
		i++;
	}
	printf("refused\t%s\t%s\t%s\n", bpf_object__name(object),
	       refused ? bpf_program__name(refused) : "-", strerror(-error));
	if (log)
		print_tail(log);
}

/* What the program makes of the frame above; a number, or why there is none. */
static void print_verdict(int program_fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof(frame));
	int error = bpf_prog_test_run_opts(program_fd, &options);

	if (error)
		printf("%s\n", strerror(-error));
	else
		printf("%d\n", (int)options.retval);
}

static int report_program(struct bpf_object *object, struct bpf_program *program)
{
	struct bpf_prog_info info = { 0 };
	__u32 length = sizeof(info);
	int fd = bpf_program__fd(program);

	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		return -errno;
	printf("program\t%s\t%s\t%s\t%s\t%zu\t%u\t%u\t%u\t", bpf_object__name(object),
	       bpf_program__name(program), bpf_program__section_name(program),
	       libbpf_bpf_prog_type_str(bpf_program__type(program)), bpf_program__insn_cnt(program),
	       info.xlated_prog_len, info.jited_prog_len, info.verified_insns);
	print_verdict(fd);
	return 0;
}

static int load(const char *path)
{
	char *logs[PROGRAMS_MAX] = { NULL };
	struct bpf_program *program;
	struct bpf_object *object;
	int error;

	object = object_count < OBJECTS_MAX ? bpf_object__open_file(path, NULL) : NULL;
	if (!object) {
		printf("refused\t%s\t-\t%s\n", path, strerror(errno));
		return -1;
	}
	error = share_maps(object);
	if (!error)
		error = provide_logs(object, logs);
	if (!error)
		error = bpf_object__load(object);
	if (error)
		report_refusal(object, logs, error);
	drop_logs(logs);
	if (error) {
		bpf_object__close(object);
		return error;
	}
	objects[object_count++] = object;
	bpf_object__for_each_program(program, object) if (!error) error =
		report_program(object, program);
	return error;
}

static void mount_all(void)
{
	static const char *const types[][2] = { { "proc", "/proc" },
						{ "sysfs", "/sys" },
						{ "bpf", "/sys/fs/bpf" } };

	for (int i = 0; i < 3; i++) {
		mkdir(types[i][1], 0755);
		if (mount(types[i][0], types[i][1], types[i][0], 0, NULL))
			printf("message\tCannot mount %s: %s\n", types[i][1], strerror(errno));
	}
}

int main(int count, char **arguments)
{
	struct utsname kernel;
	int refused = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getpid() == 1) {
		/* The firmware has left the serial line in the middle of one. */
		putchar('\n');
		mount_all();
	}
	libbpf_set_print(print_message);
	uname(&kernel);
	printf("kernel\t%s\t%s\n", kernel.release, kernel.machine);
	for (int i = 1; i < count; i++)
		refused |= load(arguments[i]) != 0;
	puts("end");
	fflush(stdout);
	if (getpid() == 1) {
		/* What is still in the serial line goes out before the power does. */
		fsync(STDOUT_FILENO);
		reboot(RB_POWER_OFF);
	}
	return refused;
}
